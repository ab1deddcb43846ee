//! Webhooks: what they are told is written with the change, and delivered once.

use std::collections::{BTreeMap, BTreeSet};

use spaceport_core::account::Account;
use spaceport_core::discussion::{Act, MAIN};
use spaceport_core::space::{BuildState, Visibility};
use spaceport_core::webhook::{Change, Delivery, DeliveryState, Domain, HookEvent, Watched, WatchedKind, Webhook};
use spaceport_core::{BuildId, DeliveryId, DiscussionStatus, RepoId, SpaceStage, WebhookId};
use spaceport_store::{AttemptEnd, BuildEnd, CommentChange, NewDiscussion, Store, WebhookChange};
use spaceport_testkit::databases;

use crate::community::model;
use crate::{account, at, diagnosis, sha, space};

fn webhook(owner: &Account, number: u128, target: &str) -> Webhook {
    Webhook {
        id: WebhookId::new(at(1), number),
        owner: owner.id,
        url: "https://hooks.example/".to_owned(),
        sealed_secret: Some("sealed".to_owned()),
        domains: BTreeSet::from([Domain::Repo, Domain::Runtime]),
        watched: vec![Watched { kind: WatchedKind::User, target: target.to_owned(), name: "alice".to_owned() }],
        disabled: false,
        created_at: at(1),
    }
}

#[tokio::test]
async fn webhooks_of_an_account() {
    for db in databases().await {
        let store = &db.store;
        let alice = account(store, "alice", 1).await;
        let repo = model(store, &alice, "one", 41, Visibility::Public).await;
        let mut hook = webhook(&alice, 1, &alice.id.to_string());
        store.webhook_add(&hook).await.unwrap();
        assert_eq!(store.webhook(hook.id).await.unwrap().as_ref(), Some(&hook), "{}", store.engine());
        let watching = async |repo, owner| store.webhooks_watching(repo, owner).await.unwrap().len();
        assert_eq!(watching(repo.id, alice.id).await, 1);
        hook.watched =
            vec![Watched { kind: WatchedKind::Model, target: repo.id.to_string(), name: repo.name.to_string() }];
        hook.sealed_secret = None;
        let change =
            WebhookChange { watched: Some(hook.watched.clone()), secret: Some(None), ..WebhookChange::default() };
        assert!(store.webhook_change(hook.id, &change).await.unwrap());
        assert_eq!(store.webhooks_of(alice.id).await.unwrap(), std::slice::from_ref(&hook));
        assert_eq!(watching(RepoId::new(at(1), 77), alice.id).await, 0);
        assert_eq!(watching(repo.id, alice.id).await, 1);
        assert!(store.webhook_switch(hook.id, true).await.unwrap());
        assert_eq!(watching(repo.id, alice.id).await, 0);
        // Whoever saw it enabled and changes something else leaves it disabled.
        hook.disabled = true;
        hook.url = "https://other.example/".to_owned();
        hook.domains = BTreeSet::from([Domain::Build]);
        let change = WebhookChange {
            url: Some(hook.url.clone()),
            domains: Some(hook.domains.clone()),
            ..WebhookChange::default()
        };
        assert!(store.webhook_change(hook.id, &change).await.unwrap());
        assert_eq!(store.webhook(hook.id).await.unwrap().as_ref(), Some(&hook), "{}", store.engine());
        assert!(store.webhook_delete(hook.id).await.unwrap());
        assert!(!store.webhook_delete(hook.id).await.unwrap());
        assert!(!store.webhook_change(hook.id, &change).await.unwrap());
        assert!(!store.webhook_switch(hook.id, false).await.unwrap());
        assert_eq!(store.webhook(hook.id).await.unwrap(), None, "a change does not bring it back");
    }
}

/// The changes of what nobody was told yet, and forgets them.
async fn told(store: &Store) -> Vec<Change> {
    let events: Vec<HookEvent> = store.hook_events(100).await.unwrap();
    for event in &events {
        assert!(store.hook_event_done(event.id, &[]).await.unwrap());
        assert!(!store.hook_event_done(event.id, &[]).await.unwrap(), "once");
    }
    events.into_iter().map(|event| event.change).collect()
}

#[tokio::test]
async fn what_nobody_watches_is_not_written() {
    for db in databases().await {
        let store = &db.store;
        let alice = account(store, "alice", 1).await;
        let demo = space(store, &alice, "demo", 1, 10).await;
        store.space_set_stage(demo.id, SpaceStage::Running, None, at(11)).await.unwrap();
        store.repo_set_visibility(demo.id.into(), Visibility::Private, at(12)).await.unwrap();
        assert!(store.hook_events(10).await.unwrap().is_empty(), "{}", store.engine());
    }
}

#[tokio::test]
async fn every_change_of_what_is_watched_is_told() {
    for db in databases().await {
        let store = &db.store;
        let alice = account(store, "alice", 1).await;
        store.webhook_add(&webhook(&alice, 1, &alice.id.to_string())).await.unwrap();
        let demo = space(store, &alice, "demo", 1, 10).await;
        let repo = demo.id.into();
        assert_eq!(told(store).await, [Change::RepoCreated], "{}", store.engine());

        let changed = store.space_change(demo.id, at(11), |desired| desired.head = Some(sha('b'))).await.unwrap();
        assert!(changed.is_some());
        let moved = told(store).await;
        let [Change::RefsMoved { refs }] = &moved[..] else { panic!("{moved:?}") };
        assert_eq!((refs[0].name.as_str(), &refs[0].old, &refs[0].new), (MAIN, &Some(sha('a')), &Some(sha('b'))));
        store.space_change(demo.id, at(12), |desired| desired.restart += 1).await.unwrap();
        assert!(told(store).await.is_empty(), "a restart moves no ref");

        store.space_set_stage(demo.id, SpaceStage::RuntimeError, Some(&diagnosis()), at(13)).await.unwrap();
        store.space_set_stage(demo.id, SpaceStage::RuntimeError, None, at(13)).await.unwrap();
        let stage = Change::Stage { stage: SpaceStage::RuntimeError, diagnosis: Some(diagnosis()) };
        assert_eq!(told(store).await, [stage]);

        builds(store, &demo).await;
        discussions(store, repo, &alice).await;

        store.repo_set_visibility(repo, Visibility::Private, at(30)).await.unwrap();
        assert_eq!(told(store).await, [Change::RepoVisibility { to: Visibility::Private }]);
        let to: spaceport_core::RepoName = "alice/other".parse().unwrap();
        let row = store.repo_by_id(repo).await.unwrap().unwrap();
        store.repo_move(&row, &to, alice.id, at(31)).await.unwrap();
        let events = store.hook_events(10).await.unwrap();
        assert_eq!(events[0].repo.name, "alice/demo".parse().unwrap(), "the repository as it was");
        assert_eq!(told(store).await, [Change::RepoMoved { to, owner: alice.id }]);
        store.space_doom(demo.id, at(32)).await.unwrap();
        store.space_set_stage(demo.id, SpaceStage::Paused, None, at(33)).await.unwrap();
        assert_eq!(told(store).await, [Change::RepoDeleted], "its end is the last word");
        let tiny = model(store, &alice, "tiny", 45, Visibility::Public).await;
        assert!(store.repo_delete(tiny.id, at(40)).await.unwrap());
        assert_eq!(told(store).await, [Change::RepoCreated, Change::RepoDeleted]);
    }
}

async fn builds(store: &Store, demo: &spaceport_core::space::Space) {
    let states = async || {
        let told = told(store).await;
        let state = |change| match change {
            Change::Build(build) => build.state,
            other => panic!("{other:?}"),
        };
        told.into_iter().map(state).collect::<Vec<_>>()
    };
    let (one, two) = (BuildId::new(at(20), 1), BuildId::new(at(20), 2));
    for _ in 0..2 {
        store.build_add(one, demo.id, &sha('a'), 0, false, at(20)).await.unwrap();
    }
    assert_eq!(states().await, [BuildState::Queued]);
    assert!(store.build_claim(one, "me", at(21)).await.unwrap());
    assert!(!store.build_claim(one, "you", at(21)).await.unwrap());
    assert_eq!(states().await, [BuildState::Running]);
    store.build_requeue(one, "me", at(21)).await.unwrap();
    assert!(store.build_claim(one, "gone", at(21)).await.unwrap());
    assert_eq!(store.builds_requeue("me", at(21)).await.unwrap(), [demo.id]);
    assert_eq!(states().await, [BuildState::Queued, BuildState::Running, BuildState::Queued]);
    assert!(store.build_claim(one, "me", at(22)).await.unwrap());
    let end = BuildEnd {
        state: BuildState::Failed,
        diagnosis: Some(diagnosis()),
        artifact: None,
        phases: BTreeMap::new(),
        at: at(23),
    };
    assert!(store.build_finish(one, "me", &end).await.unwrap());
    assert_eq!(states().await, [BuildState::Running, BuildState::Failed]);
    store.build_add(two, demo.id, &sha('b'), 0, false, at(24)).await.unwrap();
    store.build_cancel(two, &diagnosis(), at(24)).await.unwrap();
    store.build_repeat(two, at(25)).await.unwrap();
    assert_eq!(states().await, [BuildState::Queued, BuildState::Canceled, BuildState::Queued]);
}

async fn discussions(store: &Store, repo: RepoId, alice: &Account) {
    let new = NewDiscussion {
        repo,
        number: store.discussion_number(repo).await.unwrap(),
        author: alice.id,
        title: "t".to_owned(),
        text: "first".to_owned(),
        status: DiscussionStatus::Open,
        pull: None,
        commits: Vec::new(),
        at: at(26),
    };
    let opened = store.discussion_open(new).await.unwrap();
    let told_of = told(store).await;
    let [Change::DiscussionOpened(then, said)] = &told_of[..] else { panic!("{told_of:?}") };
    assert_eq!((then.number, said.text.as_deref()), (1, Some("first")));
    let acts = vec![Act::Comment("more".to_owned()), Act::Status(DiscussionStatus::Closed)];
    store.discussion_act(opened.id, acts, alice.id, at(27)).await.unwrap().unwrap().unwrap();
    let told_of = told(store).await;
    assert!(matches!(&told_of[..], [Change::DiscussionChanged(_), Change::CommentMade(..)]), "{told_of:?}");
    let first = store.discussion_events(opened.id).await.unwrap()[0].id;
    store.comment_change(opened.id, first, CommentChange::Hide, alice.id, at(28)).await.unwrap().unwrap().unwrap();
    let told_of = told(store).await;
    let [Change::CommentChanged(_, said)] = &told_of[..] else { panic!("{told_of:?}") };
    assert_eq!(said.text, None, "hidden words are told to nobody");
    let refs =
        vec![spaceport_core::webhook::MovedRef { name: "refs/tags/v1".to_owned(), old: None, new: Some(sha('a')) }];
    store.refs_moved(repo, refs.clone(), at(29)).await.unwrap();
    assert_eq!(told(store).await, [Change::RefsMoved { refs }]);
}

#[tokio::test]
async fn deliveries_are_taken_once_and_end_once() {
    for db in databases().await {
        let store = &db.store;
        let alice = account(store, "alice", 1).await;
        let hook = webhook(&alice, 1, &alice.id.to_string());
        store.webhook_add(&hook).await.unwrap();
        let repo = model(store, &alice, "one", 41, Visibility::Public).await;
        let event = store.hook_events(10).await.unwrap().remove(0);
        let delivery = |number: u128, millis: i64| Delivery {
            id: DeliveryId::new(at(millis), number),
            webhook: hook.id,
            event: event.id,
            repo: repo.id,
            domain: Domain::Repo,
            body: "{}".to_owned(),
            state: DeliveryState::Pending,
            attempts: 0,
            next_at: at(millis),
            created_at: at(millis),
            ended_at: None,
            status: None,
            error: None,
            replay_of: None,
        };
        let (one, two) = (delivery(1, 50), delivery(2, 60));
        assert!(store.hook_event_done(event.id, &[one.clone(), two.clone()]).await.unwrap(), "{}", store.engine());
        assert!(store.webhooks_due(at(49)).await.unwrap().is_empty());
        assert_eq!(store.webhooks_due(at(60)).await.unwrap(), [hook.id]);
        assert_eq!(store.delivery_due(hook.id, at(60)).await.unwrap().as_ref(), Some(&one));
        assert!(store.delivery_claim(&one, at(90)).await.unwrap());
        assert!(!store.delivery_claim(&one, at(90)).await.unwrap());
        assert_eq!(store.delivery_due(hook.id, at(60)).await.unwrap().as_ref(), Some(&two), "the first is taken");
        let failed = AttemptEnd {
            state: DeliveryState::Pending,
            next_at: at(200),
            status: Some(500),
            error: Some("it answered 500".to_owned()),
            at: at(70),
        };
        assert!(!store.delivery_end(one.id, 2, &failed).await.unwrap(), "of another attempt");
        assert!(store.delivery_end(one.id, 1, &failed).await.unwrap());
        let again = store.delivery(hook.id, one.id).await.unwrap().unwrap();
        assert_eq!((again.attempts, again.status, again.next_at), (1, Some(500), at(200)));
        assert!(store.delivery_claim(&again, at(300)).await.unwrap());
        let good = AttemptEnd {
            state: DeliveryState::Delivered,
            next_at: at(201),
            status: Some(200),
            error: None,
            at: at(201),
        };
        assert!(store.delivery_end(one.id, 2, &good).await.unwrap());
        assert!(!store.delivery_end(one.id, 2, &good).await.unwrap());
        let replay = Delivery { replay_of: Some(one.id), ..delivery(3, 210) };
        store.delivery_add(&replay).await.unwrap();
        let ids = |list: Vec<Delivery>| list.into_iter().map(|delivery| delivery.id).collect::<Vec<_>>();
        assert_eq!(ids(store.deliveries_of(hook.id, None, 10).await.unwrap()), [replay.id, two.id, one.id]);
        let after = spaceport_store::After { at: at(60), id: two.id.to_string() };
        assert_eq!(ids(store.deliveries_of(hook.id, Some(&after), 10).await.unwrap()), [one.id]);
        assert_eq!(store.deliveries_forget(at(1000)).await.unwrap(), 1, "what is pending stays");
        store.webhook_delete(hook.id).await.unwrap();
        store.delivery_add(&delivery(4, 220)).await.unwrap();
        assert!(store.deliveries_of(hook.id, None, 10).await.unwrap().is_empty(), "they go with their webhook");
    }
}
