//! Variables, secrets, hardware, sleep time, pause and restart: desired state.

use serde_json::{Value, json};
use spaceport_control::Known;
use spaceport_core::gpu::{Device, DeviceHealth, DeviceId, Node, NodeName};
use spaceport_core::space::DesiredRun;
use spaceport_testkit::TestApp;

#[tokio::test]
async fn secrets_go_in_and_never_come_out() {
    let app = TestApp::start().await;
    let (alice, root) = (app.person("alice").await, app.admin("root").await);
    let space = app.space(&alice, "demo", "public").await;
    let (path, token) = ("/api/spaces/alice/demo/secrets", Some(alice.write.as_str()));
    let set = json!({"key": "API_KEY", "value": "hunter2-secret", "description": "for the model"});
    assert_eq!(app.post(path, token, &set).await.status, 200);
    let list = app.get(path, token).await;
    assert_eq!(
        list.json,
        json!({"API_KEY": {"description": "for the model", "updatedAt": "2026-01-02T03:04:05.678Z"}})
    );
    let mut seen = String::new();
    for path in [path, "/api/spaces/alice/demo", "/api/spaces/alice/demo/variables", "/api/spaces/alice/demo/releases"]
    {
        seen += &app.get(path, token).await.text;
    }
    seen += &app.get("/api/admin/audit", Some(&root.write)).await.text;
    let too_long = json!({"key": "API_KEY", "value": format!("hunter2-secret{}", "x".repeat(70_000))});
    seen += &app.post(path, token, &too_long).await.text;
    assert!(seen.contains("API_KEY") && !seen.contains("hunter2"), "{seen}");
    let sealed = app.store.secrets(space.id).await.unwrap()["API_KEY"].sealed.clone();
    assert!(!sealed.contains("hunter2"));
    assert_eq!(app.find("alice/demo").await.desired.settings, 1);
    for _ in 0..2 {
        let gone = app.call("DELETE", path, token, &json!({"key": "API_KEY"})).await;
        assert_eq!((gone.status.as_u16(), gone.json), (200, json!({})), "deleting twice is no error");
    }
    assert_eq!(app.get(path, token).await.json, json!({}));
}

#[tokio::test]
async fn every_change_of_variables_answers_all_of_them() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    app.space(&alice, "demo", "public").await;
    let (path, token) = ("/api/spaces/alice/demo/variables", Some(alice.write.as_str()));
    app.post(path, token, &json!({"key": "A", "value": "1"})).await;
    let both = app.post(path, token, &json!({"key": "B", "value": "", "description": " "})).await.json;
    assert_eq!((&both["A"]["value"], &both["B"]["value"]), (&json!("1"), &json!("")));
    let replaced = app.post(path, token, &json!({"key": "A", "value": "2"})).await.json;
    assert_eq!(replaced["A"]["value"], "2");
    let one = app.call("DELETE", path, token, &json!({"key": "A"})).await.json;
    assert_eq!(one.as_object().unwrap().keys().collect::<Vec<_>>(), ["B"]);
    for (body, says) in [
        (json!({"key": "1A", "value": ""}), "not starting with a digit"),
        (json!({"key": "", "value": ""}), "letters"),
        (json!({"key": "A=B", "value": ""}), "letters"),
        (json!({"key": "LD\u{0}", "value": ""}), "NUL"),
        (json!({"key": "x".repeat(300), "value": ""}), "letters"),
        (json!({"key": "A", "value": "\u{0}"}), "NUL"),
        (json!({"key": "space_id", "value": "x"}), "SPACE_HOST"),
        (json!({"key": "SYSTEM", "value": "x"}), "reserved"),
        (json!({"key": "A", "value": "x".repeat(65_537)}), "65536"),
        (json!({"key": "A", "value": 1}), "invalid type"),
        (json!({"key": "A"}), "value"),
    ] {
        let answer = app.post(path, token, &body).await;
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.json["error"].as_str().unwrap().contains(says), "{} lacks {says}", answer.text);
    }
}

#[tokio::test]
async fn hardware_and_sleep_time_are_stored_and_wrong_ones_refused() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    app.space(&alice, "demo", "public").await;
    let call = |path: &'static str, body: Value| {
        let (app, token) = (&app, alice.write.clone());
        async move { app.post(&format!("/api/spaces/alice/demo{path}"), Some(&token), &body).await }
    };
    let hardware = call("/hardware", json!({"flavor": "cpu-upgrade", "sleepTimeSeconds": 60})).await.json;
    assert_eq!((&hardware["hardware"]["requested"], &hardware["gcTimeout"]), (&json!("cpu-upgrade"), &json!(60)));
    let wrong = call("/hardware", json!({"flavor": "t4-small"})).await;
    assert_eq!(wrong.status, 400);
    assert!(wrong.text.contains("cpu-basic, cpu-upgrade"), "{}", wrong.text);
    assert_eq!(call("/sleeptime", json!({"seconds": -1})).await.json["gcTimeout"], Value::Null);
    for wrong in
        [json!({"seconds": 0}), json!({"seconds": -2}), json!({"seconds": 1e12}), json!({"seconds": "x"}), json!({})]
    {
        assert_eq!(call("/sleeptime", wrong.clone()).await.status, 400, "{wrong}");
    }
    let list = app.get("/api/spaces/hardware", None).await.json;
    assert_eq!(
        (&list[0]["name"], &list[0]["cpu"], &list[0]["ram"]),
        (&json!("cpu-basic"), &json!("2 vCPU"), &json!("16 GB"))
    );
}

#[tokio::test]
async fn hardware_with_accelerators_is_offered_where_they_are() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    app.space(&alice, "demo", "public").await;
    let request = json!({"flavor": "l4x4"});
    let path = "/api/spaces/alice/demo/hardware";
    assert_eq!(app.post(path, Some(&alice.write), &request).await.status, 400);
    let device = |index| Device {
        id: DeviceId(format!("GPU-{index}")),
        index,
        model: "NVIDIA L4".to_owned(),
        memory_bytes: 23_034 << 20,
        slice_of: None,
        health: DeviceHealth::Healthy,
    };
    let node = Node {
        name: NodeName("here".to_owned()),
        cpu_millicores: 64_000,
        memory_bytes: 256 << 30,
        devices: (0..4).map(device).collect(),
        cordoned: false,
    };
    app.control.inventory().set(Known { nodes: vec![node], ..Known::default() });
    let list = app.get("/api/spaces/hardware", None).await.json;
    let names: Vec<&str> = list.as_array().unwrap().iter().map(|flavor| flavor["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["cpu-basic", "cpu-upgrade", "l4x1", "l4x4"]);
    assert_eq!(list[0]["accelerator"], Value::Null);
    let accelerator = json!({"type": "gpu", "model": "L4", "quantity": "4", "vram": "96 GB", "manufacturer": "Nvidia"});
    assert_eq!(list[3]["accelerator"], accelerator);
    let answer = app.post(path, Some(&alice.write), &request).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json["hardware"]["requested"]),
        (200, &json!("l4x4")),
        "{}",
        answer.text
    );
}

#[tokio::test]
async fn pause_and_restart_say_what_should_be() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    app.space(&alice, "demo", "public").await;
    let body = json!({"type": "space", "name": "page", "sdk": "static"});
    app.post("/api/repos/create", Some(&alice.write), &body).await;
    let post = |path: &'static str| app.post(path, Some(&alice.write), &Value::Null);
    assert_eq!(post("/api/spaces/alice/page/pause").await.status, 400);
    assert_eq!(post("/api/spaces/alice/demo/pause").await.status, 200);
    assert_eq!(app.find("alice/demo").await.desired.run, DesiredRun::Paused);
    assert_eq!(post("/api/spaces/alice/demo/restart").await.status, 200);
    let desired = app.find("alice/demo").await.desired;
    assert_eq!((desired.run, desired.restart, desired.rebuild, desired.no_cache), (DesiredRun::Running, 1, 0, false));
    post("/api/spaces/alice/demo/restart?factory=true").await;
    let desired = app.find("alice/demo").await.desired;
    assert_eq!((desired.restart, desired.rebuild, desired.no_cache), (2, 1, true));
}

#[tokio::test]
async fn volumes_are_set_whole_and_show_only_what_the_owner_may_read() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.person("alice").await, app.person("bob").await);
    app.space(&alice, "demo", "public").await;
    let model = json!({"type": "model", "name": "tiny", "private": true, "files": [{"path": "a", "content": "b"}]});
    for person in [&alice, &bob] {
        assert_eq!(app.post("/api/repos/create", Some(&person.write), &model).await.status, 200);
    }
    let path = "/api/spaces/alice/demo/volumes";
    let put =
        async |token: &str, volumes: Value| app.call("PUT", path, Some(token), &json!({"volumes": volumes})).await;
    let bucket = json!({"type": "bucket", "source": "alice/notes", "mountPath": "/data"});
    let tiny = json!({"type": "model", "source": "alice/tiny", "mountPath": "/models/tiny", "revision": "main"});
    assert_eq!(put(&alice.read, json!([bucket])).await.status, 403);
    assert_eq!(put(&bob.write, json!([bucket])).await.status, 403);
    let set = put(&alice.write, json!([bucket, tiny])).await;
    assert_eq!(set.status, 200, "{}", set.text);
    let runtime = app.get("/api/spaces/alice/demo/runtime", Some(&alice.read)).await.json;
    assert!(runtime.get("volumes").is_none(), "a read token learns nothing of them: {runtime}");
    let runtime = app.get("/api/spaces/alice/demo/runtime", Some(&alice.write)).await.json;
    assert_eq!(runtime["volumes"][1]["source"], "alice/tiny");
    assert_eq!((&runtime["volumes"][0]["readOnly"], &runtime["volumes"][1]["readOnly"]), (&json!(false), &json!(true)));
    for (wrong, status, says) in [
        (json!([{"type": "disk", "source": "a/b", "mountPath": "/x"}]), 400, "bucket, model, dataset or space"),
        (json!([{"type": "model", "source": "tiny", "mountPath": "/x"}]), 400, "owner/name"),
        (json!([{"type": "model", "source": "bob/tiny", "mountPath": "/x"}]), 400, "you may read"),
        (json!([{"type": "model", "source": "alice/none", "mountPath": "/x"}]), 400, "you may read"),
        (json!([{"type": "model", "source": "alice/tiny", "mountPath": "/x", "revision": "v9"}]), 400, "v9"),
        (json!([{"type": "model", "source": "alice/tiny", "mountPath": "/x", "readOnly": false}]), 400, "read-only"),
        (json!([{"type": "bucket", "source": "bob/notes", "mountPath": "/x"}]), 403, "buckets of alice"),
        (json!([{"type": "bucket", "source": "alice/n", "mountPath": "/etc"}]), 400, "mount path"),
        (json!([{"type": "bucket", "source": "alice/n", "mountPath": "../x"}]), 400, "mount path"),
        (json!([bucket, bucket]), 400, "each other's way"),
        (json!("x"), 400, "invalid type"),
    ] {
        let answer = put(&alice.write, wrong.clone()).await;
        assert_eq!(answer.status.as_u16(), status, "{wrong}: {}", answer.text);
        assert!(answer.header("x-error-message").contains(says), "{wrong}: {}", answer.text);
    }
    assert_eq!(app.call("DELETE", path, Some(&alice.write), &Value::Null).await.status, 200);
    let runtime = app.get("/api/spaces/alice/demo/runtime", Some(&alice.write)).await.json;
    assert!(runtime.get("volumes").is_none(), "{runtime}");
}
