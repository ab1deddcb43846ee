use serde_json::{Value, json};
use spaceport_core::gpu::DeviceHealth;

use super::stage::{Stage, device};

#[tokio::test]
async fn everybody_sees_the_devices_and_only_those_names_they_may() {
    for stage in Stage::everywhere().await {
        let secret = stage.app.space(&stage.alice, "secret", "private").await;
        let open = stage.app.space(&stage.alice, "open", "public").await;
        stage.holds(&secret, "~alice", 0).await;
        stage.holds(&open, "~alice", 1).await;
        let list = stage.get("/api/gpu/devices", &stage.bob).await;
        assert_eq!(list["nodes"][0]["name"], "box");
        let first = &list["devices"][0];
        for (field, value) in [
            ("id", json!("GPU-0")),
            ("node", json!("box")),
            ("index", json!(0)),
            ("model", json!("NVIDIA L4")),
            ("memoryBytes", json!(24_u64 << 30)),
            ("health", json!("healthy")),
            ("leasedMilli", json!(1000)),
            ("utilizationPercent", json!(42)),
        ] {
            assert_eq!(first[field], value, "{field}");
        }
        let holder = |list: &Value, device: usize| {
            let holder = &list["devices"][device]["holders"][0];
            (holder["space"].clone(), holder["account"].clone())
        };
        assert_eq!(holder(&list, 0), (Value::Null, Value::Null), "what is private has no name");
        assert_eq!(holder(&list, 1), (json!("alice/open"), json!("~alice")));
        for person in [&stage.alice, &stage.root] {
            let list = stage.get("/api/gpu/devices", person).await;
            assert_eq!(holder(&list, 0), (json!("alice/secret"), json!("~alice")));
        }
        assert_eq!(stage.app.get("/api/gpu/devices", None).await.status, 401);
    }
}

#[tokio::test]
async fn admins_take_devices_and_machines_out_of_service_and_put_them_back() {
    for stage in Stage::everywhere().await {
        let drained = stage.post("/api/gpu/devices/GPU-1/drain", &stage.root, &json!({"reason": "a loud fan"})).await;
        assert_eq!(drained.status, 200, "{}", drained.text);
        let (health, reason, mark) = (&drained.json["health"], &drained.json["reason"], &drained.json["drained"]["by"]);
        assert_eq!((health, reason, mark), (&json!("drained"), &json!("a loud fan"), &json!("root")));
        assert_eq!(stage.audited("device.drain", "GPU-1").await, json!({"reason": "a loud fan"}));
        let back = stage.post("/api/gpu/devices/GPU-1/undrain", &stage.root, &Value::Null).await;
        assert_eq!((&back.json["health"], &back.json["drained"]), (&json!("healthy"), &Value::Null));
        stage.audited("device.undrain", "GPU-1").await;

        let closed = stage.post("/api/gpu/nodes/box/cordon", &stage.root, &Value::Null).await;
        assert_eq!(closed.json["cordoned"]["reason"], "root took it out of service", "{}", closed.text);
        stage.audited("node.cordon", "box").await;
        let open = stage.post("/api/gpu/nodes/box/uncordon", &stage.root, &Value::Null).await;
        assert_eq!(open.json["cordoned"], Value::Null);
        stage.audited("node.uncordon", "box").await;

        let long = json!({"reason": "x".repeat(501)});
        for (path, person, body, status) in [
            ("/api/gpu/devices/GPU-9/drain", &stage.root, Value::Null, 404),
            ("/api/gpu/devices/GPU-9/undrain", &stage.root, Value::Null, 404),
            ("/api/gpu/nodes/elsewhere/cordon", &stage.root, Value::Null, 404),
            ("/api/gpu/devices/GPU-0/drain", &stage.root, long, 400),
            ("/api/gpu/devices/GPU-0/drain", &stage.alice, Value::Null, 403),
        ] {
            let answer = stage.post(path, person, &body).await;
            assert_eq!(answer.status.as_u16(), status, "{path}: {}", answer.text);
        }
    }
}

#[tokio::test]
async fn a_device_that_fails_or_vanishes_is_told_with_the_reason() {
    for stage in Stage::everywhere().await {
        let mut broken = device(0);
        broken.health = DeviceHealth::Lost { reason: "XID 79: the GPU has fallen off the bus".to_owned() };
        stage.set_devices(vec![broken]).await;
        let health = |list: &Value| -> Vec<(Value, Value)> {
            let devices = list["devices"].as_array().unwrap();
            devices.iter().map(|device| (device["health"].clone(), device["reason"].clone())).collect()
        };
        let lost = |reason: &str| (json!("lost"), json!(reason));
        let fell = "XID 79: the GPU has fallen off the bus";
        assert_eq!(health(&stage.get("/api/gpu/devices", &stage.bob).await), [lost(fell)]);
        let all = stage.get("/api/gpu/devices?lost=true", &stage.bob).await;
        assert_eq!(health(&all), [lost(fell), lost("it is not there any more")]);
    }
}
