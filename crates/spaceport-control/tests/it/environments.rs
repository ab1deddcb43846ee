//! What an environment is made from, and what it starts from.

use std::sync::{Arc, Mutex};

use spaceport_control::LogId;
use spaceport_core::space::Artifact;
use spaceport_core::{ImageDigest, SpaceId};
use spaceport_runtime::fake::{StepBehavior, StepEnd};

use crate::apps::{self, File, gradio, gradio_with};
use crate::world::World;

/// The scripts of all installs from now on.
fn installs(world: &World) -> Arc<Mutex<Vec<String>>> {
    let installs = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&installs);
    world.fake.on_step(move |step| {
        if step.script.contains("uv pip install") {
            into.lock().unwrap().push(step.script.clone());
        }
        apps::build_step(step)
    });
    installs
}

/// The environment below the newest build of a Space.
async fn environment(world: &World, space: SpaceId) -> ImageDigest {
    let Some(Artifact::Image { digest }) = world.head_build(space).await.unwrap().artifact else {
        panic!("the build has no image")
    };
    world.fake.parent(&digest).unwrap()
}

async fn push(world: &World, space: SpaceId, title: &str, files: &[File]) -> ImageDigest {
    world.push(space, files).await;
    world.wait_visit(space, title).await;
    environment(world, space).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_requirements_start_from_the_environment_before() {
    let world = World::new().await;
    let installs = installs(&world);
    let space = world.space("alice/demo").await;
    let first = push(&world, space, "one", &gradio("one")).await;
    let platform = world.fake.parent(&first);
    let second = push(&world, space, "two", &gradio_with("two", "scipy\n")).await;
    assert_eq!(world.fake.parent(&second), Some(first.clone()));
    let other = world.space("alice/other").await;
    let third = push(&world, other, "three", &gradio_with("three", "pandas\n")).await;
    assert_eq!(world.fake.parent(&third), Some(second.clone()), "it serves the owner's other Spaces");
    let fourth = push(&world, space, "four", &gradio_with("four", "pandas>=2\n")).await;
    assert_eq!(world.fake.parent(&fourth), Some(second), "but a Space's own comes first");
    let scripts = installs.lock().unwrap().clone();
    assert!(scripts[0].contains("uv venv") && !scripts[0].contains("--exact"), "{scripts:#?}");
    for script in &scripts[1..] {
        // Nothing of what was there decides what is there now.
        assert!(!script.contains("uv venv") && script.contains("--upgrade --exact"), "{scripts:#?}");
    }
    let stranger = world.space("bob/demo").await;
    let theirs = push(&world, stranger, "five", &gradio_with("five", "scipy\n")).await;
    let sdk = world.fake.parent(&theirs).unwrap();
    assert_eq!(world.fake.parent(&sdk), platform, "another owner's is never used, only the SDK's own");
    let another = world.space("carol/demo").await;
    let anothers = push(&world, another, "six", &gradio_with("six", "numpy\n")).await;
    assert_eq!(world.fake.parent(&anothers), Some(sdk));
    assert_eq!(installs.lock().unwrap().len(), 4 + 2 + 1, "which is made once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_environment_of_the_sdk_that_fails_fails_no_space() {
    let world = World::new().await;
    let tries = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&tries);
    world.fake.on_step(move |step| {
        let is_sdk = step.cache.as_ref().is_some_and(|(volume, _)| volume == "spaceport-cache-site");
        if is_sdk {
            *counted.lock().unwrap() += 1;
            return StepBehavior { end: StepEnd::Exit(1), ..StepBehavior::default() };
        }
        apps::build_step(step)
    });
    for (name, title) in [("alice/demo", "one"), ("bob/demo", "two"), ("carol/demo", "three")] {
        let space = world.space(name).await;
        push(&world, space, title, &gradio(title)).await;
    }
    assert_eq!(*tries.lock().unwrap(), 1, "the second owner's build tries, the third's knows");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_an_owner_gets_into_the_environment_of_the_sdk() {
    let world = World::new().await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&seen);
    world.fake.on_step(move |step| {
        if step.script.contains("uv pip install") {
            let cache = step.cache.as_ref().map(|(volume, _)| volume.clone());
            into.lock().unwrap().push((step.input.is_some(), cache.unwrap_or_default(), step.script.clone()));
        }
        apps::build_step(step)
    });
    for (name, title) in [("alice/demo", "one"), ("bob/demo", "two")] {
        let space = world.space(name).await;
        push(&world, space, title, &gradio(title)).await;
    }
    // Without requirements the SDK's environment is all there is to it.
    let space = world.space("carol/demo").await;
    push(&world, space, "three", &[apps::readme("gradio", "three", ""), ("app.py", "#".to_owned())]).await;
    let seen = seen.lock().unwrap().clone();
    let [_, (of_sdk, sdk_cache, sdk), (of_space, own_cache, own)] = seen.as_slice() else { panic!("{seen:#?}") };
    assert!(!of_sdk && *of_space);
    assert!(!sdk.contains("requirements.txt") && own.contains("requirements.txt"), "{seen:#?}");
    assert_ne!(sdk_cache, own_cache);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_more_than_names_and_versions_is_made_from_scratch() {
    let world = World::new().await;
    let space = world.space("alice/demo").await;
    let first = push(&world, space, "one", &gradio("one")).await;
    let platform = world.fake.parent(&first);
    let mut before = gradio("two");
    before.push(("pre-requirements.txt", "pip<24\n".to_owned()));
    let mut debian = gradio("four");
    debian.push(("packages.txt", "# for video\nffmpeg libsm6\n".to_owned()));
    for (title, files) in [
        ("two", before),
        ("three", gradio_with("three", "git+https://example.org/a.git\n")),
        ("five", gradio_with("five", "--index-url https://example.org/simple\nnumpy\n")),
    ] {
        let made = push(&world, space, title, &files).await;
        assert_eq!(world.fake.parent(&made), platform, "{title}");
    }
    let made = push(&world, space, "four", &debian).await;
    let packages = world.fake.parent(&made).unwrap();
    assert_eq!(world.fake.parent(&packages), platform, "packages.txt, then the environment");
    world.push(space, &gradio_with("six", "scipy\n")).await;
    world.wait_visit(space, "six").await;
    world.factory_reboot(space).await;
    world
        .wait_for("the second build", || async {
            world.head_build(space).await.is_some_and(|build| build.no_cache && build.artifact.is_some())
        })
        .await;
    assert_eq!(world.fake.parent(&environment(&world, space).await), platform, "a factory reboot uses nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn environments_are_not_stacked_without_end() {
    let world = World::new().await;
    let installs = installs(&world);
    let space = world.space("alice/demo").await;
    for round in 0..12 {
        let title = format!("round {round}");
        push(&world, space, &title, &gradio_with(&title, &format!("numpy>={round}\n"))).await;
    }
    let installs = installs.lock().unwrap().clone();
    assert_eq!(installs.len(), 12 + 1);
    let scratch = installs.iter().filter(|script| script.contains("uv venv")).count();
    assert_eq!(scratch, 2, "the first; and the SDK's, with which the tenth begins");
}

/// What the log of the newest build says, without what every build says.
async fn warnings(world: &World, space: SpaceId) -> Vec<String> {
    let build = world.head_build(space).await.unwrap();
    let log = world.log(LogId::Build(space, build.id));
    log.into_iter().filter(|line| line.starts_with("Warning: ")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_ignored_of_the_front_matter_is_told() {
    let mut world = World::new().await;
    let asks = |title: &'static str, more: &str| {
        let mut files = gradio(title);
        files[0] = apps::readme("gradio", title, more);
        files
    };
    let space = world.space("alice/demo").await;
    push(&world, space, "one", &asks("one", "python_version: '3.10'\nhf_oauth: false\n")).await;
    assert_eq!(warnings(&world, space).await, Vec::<String>::new());
    let python =
        "Warning: python_version 3.10.4: the app gets this site's release of Python 3.10, whatever its last number";
    push(&world, space, "two", &asks("two", "python_version: 3.10.4\nhf_oauth: true\n")).await;
    let oauth = "Warning: hf_oauth is ignored: sign-in with the Hub is not offered to apps yet";
    assert_eq!(warnings(&world, space).await, [oauth, python]);

    // The same where the site names its images.
    world.stop().await;
    world.config.builder.python_image = None;
    let images = &mut world.config.builder.python_images;
    images.insert("3.10".to_owned(), "docker.io/library/python:3.10".to_owned());
    world.start().await;
    push(&world, space, "three", &asks("three", "python_version: 3.10.4\n")).await;
    assert_eq!(warnings(&world, space).await, [python]);
    world.stop().await;
    let exact = world.config.builder.python_images["3.10"].clone();
    world.config.builder.python_images.insert("3.10.4".to_owned(), exact);
    world.start().await;
    push(&world, space, "four", &asks("four", "python_version: 3.10.4\n")).await;
    assert_eq!(warnings(&world, space).await, Vec::<String>::new());
}
