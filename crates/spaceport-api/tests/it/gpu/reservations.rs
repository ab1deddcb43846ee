use std::time::Duration;

use serde_json::{Value, json};

use super::stage::Stage;

#[tokio::test]
async fn devices_are_reserved_seen_by_whom_they_are_for_and_given_up() {
    for stage in Stage::everywhere().await {
        let (from, until) = (stage.now() + Duration::from_secs(3600), stage.now() + Duration::from_secs(7200));
        let body = json!({"place": "lab", "devices": 2, "models": ["NVIDIA L4"], "from": from.to_rfc3339(),
            "until": until.to_rfc3339(), "note": " A course. "});
        let made = stage.post("/api/gpu/reservations", &stage.root, &body).await;
        assert_eq!(made.status, 200, "{}", made.text);
        assert_eq!((&made.json["state"], &made.json["note"]), (&json!("planned"), &json!("A course.")));
        assert_eq!(stage.audited("reservation.create", "lab").await["devices"], 2);
        for (person, count) in [(&stage.root, 1), (&stage.alice, 1), (&stage.carol, 1), (&stage.bob, 0)] {
            let list = stage.get("/api/gpu/reservations", person).await;
            assert_eq!(list.as_array().unwrap().len(), count, "{}", person.account.name);
        }
        stage.app.clock.advance(Duration::from_secs(3600));
        assert_eq!(stage.get("/api/gpu/reservations", &stage.carol).await[0]["state"], "running");
        let path = format!("/api/gpu/reservations/{}", made.json["id"].as_str().unwrap());
        let end = async |token: &str| stage.app.call("DELETE", &path, Some(token), &Value::Null).await.status.as_u16();
        assert_eq!(end(&stage.alice.write).await, 403);
        assert_eq!(end(&stage.root.write).await, 200);
        stage.audited("reservation.end", "lab").await;
        assert_eq!(end(&stage.root.write).await, 404);
        assert_eq!(stage.get("/api/gpu/reservations", &stage.root).await, json!([]));
    }
}

#[tokio::test]
async fn what_cannot_be_reserved_is_refused_with_the_reason() {
    for stage in Stage::everywhere().await {
        let body = |change: Value| {
            let mut body = json!({"place": "lab", "devices": 1, "until": "2999-01-02", "from": "2999-01-01"});
            body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            body
        };
        for (change, status, part) in [
            (json!({"devices": 0}), 400, "1 or more"),
            (json!({"devices": -3}), 400, "1 or more"),
            (json!({"devices": 3}), 400, "this site has 2"),
            (json!({"models": ["H100"]}), 400, "this site has 0"),
            (json!({"until": "1969-01-01"}), 400, "is over"),
            (json!({"until": "2999-01-01"}), 400, "must lie before"),
            (json!({"until": "3001-01-01"}), 400, "a year at most"),
            (json!({"until": "later"}), 400, "'until'"),
            (json!({"place": "nobody"}), 404, "no organization"),
            (json!({"note": "x".repeat(501)}), 400, "500 characters"),
        ] {
            let answer = stage.post("/api/gpu/reservations", &stage.root, &body(change)).await;
            assert_eq!(answer.status.as_u16(), status, "{}", answer.text);
            assert!(answer.text.contains(part), "{part}: {}", answer.text);
        }
        assert_eq!(stage.post("/api/gpu/reservations", &stage.alice, &body(json!({}))).await.status, 403);
    }
}
