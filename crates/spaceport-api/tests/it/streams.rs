//! Logs, events and what clients do with them.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use spaceport_control::LogId;
use spaceport_core::space::{Artifact, BuildState, Instance, Release, Space};
use spaceport_core::{InstanceId, ReleaseId};
use spaceport_store::BuildEnd;
use spaceport_testkit::{Person, TestApp};

struct Stage {
    app: TestApp,
    alice: Person,
    space: Space,
}

impl Stage {
    async fn set() -> Self {
        let app = TestApp::start().await;
        let alice = app.person("alice").await;
        let space = app.space(&alice, "demo", "public").await;
        Self { app, alice, space }
    }

    async fn lines(&self, path: &str) -> Vec<String> {
        let path = format!("/api/spaces/alice/demo{path}");
        self.app.events(&path, Some(&self.alice.write)).await.lines().await
    }

    async fn build(&self) -> spaceport_core::BuildId {
        let clock = self.app.control.clock();
        let head = self.space.desired.head.clone().unwrap();
        let id = clock.build_id();
        self.app.store.build_add(id, self.space.id, &head, 0, false, clock.now()).await.unwrap();
        assert!(self.app.store.build_claim(id, "lease", clock.now()).await.unwrap());
        id
    }

    async fn finish(&self, id: spaceport_core::BuildId) {
        let (state, at) = (BuildState::Succeeded, self.app.clock.now());
        let end = BuildEnd { state, diagnosis: None, artifact: None, phases: BTreeMap::new(), at };
        assert!(self.app.store.build_finish(id, "lease", &end).await.unwrap());
        self.app.control.activate(self.space.id);
    }

    async fn release(&self, build: spaceport_core::BuildId) -> ReleaseId {
        let clock = self.app.control.clock();
        let readme = b"---\nsdk: gradio\n---\n";
        let release = Release {
            id: clock.release_id(),
            space: self.space.id,
            number: 0,
            build,
            sha: self.space.desired.head.clone().unwrap(),
            config: spaceport_core::front_matter::parse(readme).unwrap(),
            artifact: Artifact::Image { digest: format!("sha256:{}", "a".repeat(64)).parse().unwrap() },
            settings: 0,
            variables: BTreeMap::new(),
            sealed_secrets: BTreeMap::new(),
            volumes: Vec::new(),
            hardware: self.space.desired.hardware.clone(),
            created_at: clock.now(),
            ready_at: None,
        };
        self.app.store.release_add(&release).await.unwrap();
        release.id
    }

    async fn attempt(&self, release: ReleaseId, attempt: i64) -> InstanceId {
        self.app.clock.advance(std::time::Duration::from_secs(1));
        let clock = self.app.control.clock();
        let instance = Instance {
            id: clock.instance_id(),
            space: self.space.id,
            release,
            restart: 0,
            attempt,
            created_at: clock.now(),
            started_at: None,
            ready_at: None,
            retired_at: None,
            ended_at: None,
            diagnosis: None,
            ended_by_us: false,
        };
        self.app.store.instance_add(&instance).await.unwrap();
        self.app.control.activate(self.space.id);
        instance.id
    }

    async fn end(&self, attempt: InstanceId) {
        self.app.store.instance_ended(attempt, None, false, self.app.clock.now()).await.unwrap();
        self.app.control.activate(self.space.id);
    }

    fn print(&self, attempt: InstanceId, lines: &[&str]) {
        let writer = self.app.control.logs().writer(LogId::Run(self.space.id, attempt)).unwrap();
        for line in lines {
            writer.line(line);
        }
    }
}

#[tokio::test]
async fn a_build_log_is_replayed_followed_and_ends_with_the_build() {
    let stage = Stage::set().await;
    let build = stage.build().await;
    let writer = stage.app.control.logs().writer(LogId::Build(stage.space.id, build)).unwrap();
    writer.line("installing");
    let path = "/api/spaces/alice/demo/logs/build";
    let mut live = stage.app.events(path, Some(&stage.alice.write)).await;
    let first = live.next().await.unwrap();
    assert_eq!(first, json!({"data": "installing\n", "timestamp": "2026-01-02T03:04:05.678Z"}));
    writer.line("done");
    drop(writer);
    stage.finish(build).await;
    assert_eq!(live.lines().await, ["done\n"]);
    assert_eq!(stage.lines("/logs/build").await, ["installing\n", "done\n"], "the replay is stable");
    assert_eq!(stage.lines("/logs/build?tail=1").await, ["done\n"]);
    let download = stage.app.get("/api/spaces/alice/demo/builds/1/log", Some(&stage.alice.write)).await;
    assert_eq!(download.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(download.text, "2026-01-02T03:04:05.678Z installing\n2026-01-02T03:04:05.678Z done\n");
}

#[tokio::test]
async fn a_build_log_can_be_waited_for_before_the_build_begins() {
    let stage = Stage::set().await;
    let mut live = stage.app.events("/api/spaces/alice/demo/logs/build", Some(&stage.alice.write)).await;
    let build = stage.build().await;
    stage.app.control.activate(stage.space.id);
    stage.app.control.logs().writer(LogId::Build(stage.space.id, build)).unwrap().line("first");
    stage.finish(build).await;
    assert_eq!(live.next().await.unwrap()["data"], "first\n");
    assert_eq!(live.next().await, None);
}

#[tokio::test]
async fn a_run_log_shows_the_attempts_in_order_and_goes_on_with_the_next() {
    let stage = Stage::set().await;
    let release = stage.release(stage.build().await).await;
    let first = stage.attempt(release, 1).await;
    stage.print(first, &["one", "crash"]);
    stage.end(first).await;
    let second = stage.attempt(release, 2).await;
    let writer = stage.app.control.logs().writer(LogId::Run(stage.space.id, second)).unwrap();
    writer.line("two");
    let expected = [
        "===== Application Startup at 2026-01-02T03:04:06.678Z (attempt 1) =====\n",
        "one\n",
        "crash\n",
        "===== Application Startup at 2026-01-02T03:04:07.678Z (attempt 2) =====\n",
        "two\n",
    ];
    let mut live = stage.app.events("/api/spaces/alice/demo/logs/run", Some(&stage.alice.write)).await;
    for line in expected {
        assert_eq!(live.next().await.unwrap()["data"], line);
    }
    // The next attempt begins while the previous one still runs.
    let third = stage.attempt(release, 3).await;
    assert!(live.next().await.unwrap()["data"].as_str().unwrap().contains("(attempt 3)"));
    stage.print(third, &["three"]);
    stage.end(third).await;
    assert_eq!(live.next().await.unwrap()["data"], "three\n");
    drop(writer);
    assert_eq!(stage.lines("/logs/run?follow=false&tail=2").await.last().unwrap(), "three\n");
    assert_eq!(stage.lines("/logs/run?follow=false&tail=1").await, ["three\n"]);
    assert_eq!(stage.lines("/logs/run?follow=false").await[..5], expected);
    assert_eq!(stage.app.get("/api/spaces/alice/demo/logs/run?tail=x", Some(&stage.alice.write)).await.status, 400);
}

#[tokio::test]
async fn events_show_the_space_now_and_on_each_change() {
    let stage = Stage::set().await;
    let path = "/api/spaces/alice/demo/events";
    let mut public = stage.app.events(path, None).await;
    let mut own = stage.app.events(path, Some(&stage.alice.read)).await;
    assert_eq!(public.next().await.unwrap()["id"], "alice/demo");
    own.next().await.unwrap();
    let body = json!({"flavor": "cpu-upgrade"});
    stage.app.post("/api/spaces/alice/demo/hardware", Some(&stage.alice.write), &body).await;
    assert_eq!(public.next().await.unwrap()["runtime"]["hardware"]["requested"], "cpu-upgrade");
    let body = json!({"visibility": "private"});
    stage.app.call("PUT", "/api/spaces/alice/demo/settings", Some(&stage.alice.write), &body).await;
    assert_eq!(public.next().await, None, "who may not see it any more hears no more");
    own.next().await.unwrap();
    assert_eq!(own.next().await.unwrap()["private"], true);
}

#[tokio::test]
async fn streams_end_when_the_server_stops() {
    let stage = Stage::set().await;
    let token = Some(stage.alice.write.as_str());
    let run = stage.app.events("/api/spaces/alice/demo/logs/run", token).await;
    let metrics = stage.app.events("/api/spaces/alice/demo/metrics", token).await;
    stage.app.lifetime.stop.cancel();
    assert_eq!((run.lines().await.len(), metrics.lines().await.len()), (0, 0));
}

#[tokio::test]
async fn evidence_is_for_those_who_may_change_the_space() {
    let stage = Stage::set().await;
    let diagnosis = spaceport_core::Diagnosis {
        reason: spaceport_core::Reason::WrongPort,
        phase: "probing".to_owned(),
        message: "It listens on 8501.".to_owned(),
        remedy: "Listen on 7860.".to_owned(),
        evidence: vec!["0.0.0.0:8501".to_owned()],
        since: stage.app.clock.now(),
        deadline: None,
    };
    let error = spaceport_core::SpaceStage::RuntimeError;
    stage.app.store.space_set_stage(stage.space.id, error, Some(&diagnosis), stage.app.clock.now()).await.unwrap();
    let path = "/api/spaces/alice/demo/runtime";
    let others = stage.app.get(path, None).await.json;
    assert_eq!((&others["stage"], &others["spaceport"]["reason"]), (&json!("RUNTIME_ERROR"), &json!("wrong_port")));
    assert_eq!(others["errorMessage"], "It listens on 8501.\nListen on 7860.");
    assert_eq!(others["spaceport"]["evidence"], Value::Null);
    let own = stage.app.get(path, Some(&stage.alice.write)).await.json;
    assert_eq!(own["spaceport"]["evidence"], json!(["0.0.0.0:8501"]));
}

#[tokio::test]
async fn a_stream_ends_when_its_token_is_revoked_or_its_right_is_lost() {
    let stage = Stage::set().await;
    let (app, alice) = (&stage.app, &stage.alice);
    let release = stage.release(stage.build().await).await;
    let attempt = stage.attempt(release, 1).await;
    let writer = app.control.logs().writer(LogId::Run(stage.space.id, attempt)).unwrap();
    writer.line("one");
    let bob = app.person("bob").await;
    let of = async |path: &str, token: &str| {
        let mut events = app.events(&format!("/api/spaces/alice/demo/{path}"), Some(token)).await;
        // It goes on: nothing of what follows was true from the start.
        assert!(events.next().await.is_some(), "{path}");
        events
    };
    let [log, build_log, state, stays] = [
        of("logs/run", &alice.write).await,
        app.events("/api/spaces/alice/demo/logs/build", Some(&alice.write)).await,
        of("events", &bob.read).await,
        of("events", &alice.read).await,
    ];
    let revoked = app.call("DELETE", "/api/settings/tokens/writer", Some(&alice.write), &Value::Null).await;
    assert_eq!(revoked.status, 200, "{}", revoked.text);
    for mut log in [log, build_log] {
        while log.next().await.is_some() {}
    }
    // Somebody else's right goes with the visibility.
    let admin = app.admin("root").await;
    let hide = json!({"visibility": "private"});
    let hidden = app.call("PUT", "/api/spaces/alice/demo/settings", Some(&admin.write), &hide).await;
    assert_eq!(hidden.status, 200, "{}", hidden.text);
    let mut state = state;
    while let Some(event) = state.next().await {
        assert_eq!(event["private"], false, "what is private is not told any more");
    }
    let mut stays = stays;
    loop {
        let event = stays.next().await.expect("its owner goes on reading");
        if event["private"] == true {
            break;
        }
    }
}
