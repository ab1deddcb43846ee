//! `preload_from_hub`: from this hub what the owner may read, from the other one what is not here.

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

/// What the newest image of a Space was made from.
async fn below(world: &World, space: SpaceId) -> ImageDigest {
    let Some(Artifact::Image { digest }) = world.head_build(space).await.unwrap().artifact else { panic!("no image") };
    world.fake.parent(&digest).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owners_private_model_comes_from_this_hub_and_a_strangers_does_not() {
    let world = World::new().await;
    let downloads = downloads(&world);
    model(&world, "alice/secret", Visibility::Private, "{}").await;
    let (own, foreign) = (world.space("alice/demo").await, world.space("bob/demo").await);
    world.push(own, &app("one", "alice/secret")).await;
    world.wait_visit(own, "one").await;
    assert!(downloads.lock().unwrap().is_empty(), "no step had to fetch it");
    world.push(foreign, &app("two", "alice/secret")).await;
    world.wait_visit(foreign, "two").await;
    let asked = downloads.lock().unwrap().clone();
    assert!(matches!(asked.as_slice(), [one] if one.contains("hf download 'alice/secret'")), "{asked:?}");
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
    world.wait_visit(space, "three").await;
    assert_ne!(below(&world, space).await, first);
    assert_eq!(downloads.lock().unwrap().len(), 1);
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
        ("alice/nothing", "alice/nothing is not on this hub, and this site uses no other"),
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
