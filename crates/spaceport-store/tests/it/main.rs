//! One story per resource, on every engine that is there; together they call every method, so
//! every query runs and every row is decoded on both.

#![expect(clippy::unwrap_used, reason = "a test that fails here has failed")]

mod community;
mod gpu;
mod moves;
mod webhooks;

use std::collections::BTreeMap;
use std::time::Duration;

use spaceport_core::account::{Account, AccountKind, OrgRole, Scopes, Session, TokenRole};
use spaceport_core::space::{Artifact, BuildState, DesiredRun, Inspection, Instance, Release, Space, Visibility};
use spaceport_core::volume::{ReleaseVolume, Volume, VolumeKind, VolumeSource};
use spaceport_core::{
    AccountId, BuildId, CommitSha, Diagnosis, FlavorName, InstanceId, Reason, ReleaseId, Repo, RepoId, RepoKind,
    RepoName, Sdk, SessionId, Sha256, SpaceId, SpaceStage, Timestamp, TokenId,
};
use spaceport_store::{
    AdminChange, AuditEntry, BuildEnd, Identity, MemberChange, NewObject, NewRepo, NewSession, NewSpace, NewToken,
    OrgDeletion, RepoFilter, RepoObject, RepoSort, SESSION_IDLE, Secret, Store, StoreError, Variable,
};
use spaceport_testkit::databases;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn sha(digit: char) -> CommitSha {
    digit.to_string().repeat(40).parse().unwrap()
}

fn diagnosis() -> Diagnosis {
    Diagnosis {
        reason: Reason::Crashed,
        phase: "running".to_owned(),
        message: "It ended.".to_owned(),
        remedy: "Look at the log.".to_owned(),
        evidence: vec!["exit code 1".to_owned()],
        since: at(5),
        deadline: Some(at(6)),
    }
}

async fn account(store: &Store, name: &str, number: u128) -> Account {
    let account = Account {
        id: AccountId::new(at(1), number),
        name: name.to_owned(),
        kind: AccountKind::User,
        full_name: format!("{name} ü"),
        email: Some("a@example.org".to_owned()),
        is_admin: number == 1,
        created_at: at(1),
    };
    store.account_create(&account).await.unwrap();
    account
}

fn new_space(owner: &Account, name: &str, number: u128, millis: i64) -> NewSpace {
    let secret = Secret { sealed: "sealed".to_owned(), description: None, updated_at: at(millis) };
    let variable = Variable { value: "v".to_owned(), description: Some("d".to_owned()), updated_at: at(millis) };
    NewSpace {
        id: SpaceId::new(at(millis), number),
        name: format!("{}/{name}", owner.name).parse().unwrap(),
        owner: owner.id,
        creator: owner.id,
        visibility: Visibility::Public,
        sdk: Sdk::Gradio,
        hardware: FlavorName::cpu_basic(),
        sleep_after_s: Some(60),
        variables: vec![("V".to_owned(), variable)],
        secrets: vec![("S".to_owned(), secret)],
        volumes: Vec::new(),
        head: Some(sha('a')),
        has_app: true,
        at: at(millis),
    }
}

async fn space(store: &Store, owner: &Account, name: &str, number: u128, millis: i64) -> Space {
    let new = new_space(owner, name, number, millis);
    store.space_create(&new).await.unwrap();
    store.space_by_id(new.id).await.unwrap().unwrap()
}

#[tokio::test]
async fn accounts_and_tokens() {
    for db in databases().await {
        let store = &db.store;
        store.ping().await.unwrap();
        let alice = account(store, "Alice", 1).await;
        let again = Account { id: AccountId::new(at(1), 9), name: "aLICE".to_owned(), ..alice.clone() };
        assert!(matches!(store.account_create(&again).await, Err(StoreError::Exists(_))), "{}", store.engine());
        assert_eq!(store.account_by_id(alice.id).await.unwrap().as_ref(), Some(&alice));
        assert_eq!(store.account_by_name("ALICE").await.unwrap().as_ref(), Some(&alice));
        assert_eq!(store.accounts().await.unwrap(), std::slice::from_ref(&alice));
        let token = |name, token| NewToken {
            id: TokenId::new(at(2), u128::from(token == "hf_two") + 1),
            account: alice.id,
            name,
            role: TokenRole::Write,
            scopes: Scopes::default(),
            token,
            at: at(2),
            expires_at: None,
        };
        store.token_create(&token("one", "hf_one")).await.unwrap();
        assert!(matches!(store.token_create(&token("one", "hf_two")).await, Err(StoreError::Exists(_))));
        let (found, owner) = store.token_account("hf_one", at(3)).await.unwrap().unwrap();
        assert_eq!((found.role, found.hint.as_str(), &owner), (TokenRole::Write, "_one", &alice));
        assert!(store.token_account("hf_ONE", at(3)).await.unwrap().is_none());
        let listed = store.tokens_of(alice.id).await.unwrap();
        assert_eq!((listed.len(), listed[0].last_used_at), (1, Some(at(3))));
        let scoped = NewToken { role: TokenRole::FineGrained, ..token("scoped", "hf_two") };
        store.token_create(&scoped).await.unwrap();
        let holders = store.token_holders(at(3)).await.unwrap();
        let scopes: Vec<_> = holders.values().map(|holder| (holder.account, holder.scopes.clone())).collect();
        assert!(scopes.contains(&(alice.id, None)) && scopes.contains(&(alice.id, Some(Scopes::default()))));
        assert!(holders.keys().all(|hash| hash.len() == 64));
        assert_eq!(holders.len(), 2);
        assert!(store.token_delete(alice.id, "scoped").await.unwrap());
        assert!(store.token_by_id(found.id, at(3)).await.unwrap().is_some());
        assert!(store.token_delete(alice.id, "one").await.unwrap());
        assert!(!store.token_delete(alice.id, "one").await.unwrap());
        assert!(store.token_by_id(found.id, at(3)).await.unwrap().is_none());
        tokens_that_end(store, &alice).await;
        store.token_create(&token("two", "hf_two")).await.unwrap();
        assert!(store.account_disable(alice.id, at(3)).await.unwrap());
        assert!(!store.account_disable(alice.id, at(3)).await.unwrap());
        assert!(store.token_account("hf_two", at(3)).await.unwrap().is_none());
        assert!(store.token_holders(at(3)).await.unwrap().is_empty());
        assert!(store.account_by_name("alice").await.unwrap().is_none());
        assert_eq!(store.account_listed("ALICE").await.unwrap(), Some((alice.clone(), Some(at(3)))));
        assert!(store.account_enable(alice.id).await.unwrap());
        assert!(!store.account_enable(alice.id).await.unwrap());
        assert_eq!(store.accounts_listed(AccountKind::User).await.unwrap(), [(alice.clone(), None)]);
        assert!(store.token_account("hf_two", at(3)).await.unwrap().is_some(), "its tokens were kept");
        store.account_retire(alice.id, at(4)).await.unwrap();
        assert!(store.account_enable(alice.id).await.unwrap());
        assert!(store.token_account("hf_two", at(5)).await.unwrap().is_none(), "its tokens are gone");
        let entry = AuditEntry {
            id: "1".to_owned(),
            at: 7,
            actor: "alice".to_owned(),
            origin: "::1".to_owned(),
            action: "x".to_owned(),
            subject: "y".to_owned(),
            detail: "{}".to_owned(),
        };
        store.audit_add(&entry).await.unwrap();
        assert_eq!(store.audit_latest(at(7), 10).await.unwrap(), [entry]);
        assert!(store.audit_latest(at(6), 10).await.unwrap().is_empty());
        store.close().await;
    }
}

async fn tokens_that_end(store: &Store, owner: &Account) {
    let until = |number, name, token, expires_at| NewToken {
        id: TokenId::new(at(2), number),
        account: owner.id,
        name,
        role: TokenRole::FineGrained,
        scopes: Scopes::default(),
        token,
        at: at(2),
        expires_at: Some(expires_at),
    };
    store.token_create(&until(11, "short", "hf_short", at(10))).await.unwrap();
    assert!(store.token_account("hf_short", at(9)).await.unwrap().is_some());
    assert!(store.token_account("hf_short", at(10)).await.unwrap().is_none());
    let pass = store.token_holders(at(9)).await.unwrap().into_values().next().unwrap();
    assert_eq!((pass.until, pass.scopes), (Some(at(10)), Some(Scopes::default())));
    assert!(store.token_holders(at(10)).await.unwrap().is_empty());
    // By its id, too.
    assert!(store.token_delete(owner.id, &TokenId::new(at(2), 11).to_string()).await.unwrap());

    // One that leaked does not come back.
    store.token_create(&until(12, "leaked", "hf_leaked", at(10))).await.unwrap();
    assert_eq!(store.token_revoke("hf_leaked", at(5)).await.unwrap(), Some((owner.id, "leaked".to_owned())));
    assert_eq!(store.token_revoke("hf_leaked", at(5)).await.unwrap(), None);
    assert!(store.token_is_revoked("hf_leaked").await.unwrap());
    assert!(!store.token_is_revoked("hf_short").await.unwrap());
}

#[tokio::test]
async fn signing_in() {
    for db in databases().await {
        let store = &db.store;
        let (alice, bob) = (account(store, "alice", 1).await, account(store, "bob", 2).await);
        let day = Duration::from_secs(24 * 60 * 60);
        let begin = at(1_000_000);
        let session = |number, account: &Account, expires_at| Session {
            id: SessionId::new(at(2), number),
            account: account.id,
            created_at: begin,
            last_used_at: begin,
            expires_at,
            origin: "::1".to_owned(),
            agent: "Browser ü".to_owned(),
        };
        let (one, two) = (session(1, &alice, begin + day * 30), session(2, &alice, begin + day));
        for (session, secret) in [(&one, "s1"), (&two, "s2")] {
            store.session_create(&NewSession { session: session.clone(), secret }).await.unwrap();
        }
        assert_eq!(store.session_account("s1", begin).await.unwrap(), Some((one.clone(), alice.clone())));
        assert_eq!(store.session_account("S1", begin).await.unwrap(), None);
        assert_eq!(store.session_by_id(two.id, begin).await.unwrap(), Some((two.clone(), alice.clone())));
        // It ends on its day, or when nobody uses it for long.
        assert_eq!(store.session_account("s2", begin + day).await.unwrap(), None);
        let later = begin + day * 10;
        assert_eq!(store.session_account("s1", later).await.unwrap().unwrap().0.last_used_at, begin);
        assert_eq!(store.session_account("s1", later + day).await.unwrap().unwrap().0.last_used_at, later);
        assert_eq!(store.session_account("s1", later + day + SESSION_IDLE).await.unwrap(), None);
        assert_eq!(store.sessions_of(alice.id, later).await.unwrap().len(), 1);
        // Making one forgets those that are over.
        let three = session(3, &alice, later + day);
        let three = Session { created_at: later, last_used_at: later, ..three };
        store.session_create(&NewSession { session: three.clone(), secret: "s3" }).await.unwrap();
        assert_eq!(store.sessions_of(alice.id, begin).await.unwrap().len(), 2);
        assert!(!store.session_delete(bob.id, three.id).await.unwrap(), "only one's own");
        assert!(store.session_delete(alice.id, three.id).await.unwrap());

        assert_eq!(store.password_of(alice.id).await.unwrap(), None);
        store.password_set(alice.id, "h1", Some(one.id), later).await.unwrap();
        assert!(store.session_account("s1", later).await.unwrap().is_some(), "the one that was kept");
        store.password_set(alice.id, "h2", None, later).await.unwrap();
        assert_eq!(store.password_of(alice.id).await.unwrap().as_deref(), Some("h2"));
        assert!(store.session_account("s1", later).await.unwrap().is_none());

        store.sign_in_link_create(bob.id, "l1", begin, begin + day).await.unwrap();
        assert_eq!(store.sign_in_link_take("l1", begin + day).await.unwrap(), None);
        assert_eq!(store.sign_in_link_take("l1", begin).await.unwrap(), Some(bob.clone()));
        assert_eq!(store.sign_in_link_take("l1", begin).await.unwrap(), None, "once");

        let identity = |subject: &str| Identity { issuer: "https://id".to_owned(), subject: subject.to_owned() };
        let carol = Account { id: AccountId::new(at(1), 3), name: "carol".to_owned(), ..alice.clone() };
        store.account_create_with(&carol, &identity("c")).await.unwrap();
        assert_eq!(store.identity_account(&identity("c")).await.unwrap(), Some(carol.id));
        assert!(matches!(store.identity_add(alice.id, &identity("c"), begin).await, Err(StoreError::Exists(_))));
        let taken = Account { id: AccountId::new(at(1), 4), ..carol.clone() };
        assert!(matches!(store.account_create_with(&taken, &identity("d")).await, Err(StoreError::Exists(_))));
        assert_eq!(store.identity_account(&identity("d")).await.unwrap(), None, "both or neither");
        store.identity_add(alice.id, &identity("d"), begin).await.unwrap();
        assert_eq!(store.identities_of(alice.id).await.unwrap(), [identity("d")]);
        assert!(store.identity_remove(alice.id, "https://id").await.unwrap());
        assert!(!store.identity_remove(alice.id, "https://id").await.unwrap());

        admins(store, &alice, &bob).await;
        store.session_create(&NewSession { session: session(9, &bob, begin + day), secret: "s9" }).await.unwrap();
        store.sign_in_link_create(bob.id, "l9", begin, begin + day).await.unwrap();
        store.account_disable(bob.id, begin).await.unwrap();
        store.account_enable(bob.id).await.unwrap();
        assert!(store.session_account("s9", begin).await.unwrap().is_none(), "ended with the account");
        assert!(store.sign_in_link_take("l9", begin).await.unwrap().is_none());
        store.close().await;
    }
}

async fn admins(store: &Store, alice: &Account, bob: &Account) {
    let is_admin = async |account: &Account| store.account_by_id(account.id).await.unwrap().unwrap().is_admin;
    for account in [alice, bob] {
        assert_eq!(store.account_set_admin(account.id, true).await.unwrap(), AdminChange::Done);
    }
    for other in store.accounts().await.unwrap().iter().filter(|other| other.id != bob.id) {
        assert_eq!(store.account_set_admin(other.id, false).await.unwrap(), AdminChange::Done);
    }
    assert_eq!(store.account_set_admin(bob.id, false).await.unwrap(), AdminChange::LastAdmin);
    assert_eq!((is_admin(alice).await, is_admin(bob).await), (false, true));
}

#[tokio::test]
async fn organizations() {
    for db in databases().await {
        let store = &db.store;
        let (alice, bob) = (account(store, "alice", 1).await, account(store, "bob", 2).await);
        let org = |name: &str, number| Account {
            id: AccountId::new(at(1), number),
            name: name.to_owned(),
            kind: AccountKind::Org,
            ..alice.clone()
        };
        let lab = org("Lab", 3);
        store.org_create(&lab, alice.id).await.unwrap();
        assert!(matches!(store.org_create(&org("ALICE", 4), alice.id).await, Err(StoreError::Exists(_))));
        assert_eq!(store.roles_of(alice.id).await.unwrap(), [(lab.id, OrgRole::Admin)]);
        assert_eq!(store.org_details(lab.id).await.unwrap(), "");
        store.org_update(lab.id, "The Lab", "We make things.").await.unwrap();
        assert_eq!(store.org_details(lab.id).await.unwrap(), "We make things.");
        assert_eq!(store.account_by_id(lab.id).await.unwrap().unwrap().full_name, "The Lab");

        // There is always an admin who can do something.
        let set = async |user: &Account, role| store.member_set(lab.id, user.id, role, at(5)).await.unwrap();
        assert_eq!(set(&alice, OrgRole::Write).await, MemberChange::LastAdmin);
        assert_eq!(store.member_remove(lab.id, alice.id).await.unwrap(), MemberChange::LastAdmin);
        assert_eq!(set(&bob, OrgRole::Admin).await, MemberChange::Done);
        store.account_disable(bob.id, at(6)).await.unwrap();
        assert_eq!(store.member_remove(lab.id, alice.id).await.unwrap(), MemberChange::LastAdmin);
        store.account_enable(bob.id).await.unwrap();
        let leave = async |user: &Account| store.member_remove(lab.id, user.id).await.unwrap();
        let both = futures::future::join(leave(&alice), leave(&bob)).await;
        assert!(matches!(
            both,
            (MemberChange::Done, MemberChange::LastAdmin) | (MemberChange::LastAdmin, MemberChange::Done)
        ));
        assert_eq!(store.members_of(lab.id).await.unwrap().len(), 1);

        let hidden = model(store, &lab, "hidden", 7, 7).await;
        assert_eq!(store.org_delete(lab.id).await.unwrap(), OrgDeletion::HasRepositories);
        store.repo_delete(hidden.id, at(9)).await.unwrap();
        assert_eq!(store.org_delete(lab.id).await.unwrap(), OrgDeletion::Done);
        assert!(store.account_by_name("lab").await.unwrap().is_none());
        store.close().await;
    }
}

async fn names(store: &Store, filter: &RepoFilter) -> Vec<String> {
    store.repos(filter).await.unwrap().iter().map(|(repo, _)| repo.name.to_string()).collect()
}

async fn model(store: &Store, owner: &Account, name: &str, number: u128, millis: i64) -> Repo {
    let new = NewRepo {
        id: RepoId::new(at(millis), number),
        kind: RepoKind::Model,
        name: RepoName::new(&owner.name, name).unwrap(),
        owner: owner.id,
        creator: owner.id,
        visibility: Visibility::Public,
        head: Some(sha('a')),
        at: at(millis),
    };
    store.repo_create(&new).await.unwrap();
    store.repo_by_id(new.id).await.unwrap().unwrap()
}

#[tokio::test]
async fn repositories_of_other_kinds() {
    for db in databases().await {
        let store = &db.store;
        let alice = account(store, "alice", 1).await;
        // The same name stands once per kind.
        let demo = space(store, &alice, "tiny", 1, 10).await;
        let tiny = model(store, &alice, "tiny", 2, 11).await;
        assert_eq!(store.repo_by_name(RepoKind::Model, &tiny.name).await.unwrap().as_ref(), Some(&tiny));
        assert_eq!(store.repo_by_name(RepoKind::Space, &tiny.name).await.unwrap().unwrap().id, demo.id.into());
        assert!(store.repo_by_name(RepoKind::Dataset, &tiny.name).await.unwrap().is_none());

        // The index of a head that is no longer the head changes nothing.
        let tags = |tags: &[&str]| tags.iter().map(|tag| (*tag).to_owned()).collect::<Vec<_>>();
        assert_eq!(store.repos_unindexed().await.unwrap().len(), 2);
        store.repo_index(tiny.id, &sha('b'), None, &tags(&["old"])).await.unwrap();
        let card = serde_json::json!({"license": "mit"});
        store.repo_index(tiny.id, &sha('a'), Some(&card), &tags(&["x", "y"])).await.unwrap();
        assert_eq!(store.repo_tags(tiny.id).await.unwrap(), ["x", "y"]);
        assert_eq!(store.repo_by_id(tiny.id).await.unwrap().unwrap().card, Some(card));
        assert_eq!(store.repos_unindexed().await.unwrap().len(), 1);
        let other = model(store, &alice, "other", 3, 12).await;
        let with = |tags| RepoFilter { tags, ..RepoFilter::of(RepoKind::Model) };
        assert_eq!(names(store, &with(tags(&["y", "x"]))).await, ["alice/tiny"]);
        assert!(names(store, &with(tags(&["x", "z"]))).await.is_empty());
        store.repo_downloaded(tiny.id, 3).await.unwrap();
        store.repo_visited(demo.id.into(), 2).await.unwrap();
        store.repo_visited(demo.id.into(), 3).await.unwrap();
        let visits = store.repo_by_id(demo.id.into()).await.unwrap().unwrap().visits;
        assert_eq!((visits, store.repo_by_id(tiny.id).await.unwrap().unwrap().visits), (5, 0));
        let sorted = RepoFilter { sort: RepoSort::Downloads, ..RepoFilter::of(RepoKind::Model) };
        assert_eq!(names(store, &sorted).await, ["alice/tiny", "alice/other"]);
        assert!(store.repo_set_head(tiny.id, &sha('c'), at(20)).await.unwrap());
        assert!(!store.repo_set_head(tiny.id, &sha('c'), at(21)).await.unwrap());

        // A repository that moved is found under its old name until somebody takes that.
        let (old, new) = (tiny.name.clone(), "alice/small".parse::<RepoName>().unwrap());
        assert!(matches!(store.repo_move(&tiny, &other.name, alice.id, at(30)).await, Err(StoreError::Exists(_))));
        store.repo_move(&tiny, &new, alice.id, at(30)).await.unwrap();
        assert_eq!(store.repo_moved_from(RepoKind::Model, &old).await.unwrap().unwrap().name, new);
        let heir = model(store, &alice, "tiny", 4, 31).await;
        assert!(store.repo_moved_from(RepoKind::Model, &old).await.unwrap().is_none());
        assert_eq!(store.repo_by_name(RepoKind::Model, &old).await.unwrap().unwrap().id, heir.id);
        assert!(store.repo_delete(heir.id, at(99)).await.unwrap());
        assert!(!store.repo_delete(heir.id, at(99)).await.unwrap());
        assert_eq!(store.repos_of(alice.id).await.unwrap().len(), 3);
        assert_eq!(store.repo_sizes(alice.id).await.unwrap().len(), 3);

        // What is going away is found by nobody.
        assert!(store.space_doom(demo.id, at(40)).await.unwrap());
        assert!(names(store, &RepoFilter { all: true, ..RepoFilter::of(RepoKind::Space) }).await.is_empty());
        store.space_delete(demo.id).await.unwrap();
        assert!(store.repo_by_id(demo.id.into()).await.unwrap().is_none());
        store.close().await;
    }
}

#[tokio::test]
async fn large_files_of_repositories() {
    for db in databases().await {
        let store = &db.store;
        let (alice, bob) = (account(store, "alice", 1).await, account(store, "bob", 2).await);
        let (tiny, other) = (model(store, &alice, "tiny", 1, 1).await, model(store, &bob, "other", 2, 2).await);
        let name = |digit: &str| digit.repeat(64).parse::<Sha256>().unwrap();
        let new = |digit: &str, xet: Option<&str>| NewObject {
            sha256: name(digit),
            size: 7_000_000_000,
            xet: xet.map(str::to_owned),
        };
        store.object_uploaded(tiny.id, &new("a", None), alice.id, at(1)).await.unwrap();
        store.object_uploaded(tiny.id, &new("b", Some("hash")), alice.id, at(2)).await.unwrap();
        store.object_uploaded(other.id, &new("a", None), bob.id, at(3)).await.unwrap();
        // Sent again by another, and now kept as chunks.
        store.object_uploaded(tiny.id, &new("a", Some("chunks")), bob.id, at(4)).await.unwrap();
        store.object_uploaded(tiny.id, &new("a", None), bob.id, at(4)).await.unwrap();
        let found = store.repo_objects(tiny.id, &[name("a"), name("c")]).await.unwrap();
        let expected = RepoObject {
            sha256: name("a"),
            size: 7_000_000_000,
            xet: Some("chunks".to_owned()),
            path: None,
            uploader: Some(bob.id),
            pushed_at: at(4),
            is_committed: false,
        };
        assert_eq!(found, [expected], "{}", store.engine());
        assert!(store.repo_objects(tiny.id, &[]).await.unwrap().is_empty());
        assert_eq!(store.repo_storage(tiny.id).await.unwrap(), 0);
        assert!(store.object_repos(name("a"), 10).await.unwrap().is_empty());
        let committed = [(name("a"), Some("a.bin".to_owned())), (name("b"), None)];
        let first = store.objects_committed(tiny.id, &committed, at(5)).await.unwrap();
        assert_eq!(first, [name("a"), name("b")]);
        assert!(store.objects_committed(tiny.id, &[(name("a"), None)], at(5)).await.unwrap().is_empty());
        // The first commit was not made: the second keeps its file.
        store.objects_give_back(tiny.id, &first, at(5), at(6)).await.unwrap();
        assert_eq!(store.repo_storage(tiny.id).await.unwrap(), 7_000_000_000, "{}", store.engine());
        let found = store.repo_objects(tiny.id, &[name("b")]).await.unwrap();
        assert_eq!((found[0].is_committed, found[0].pushed_at), (false, at(6)));
        assert_eq!(store.objects_committed(tiny.id, &committed[1..], at(6)).await.unwrap(), [name("b")]);
        let page = store.repo_objects_page(tiny.id, None, 1).await.unwrap();
        assert_eq!((page[0].sha256, page[0].path.as_deref(), page[0].is_committed), (name("a"), Some("a.bin"), true));
        let page = store.repo_objects_page(tiny.id, Some(name("a")), 10).await.unwrap();
        assert_eq!(page.iter().map(|object| object.sha256).collect::<Vec<_>>(), [name("b")]);
        assert_eq!(store.repo_storage(tiny.id).await.unwrap(), 14_000_000_000);
        assert_eq!(store.repo_object_names(tiny.id).await.unwrap(), [name("a"), name("b")].into());
        assert!(store.repo_object_names(other.id).await.unwrap().is_empty());
        let repos = store.object_repos(name("a"), 10).await.unwrap();
        assert_eq!(repos.iter().map(|repo| repo.id).collect::<Vec<_>>(), [tiny.id]);
        // Only uploads that no commit followed are forgotten.
        assert_eq!(store.object_uploads_forget(at(3)).await.unwrap(), 0);
        assert_eq!(store.object_uploads_forget(at(100)).await.unwrap(), 1);
        assert_eq!(store.objects_live().await.unwrap(), [name("a"), name("b")].into());
        assert!(store.repo_object_remove(tiny.id, name("b")).await.unwrap());
        assert!(!store.repo_object_remove(tiny.id, name("b")).await.unwrap());
        store.repo_delete(tiny.id, at(9)).await.unwrap();
        assert!(store.objects_live().await.unwrap().is_empty());
        store.close().await;
    }
}

#[tokio::test]
async fn members_of_organizations() {
    for db in databases().await {
        let store = &db.store;
        let (alice, bob) = (account(store, "alice", 1).await, account(store, "bob", 2).await);
        let lab =
            Account { id: AccountId::new(at(1), 3), name: "Lab".to_owned(), kind: AccountKind::Org, ..alice.clone() };
        store.account_create(&lab).await.unwrap();
        store.member_set(lab.id, bob.id, OrgRole::Read, at(5)).await.unwrap();
        store.member_set(lab.id, bob.id, OrgRole::Write, at(6)).await.unwrap();
        assert_eq!(store.members_of(lab.id).await.unwrap(), [(bob.clone(), OrgRole::Write)]);
        assert_eq!(store.orgs_of(bob.id).await.unwrap(), [(lab.clone(), OrgRole::Write)]);
        assert_eq!(store.roles_of(bob.id).await.unwrap(), [(lab.id, OrgRole::Write)]);
        assert_eq!(store.member_ids().await.unwrap(), [(lab.id, bob.id)]);
        // A member sees what is private in the organization; others do not.
        let hidden = model(store, &lab, "hidden", 7, 7).await;
        store.repo_set_visibility(hidden.id, Visibility::Private, at(8)).await.unwrap();
        let seen = |viewer| RepoFilter { viewer, ..RepoFilter::of(RepoKind::Model) };
        assert_eq!(names(store, &seen(Some(bob.id))).await, ["Lab/hidden"]);
        assert!(names(store, &seen(Some(alice.id))).await.is_empty());
        assert!(names(store, &seen(None)).await.is_empty());
        assert_eq!(store.member_remove(lab.id, bob.id).await.unwrap(), MemberChange::Done);
        assert_eq!(store.member_remove(lab.id, bob.id).await.unwrap(), MemberChange::NoMember);
        assert!(names(store, &seen(Some(bob.id))).await.is_empty());
        store.close().await;
    }
}

#[tokio::test]
async fn spaces_and_their_settings() {
    for db in databases().await {
        let store = &db.store;
        let (alice, bob) = (account(store, "alice", 1).await, account(store, "bob", 2).await);
        let demo = space(store, &alice, "Demo", 1, 10).await;
        let taken = store.space_create(&new_space(&alice, "dEMO", 2, 11)).await;
        assert!(matches!(taken, Err(StoreError::Exists(_))), "{}", store.engine());
        assert!(store.space_by_id(SpaceId::new(at(11), 2)).await.unwrap().is_none(), "nothing half-written");
        assert_eq!(store.space_by_name(&"ALICE/demo".parse().unwrap()).await.unwrap().as_ref(), Some(&demo));
        assert_eq!(store.space_by_subdomain("alice-demo").await.unwrap().as_ref(), Some(&demo));
        let other = space(store, &bob, "100_x", 3, 20).await;
        assert_eq!(store.space_ids().await.unwrap(), [demo.id, other.id]);
        store.repo_set_visibility(other.id.into(), Visibility::Private, at(30)).await.unwrap();
        let list = async |filter: RepoFilter| names(store, &RepoFilter { limit: 10, ..filter }).await;
        for sort in [RepoSort::Updated, RepoSort::Created] {
            let filter = || RepoFilter { sort, ..RepoFilter::of(RepoKind::Space) };
            assert_eq!(list(filter()).await, ["alice/Demo"]);
            assert_eq!(list(RepoFilter { viewer: Some(bob.id), ..filter() }).await, ["bob/100_x", "alice/Demo"]);
            assert_eq!(list(RepoFilter { all: true, author: Some("BOB".to_owned()), ..filter() }).await, ["bob/100_x"]);
            let search = |text: &str| vec![text.to_owned()];
            assert_eq!(list(RepoFilter { all: true, search: search("0_X"), ..filter() }).await, ["bob/100_x"]);
            assert!(list(RepoFilter { all: true, search: search("0_%"), ..filter() }).await.is_empty());
            let after = Some((15, other.id.to_string()));
            assert_eq!(list(RepoFilter { all: true, after, ..filter() }).await, ["alice/Demo"]);
        }
        settings(store, &demo).await;
        let doomed = store.space_change(demo.id, at(40), |desired| desired.restart += 1).await.unwrap().unwrap();
        assert!(!store.space_set_desired(demo.id, &doomed.desired, demo.desired.generation, at(41)).await.unwrap());
        store.space_set_stage(demo.id, SpaceStage::RuntimeError, Some(&diagnosis()), at(99)).await.unwrap();
        let staged = store.space_by_id(demo.id).await.unwrap().unwrap();
        assert_eq!(
            (staged.stage, staged.diagnosis, staged.desired.restart),
            (SpaceStage::RuntimeError, Some(diagnosis()), 1)
        );
        store.space_delete(demo.id).await.unwrap();
        assert!(store.space_by_id(demo.id).await.unwrap().is_some(), "only what is doomed goes");
        assert!(store.space_doom(demo.id, at(42)).await.unwrap());
        assert!(!store.space_doom(demo.id, at(43)).await.unwrap());
        assert!(
            store.space_change(demo.id, at(44), |desired| desired.run = DesiredRun::Running).await.unwrap().is_none()
        );
        assert_eq!(space(store, &alice, "demo", 5, 50).await.subdomain, demo.subdomain);
        store.space_delete(demo.id).await.unwrap();
        assert!(store.space_by_id(demo.id).await.unwrap().is_none());
        assert!(store.variables(demo.id).await.unwrap().is_empty());
    }
}

async fn settings(store: &Store, space: &Space) {
    let before = store.space_by_id(space.id).await.unwrap().unwrap().desired;
    let variable = Variable { value: "2".to_owned(), description: None, updated_at: at(31) };
    store.variable_set(space.id, "V", &variable).await.unwrap();
    let secret = Secret { sealed: "other".to_owned(), description: None, updated_at: at(31) };
    store.secret_set(space.id, "T", &secret).await.unwrap();
    assert_eq!(store.variables(space.id).await.unwrap(), BTreeMap::from([("V".to_owned(), variable)]));
    assert_eq!(store.secrets(space.id).await.unwrap().keys().collect::<Vec<_>>(), ["S", "T"]);
    for _ in 0..2 {
        let volumes = [Volume {
            kind: VolumeKind::Bucket,
            source: space.name.clone(),
            revision: None,
            mount_path: "/data".to_owned(),
            read_only: false,
            path: None,
        }];
        store.volumes_set(space.id, &volumes).await.unwrap();
        assert_eq!(store.volumes(space.id).await.unwrap(), volumes);
        store.variable_delete(space.id, "V").await.unwrap();
        store.secret_delete(space.id, "T").await.unwrap();
    }
    let after = store.space_by_id(space.id).await.unwrap().unwrap().desired;
    assert_eq!(after.settings, before.settings + 5, "what changes nothing counts nothing");
    assert_eq!(after.generation.0, before.generation.0 + 5);
    let inspection = Inspection::NoAppFile { file: "app.py".to_owned() };
    for _ in 0..2 {
        store.revision_add(space.id, &sha('a'), &inspection, at(33)).await.unwrap();
    }
    assert_eq!(store.revision(space.id, &sha('a')).await.unwrap(), Some(inspection));
    assert_eq!(store.revision(space.id, &sha('b')).await.unwrap(), None);
}

#[tokio::test]
async fn builds_releases_and_attempts() {
    for db in databases().await {
        let store = &db.store;
        let alice = account(store, "alice", 1).await;
        let space = space(store, &alice, "demo", 1, 10).await;
        let ids: Vec<_> = (1..4).map(|number| BuildId::new(at(1), number)).collect();
        store.build_add(ids[0], space.id, &sha('a'), 0, false, at(11)).await.unwrap();
        store.build_add(BuildId::new(at(1), 99), space.id, &sha('a'), 0, false, at(11)).await.unwrap();
        store.build_add(ids[1], space.id, &sha('b'), 0, true, at(12)).await.unwrap();
        assert_eq!(store.builds_of(space.id, 10).await.unwrap().len(), 2, "{}", store.engine());
        assert_eq!(store.build_by_number(space.id, 2).await.unwrap().unwrap().id, ids[1]);
        assert_eq!(store.build_of(space.id, &sha('a'), 0).await.unwrap().unwrap().number, 1);
        assert!(store.build_claim(ids[0], "me", at(13)).await.unwrap());
        assert!(!store.build_claim(ids[0], "you", at(13)).await.unwrap());
        assert!(store.build_progress(ids[0], "me", &diagnosis()).await.unwrap());
        assert!(!store.build_progress(ids[0], "you", &diagnosis()).await.unwrap());
        assert!(store.builds_requeue("me", at(14)).await.unwrap().is_empty());
        assert_eq!(store.builds_requeue("you", at(14)).await.unwrap(), [space.id]);
        assert_eq!(store.builds_unfinished().await.unwrap().len(), 2);
        store.build_cancel(ids[1], &diagnosis(), at(14)).await.unwrap();
        assert_eq!(store.build_by_id(ids[1]).await.unwrap().unwrap().state, BuildState::Canceled);
        assert!(store.build_claim(ids[0], "me", at(15)).await.unwrap());
        store.build_requeue(ids[0], "me", at(15)).await.unwrap();
        assert!(store.build_claim(ids[0], "me", at(15)).await.unwrap());
        let artifact = Artifact::Image { digest: format!("sha256:{}", "c".repeat(64)).parse().unwrap() };
        let end = BuildEnd {
            state: BuildState::Succeeded,
            diagnosis: None,
            artifact: Some(artifact.clone()),
            phases: BTreeMap::from([("install".to_owned(), 7)]),
            at: at(16),
        };
        assert!(!store.build_finish(ids[0], "you", &end).await.unwrap());
        assert!(store.build_finish(ids[0], "me", &end).await.unwrap());
        let good = store.build_last_good(space.id).await.unwrap().unwrap();
        assert_eq!((good.id, good.artifact, good.phases["install"]), (ids[0], Some(artifact.clone()), 7));
        let source = VolumeSource::Bucket { owner: alice.id, name: "data".to_owned() };
        let mounted = ReleaseVolume { source, mount_path: "/data".to_owned(), read_only: false };
        let release = Release {
            id: ReleaseId::new(at(17), 1),
            space: space.id,
            number: 1,
            build: ids[0],
            sha: sha('a'),
            config: spaceport_core::front_matter::parse(b"---\nsdk: gradio\n---\n").unwrap(),
            artifact,
            settings: 0,
            variables: BTreeMap::from([("V".to_owned(), "v".to_owned())]),
            sealed_secrets: BTreeMap::new(),
            volumes: vec![mounted],
            hardware: FlavorName::cpu_basic(),
            created_at: at(17),
            ready_at: None,
        };
        store.release_add(&release).await.unwrap();
        store.release_add(&Release { id: ReleaseId::new(at(17), 2), ..release.clone() }).await.unwrap();
        assert_eq!(store.releases_of(space.id, 10).await.unwrap(), std::slice::from_ref(&release));
        assert_eq!(store.release_by_id(release.id).await.unwrap().as_ref(), Some(&release));
        assert!(store.release_of(ids[0], 0, &FlavorName::cpu_basic()).await.unwrap().is_some());
        assert!(store.release_last_ready(space.id, None).await.unwrap().is_none());
        store.release_ready(release.id, at(18)).await.unwrap();
        assert_eq!(store.release_last_ready(space.id, None).await.unwrap().unwrap().ready_at, Some(at(18)));
        assert!(store.release_last_ready(space.id, Some(release.id)).await.unwrap().is_none());
        // Not the newest, but the one that began to answer last.
        let newer = Release { id: ReleaseId::new(at(17), 3), settings: 1, ready_at: Some(at(19)), ..release.clone() };
        store.release_add(&newer).await.unwrap();
        assert_eq!(store.release_last_ready(space.id, None).await.unwrap().unwrap().id, newer.id);
        store.release_ready(release.id, at(20)).await.unwrap();
        assert_eq!(store.release_last_ready(space.id, None).await.unwrap().unwrap().id, release.id);
        attempts(store, &space, release.id).await;
    }
}

async fn attempts(store: &Store, space: &Space, release: ReleaseId) {
    let attempt = Instance {
        id: InstanceId::new(at(20), 1),
        space: space.id,
        release,
        restart: 0,
        attempt: 1,
        created_at: at(20),
        started_at: None,
        ready_at: None,
        retired_at: None,
        ended_at: None,
        diagnosis: None,
        ended_by_us: false,
    };
    store.instance_add(&attempt).await.unwrap();
    store.instance_add(&Instance { id: InstanceId::new(at(20), 2), ..attempt.clone() }).await.unwrap();
    assert_eq!(store.instances_live().await.unwrap(), std::slice::from_ref(&attempt));
    store.instance_started(attempt.id, at(21)).await.unwrap();
    store.instance_note(attempt.id, &diagnosis()).await.unwrap();
    store.instance_ready(attempt.id, at(22)).await.unwrap();
    store.instance_retired(attempt.id, at(23)).await.unwrap();
    store.instance_ended(attempt.id, Some(&diagnosis()), true, at(24)).await.unwrap();
    store.instance_ended(attempt.id, None, false, at(25)).await.unwrap();
    let ended = &store.instances_of(space.id, 5).await.unwrap()[0];
    let times = (ended.started_at, ended.ready_at, ended.retired_at, ended.ended_at);
    assert_eq!(times, (Some(at(21)), Some(at(22)), Some(at(23)), Some(at(24))), "the first word counts");
    assert_eq!((ended.diagnosis.clone(), ended.ended_by_us), (Some(diagnosis()), true));
    assert!(store.instances_live().await.unwrap().is_empty());
}
