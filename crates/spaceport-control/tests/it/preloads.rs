//! `preload_from_hub`: from this hub what the owner may read, from the other one what nobody here has a name for.

use std::sync::{Arc, Mutex};

use spaceport_core::space::{Artifact, BuildState, Visibility};
use spaceport_core::{ImageDigest, Reason, RepoId, RepoKind, SpaceId, SpaceStage};
use spaceport_git::{Author, InitialCommit, InitialFile};
use spaceport_store::NewRepo;

use crate::apps::{self, File, readme};
use crate::world::World;

/// What was downloaded from the other hub, by the scripts of the steps that did.
fn downloads(world: &World) -> Arc<Mutex<Vec<String>>> {
    let downloads = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&downloads);
    world.fake.on_step(move |step| {
        if step.script.contains("hf download") {
            into.lock().unwrap().push(step.script.clone());
        }
        apps::build_step(step)
    });
    downloads
}

async fn model(world: &World, name: &str, visibility: Visibility, content: &str) -> RepoId {
    let name: spaceport_core::RepoName = name.parse().unwrap();
    let (id, owner) = (RepoId::from(world.clock.clock().space_id()), world.account(name.owner()).await);
    let initial = InitialCommit {
        author: Author { name: "test".to_owned(), email: "test@localhost".to_owned() },
        at: world.clock.now(),
        title: "initial commit".to_owned(),
        files: vec![InitialFile { path: "config.json".to_owned(), content: content.as_bytes().to_vec() }],
    };
    let head = Some(world.repositories.create(id, &initial).await.unwrap());
    let (kind, at) = (RepoKind::Model, world.clock.now());
    world.store.repo_create(&NewRepo { id, kind, name, owner, creator: owner, visibility, head, at }).await.unwrap();
    id
}

fn app(title: &str, preload: &str) -> Vec<File> {
    let more = format!("preload_from_hub:\n- {preload}\n");
    vec![readme("gradio", title, &more), ("app.py", format!("# {title}\n"))]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_models_are_one_layer() {
    let world = World::new().await;
    let inputs = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&inputs);
    world.fake.on_step(move |step| {
        if step.script.contains("hf download") {
            into.lock().unwrap().push(step.input.is_some());
        }
        apps::build_step(step)
    });
    for name in ["alice/a", "alice/b", "alice/c"] {
        model(&world, name, Visibility::Public, "{}").await;
    }
    let plain = world.space("alice/plain").await;
    world.push(plain, &[readme("gradio", "plain", ""), ("app.py", "#".to_owned())]).await;
    world.wait_visit(plain, "plain").await;
    let environment = below(&world, plain).await;
    let (own, mixed) = (world.space("alice/own").await, world.space("alice/mixed").await);
    world.push(own, &app("one", "alice/a\n- alice/b\n- alice/c")).await;
    world.wait_visit(own, "one").await;
    assert_eq!(world.fake.parent(&below(&world, own).await), Some(environment.clone()));
    assert!(inputs.lock().unwrap().is_empty());
    // With something of the other hub it is the download that finds the others there.
    world.push(mixed, &app("two", "alice/a\n- elsewhere/model")).await;
    world.wait_visit(mixed, "two").await;
    assert_eq!(world.fake.parent(&below(&world, mixed).await), Some(environment));
    assert_eq!(*inputs.lock().unwrap(), [true]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn models_of_this_hub_have_one_limit_together() {
    let mut world = World::stopped().await;
    world.config.builder.limits.disk_bytes = 8 << 10;
    world.start().await;
    for name in ["alice/a", "alice/b"] {
        model(&world, name, Visibility::Public, &"x".repeat(5 << 10)).await;
    }
    let space = world.space("alice/demo").await;
    world.push(space, &app("one", "alice/a")).await;
    world.wait_visit(space, "one").await;
    world.push(space, &app("two", "alice/a\n- alice/b")).await;
    world.wait_reason(space, SpaceStage::BuildError, Reason::PreloadFailed).await;
    let told = world.seen(space).await.diagnosis.unwrap();
    assert!(told.message.contains("alice/b") && told.message.contains("more than the limit"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn models_are_not_copied_to_a_full_disk() {
    let mut world = World::stopped().await;
    world.objects.keep_free_bytes = u64::MAX;
    world.start().await;
    model(&world, "alice/model", Visibility::Public, "{}").await;
    let space = world.space("alice/demo").await;
    world.push(space, &app("one", "alice/model")).await;
    world.wait_reason(space, SpaceStage::BuildError, Reason::DiskFull).await;
    let told = world.seen(space).await.diagnosis.unwrap();
    assert!(told.message.contains("data directory") && told.remedy.contains("administrator"), "{told:?}");
}

/// What the newest image of a Space was made from.
async fn below(world: &World, space: SpaceId) -> ImageDigest {
    let Some(Artifact::Image { digest }) = world.head_build(space).await.unwrap().artifact else { panic!("no image") };
    world.fake.parent(&digest).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_model_comes_to_its_owner_alone_and_is_looked_for_nowhere_else() {
    let world = World::new().await;
    let downloads = downloads(&world);
    model(&world, "alice/secret", Visibility::Private, "{}").await;
    let (own, foreign) = (world.space("alice/demo").await, world.space("bob/demo").await);
    world.push(own, &app("one", "alice/secret")).await;
    world.wait_visit(own, "one").await;
    assert!(downloads.lock().unwrap().is_empty(), "no step had to fetch it");
    world.push(foreign, &app("two", "alice/secret")).await;
    world.wait_reason(foreign, SpaceStage::BuildError, Reason::PreloadFailed).await;
    // Nor is it anybody else's when she may not sign in any more.
    let alice = world.store.account_by_name("alice").await.unwrap().unwrap();
    assert!(world.store.account_disable(alice.id, world.clock.now()).await.unwrap());
    let sha = world.push(foreign, &app("three", "alice/secret")).await;
    world
        .wait_for("the build to fail", || async {
            let builds = world.builds(foreign).await;
            builds.iter().any(|build| build.sha == sha && build.state == BuildState::Failed)
        })
        .await;
    assert!(downloads.lock().unwrap().is_empty(), "the other hub's alice is somebody else");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_account_of_this_hub_has_is_downloaded() {
    let world = World::new().await;
    let downloads = downloads(&world);
    let space = world.space("bob/demo").await;
    world.push(space, &app("one", "elsewhere/model")).await;
    world.wait_visit(space, "one").await;
    let asked = downloads.lock().unwrap().clone();
    assert!(matches!(asked.as_slice(), [one] if one.contains("hf download 'elsewhere/model'")), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_is_looked_up_by_every_build() {
    let world = World::new().await;
    let downloads = downloads(&world);
    let repo = model(&world, "alice/model", Visibility::Public, "{}").await;
    let space = world.space("bob/demo").await;
    world.push(space, &app("one", "alice/model config.json")).await;
    world.wait_visit(space, "one").await;
    let first = below(&world, space).await;
    world.push(space, &app("two", "alice/model config.json")).await;
    world.wait_visit(space, "two").await;
    assert_eq!(below(&world, space).await, first, "the same files are the same image");
    // Its owner takes it back: what an earlier build left is no way around that.
    world.store.repo_set_visibility(repo, Visibility::Private, world.clock.now()).await.unwrap();
    world.push(space, &app("three", "alice/model config.json")).await;
    world.wait_reason(space, SpaceStage::BuildError, Reason::PreloadFailed).await;
    assert!(downloads.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_a_preload_is_said() {
    let mut world = World::stopped().await;
    world.config.builder.preload_endpoint = String::new();
    world.start().await;
    let large = "version https://git-lfs.github.com/spec/v1\noid sha256:".to_owned() + &"a".repeat(64) + "\nsize 3\n";
    model(&world, "alice/model", Visibility::Public, &large).await;
    let space = world.space("alice/demo").await;
    for (preload, words) in [
        ("elsewhere/nothing", "elsewhere/nothing is not on this hub, and this site uses no other"),
        ("alice/nothing", "alice/nothing is not on this hub, or the Space's owner may not read it"),
        ("alice/model model.bin", "the commit has no file `model.bin`"),
        ("alice/model README.md,model.bin", "the commit has no file `README.md`"),
        ("alice/model config.json v2", "alice/model has no revision v2"),
        ("alice/model", "the hub does not have the content of config.json"),
    ] {
        let sha = world.push(space, &app("bad", preload)).await;
        world
            .wait_for("the build to fail", || async {
                let builds = world.builds(space).await;
                builds.iter().any(|build| build.sha == sha && build.state == BuildState::Failed)
            })
            .await;
        world.wait_reason(space, SpaceStage::BuildError, Reason::PreloadFailed).await;
        let told = world.seen(space).await.diagnosis.unwrap();
        assert!(told.message.contains(words) && !told.remedy.is_empty(), "{preload}: {told:?}");
    }
}
