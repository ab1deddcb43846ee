//! Repositories that move, and those made from others.

use spaceport_core::{RepoId, RepoKind, RepoName, Sha256, SpaceId, Subdomain};
use spaceport_store::{NewObject, NewRepo, RepoFilter, StoreError};
use spaceport_testkit::databases;

use super::{account, at, model, names, new_space, sha, space};

#[tokio::test]
async fn a_repository_moves_once_at_a_time_and_leads_on() {
    for db in databases().await {
        let store = &db.store;
        let (alice, bob) = (account(store, "alice", 1).await, account(store, "bob", 2).await);
        let (one, other) = (model(store, &alice, "one", 1, 1).await, model(store, &alice, "other", 2, 2).await);
        let name = |text: &str| text.parse::<RepoName>().unwrap();
        let from = async |text: &str| store.repo_moved_from(RepoKind::Model, &name(text)).await.unwrap();
        assert!(matches!(store.repo_move(&one, &other.name, alice.id, at(9)).await, Err(StoreError::Exists(_))));
        assert!(store.repo_move(&one, &name("bob/two"), bob.id, at(10)).await.unwrap(), "{}", store.engine());
        let two = store.repo_by_id(one.id).await.unwrap().unwrap();
        assert_eq!((two.name.to_string().as_str(), two.owner, two.creator), ("bob/two", bob.id, alice.id));
        // Who knows it by what it was moves nothing.
        assert!(!store.repo_move(&one, &name("alice/three"), alice.id, at(11)).await.unwrap());
        assert!(store.repo_by_name(RepoKind::Model, &name("alice/three")).await.unwrap().is_none());
        assert!(store.repo_move(&two, &name("bob/Three"), bob.id, at(12)).await.unwrap());
        for old in ["alice/one", "BOB/TWO"] {
            assert_eq!(from(old).await.unwrap().name.to_string(), "bob/Three", "{old}");
        }
        // Back again: a name does not lead to itself.
        let three = store.repo_by_id(one.id).await.unwrap().unwrap();
        assert!(store.repo_move(&three, &one.name, alice.id, at(13)).await.unwrap());
        assert!(from("alice/one").await.is_none());
        assert_eq!(from("bob/three").await.unwrap().name, one.name);
        // Another case is the same name.
        let back = store.repo_by_id(one.id).await.unwrap().unwrap();
        assert!(store.repo_move(&back, &name("alice/ONE"), alice.id, at(14)).await.unwrap());
        assert!(from("alice/one").await.is_none());
        assert_eq!(store.repo_by_id(one.id).await.unwrap().unwrap().name.to_string(), "alice/ONE");
        store.close().await;
    }
}

#[tokio::test]
async fn a_space_takes_the_host_label_of_its_name() {
    for db in databases().await {
        let store = &db.store;
        let (alice, ab) = (account(store, "a", 1).await, account(store, "a-b", 2).await);
        let demo = space(store, &alice, "old", 1, 1).await;
        let (old, new) = (demo.subdomain.clone(), Subdomain::from_stored("a-new".to_owned()));
        let row = async || store.repo_by_id(demo.id.into()).await.unwrap().unwrap();
        let move_to =
            async |to: &str| store.repo_move(&row().await, &to.parse().unwrap(), alice.id, at(2)).await.unwrap();
        assert!(move_to("a/new").await);
        let moved = store.space_by_id(demo.id).await.unwrap().unwrap();
        assert_eq!((&moved.subdomain, moved.desired.settings), (&new, demo.desired.settings + 1), "{}", store.engine());
        assert!(moved.desired.generation > demo.desired.generation);
        assert_eq!(store.space_moved_from("A-OLD").await.unwrap().unwrap().id, demo.id);
        assert_eq!(store.former_labels().await.unwrap(), [(old.clone(), new.clone())]);
        // Where another Space has the label of the name, it gets one with a suffix.
        let taken = space(store, &ab, "c", 2, 3).await;
        assert!(move_to("a/b-c").await);
        let label = store.space_by_id(demo.id).await.unwrap().unwrap().subdomain;
        assert!(label != taken.subdomain && label.as_str().starts_with("a-b-c-"), "{label}");
        assert_eq!(store.former_labels().await.unwrap(), [(new.clone(), label.clone()), (old.clone(), label.clone())]);
        // Another case keeps it, although the plain one would be free by now.
        assert!(store.space_doom(taken.id, at(4)).await.unwrap());
        assert!(move_to("a/B-C").await);
        assert_eq!(store.space_by_id(demo.id).await.unwrap().unwrap().subdomain, label);
        // Nobody gets the host that somebody else's Space left, only because two names make the same label.
        let like = space(store, &ab, "old-x", 4, 5).await;
        assert_eq!(like.subdomain.as_str(), "a-b-old-x");
        let one = store.repo_by_id(like.id.into()).await.unwrap().unwrap();
        assert!(store.repo_move(&one, &"a-b/elsewhere".parse().unwrap(), ab.id, at(5)).await.unwrap());
        let neighbour = space(store, &alice, "b-old-x", 5, 5).await;
        assert!(neighbour.subdomain.as_str().starts_with("a-b-old-x-"), "{}", neighbour.subdomain);
        assert!(store.space_doom(like.id, at(5)).await.unwrap() && !store.space_doom(like.id, at(5)).await.unwrap());
        // A new Space takes a label that was left.
        assert_eq!(space(store, &alice, "old", 3, 5).await.subdomain, old);
        assert_eq!(store.former_labels().await.unwrap(), [(new.clone(), label)]);
        assert!(store.space_moved_from("a-old").await.unwrap().is_none());
        assert!(move_to("a/new").await);
        assert_eq!(store.space_by_id(demo.id).await.unwrap().unwrap().subdomain, new, "its own is no other's");
        assert!(store.space_doom(demo.id, at(6)).await.unwrap());
        assert!(store.former_labels().await.unwrap().is_empty());
        store.close().await;
    }
}

#[tokio::test]
async fn copies_have_the_large_files_that_commits_have() {
    for db in databases().await {
        let store = &db.store;
        let (alice, bob) = (account(store, "alice", 1).await, account(store, "bob", 2).await);
        let tiny = model(store, &alice, "tiny", 1, 1).await;
        let name = |digit: &str| digit.repeat(64).parse::<Sha256>().unwrap();
        for digit in ["a", "b", "c"] {
            let object = NewObject { sha256: name(digit), size: 5, xet: Some("x".to_owned()) };
            store.object_uploaded(tiny.id, &object, alice.id, at(2)).await.unwrap();
        }
        let committed = [(name("a"), Some("a.bin".to_owned())), (name("b"), None)];
        store.objects_committed(tiny.id, &committed, at(3)).await.unwrap();
        let new = NewRepo {
            id: RepoId::new(at(4), 9),
            kind: RepoKind::Model,
            name: "bob/copy".parse().unwrap(),
            owner: bob.id,
            creator: bob.id,
            visibility: spaceport_core::space::Visibility::Private,
            head: Some(sha('a')),
            at: at(4),
        };
        store.repo_create_copy(&new, tiny.id).await.unwrap();
        let taken = NewRepo { id: RepoId::new(at(4), 10), ..new.clone() };
        assert!(
            matches!(store.repo_create_copy(&taken, tiny.id).await, Err(StoreError::Exists(_))),
            "{}",
            store.engine()
        );
        let page = store.repo_objects_page(new.id, None, 10).await.unwrap();
        let names: Vec<_> =
            page.iter().map(|object| (object.sha256, object.path.as_deref(), object.uploader)).collect();
        assert_eq!(names, [(name("a"), Some("a.bin"), Some(bob.id)), (name("b"), None, Some(bob.id))]);
        assert!(page.iter().all(|object| object.is_committed && object.size == 5 && object.xet.is_some()));
        let copy = new_space(&bob, "app", 11, 5);
        assert_eq!(store.space_create_copy(&copy, tiny.id).await.unwrap().as_str(), "bob-app");
        assert_eq!(store.repo_storage(SpaceId::new(at(5), 11).into()).await.unwrap(), 10);
        store.repo_delete(tiny.id, at(6)).await.unwrap();
        assert_eq!(store.objects_live().await.unwrap().len(), 2, "what only the original had goes with it");
        store.close().await;
    }
}

#[tokio::test]
async fn words_are_looked_for_in_names_and_cards() {
    for db in databases().await {
        let store = &db.store;
        let alice = account(store, "alice", 1).await;
        let (one, two) = (model(store, &alice, "one-word", 1, 1).await, model(store, &alice, "two", 2, 2).await);
        let card = serde_json::json!({"title": "Écrire 100% des POÈMES"});
        store.repo_index(two.id, &sha('a'), Some(&card), &[]).await.unwrap();
        let find = async |words: &[&str]| {
            let words = words.iter().map(|word| (*word).to_owned()).collect();
            names(store, &RepoFilter { words, ..RepoFilter::of(RepoKind::Model) }).await
        };
        let (first, second) = (one.name.to_string(), two.name.to_string());
        assert_eq!(find(&["word"]).await, std::slice::from_ref(&first), "{}", store.engine());
        assert_eq!(find(&["word", "poèmes"]).await, [second.clone(), first.clone()]);
        assert_eq!(find(&["écrire"]).await, std::slice::from_ref(&second));
        assert_eq!(find(&["100%"]).await, std::slice::from_ref(&second));
        assert_eq!(find(&["alice"]).await, [second, first]);
        for nothing in ["models", "10_%", "none"] {
            assert!(find(&[nothing]).await.is_empty(), "{nothing}");
        }
        store.close().await;
    }
}
