//! What every engine promises.

use std::time::Duration;

use futures::StreamExt;
use spaceport_core::ImageDigest;
use spaceport_core::gpu::Attach;
use spaceport_runtime::{
    ContainerId, ContainerState, DockerfileBuild, DockerfileOutcome, Exit, Grant, Keep, Layer, LogLine, Mount,
    OwnVolume, RuntimeError, StepOutcome, VolumeSpec,
};
use tokio_util::sync::CancellationToken;

use crate::world::{BASE, World, apps, eventually, limits, sink, steps, within};

const GRACE: Duration = Duration::from_secs(1);

pub async fn images_are_found_by_reference_and_by_digest(world: &World) {
    let runtime = &world.runtime;
    assert_eq!(runtime.find_image(BASE).await.unwrap(), Some(world.base.clone()));
    assert_eq!(runtime.find_image(world.base.as_str()).await.unwrap(), Some(world.base.clone()));
    assert_eq!(runtime.find_image("spaceport-contract/nothing:1").await.unwrap(), None);
    // Here already: nothing is asked of a registry.
    let (log, _) = sink();
    assert_eq!(runtime.pull_image(BASE, log, CancellationToken::new()).await.unwrap(), world.base);
}

pub async fn an_unknown_image_cannot_be_pulled(world: &World) {
    let (log, _) = sink();
    let reference = "localhost:1/nothing:1";
    let error = world.runtime.pull_image(reference, log, CancellationToken::new()).await.unwrap_err();
    assert!(matches!(&error, RuntimeError::ImageMissing { reference: named, .. } if named == reference), "{error:?}");
}

pub async fn a_step_prints_and_becomes_an_image(world: &World) {
    let step = world.step(steps::GREET);
    let Keep::Image(settings) = step.keep.clone() else { unreachable!() };
    let (log, lines) = sink();
    let outcome = world.runtime.run_step(step, log, CancellationToken::new()).await.unwrap();
    let StepOutcome::Done(Some(digest)) = outcome else { panic!("{outcome:?}") };
    let mut printed = lines.lock().unwrap().clone();
    printed.sort();
    assert_eq!(printed, ["100%", "hello O'Hara $HOME", "warning"]);
    assert_eq!(world.runtime.find_image(&settings.tag).await.unwrap(), Some(digest.clone()));
    let images = world.runtime.list_images().await.unwrap();
    let image = images.iter().find(|image| image.digest == digest).unwrap();
    assert_eq!(image.labels.get("spaceport.test").map(String::as_str), Some("yes"));
    assert!(image.size_bytes > 0 && image.created_at.as_millis() > 0);
    assert!(images.iter().all(|image| image.digest != world.base), "the base image is not ours");
}

pub async fn a_failing_step_is_an_outcome(world: &World) {
    let (log, lines) = sink();
    let outcome = world.runtime.run_step(world.step(steps::FAIL), log, CancellationToken::new()).await.unwrap();
    assert_eq!(outcome, StepOutcome::Failed { code: 3, oom_killed: false });
    assert_eq!(*lines.lock().unwrap(), ["broken"]);
    assert!(world.runtime.list_images().await.unwrap().is_empty());
}

pub async fn a_step_out_of_memory_says_so(world: &World) {
    let (log, _) = sink();
    let outcome = world.runtime.run_step(world.step(steps::EAT_MEMORY), log, CancellationToken::new()).await.unwrap();
    assert_eq!(outcome, StepOutcome::Failed { code: 137, oom_killed: true });
}

pub async fn a_step_can_keep_an_archive(world: &World) {
    let mut step = world.step(steps::PACK);
    let to = world.dir.path().join("kept.tar");
    step.keep = Keep::Archive { path: "/tmp/out".to_owned(), to: to.clone(), max_bytes: 1 << 20 };
    let (log, _) = sink();
    let outcome = world.runtime.run_step(step, log, CancellationToken::new()).await.unwrap();
    assert_eq!(outcome, StepOutcome::Done(None));
    let mut tar = tar::Archive::new(std::fs::File::open(to).unwrap());
    let paths: Vec<String> =
        tar.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string()).collect();
    // Entries begin with the last part of the path.
    assert!(paths.contains(&"out/file".to_owned()), "{paths:?}");
    assert!(world.runtime.list_images().await.unwrap().is_empty());
}

pub async fn an_archive_may_be_too_large(world: &World) {
    let mut step = world.step(steps::PACK);
    step.keep = Keep::Archive { path: "/tmp/out".to_owned(), to: world.dir.path().join("kept.tar"), max_bytes: 1000 };
    let (log, _) = sink();
    let outcome = world.runtime.run_step(step, log, CancellationToken::new()).await.unwrap();
    assert_eq!(outcome, StepOutcome::ArchiveTooLarge);
}

pub async fn a_step_ends_with_its_time(world: &World) {
    let mut step = world.step(steps::HANG);
    step.limits.time = Duration::from_millis(1500);
    let (log, _) = sink();
    let outcome = within(world.runtime.run_step(step, log, CancellationToken::new())).await.unwrap();
    assert_eq!(outcome, StepOutcome::TimedOut);
}

pub async fn a_step_ends_when_it_writes_too_much(world: &World) {
    let (log, _) = sink();
    let outcome = within(world.runtime.run_step(world.step(steps::FILL_DISK), log, CancellationToken::new())).await;
    assert_eq!(outcome.unwrap(), StepOutcome::DiskExceeded);
}

pub async fn the_size_of_a_volume_is_known(world: &World) {
    let volume = world.name("spaceport-contract-cache");
    let mut step = world.step(steps::FILL_CACHE);
    step.cache = Some((volume.clone(), "/cache".to_owned()));
    let (log, _) = sink();
    let outcome = world.runtime.run_step(step, log, CancellationToken::new()).await.unwrap();
    assert!(matches!(outcome, StepOutcome::Done(_)), "{outcome:?}");
    let sizes = world.runtime.volume_sizes().await.unwrap();
    assert!(sizes.get(&volume).is_some_and(|bytes| *bytes >= 1 << 20), "{sizes:?}");
    assert!(world.runtime.remove_volume(&volume).await.unwrap());
    assert!(!world.runtime.volume_sizes().await.unwrap().contains_key(&volume));
}

pub async fn a_canceled_step_is_canceled(world: &World) {
    let (log, lines) = sink();
    let cancel = CancellationToken::new();
    let running = world.runtime.run_step(world.step(steps::HANG), log, cancel.clone());
    let canceling = async {
        eventually(async || (!lines.lock().unwrap().is_empty()).then_some(())).await;
        cancel.cancel();
    };
    let (outcome, ()) = within(async { tokio::join!(running, canceling) }).await;
    assert!(matches!(outcome, Err(RuntimeError::Canceled)), "{outcome:?}");
}

pub async fn a_layer_becomes_an_image(world: &World) {
    let digest = layer(world).await;
    let images = world.runtime.list_images().await.unwrap();
    assert!(images.iter().any(|image| image.digest == digest));
    let missing = Layer {
        image: format!("sha256:{}", "e".repeat(64)).parse().unwrap(),
        path: "/opt".to_owned(),
        archive: world.tar(&[("a", "b")]),
        settings: world.settings(),
    };
    let error = world.runtime.add_layer(missing).await.unwrap_err();
    assert!(matches!(error, RuntimeError::ImageMissing { .. }), "{error:?}");
}

async fn layer(world: &World) -> ImageDigest {
    let layer = Layer {
        image: world.base.clone(),
        path: "/opt".to_owned(),
        archive: world.tar(&[("app.py", "print('hi')")]),
        settings: world.settings(),
    };
    world.runtime.add_layer(layer).await.unwrap()
}

pub fn dockerfile(world: &World, text: &str) -> DockerfileBuild {
    DockerfileBuild {
        context: world.tar(&[("Dockerfile", text), ("file", "content\n")]),
        args: [("CARE".to_owned(), "care".to_owned())].into(),
        cache_scope: world.scope(),
        secrets: Default::default(),
        labels: [("spaceport.test".to_owned(), "dockerfile".to_owned())].into(),
        tag: world.settings().tag,
        no_cache: true,
        limits: limits(),
    }
}

pub async fn a_dockerfile_becomes_an_image(world: &World) {
    let text = format!("FROM {BASE}\nARG CARE\nRUN echo built with $CARE\n");
    let build = dockerfile(world, &text);
    let (log, lines) = sink();
    let outcome = within(world.runtime.build_dockerfile(build, log, CancellationToken::new())).await.unwrap();
    let DockerfileOutcome::Done(digest) = outcome else { panic!("{outcome:?}") };
    let images = world.runtime.list_images().await.unwrap();
    let image = images.iter().find(|image| image.digest == digest).unwrap();
    assert_eq!(image.labels.get("spaceport.test").map(String::as_str), Some("dockerfile"));
    let lines = lines.lock().unwrap();
    assert!(lines.iter().any(|line| line.starts_with('#') && line.ends_with(" built with care")), "{lines:#?}");
}

pub async fn a_failing_dockerfile_is_an_outcome(world: &World) {
    let build = dockerfile(world, &format!("FROM {BASE}\nRUN echo about to fail; exit 7\n"));
    let (log, _) = sink();
    let outcome = within(world.runtime.build_dockerfile(build, log, CancellationToken::new())).await.unwrap();
    let DockerfileOutcome::Failed { message } = outcome else { panic!("{outcome:?}") };
    for part in ["RUN", "exit code: 7", "about to fail"] {
        assert!(message.contains(part), "{message}");
    }
}

pub async fn a_dockerfile_ends_with_its_time(world: &World) {
    let mut build = dockerfile(world, &format!("FROM {BASE}\nRUN sleep 600\n"));
    build.limits.time = Duration::from_millis(1500);
    let (log, _) = sink();
    let outcome = within(world.runtime.build_dockerfile(build, log, CancellationToken::new())).await.unwrap();
    assert_eq!(outcome, DockerfileOutcome::TimedOut);
}

pub async fn a_canceled_dockerfile_is_canceled(world: &World) {
    let build = dockerfile(world, &format!("FROM {BASE}\nRUN sleep 600\n"));
    let (log, lines) = sink();
    let cancel = CancellationToken::new();
    let running = world.runtime.build_dockerfile(build, log, cancel.clone());
    let canceling = async {
        eventually(async || lines.lock().unwrap().iter().any(|line| line.contains("RUN")).then_some(())).await;
        cancel.cancel();
    };
    let (outcome, ()) = within(async { tokio::join!(running, canceling) }).await;
    assert!(matches!(outcome, Err(RuntimeError::Canceled)), "{outcome:?}");
}

pub async fn a_volume_is_filled_once_and_kept_while_it_is_used(world: &World) {
    let runtime = &world.runtime;
    let name = world.name("spaceport-contract-volume");
    let content = world.dir.path().join("content.tar");
    let mut tar = tar::Builder::new(std::fs::File::create(&content).unwrap());
    let mut header = tar::Header::new_gnu();
    header.set_size(5);
    header.set_mode(0o644);
    tar.append_data(&mut header, "file", &b"first"[..]).unwrap();
    tar.into_inner().unwrap();
    assert!(!runtime.has_volume(&name).await.unwrap());
    let spec = VolumeSpec {
        name: name.clone(),
        labels: [("spaceport.kind".to_owned(), "contract".to_owned())].into(),
        image: world.base.clone(),
        content: Some(content),
    };
    for _ in 0..2 {
        runtime.provide_volume(spec.clone()).await.unwrap();
        assert!(runtime.has_volume(&name).await.unwrap());
    }
    let listed = runtime.list_volumes().await.unwrap();
    assert!(listed.contains(&OwnVolume { name: name.clone(), labels: spec.labels.clone() }), "{listed:?}");
    let mut app = world.app(apps::SERVE);
    app.mounts.push(Mount { volume: name.clone(), path: "/data".to_owned(), read_only: true });
    let container = runtime.start(app).await.unwrap();
    assert!(!runtime.remove_volume(&name).await.unwrap(), "it is in use");
    runtime.stop(&container.id, GRACE).await.unwrap();
    runtime.remove(&container.id).await.unwrap();
    for _ in 0..2 {
        assert!(runtime.remove_volume(&name).await.unwrap());
        assert!(!runtime.has_volume(&name).await.unwrap());
    }
}

pub async fn starting_twice_starts_one(world: &World) {
    let spec = world.app(apps::SERVE);
    let (first, second) = tokio::join!(world.runtime.start(spec.clone()), world.runtime.start(spec.clone()));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(first.id, second.id);
    assert_eq!((first.space, first.release, first.instance), (spec.space, spec.release, spec.instance));
    assert!(matches!(first.state, ContainerState::Running { .. }), "{first:?}");
    assert_eq!(first.address.map(|address| address.port()), Some(7860));
    assert_eq!(world.runtime.start(spec).await.unwrap(), first);
    assert_eq!(world.runtime.list().await.unwrap(), [first]);
}

pub async fn a_container_is_found_until_it_is_removed(world: &World) {
    let (one, two) = (world.app(apps::SLEEP), world.app(apps::EXIT_3));
    let one = world.runtime.start(one).await.unwrap();
    let two = world.runtime.start(two).await.unwrap();
    let mut listed: Vec<ContainerId> = world.runtime.list().await.unwrap().into_iter().map(|found| found.id).collect();
    listed.sort();
    let mut expected = [one.id.clone(), two.id];
    expected.sort();
    assert_eq!(listed, expected);
    assert_eq!(world.runtime.inspect(&one.id).await.unwrap(), Some(one.clone()));
    world.runtime.remove(&one.id).await.unwrap();
    assert_eq!(world.runtime.inspect(&one.id).await.unwrap(), None);
    assert_eq!(world.runtime.list().await.unwrap().len(), 1);
}

/// The exit of a container, once it has ended.
async fn exit(world: &World, id: &ContainerId) -> Exit {
    eventually(async || match world.runtime.inspect(id).await.unwrap().unwrap().state {
        ContainerState::Exited(exit) => Some(exit),
        ContainerState::Created | ContainerState::Running { .. } => None,
    })
    .await
}

pub async fn an_app_that_ends_says_how(world: &World) {
    let spec = world.app(apps::EXIT_3);
    let container = world.runtime.start(spec.clone()).await.unwrap();
    let exit = exit(world, &container.id).await;
    assert_eq!((exit.code, exit.oom_killed), (3, false));
    assert!(exit.started_at.as_millis() > 0 && exit.finished_at >= exit.started_at, "{exit:?}");
    let seen = world.runtime.inspect(&container.id).await.unwrap().unwrap();
    assert_eq!(seen.address, None);
    // It ran; that it ended is for the caller to decide on, not to be undone by another start.
    assert_eq!(world.runtime.start(spec).await.unwrap(), seen);
}

pub async fn a_command_that_cannot_run_is_told_apart(world: &World) {
    let mut spec = world.app("");
    spec.command = Some(vec!["/no/such/program".to_owned()]);
    match world.runtime.start(spec).await {
        Err(RuntimeError::CommandNotFound(_)) => assert!(world.runtime.list().await.unwrap().is_empty()),
        Err(error) => panic!("{error:?}"),
        Ok(container) => assert_eq!(exit(world, &container.id).await.code, 127),
    }
}

pub async fn an_image_that_is_gone_is_told_apart(world: &World) {
    let mut spec = world.app(apps::SLEEP);
    spec.image = format!("sha256:{}", "d".repeat(64)).parse().unwrap();
    let error = world.runtime.start(spec).await.unwrap_err();
    assert!(matches!(error, RuntimeError::ImageMissing { .. }), "{error:?}");
}

pub async fn a_stopped_app_was_asked_first(world: &World) {
    for (script, code) in [(apps::SLEEP, 143), (apps::DEAF, 137)] {
        let container = world.runtime.start(world.app(script)).await.unwrap();
        if script == apps::DEAF {
            // Its trap is set once it says so.
            let mut log = world.runtime.logs(&container.id, None).await.unwrap();
            within(log.next()).await.unwrap().unwrap();
        }
        within(world.runtime.stop(&container.id, GRACE)).await.unwrap();
        assert_eq!(exit(world, &container.id).await.code, code, "{script}");
        world.runtime.stop(&container.id, GRACE).await.unwrap();
    }
}

pub async fn stopping_and_removing_what_is_absent_is_success(world: &World) {
    let nobody = ContainerId("f".repeat(64));
    world.runtime.stop(&nobody, GRACE).await.unwrap();
    world.runtime.remove(&nobody).await.unwrap();
    assert_eq!(world.runtime.inspect(&nobody).await.unwrap(), None);
    assert_eq!(world.runtime.usage(&nobody).await.unwrap(), None);
    let gone = format!("sha256:{}", "f".repeat(64)).parse().unwrap();
    assert!(world.runtime.remove_image(&gone).await.unwrap());
    for error in [
        world.runtime.listening(&nobody).await.err(),
        world.runtime.limit_cpu(&nobody, None).await.err(),
        world.runtime.logs(&nobody, None).await.err(),
    ] {
        assert!(matches!(error, Some(RuntimeError::NoContainer(_))), "{error:?}");
    }
}

pub async fn a_log_goes_on_where_it_was_left(world: &World) {
    let container = world.runtime.start(world.app(apps::COUNT)).await.unwrap();
    let mut seen: Vec<LogLine> = Vec::new();
    // Five readers, each takes one line and leaves its position to the next.
    for number in 1..=5 {
        let after = seen.last().map(|line| line.position);
        let mut log = world.runtime.logs(&container.id, after).await.unwrap();
        let line = within(log.next()).await.unwrap().unwrap();
        assert_eq!(line.text, format!("line {number}"));
        assert!(line.at.as_millis() > 0);
        seen.push(line);
    }
    assert!(seen.is_sorted_by(|one, next| one.position < next.position));
}

pub async fn a_log_is_live_until_the_app_ends(world: &World) {
    let container = world.runtime.start(world.app(apps::COUNT)).await.unwrap();
    let mut log = world.runtime.logs(&container.id, None).await.unwrap();
    for _ in 0..5 {
        within(log.next()).await.unwrap().unwrap();
    }
    let (rest, stopped) = tokio::join!(within(log.next()), world.runtime.stop(&container.id, GRACE));
    stopped.unwrap();
    assert!(rest.is_none(), "{rest:?}");
}

pub async fn usage_is_known_while_it_runs(world: &World) {
    let container = world.runtime.start(world.app(apps::SERVE)).await.unwrap();
    let usage = world.runtime.usage(&container.id).await.unwrap().unwrap();
    assert_eq!(usage.memory_limit_bytes, 256 << 20);
    assert!(usage.memory_bytes <= usage.memory_limit_bytes);
    world.runtime.stop(&container.id, GRACE).await.unwrap();
    assert_eq!(world.runtime.usage(&container.id).await.unwrap(), None);
}

pub async fn what_an_app_wrote_to_its_disk_is_known_while_it_runs(world: &World) {
    let quiet = world.runtime.start(world.app(apps::SLEEP)).await.unwrap();
    let used = world.runtime.disk_used(&quiet.id).await.unwrap().unwrap();
    assert!(used < 1_000_000, "its image is not counted: {used}");
    let container = world.runtime.start(world.app(apps::WRITE)).await.unwrap();
    let mut log = world.runtime.logs(&container.id, None).await.unwrap();
    assert_eq!(within(log.next()).await.unwrap().unwrap().text, "written");
    let used = world.runtime.disk_used(&container.id).await.unwrap().unwrap();
    assert!((5_000_000..6_000_000).contains(&used), "{used}");
    world.runtime.stop(&container.id, GRACE).await.unwrap();
    assert_eq!(world.runtime.disk_used(&container.id).await.unwrap(), None);
    assert_eq!(world.runtime.disk_used(&ContainerId("f".repeat(64))).await.unwrap(), None);
}

pub async fn sockets_are_seen_where_they_listen(world: &World) {
    for (script, address) in [(apps::SERVE, "0.0.0.0"), (apps::SERVE_INSIDE, "127.0.0.1")] {
        let container = world.runtime.start(world.app(script)).await.unwrap();
        let sockets = eventually(async || {
            let sockets = world.runtime.listening(&container.id).await.unwrap();
            (!sockets.is_empty()).then_some(sockets)
        })
        .await;
        let [socket] = sockets[..] else { panic!("{sockets:?}") };
        assert_eq!((socket.address.to_string().as_str(), socket.port), (address, 7860));
        world.runtime.stop(&container.id, GRACE).await.unwrap();
        assert!(world.runtime.listening(&container.id).await.unwrap().is_empty());
    }
}

pub async fn changes_are_hinted_at(world: &World) {
    let mut events = world.runtime.events().await.unwrap();
    let spec = world.app(apps::EXIT_3);
    let container = world.runtime.start(spec.clone()).await.unwrap();
    // Not polled until now: what happened since the call is there all the same.
    for _ in 0..2 {
        assert_eq!(within(events.next()).await.unwrap().space, Some(spec.space));
    }
    world.runtime.remove(&container.id).await.unwrap();
    assert_eq!(within(events.next()).await.unwrap().space, Some(spec.space));
}

/// A device that is nothing but a variable.
fn named(value: &str) -> Attach {
    Attach::Nodes { paths: Vec::new(), groups: Vec::new(), env: [("ACCELERATORS".to_owned(), value.to_owned())].into() }
}

pub async fn a_lease_is_found_again_with_its_devices(world: &World) {
    let mut plain = world.app(apps::SLEEP);
    let mut leased = world.app(apps::SLEEP);
    leased.grant = Some(world.grant(&[("accel-0", named("0")), ("accel-1", named("1"))]));
    // CPU and memory can be leased as well.
    let mut without_devices = world.app(apps::SLEEP);
    without_devices.grant = Some(world.grant(&[]));
    plain.grant = None;
    for spec in [plain, leased, without_devices] {
        let held = spec.grant.as_ref().map(Grant::held);
        let container = world.runtime.start(spec).await.unwrap();
        assert_eq!(container.held, held);
        assert_eq!(world.runtime.inspect(&container.id).await.unwrap().unwrap().held, held);
        let listed = world.runtime.list().await.unwrap();
        assert!(listed.iter().any(|listed| listed.id == container.id && listed.held == held), "{listed:#?}");
        // Also one that has ended, until it is removed.
        world.runtime.stop(&container.id, GRACE).await.unwrap();
        assert_eq!(world.runtime.inspect(&container.id).await.unwrap().unwrap().held, held);
    }
}

pub async fn a_device_the_engine_cannot_give_is_told_apart(world: &World) {
    let mut app = world.app(apps::SLEEP);
    let paths = vec!["/dev/spaceport-no-such-device".to_owned()];
    let missing = Attach::Nodes { paths, groups: Vec::new(), env: Default::default() };
    app.grant = Some(world.grant(&[("accel-9", missing)]));
    let error = world.runtime.start(app).await.unwrap_err();
    let RuntimeError::Devices { message, remedy, .. } = error else { panic!("{error:?}") };
    assert!(message.contains("device") && !remedy.is_empty(), "{message} {remedy}");
    assert!(world.runtime.list().await.unwrap().is_empty());
}

pub async fn an_image_in_use_is_not_removed(world: &World) {
    let image = layer(world).await;
    let mut spec = world.app(apps::EXIT_3);
    spec.image = image.clone();
    let container = world.runtime.start(spec).await.unwrap();
    exit(world, &container.id).await;
    // A stopped container still needs it, and a child does.
    assert!(!world.runtime.remove_image(&image).await.unwrap());
    world.runtime.remove(&container.id).await.unwrap();
    let child = Layer {
        image: image.clone(),
        path: "/opt".to_owned(),
        archive: world.tar(&[("b", "c")]),
        settings: world.settings(),
    };
    let child = world.runtime.add_layer(child).await.unwrap();
    assert!(!world.runtime.remove_image(&image).await.unwrap());
    assert!(world.runtime.remove_image(&child).await.unwrap());
    assert!(world.runtime.remove_image(&image).await.unwrap());
    assert_eq!(world.runtime.find_image(image.as_str()).await.unwrap(), None);
}

pub async fn the_cpu_cap_can_be_set_and_lifted(world: &World) {
    let container = world.runtime.start(world.app(apps::SLEEP)).await.unwrap();
    world.runtime.limit_cpu(&container.id, Some(500)).await.unwrap();
    world.runtime.limit_cpu(&container.id, Some(1500)).await.unwrap();
    world.runtime.limit_cpu(&container.id, None).await.unwrap();
    assert!(matches!(
        world.runtime.inspect(&container.id).await.unwrap().unwrap().state,
        ContainerState::Running { .. }
    ));
}
