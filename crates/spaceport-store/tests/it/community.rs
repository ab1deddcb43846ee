//! Likes, follows and discussions.

use std::collections::BTreeSet;

use spaceport_core::account::Account;
use spaceport_core::discussion::{Act, EventKind, MAIN, Merged, Pull, Refusal};
use spaceport_core::space::Visibility;
use spaceport_core::{Discussion, DiscussionStatus, Repo, RepoId, RepoKind};
use spaceport_store::{
    After, CommentChange, Counts, DiscussionFilter, MAX_DISCUSSION_BYTES, NewDiscussion, NewRepo, RepoFilter, RepoSort,
    Store,
};
use spaceport_testkit::databases;

use crate::{account, at, sha};

pub async fn model(store: &Store, owner: &Account, name: &str, number: u128, visibility: Visibility) -> Repo {
    let id = RepoId::new(at(1), number);
    let new = NewRepo {
        id,
        kind: RepoKind::Model,
        name: format!("{}/{name}", owner.name).parse().unwrap(),
        owner: owner.id,
        creator: owner.id,
        visibility,
        head: Some(sha('a')),
        at: at(1),
    };
    store.repo_create(&new).await.unwrap();
    store.repo_by_id(id).await.unwrap().unwrap()
}

#[tokio::test]
async fn likes_are_counted_exactly() {
    for db in databases().await {
        let store = &db.store;
        let (alice, bob) = (account(store, "alice", 1).await, account(store, "bob", 2).await);
        let repo = model(store, &alice, "one", 1, Visibility::Public).await;
        let hidden = model(store, &alice, "two", 2, Visibility::Private).await;
        let count = async || {
            let repo = store.repo_by_id(repo.id).await.unwrap().unwrap();
            (repo.likes, repo.trending)
        };
        assert!(store.like_add(repo.id, alice.id, at(100), at(50)).await.unwrap(), "{}", store.engine());
        assert!(!store.like_add(repo.id, alice.id, at(101), at(50)).await.unwrap());
        assert!(store.like_add(repo.id, bob.id, at(200), at(50)).await.unwrap());
        assert!(store.like_add(hidden.id, bob.id, at(300), at(50)).await.unwrap());
        assert_eq!(count().await, (2, 2));
        assert!(store.likes(repo.id, bob.id).await.unwrap() && !store.likes(hidden.id, alice.id).await.unwrap());

        let names = |rows: Vec<(Account, _)>| rows.into_iter().map(|(account, _)| account.name).collect::<Vec<_>>();
        assert_eq!(names(store.likers(repo.id, None, 10).await.unwrap()), ["bob", "alice"]);
        let after = After { at: at(200), id: bob.id.to_string() };
        assert_eq!(names(store.likers(repo.id, Some(&after), 10).await.unwrap()), ["alice"]);
        let liked = store.likes_of(bob.id, None, 10).await.unwrap();
        assert_eq!(
            liked.iter().map(|(repo, at)| (repo.id, *at)).collect::<Vec<_>>(),
            [(hidden.id, at(300)), (repo.id, at(200))]
        );
        assert_eq!(store.likes_of(bob.id, None, 1).await.unwrap().len(), 1);

        // Likes grow old by themselves.
        assert_eq!(store.trending_count(at(150)).await.unwrap(), 1);
        assert_eq!(count().await, (2, 1));
        assert_eq!(store.trending_count(at(150)).await.unwrap(), 0, "what is right is not written");
        let filter = RepoFilter { sort: RepoSort::Trending, ..RepoFilter::of(RepoKind::Model) };
        assert_eq!(store.repos(&filter).await.unwrap()[0].1, 1);

        assert!(store.like_remove(repo.id, bob.id, at(150)).await.unwrap());
        assert!(!store.like_remove(repo.id, bob.id, at(150)).await.unwrap());
        assert_eq!(count().await, (1, 0));

        // Many at the same moment.
        let mut people = Vec::new();
        for number in 0..20 {
            people.push(account(store, &format!("p{number}"), 100 + number).await);
        }
        let all = people.iter().map(|person| store.like_add(hidden.id, person.id, at(400), at(50)));
        for liked in futures::future::join_all(all).await {
            assert!(liked.unwrap());
        }
        assert_eq!(store.repo_by_id(hidden.id).await.unwrap().unwrap().likes, 21);
    }
}

#[tokio::test]
async fn follows_and_what_profiles_count() {
    for db in databases().await {
        let store = &db.store;
        let (alice, bob) = (account(store, "alice", 1).await, account(store, "bob", 2).await);
        let public = model(store, &alice, "one", 1, Visibility::Public).await;
        let hidden = model(store, &alice, "two", 2, Visibility::Private).await;
        assert!(store.follow_add(alice.id, bob.id, at(5)).await.unwrap(), "{}", store.engine());
        assert!(!store.follow_add(alice.id, bob.id, at(6)).await.unwrap());
        assert!(store.follows(alice.id, bob.id).await.unwrap() && !store.follows(bob.id, alice.id).await.unwrap());
        assert_eq!(store.followers(alice.id, None, 10).await.unwrap(), [(bob.clone(), at(5))]);
        assert_eq!(store.following(bob.id, None, 10).await.unwrap(), [(alice.clone(), at(5))]);
        assert!(store.following(alice.id, None, 10).await.unwrap().is_empty());
        for repo in [&public, &hidden] {
            store.like_add(repo.id, bob.id, at(7), at(0)).await.unwrap();
            open(store, repo, &bob, "t", at(8).as_millis()).await;
        }
        let counts = store.counts(alice.id).await.unwrap();
        assert_eq!(counts, Counts { models: 1, followers: 1, ..Counts::default() });
        let counts = store.counts(bob.id).await.unwrap();
        assert_eq!(counts, Counts { likes: 1, discussions: 1, following: 1, ..Counts::default() }, "what is public");
        assert!(store.follow_remove(alice.id, bob.id).await.unwrap());
        assert!(!store.follow_remove(alice.id, bob.id).await.unwrap());
        let found = store.accounts_of(&BTreeSet::from([alice.id, bob.id])).await.unwrap();
        assert_eq!(found.len(), 2);
        store.account_disable(bob.id, at(9)).await.unwrap();
        assert_eq!(store.accounts_of(&BTreeSet::from([alice.id, bob.id])).await.unwrap(), [alice]);
    }
}

async fn open(store: &Store, repo: &Repo, author: &Account, title: &str, millis: i64) -> Discussion {
    let number = store.discussion_number(repo.id).await.unwrap();
    let new = NewDiscussion {
        repo: repo.id,
        number,
        author: author.id,
        title: title.to_owned(),
        text: "first".to_owned(),
        status: DiscussionStatus::Open,
        pull: None,
        commits: Vec::new(),
        at: at(millis),
    };
    store.discussion_open(new).await.unwrap()
}

#[tokio::test]
async fn discussions_and_what_happens_in_them() {
    for db in databases().await {
        let store = &db.store;
        let (alice, bob) = (account(store, "alice", 1).await, account(store, "bob", 2).await);
        let repo = model(store, &alice, "one", 1, Visibility::Public).await;
        let other = model(store, &alice, "two", 2, Visibility::Public).await;
        let one = open(store, &repo, &bob, "A question", 10).await;
        assert_eq!((one.number, one.comments, one.pull.is_none()), (1, 1, true), "{}", store.engine());
        assert_eq!(store.discussion(repo.id, 1).await.unwrap().as_ref(), Some(&one));
        assert_eq!(store.discussion(repo.id, 2).await.unwrap(), None);

        let acts = vec![Act::Comment("more".to_owned()), Act::Status(DiscussionStatus::Closed), Act::Lock(true)];
        let (closed, events) = store.discussion_act(one.id, acts, alice.id, at(11)).await.unwrap().unwrap().unwrap();
        assert_eq!((closed.status, closed.comments, closed.locked), (DiscussionStatus::Closed, 2, true));
        assert_eq!(events.len(), 3);
        let stored = store.discussion_events(one.id).await.unwrap();
        assert_eq!(stored[1..], events, "in the order in which they happened");
        assert_eq!(store.discussion(repo.id, 1).await.unwrap(), Some(closed));

        // What is refused changes nothing, not even what came before it.
        let acts = vec![Act::Comment("lost".to_owned()), Act::Status(DiscussionStatus::Closed)];
        let refused = store.discussion_act(one.id, acts, alice.id, at(12)).await.unwrap().unwrap();
        assert!(matches!(refused, Err(Refusal::Status { .. })));
        assert_eq!(store.discussion_events(one.id).await.unwrap().len(), 4);

        let mine = &events[0];
        let edit = CommentChange::Edit("less".to_owned());
        let edited = store.comment_change(one.id, mine.id, edit, bob.id, at(13)).await.unwrap().unwrap().unwrap();
        let EventKind::Comment(comment) = &edited.kind else { panic!("{edited:?}") };
        assert_eq!((comment.text(), comment.versions.len(), edited.author), ("less", 2, alice.id));
        let hidden =
            store.comment_change(one.id, mine.id, CommentChange::Hide, bob.id, at(14)).await.unwrap().unwrap().unwrap();
        assert_eq!(store.discussion_event(one.id, mine.id).await.unwrap(), Some(hidden));
        assert_eq!(store.discussion(repo.id, 1).await.unwrap().unwrap().comments, 1);
        let again = store.comment_change(one.id, mine.id, CommentChange::Hide, bob.id, at(15)).await.unwrap().unwrap();
        assert_eq!(again, Err(Refusal::Hidden));
        let status = &events[1];
        let wrong = store.comment_change(one.id, status.id, CommentChange::Hide, bob.id, at(15)).await.unwrap();
        assert_eq!(wrong, Some(Err(Refusal::NoComment)));

        // Numbers are of one repository.
        assert_eq!(open(store, &other, &bob, "x", 16).await.number, 1);
        let pull = pull(store, &repo, &bob).await;
        assert_eq!(pull.number, 2);
        let list = async |filter: DiscussionFilter| {
            let (page, count) = store.discussions(repo.id, &filter).await.unwrap();
            (page.into_iter().map(|discussion| discussion.number).collect::<Vec<_>>(), count)
        };
        let all = DiscussionFilter { limit: 10, ..DiscussionFilter::default() };
        assert_eq!(list(all.clone()).await, (vec![2, 1], 2));
        assert_eq!(list(DiscussionFilter { pulls: Some(true), ..all.clone() }).await, (vec![2], 1));
        assert_eq!(list(DiscussionFilter { pulls: Some(false), ..all.clone() }).await, (vec![1], 1));
        assert_eq!(list(DiscussionFilter { open: Some(true), ..all.clone() }).await, (vec![2], 1));
        assert_eq!(list(DiscussionFilter { open: Some(false), ..all.clone() }).await, (vec![1], 1));
        assert_eq!(list(DiscussionFilter { author: Some(alice.id), ..all.clone() }).await, (vec![], 0));
        assert_eq!(list(DiscussionFilter { start: 1, limit: 1, ..all }).await, (vec![1], 2));
        store.repo_delete(repo.id, at(50)).await.unwrap();
        assert_eq!(store.discussion(repo.id, 1).await.unwrap(), None);
    }
}

/// A pull request as it goes its way.
async fn pull(store: &Store, repo: &Repo, author: &Account) -> Discussion {
    let number = store.discussion_number(repo.id).await.unwrap();
    let new = NewDiscussion {
        repo: repo.id,
        number,
        author: author.id,
        title: "Better".to_owned(),
        text: String::new(),
        status: DiscussionStatus::Draft,
        pull: Some(Pull { base: MAIN.to_owned(), head: sha('a'), merged: None }),
        commits: Vec::new(),
        at: at(20),
    };
    let pull = store.discussion_open(new).await.unwrap();
    assert_eq!(store.live_pulls_of(repo.id, author.id).await.unwrap(), [number]);
    let act = async |acts| store.discussion_act(pull.id, acts, author.id, at(21)).await.unwrap().unwrap();
    let push = Act::Push { head: sha('b'), commits: vec![("Fix it".to_owned(), sha('b'))] };
    let (moved, events) = act(vec![push]).await.unwrap();
    assert_eq!(moved.pull.as_ref().unwrap().head, sha('b'));
    assert_eq!(events[0].kind, EventKind::Commit { subject: "Fix it".to_owned(), sha: sha('b') });
    assert!(act(vec![Act::Status(DiscussionStatus::Open)]).await.is_ok());
    pull
}

#[tokio::test]
async fn a_merge_is_recorded_once_and_fits_into_a_full_discussion() {
    for db in databases().await {
        let store = &db.store;
        let alice = account(store, "alice", 1).await;
        let repo = model(store, &alice, "one", 1, Visibility::Public).await;
        let pull = pull(store, &repo, &alice).await;
        let long = "x".repeat(usize::try_from(MAX_DISCUSSION_BYTES / 2).unwrap());
        let act = async |acts| store.discussion_act(pull.id, acts, alice.id, at(30)).await.unwrap().unwrap();
        assert!(act(vec![Act::Comment(long.clone())]).await.is_ok());
        assert_eq!(act(vec![Act::Comment(long.clone())]).await, Err(Refusal::Full), "{}", store.engine());
        let first = store.discussion_events(pull.id).await.unwrap()[0].id;
        let edited = store.comment_change(pull.id, first, CommentChange::Edit(long), alice.id, at(30)).await.unwrap();
        assert_eq!(edited, Some(Err(Refusal::Full)));
        let merged = Merged { commit: sha('c'), previous: sha('a') };
        let (done, _) = act(vec![Act::Merge(merged.clone())]).await.unwrap();
        assert_eq!((done.status, done.pull.unwrap().merged), (DiscussionStatus::Merged, Some(merged.clone())));
        assert!(matches!(act(vec![Act::Merge(merged)]).await, Err(Refusal::Status { .. })));
        assert!(matches!(act(vec![Act::Status(DiscussionStatus::Open)]).await, Err(Refusal::Status { .. })));
        assert!(store.live_pulls_of(repo.id, alice.id).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn of_many_at_once_each_gets_a_number_and_nothing_is_lost() {
    for db in databases().await {
        let store = &db.store;
        let alice = account(store, "alice", 1).await;
        let repo = model(store, &alice, "one", 1, Visibility::Public).await;
        let opened = futures::future::join_all((0..20).map(|_| open(store, &repo, &alice, "t", 10))).await;
        let numbers: BTreeSet<i64> = opened.iter().map(|discussion| discussion.number).collect();
        assert_eq!(numbers, (1..=20).collect(), "{}", store.engine());
        let one = &opened[0];
        let said = (0..20).map(|number| {
            let acts = vec![Act::Comment(number.to_string())];
            store.discussion_act(one.id, acts, alice.id, at(11))
        });
        for done in futures::future::join_all(said).await {
            assert!(done.unwrap().unwrap().is_ok());
        }
        assert_eq!(store.discussion_events(one.id).await.unwrap().len(), 21);
        assert_eq!(store.discussion(repo.id, one.number).await.unwrap().unwrap().comments, 21);
    }
}
