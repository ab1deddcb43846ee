//! Dockerfiles on the real engine: secrets, cache, readable failures.

use spaceport_runtime::DockerfileOutcome;
use tokio_util::sync::CancellationToken;

use crate::contract::dockerfile;
use crate::world::{BASE, World, on_docker, sink, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_is_there_for_its_step_only() {
    on_docker(async |world: &World| {
        let text = format!(
            "FROM {BASE}\nRUN --mount=type=secret,id=TOKEN wc -c < /run/secrets/TOKEN\nRUN ls /run/secrets | wc -l\n"
        );
        let mut build = dockerfile(world, &text);
        build.secrets.insert("TOKEN".to_owned(), b"s3cret".to_vec());
        let (log, lines) = sink();
        let outcome = within(world.runtime.build_dockerfile(build, log, CancellationToken::new())).await.unwrap();
        let lines = lines.lock().unwrap().clone();
        assert!(matches!(outcome, DockerfileOutcome::Done(_)), "{outcome:?} {lines:#?}");
        assert!(lines.iter().any(|line| line.ends_with(" 6")), "{lines:#?}");
        assert!(lines.iter().any(|line| line.ends_with(" 0")), "{lines:#?}");
        assert!(!lines.iter().any(|line| line.contains("s3cret")), "{lines:#?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_are_cached_unless_told_otherwise() {
    on_docker(async |world: &World| {
        let mark = world.name("mark");
        let text = format!("FROM {BASE}\nRUN echo {mark} > /mark\nCOPY file /file\n");
        for (no_cache, cached) in [(false, false), (false, true), (true, false)] {
            let mut build = dockerfile(world, &text);
            build.no_cache = no_cache;
            let (log, lines) = sink();
            let outcome = within(world.runtime.build_dockerfile(build, log, CancellationToken::new())).await.unwrap();
            let lines = lines.lock().unwrap().clone();
            assert!(matches!(outcome, DockerfileOutcome::Done(_)), "{outcome:?} {lines:#?}");
            // The base image and the context may be "cached" from other builds; this build's own
            // step is what counts.
            let step = lines.iter().find(|line| line.contains(&mark)).expect("the step is named");
            let number = step.split(' ').next().unwrap_or_default();
            assert_eq!(lines.contains(&format!("{number} CACHED")), cached, "{lines:#?}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_scope_cached_no_other_finds() {
    on_docker(async |world: &World| {
        let mark = world.name("mark");
        let text = format!(
            "FROM {BASE}\nRUN echo {mark} > /mark\nARG TURN\n\
             RUN --mount=type=cache,target=/c echo \"{mark} found $(cat /c/{mark})\"; echo mine > /c/{mark}\n"
        );
        let (mine, theirs) = (world.scope(), format!("{}0", world.scope()));
        // Whose turn it is, whether the step is known, and what the mount holds when it runs.
        let turns =
            [(&mine, false, ""), (&mine, true, ""), (&theirs, false, ""), (&mine, true, ""), (&mine, true, "mine")];
        for (turn, (scope, cached, found)) in turns.into_iter().enumerate() {
            let mut build = dockerfile(world, &text);
            (build.no_cache, build.cache_scope) = (false, scope.clone());
            // The last one's second step runs again, with the mount that the first one left.
            build.args.insert("TURN".to_owned(), (turn / 4).to_string());
            // A Space's own variable does not choose the scope.
            build.args.insert("BUILDKIT_CACHE_MOUNT_NS".to_owned(), mine.clone());
            let (log, lines) = sink();
            let outcome = within(world.runtime.build_dockerfile(build, log, CancellationToken::new())).await.unwrap();
            let lines = lines.lock().unwrap().clone();
            assert!(matches!(outcome, DockerfileOutcome::Done(_)), "{outcome:?} {lines:#?}");
            let step = lines.iter().find(|line| line.contains(&format!("echo {mark} >"))).expect("the step is named");
            let number = step.split(' ').next().unwrap_or_default();
            assert_eq!(lines.contains(&format!("{number} CACHED")), cached, "{scope}: {lines:#?}");
            let printed = lines.iter().find_map(|line| line.split_once(&format!(" {mark} found ")));
            // The name of the step has these words too, in quotes.
            let printed = printed.map(|(_, rest)| rest).filter(|rest| !rest.starts_with('$'));
            assert_eq!(printed.unwrap_or_default(), found, "{scope}: {lines:#?}");
        }
    })
    .await;
}

/// Whether the limits of steps can be set: by root, on the engine's host.
fn can_limit() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let is_root = status.lines().any(|line| line.starts_with("Uid:\t0\t"));
    let is_host = std::path::Path::new("/var/lib/docker").is_dir();
    if !is_root || !is_host {
        eprintln!("skipped: only root on the engine's host can limit the steps of a Dockerfile");
    }
    is_root && is_host
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_has_limits() {
    if !can_limit() {
        return;
    }
    on_docker(async |world: &World| {
        // A second to be found; then 1 GiB where 256 MiB are allowed, and more processes than allowed.
        for (command, said) in [
            ("sleep 1; python3 -c \"b'x' * (1 << 30)\"", "137"),
            ("sleep 1; for i in $(seq 300); do sleep 9 & done", "fork"),
        ] {
            let build = dockerfile(world, &format!("FROM {BASE}\nRUN {command}\n"));
            let (log, lines) = sink();
            let outcome = within(world.runtime.build_dockerfile(build, log, CancellationToken::new())).await.unwrap();
            let lines = lines.lock().unwrap().clone();
            let DockerfileOutcome::Failed { message } = outcome else { panic!("{outcome:?} {lines:#?}") };
            assert!(message.contains(said), "{message} {lines:#?}");
        }
        let text = format!("FROM {BASE}\nRUN dd if=/dev/zero of=/big bs=1M count=64; sync; sleep 600\n");
        let (log, _) = sink();
        let build = dockerfile(world, &text);
        let outcome = within(world.runtime.build_dockerfile(build, log, CancellationToken::new())).await.unwrap();
        assert_eq!(outcome, DockerfileOutcome::DiskExceeded);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mistake_in_a_dockerfile_is_named() {
    on_docker(async |world: &World| {
        for (text, named) in [
            (format!("FROM {BASE}\nRUNN echo\n"), "RUNN"),
            (format!("FROM {BASE}\nCOPY nothing /nothing\n"), "nothing"),
            ("FROM localhost:1/no-such-image:1\n".to_owned(), "no-such-image"),
        ] {
            let (log, _) = sink();
            let build = dockerfile(world, &text);
            let outcome = within(world.runtime.build_dockerfile(build, log, CancellationToken::new())).await.unwrap();
            let DockerfileOutcome::Failed { message } = outcome else { panic!("{outcome:?}") };
            assert!(message.contains(named), "{message}");
        }
    })
    .await;
}
