//! What only the real engine can show: what is in an image, what is left behind, who is away.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures::StreamExt;
use spaceport_docker::{DockerConfig, DockerRuntime};
use spaceport_runtime::{ImageSettings, Keep, Layer, Mount, Runtime, RuntimeError, StepOutcome, VolumeSpec};
use tokio_util::sync::CancellationToken;

use crate::world::{World, apps, docker, docker_config, eventually, finish, on_docker, sink, steps, within};

/// Runs a step that has to succeed and gives what it printed.
async fn output(world: &World, step: spaceport_runtime::BuildStep) -> Vec<String> {
    let (log, lines) = sink();
    let outcome = within(world.runtime.run_step(step, log, CancellationToken::new())).await.unwrap();
    let lines = lines.lock().unwrap().clone();
    assert!(matches!(outcome, StepOutcome::Done(_)), "{outcome:?} {lines:#?}");
    lines
}

#[tokio::test]
async fn an_engine_that_is_away_is_noticed_at_once() {
    let config = DockerConfig { socket: Some("/nonexistent/docker.sock".to_owned()), ..docker_config() };
    let runtime = DockerRuntime::connect(config).unwrap();
    let begun = Instant::now();
    for error in [runtime.ping().await.err(), runtime.list().await.err(), runtime.prepare().await.err()] {
        assert!(matches!(error, Some(RuntimeError::Unreachable(_))), "{error:?}");
    }
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_missing_bundle_is_said_at_the_start() {
    let config = DockerConfig { ca_bundle: Some(PathBuf::from("/nonexistent/ca.pem")), ..docker_config() };
    let error = DockerRuntime::connect(config).unwrap_err();
    assert!(error.to_string().contains("/nonexistent/ca.pem"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_has_its_settings_and_nothing_of_the_step() {
    on_docker(async |world: &World| {
        let mut step = world.step("echo \"secret is $TOKEN\"; mkdir -p /home/app && echo content > /home/app/file");
        step.env.insert("TOKEN".to_owned(), "s3cret".to_owned());
        step.keep = Keep::Image(ImageSettings {
            env: [("PORT".to_owned(), "7860".to_owned())].into(),
            command: Some(vec!["/bin/sh".to_owned(), "-c".to_owned(), "env; pwd; id -u; cat file".to_owned()]),
            user: Some("1000".to_owned()),
            working_dir: Some("/home/app".to_owned()),
            ..world.settings()
        });
        let (log, lines) = sink();
        let outcome = world.runtime.run_step(step, log, CancellationToken::new()).await.unwrap();
        let StepOutcome::Done(Some(image)) = outcome else { panic!("{outcome:?}") };
        assert_eq!(*lines.lock().unwrap(), ["secret is s3cret"]);
        let mut spec = world.app("");
        (spec.image, spec.command, spec.user) = (image, None, None);
        let container = world.runtime.start(spec).await.unwrap();
        let log = world.runtime.logs(&container.id, None).await.unwrap();
        let printed: Vec<String> = within(log.map(|line| line.unwrap().text).collect()).await;
        for line in ["PORT=7860", "GREETING=hi", "/home/app", "1000", "content"] {
            assert!(printed.iter().any(|printed| printed == line), "{line}: {printed:#?}");
        }
        assert!(!printed.iter().any(|line| line.contains("s3cret") || line.contains("TOKEN")), "{printed:#?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apps_write_to_a_volume_of_theirs_and_never_to_files_of_a_repository() {
    on_docker(async |world: &World| {
        let runtime = &world.runtime;
        let (bucket, files) = (world.name("spaceport-contract-bucket"), world.name("spaceport-contract-files"));
        let content = world.dir.path().join("content.tar");
        let mut tar = tar::Builder::new(std::fs::File::create(&content).unwrap());
        let mut header = tar::Header::new_gnu();
        header.set_size(5);
        header.set_mode(0o644);
        header.set_uid(1000);
        header.set_gid(1000);
        tar.append_data(&mut header, "file", &b"first"[..]).unwrap();
        tar.into_inner().unwrap();
        for (name, content) in [(&bucket, None), (&files, Some(content))] {
            let spec =
                VolumeSpec { name: name.clone(), labels: Default::default(), image: world.base.clone(), content };
            runtime.provide_volume(spec).await.unwrap();
        }
        let mut printed = Vec::new();
        for _ in 0..2 {
            let mut app = world.app(
                "cat /files/file; echo; echo x > /files/new || echo refused; cat /data/note; echo kept > /data/note",
            );
            app.mounts = vec![
                Mount { volume: bucket.clone(), path: "/data".to_owned(), read_only: false },
                Mount { volume: files.clone(), path: "/files".to_owned(), read_only: true },
            ];
            let container = runtime.start(app).await.unwrap();
            let log = runtime.logs(&container.id, None).await.unwrap();
            printed.push(within(log.map(|line| line.unwrap().text).collect::<Vec<_>>()).await);
            runtime.remove(&container.id).await.unwrap();
            // What an app wrote is there for the next one, also when the volume is asked for again.
            let spec = VolumeSpec {
                name: bucket.clone(),
                labels: Default::default(),
                image: world.base.clone(),
                content: None,
            };
            runtime.provide_volume(spec).await.unwrap();
        }
        for lines in &printed {
            assert!(
                lines.iter().any(|line| line == "first") && lines.iter().any(|line| line == "refused"),
                "{lines:?}"
            );
        }
        assert!(!printed[0].contains(&"kept".to_owned()) && printed[1].contains(&"kept".to_owned()), "{printed:?}");
        for name in [&bucket, &files] {
            assert!(runtime.remove_volume(name).await.unwrap());
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_an_image_gets_into_a_volume() {
    on_docker(async |world: &World| {
        let layer = Layer {
            image: world.base.clone(),
            path: "/".to_owned(),
            archive: world.tar(&[("volume/planted", "x\n"), ("data/planted", "x\n")]),
            settings: world.settings(),
        };
        let image = world.runtime.add_layer(layer).await.unwrap();
        let name = world.name("spaceport-contract-plain");
        let spec = VolumeSpec { name: name.clone(), labels: Default::default(), image: image.clone(), content: None };
        world.runtime.provide_volume(spec).await.unwrap();
        let mut app = world.app("ls -A /data; echo listed");
        app.image = image;
        app.mounts = vec![Mount { volume: name.clone(), path: "/data".to_owned(), read_only: false }];
        let container = world.runtime.start(app).await.unwrap();
        let log = world.runtime.logs(&container.id, None).await.unwrap();
        let printed = within(log.map(|line| line.unwrap().text).collect::<Vec<_>>()).await;
        world.runtime.remove(&container.id).await.unwrap();
        assert!(world.runtime.remove_volume(&name).await.unwrap());
        assert_eq!(printed, ["listed"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_of_a_user_has_no_capability_and_owns_its_cache() {
    on_docker(async |world: &World| {
        let volume = world.name("spaceport-contract-cache");
        for expected in ["none", "kept"] {
            let mut step =
                world.step("grep CapEff /proc/self/status; cat /cache/file || echo none; echo kept > /cache/file");
            step.user = "1000".to_owned();
            step.cache = Some((volume.clone(), "/cache".to_owned()));
            step.keep = Keep::Archive {
                path: "/etc/hostname".to_owned(),
                to: world.dir.path().join("x.tar"),
                max_bytes: u64::MAX,
            };
            let printed = output(world, step).await;
            assert!(printed.contains(&"CapEff:\t0000000000000000".to_owned()), "{printed:#?}");
            assert!(printed.contains(&expected.to_owned()), "{printed:#?}");
        }
        // The steps' containers, which use the volume, are removed in the background.
        eventually(async || world.runtime.remove_volume(&volume).await.unwrap().then_some(())).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_finds_its_input_and_a_layer_its_owners() {
    on_docker(async |world: &World| {
        let layer = Layer {
            image: world.base.clone(),
            path: "/opt".to_owned(),
            archive: world.tar(&[("app/main.py", "print(1)\n")]),
            settings: world.settings(),
        };
        let mut step = world.step("stat -c %u /opt/app/main.py; cat /srv/requirements.txt");
        step.image = world.runtime.add_layer(layer).await.unwrap();
        step.input = Some(("/srv".to_owned(), world.tar(&[("requirements.txt", "gradio\n")])));
        assert_eq!(output(world, step).await, ["1000", "gradio"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_call_leaves_no_container() {
    let config = docker_config();
    let installation = config.installation.clone();
    let Some((runtime, world)) = docker(config).await else { return };
    finish(runtime.clone(), world, async |world: &World| {
        let (log, lines) = sink();
        {
            let running = world.runtime.run_step(world.step(steps::HANG), log, CancellationToken::new());
            let started = eventually(async || (!lines.lock().unwrap().is_empty()).then_some(()));
            tokio::select! {
                outcome = running => panic!("{outcome:?}"),
                () = started => {}
            }
        }
        assert_eq!(containers(&installation).await, 1);
        // It is being removed; the end of the process waits for that.
        within(runtime.close()).await;
        assert_eq!(containers(&installation).await, 0);
    })
    .await;
}

/// All containers of an installation, asked of the engine itself.
async fn containers(installation: &str) -> usize {
    let docker = bollard::Docker::connect_with_defaults().unwrap().negotiate_version().await.unwrap();
    let label = format!("spaceport.installation={installation}");
    let options = bollard::query_parameters::ListContainersOptions {
        all: true,
        filters: Some([("label".to_owned(), vec![label])].into()),
        ..Default::default()
    };
    docker.list_containers(Some(options)).await.unwrap().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_crashed_process_left_is_removed() {
    let config = docker_config();
    let Some((_crashed, world)) = docker(config.clone()).await else { return };
    let (log, lines) = sink();
    let cancel = CancellationToken::new();
    let running = world.runtime.run_step(world.step(steps::HANG), log, cancel);
    let next = DockerRuntime::connect(config).unwrap();
    let recovery = async {
        eventually(async || (!lines.lock().unwrap().is_empty()).then_some(())).await;
        next.prepare().await.unwrap();
    };
    // The container of the first process is taken away from under it, which it survives.
    let (outcome, ()) = within(async { tokio::join!(running, recovery) }).await;
    assert!(!matches!(outcome, Ok(StepOutcome::Done(_))), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sites_certificates_are_trusted_in_steps_and_apps() {
    let bundle = PathBuf::from("/etc/ssl/certs/ca-certificates.crt");
    if !bundle.is_file() {
        eprintln!("skipped: this machine has no {}", bundle.display());
        return;
    }
    let config = DockerConfig { ca_bundle: Some(bundle), ..docker_config() };
    let Some((runtime, world)) = docker(config).await else { return };
    finish(runtime, world, async |world: &World| {
        let look = "python3 -c \"import os, ssl; p = os.environ['SSL_CERT_FILE']; \
                    print(p, len(ssl.create_default_context().get_ca_certs()) > 10)\"";
        let expected = "/etc/spaceport-ca.pem True";
        assert_eq!(output(world, world.step(look)).await, [expected]);
        let container = world.runtime.start(world.app(look)).await.unwrap();
        let mut log = world.runtime.logs(&container.id, None).await.unwrap();
        assert_eq!(within(log.next()).await.unwrap().unwrap().text, expected);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_host_says_what_is_left() {
    on_docker(async |world: &World| {
        let room = world.runtime.room().await.unwrap();
        if std::path::Path::new("/var/lib/docker").is_dir() {
            assert!(room.disk_bytes.is_some_and(|bytes| bytes > 0), "{room:?}");
        }
        assert!(room.memory_bytes.is_some_and(|bytes| bytes > 0), "{room:?}");
        // Keeping more than there is removes nothing.
        assert_eq!(world.runtime.prune_build_cache(1 << 60).await.unwrap(), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn installations_do_not_see_each_other() {
    on_docker(async |world: &World| {
        let container = world.runtime.start(world.app(apps::SLEEP)).await.unwrap();
        let other = DockerRuntime::connect(docker_config()).unwrap();
        assert!(other.list().await.unwrap().is_empty());
        assert_eq!(other.inspect(&container.id).await.unwrap(), None);
    })
    .await;
}
