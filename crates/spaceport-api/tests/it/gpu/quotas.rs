use std::collections::BTreeSet;

use serde_json::{Value, json};
use spaceport_core::gpu::LeaseEnd;
use spaceport_core::gpu::schedule::{Running, World};
use spaceport_testkit::{Answer, Person};

use super::stage::{Stage, device, node};

async fn put(stage: &Stage, person: &Person, place: &str, body: &Value) -> Answer {
    stage.app.call("PUT", &format!("/api/quotas/{place}"), Some(&person.write), body).await
}

async fn set(stage: &Stage, place: &str, body: &Value) {
    let answer = put(stage, &stage.root, place, body).await;
    assert_eq!(answer.status, 200, "{place}: {}", answer.text);
}

fn places(tree: &Value) -> Vec<&str> {
    tree["places"].as_array().unwrap().iter().map(|place| place["place"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_quota_is_set_seen_with_its_use_and_taken_away() {
    for stage in Stage::everywhere().await {
        let hours = json!({"periodDays": 30, "softDeviceSeconds": 3600, "hardDeviceSeconds": 7200});
        let body = json!({"guaranteedMilli": 2000, "limitMilli": 4000, "budget": hours, "maxPriority": "high"});
        let answer = put(&stage, &stage.root, "lab", &body).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(
            (&answer.json["before"]["guaranteedMilli"], &answer.json["after"]["guaranteedMilli"]),
            (&json!(0), &json!(2000))
        );
        assert_eq!(answer.json["effect"], Value::Null);
        let detail = stage.audited("quota.set", "lab").await;
        assert_eq!(detail["after"]["limitMilli"], 4000);
        let space = stage.app.space(&stage.carol, "demo", "private").await;
        stage.holds(&space, "lab/carol", 0).await;
        stage.app.clock.advance(std::time::Duration::from_secs(3600));
        let seen = stage.get("/api/quotas/lab", &stage.root).await;
        assert_eq!((&seen["inUseMilli"], &seen["isSet"]), (&json!(1000), &json!(true)));
        assert_eq!((&seen["budget"]["usedDeviceSeconds"], &seen["budget"]["edge"]), (&json!(3600), &json!("soft")));
        assert_eq!(seen["quota"]["maxPriority"], "high");
        let gone = stage.app.call("DELETE", "/api/quotas/lab", Some(&stage.root.write), &Value::Null).await;
        assert_eq!((gone.status.as_u16(), &gone.json["after"]["guaranteedMilli"]), (200, &json!(0)), "{}", gone.text);
        stage.audited("quota.remove", "lab").await;
        assert_eq!(stage.get("/api/quotas/lab", &stage.root).await["isSet"], false);
    }
}

#[tokio::test]
async fn who_sees_what_of_the_tree() {
    for stage in Stage::everywhere().await {
        for (place, milli) in [("lab", 2000), ("lab/carol", 1000), ("lab/alice", 500), ("~bob", 500)] {
            set(&stage, place, &json!({"guaranteedMilli": milli})).await;
        }
        for (person, expected) in [
            (&stage.root, vec!["@site", "lab", "lab/alice", "lab/carol", "~bob", "~root"]),
            (&stage.alice, vec!["lab", "lab/alice", "lab/carol", "~alice"]),
            (&stage.carol, vec!["lab", "lab/carol", "~carol"]),
            (&stage.bob, vec!["~bob"]),
        ] {
            let tree = stage.get("/api/quotas", person).await;
            assert_eq!(places(&tree), expected, "{}", person.account.name);
            assert_eq!(tree["devicesMilli"], 2000);
        }
        assert_eq!(stage.app.get("/api/quotas/~bob", Some(&stage.carol.read)).await.status, 404);
        assert_eq!(stage.app.get("/api/quotas", None).await.status, 401);
    }
}

#[tokio::test]
async fn what_contradicts_itself_is_refused_with_the_reason() {
    for stage in Stage::everywhere().await {
        set(&stage, "lab", &json!({"guaranteedMilli": 2000, "limitMilli": 3000})).await;
        set(&stage, "lab/carol", &json!({"guaranteedMilli": 1500})).await;
        let edges = json!({"periodDays": 1, "softDeviceSeconds": 20, "hardDeviceSeconds": 10});
        for (place, body, status, part) in [
            (
                "lab/alice",
                json!({"guaranteedMilli": 1000}),
                400,
                "lab has 2000 thousandths of a device guaranteed, and 2500",
            ),
            ("lab", json!({"guaranteedMilli": 4000, "limitMilli": 3000}), 400, "may have only 3000"),
            ("lab", json!({"guaranteedMilli": 1000}), 400, "1500 are guaranteed below it"),
            ("~bob", json!({"guaranteedMilli": -1}), 400, "guaranteedMilli must be 0 to"),
            ("~bob", json!({"limitMilli": 1e30}), 400, "The body is not the JSON expected"),
            ("~bob", json!({"guarantedMilli": 1}), 400, "unknown field"),
            ("~bob", json!({"maxBuilds": -1}), 400, "maxBuilds must be 0 to"),
            ("~bob", json!({"weightMilli": 0}), 400, "weightMilli must be 1 to"),
            ("~bob", json!({"budget": edges}), 400, "lies above the hard one"),
            ("nobody", json!({}), 404, "There is no organization"),
            ("~nobody", json!({}), 404, "There is no user"),
            ("bob", json!({}), 404, "the place of a user's own Spaces is ~bob"),
            ("~lab", json!({}), 404, "lab is an organization"),
            ("lab/nobody", json!({}), 404, "There is no user"),
        ] {
            let answer = put(&stage, &stage.root, place, &body).await;
            assert_eq!(answer.status.as_u16(), status, "{place} {body}: {}", answer.text);
            assert!(answer.text.contains(part), "{part}: {}", answer.text);
        }
        // With the generation, nobody undoes what somebody else did.
        let generation = stage.get("/api/quotas", &stage.root).await["generation"].as_i64().unwrap();
        let path = |seen: i64| format!("~bob?generation={seen}");
        assert_eq!(put(&stage, &stage.root, &path(generation - 1), &json!({})).await.status, 409);
        assert_eq!(put(&stage, &stage.root, &path(generation), &json!({})).await.status, 200);
        let promised = put(&stage, &stage.root, "~bob", &json!({"guaranteedMilli": 1000})).await;
        let warning = promised.json["warnings"][0].as_str().unwrap();
        assert!(
            warning.starts_with("3000 thousandths of a device are guaranteed, and 2000 are in service"),
            "{warning}"
        );
    }
}

#[tokio::test]
async fn admins_of_an_organization_share_out_what_it_has() {
    for stage in Stage::everywhere().await {
        set(&stage, "lab", &json!({"guaranteedMilli": 2000, "limitMilli": 3000, "maxSpaces": 5})).await;
        let share = json!({"guaranteedMilli": 1000, "limitMilli": 2000});
        let by_alice = put(&stage, &stage.alice, "lab/carol", &share).await;
        assert_eq!(by_alice.status, 200, "{}", by_alice.text);
        for (place, person, body, status, part) in [
            ("lab/alice", &stage.alice, json!({"guaranteedMilli": 1500}), 400, "2500 are guaranteed below it"),
            ("lab/alice", &stage.alice, json!({"limitMilli": 3500}), 400, "that of lab is 3000"),
            ("lab/alice", &stage.alice, json!({"maxPriority": "high"}), 400, "that of lab is normal"),
            (
                "lab/alice",
                &stage.alice,
                json!({"maxSpaces": 6}),
                400,
                "the number of Spaces is 6, and that of lab is 5",
            ),
            ("lab", &stage.alice, json!({"guaranteedMilli": 9000}), 403, "Only site admins"),
            ("~alice", &stage.alice, json!({"guaranteedMilli": 9000}), 403, "Only site admins"),
            ("@site", &stage.alice, json!({}), 403, "Only site admins"),
            ("lab/carol", &stage.carol, share.clone(), 403, "Only an admin of lab"),
            ("lab/carol", &stage.bob, share.clone(), 403, "Only an admin of lab"),
        ] {
            let answer = put(&stage, person, place, &body).await;
            assert_eq!(answer.status.as_u16(), status, "{place} {body}: {}", answer.text);
            assert!(answer.text.contains(part), "{part}: {}", answer.text);
        }
        let token = Person { write: stage.alice.read.clone(), ..stage.alice.clone() };
        assert_eq!(put(&stage, &token, "lab/carol", &share).await.status, 403, "a token that reads changes nothing");
        let escaped = put(&stage, &stage.alice, "lab%2Fcarol?dryRun=false", &share).await;
        assert_eq!(escaped.json["place"]["place"], "lab/carol", "{}", escaped.text);
    }
}

#[tokio::test]
async fn a_change_says_beforehand_whom_it_would_hit() {
    for stage in Stage::everywhere().await {
        stage.set_devices(vec![device(0)]).await;
        let body = json!({"guaranteedMilli": 1000});
        let early = put(&stage, &stage.root, "lab?dryRun=true", &body).await;
        assert_eq!((early.status.as_u16(), early.header("retry-after")), (503, "5"), "{}", early.text);
        let held = stage.app.space(&stage.bob, "held", "private").await;
        let wanted = stage.app.space(&stage.carol, "wanted", "private").await;
        let lease = stage.holds(&held, "~bob", 0).await;
        stage.app.clock.advance(std::time::Duration::from_secs(1));
        let claim = stage.claim(&wanted, "lab/carol").await.claim;
        let running = stage.app.store.claim_of(held.id).await.unwrap().unwrap().claim;
        stage.app.clock.advance(std::time::Duration::from_secs(600));
        stage.app.control.set_world(World {
            now: stage.now(),
            nodes: vec![node(vec![device(0)])],
            waiting: vec![claim],
            running: vec![Running { claim: running, lease: lease.lease.clone(), notice: None }],
            ..World::default()
        });
        set(&stage, "lab", &json!({"guaranteedMilli": 1000})).await;
        let tried = put(&stage, &stage.root, "lab/carol?dryRun=true", &body).await;
        assert_eq!(tried.status, 200, "{}", tried.text);
        let effect = &tried.json["effect"];
        assert_eq!((&effect["leave"], &tried.json["dryRun"]), (&json!(1), &json!(true)), "{effect}");
        let of = |name: &str| {
            let changes = effect["changes"].as_array().unwrap();
            changes.iter().find(|change| change["space"] == name).unwrap_or_else(|| panic!("{name}: {effect}"))
        };
        let (bob, carol) = (of("bob/held"), of("carol/wanted"));
        assert_eq!((&bob["before"]["state"], &bob["after"]["state"]), (&json!("runs"), &json!("leaves")));
        assert_eq!(bob["after"]["reason"], "what it borrows goes back to whom it is guaranteed");
        assert_eq!((&carol["before"]["state"], &carol["after"]["state"]), (&json!("waits"), &json!("waits")));
        assert!(carol["after"]["reason"].as_str().unwrap().starts_with("its devices are being given back"), "{carol}");
        // The same with the ten minutes that have passed: bob would have had to leave after the time of grace.
        let accounts = effect["replay"]["accounts"].as_array().unwrap();
        let fared = |account: &str| {
            let one = accounts.iter().find(|one| one["account"] == account).unwrap_or_else(|| panic!("{effect}"));
            ["before", "after"].map(|side| ["meanWaitSeconds", "started", "left"].map(|key| one[side][key].clone()))
        };
        assert_eq!(effect["replay"]["claims"], 2, "{effect}");
        assert_eq!(
            fared("lab/carol"),
            [[json!(600), json!(0), json!(0)], [json!(120), json!(1), json!(0)]],
            "{effect}"
        );
        assert_eq!(fared("~bob"), [[json!(0), json!(1), json!(0)], [json!(480), json!(1), json!(1)]], "{effect}");
        assert_eq!(stage.get("/api/quotas/lab%2Fcarol", &stage.root).await["isSet"], false, "nothing was written");
        // Who tries it sees no more names than elsewhere.
        let tried = put(&stage, &stage.alice, "lab/carol?dryRun=true", &body).await;
        let names: Vec<&Value> =
            tried.json["effect"]["changes"].as_array().unwrap().iter().map(|one| &one["account"]).collect();
        assert!(names.contains(&&Value::Null) && names.contains(&&json!("lab/carol")), "{}", tried.text);
        let replayed = tried.json["effect"]["replay"]["accounts"].as_array().unwrap();
        let names: BTreeSet<Option<&str>> = replayed.iter().map(|one| one["account"].as_str()).collect();
        assert_eq!(names, BTreeSet::from([None, Some("lab/carol")]), "{}", tried.text);
    }
}

#[tokio::test]
async fn the_last_days_are_replayed_as_they_were() {
    for stage in Stage::everywhere().await {
        stage.set_devices(vec![device(0)]).await;
        let app = &stage.app;
        let later = |seconds| app.clock.advance(std::time::Duration::from_secs(seconds));
        // Too long ago to count.
        let old = app.space(&stage.bob, "old", "private").await;
        let lease = stage.holds(&old, "~bob", 0).await;
        stage.ends(&lease, LeaseEnd::Stopped).await;
        later(8 * 86_400);
        // Bob has it for 300 seconds, carol for 100 after him, and alice gives up meanwhile.
        let first = app.space(&stage.bob, "first", "private").await;
        let lease = stage.holds(&first, "~bob", 0).await;
        later(1);
        let second = app.space(&stage.carol, "second", "private").await;
        stage.claim(&second, "lab/carol").await;
        later(9);
        let third = app.space(&stage.alice, "third", "private").await;
        let third = stage.claim(&third, "~alice").await.claim.id;
        later(290);
        assert!(app.store.claim_end(third, LeaseEnd::Stopped, stage.now()).await.unwrap());
        stage.ends(&lease, LeaseEnd::Slept).await;
        let lease = stage.takes(&second, 0).await;
        later(100);
        stage.ends(&lease, LeaseEnd::Slept).await;
        later(600);
        let nodes = vec![node(vec![device(0)])];
        app.control.set_world(World { now: stage.now(), nodes, ..World::default() });
        let tried = put(&stage, &stage.root, "~bob?dryRun=true", &json!({"limitMilli": 0})).await;
        let replay = &tried.json["effect"]["replay"];
        assert_eq!(replay["claims"], 3, "{}", tried.text);
        let of = |account: &str, side: &str| {
            let accounts = replay["accounts"].as_array().unwrap();
            let one = accounts.iter().find(|one| one["account"] == account).unwrap_or_else(|| panic!("{replay}"));
            ["meanWaitSeconds", "started", "usedDeviceSeconds"].map(|key| one[side][key].as_i64().unwrap())
        };
        assert_eq!((of("~bob", "before"), of("~bob", "after")), ([0, 1, 300], [1000, 0, 0]), "{replay}");
        assert_eq!((of("lab/carol", "before"), of("lab/carol", "after")), ([299, 1, 100], [0, 1, 100]), "{replay}");
        // Alice gave up at the same time as before, or would have had it for an hour after carol.
        assert_eq!((of("~alice", "before"), of("~alice", "after")), ([290, 0, 0], [91, 1, 899]), "{replay}");
    }
}
