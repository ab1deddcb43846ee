use std::time::Duration;

use serde_json::{Value, json};
use spaceport_core::gpu::{Ending, LeaseEnd, Notice, NoticeKind, Wait};
use spaceport_core::space::DesiredRun;

use super::stage::{Stage, none_free, wait};

#[tokio::test]
async fn everybody_sees_the_queue_and_only_those_names_they_may() {
    for stage in Stage::everywhere().await {
        let held = stage.app.space(&stage.bob, "held", "public").await;
        let lease = stage.holds(&held, "~bob", 0).await;
        let open = stage.app.space(&stage.alice, "open", "public").await;
        let secret = stage.app.space(&stage.alice, "secret", "private").await;
        let limit = json!({"constraint": "limit", "place": "~alice", "limit_milli": 2000, "in_use_milli": 2000,
            "wanted_milli": 1000});
        stage.waits(&secret, "~alice", &wait(1, limit)).await;
        let next = Wait { freed_by: Some(lease.lease.claim), ..wait(0, none_free()) };
        stage.waits(&open, "~alice", &next).await;
        let seen = stage.get("/api/gpu/queue", &stage.bob).await;
        assert_eq!(seen["total"], 2, "who has hardware does not wait");
        let (first, second) = (&seen["waiting"][0], &seen["waiting"][1]);
        assert_eq!((&first["space"], &first["position"]), (&json!("alice/open"), &json!(0)));
        assert_eq!(
            (&first["reason"], &first["what"]),
            (&json!("all 2 such devices are in use"), &json!("1 × NVIDIA L4"))
        );
        assert_eq!(first["freedBy"]["space"], "bob/held");
        assert_eq!(first["start"]["until90"], "1970-01-01T00:00:09.000Z");
        assert_eq!(first["start"]["from50"], "1970-01-01T00:00:04.000Z");
        assert_eq!(
            (&second["space"], &second["account"], &second["because"]),
            (&Value::Null, &Value::Null, &json!([]))
        );
        assert_eq!(second["reason"], "its account has what it may have", "whose quota it is, is not for strangers");
        let seen = stage.get("/api/gpu/queue", &stage.alice).await;
        assert_eq!(seen["waiting"][1]["reason"], "alice may have 2 devices at once and has 2");
        let one = stage.get("/api/gpu/queue?limit=1", &stage.bob).await;
        assert_eq!((one["waiting"].as_array().unwrap().len(), &one["total"]), (1, &json!(2)));
    }
}

#[tokio::test]
async fn a_space_says_where_it_stands() {
    for stage in Stage::everywhere().await {
        let space = stage.app.space(&stage.alice, "demo", "private").await;
        let path = "/api/spaces/alice/demo/queue";
        let nothing = json!({"state": "none", "waiting": null, "lease": null});
        assert_eq!(stage.get(path, &stage.alice).await, nothing);
        let claim = stage.claim(&space, "~alice").await;
        let seen = stage.get(path, &stage.alice).await;
        assert_eq!((&seen["state"], &seen["waiting"]["position"]), (&json!("waiting"), &Value::Null));
        assert_eq!(seen["waiting"]["reason"], "it is decided in a moment");
        assert!(stage.app.store.claim_end(claim.claim.id, LeaseEnd::Stopped, stage.now()).await.unwrap());
        let lease = stage.holds(&space, "~alice", 0).await;
        let ending =
            Ending { why: LeaseEnd::Preempted, told_at: stage.now(), by: stage.now() + Duration::from_secs(60) };
        let notice = Notice {
            id: stage.app.control.clock().notice_id(),
            space: space.id,
            account: lease.account.clone(),
            at: stage.now(),
            kind: NoticeKind::Preemption,
            message: "Somebody else needs it.".to_owned(),
            due_at: None,
        };
        assert!(stage.app.store.lease_tell::<Wait>(lease.lease.id, ending, None, &notice).await.unwrap());
        // Where an app runs is for those who may change it.
        let owner = stage.app.get(path, Some(&stage.alice.write)).await.json;
        let reader = stage.get(path, &stage.alice).await;
        assert_eq!((&owner["lease"]["node"], &reader["lease"]["node"]), (&json!("box"), &Value::Null));
        assert_eq!(owner["lease"]["devices"], json!(["GPU-0"]));
        assert_eq!(owner["lease"]["why"], "Its hardware goes to somebody with a better right to it.");
        let told = stage.app.get(path, Some(&stage.alice.write)).await.json["notices"].clone();
        assert_eq!((&told[0]["kind"], &told[0]["message"]), (&json!("preemption"), &json!("Somebody else needs it.")));
        assert_eq!(stage.get(path, &stage.alice).await["notices"], Value::Null, "notices are for who may change it");
        assert_eq!(stage.app.get(path, Some(&stage.bob.read)).await.status, 404);
    }
}

#[tokio::test]
async fn a_space_in_the_queue_is_followed_live() {
    for stage in Stage::everywhere().await {
        let space = stage.app.space(&stage.alice, "demo", "public").await;
        let claim = stage.waits(&space, "~alice", &wait(1, none_free())).await;
        let mut events = stage.app.events("/api/spaces/alice/demo/queue", Some(&stage.bob.read)).await;
        assert_eq!(events.next().await.unwrap()["waiting"]["position"], 1);
        let first = wait(0, none_free());
        assert!(stage.app.store.claim_decide(claim.claim.id, claim.generation, &first, stage.now()).await.unwrap());
        stage.app.control.activate(space.id);
        assert_eq!(events.next().await.unwrap()["waiting"]["position"], 0);
        stage.app.store.claim_end(claim.claim.id, LeaseEnd::Stopped, stage.now()).await.unwrap();
        assert_eq!(events.next().await.unwrap()["state"], "none");
    }
}

#[tokio::test]
async fn admins_move_claims() {
    for stage in Stage::everywhere().await {
        let space = stage.app.space(&stage.alice, "demo", "private").await;
        let claim = stage.waits(&space, "~alice", &wait(1, none_free())).await;
        let path = format!("/api/gpu/queue/{}/move", claim.claim.id);
        let to = json!({"priority": "high", "submittedAt": "1970-01-01T00:00:01Z"});
        let moved = stage.post(&path, &stage.root, &to).await;
        assert_eq!(moved.status, 200, "{}", moved.text);
        assert_eq!(moved.json["priority"], "high");
        let after = stage.app.store.claim_of(space.id).await.unwrap().unwrap().claim;
        assert_eq!((after.priority.as_str(), after.submitted_at.as_millis()), ("high", 1000));
        let detail = stage.audited("queue.move", "alice/demo").await;
        assert_eq!((&detail["before"]["priority"], &detail["after"]["priority"]), (&json!("normal"), &json!("high")));
        let elsewhere = format!("/api/gpu/queue/{}/move", stage.app.control.clock().claim_id());
        for (path, person, body, status, part) in [
            (&path, &stage.root, json!({}), 400, "'priority'"),
            (&path, &stage.root, json!({"priority": "urgent"}), 400, "low, normal, high"),
            (&path, &stage.root, json!({"submittedAt": "2999-01-01"}), 400, "future"),
            (&path, &stage.root, json!({"submittedAt": "soon"}), 400, "no time"),
            (&path, &stage.alice, to.clone(), 403, "site admins"),
            (&elsewhere, &stage.root, to.clone(), 404, "no claim"),
        ] {
            let answer = stage.post(path, person, &body).await;
            assert_eq!(answer.status.as_u16(), status, "{body}: {}", answer.text);
            assert!(answer.text.contains(part), "{part}: {}", answer.text);
        }
    }
}

#[tokio::test]
async fn admins_take_claims_out_of_the_queue() {
    for stage in Stage::everywhere().await {
        let space = stage.app.space(&stage.alice, "demo", "private").await;
        let claim = stage.waits(&space, "~alice", &wait(0, none_free())).await;
        let path = format!("/api/gpu/queue/{}/cancel", claim.claim.id);
        assert_eq!(stage.post(&path, &stage.alice, &Value::Null).await.status, 403);
        let gone = stage.post(&path, &stage.root, &Value::Null).await;
        assert_eq!(gone.status, 200, "{}", gone.text);
        stage.audited("queue.cancel", "alice/demo").await;
        assert!(stage.app.store.claim_of(space.id).await.unwrap().is_none());
        // It would ask anew otherwise.
        assert_eq!(stage.app.find("alice/demo").await.desired.run, DesiredRun::Paused);
        assert_eq!(stage.post(&path, &stage.root, &Value::Null).await.status, 404);
    }
}
