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
