//! What is removed when nobody needs it any more, and what stays.

use std::time::Duration;

use spaceport_control::LogId;
use spaceport_core::SpaceId;
use spaceport_runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::apps::gradio;
use crate::world::World;

const PASS: Duration = Duration::from_secs(11 * 60);
const FORTNIGHT: Duration = Duration::from_secs(15 * 24 * 60 * 60);
const GIB: u64 = 1 << 30;

/// The collector, until it is dropped.
pub struct Collector<'a> {
    world: &'a World,
    stop: CancellationToken,
}

impl Drop for Collector<'_> {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl<'a> Collector<'a> {
    pub fn start(world: &'a World) -> Self {
        let stop = CancellationToken::new();
        tokio_util::task::TaskTracker::new()
            .spawn(spaceport_control::garbage::run(world.parts().clone(), stop.clone()));
        Self { world, stop }
    }

    /// Lets one pass happen that begins after this call.
    async fn pass(&self) {
        let began = self.world.clock.now();
        let passed = || async {
            self.world.clock.skip(PASS);
            let statuses = self.world.parts().control.statuses();
            statuses.get("garbage").is_some_and(|status| {
                assert!(status.ok, "{}", status.message);
                status.at.since(began) >= 2 * PASS
            })
        };
        self.world.wait_for("a pass", passed).await;
    }
}

async fn volumes(world: &World) -> Vec<String> {
    world.fake.list_volumes().await.unwrap().into_iter().map(|volume| volume.name).collect()
}

async fn cache_of(world: &World, space: SpaceId) -> String {
    format!("spaceport-cache-{}", world.seen(space).await.owner)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caches_are_cut_and_go_with_their_owner() {
    let world = World::new().await;
    let (alice, bob) =
        (world.running("alice/demo", &gradio("one")).await, world.running("bob/demo", &gradio("two")).await);
    let (of_alice, of_bob) = (cache_of(&world, alice).await, cache_of(&world, bob).await);
    world.fake.set_build_cache(50 * GIB);
    world.fake.set_volume_size(&of_alice, 5 * GIB);
    world.fake.set_volume_size(&of_bob, 25 * GIB);
    let collector = Collector::start(&world);
    collector.pass().await;
    let of_site = "spaceport-cache-site";
    assert_eq!(volumes(&world).await, [of_alice.as_str(), of_site], "bob's begins anew");
    assert_eq!(world.fake.build_cache(), 20 * GIB);
    world.delete(alice).await;
    world.wait_gone(alice).await;
    world.clock.skip(Duration::from_secs(60 * 60));
    collector.pass().await;
    assert_eq!(volumes(&world).await, [of_site]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pulled_base_image_goes_after_everything_made_from_it() {
    let world = World::new().await;
    let base = "docker.io/library/python:3.10";
    let space = world.running("alice/demo", &gradio("one")).await;
    let collector = Collector::start(&world);
    world.clock.skip(FORTNIGHT);
    collector.pass().await;
    assert!(world.fake.find_image(base).await.unwrap().is_some(), "an app runs on it");
    world.delete(space).await;
    world.wait_gone(space).await;
    for _ in 0..4 {
        collector.pass().await;
    }
    assert_eq!(world.fake.find_image(base).await.unwrap(), None);
    assert_eq!(world.fake.list_images().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_logs_go_and_those_of_what_runs_stay() {
    let world = World::new().await;
    let space = world.running("alice/demo", &gradio("one")).await;
    let logs = world.parts().control.logs().clone();
    let instance = world.container(space).instance;
    let build = world.head_build(space).await.unwrap().id;
    let clock = world.clock.clock();
    let mut old = Vec::new();
    for _ in 0..60 {
        // Later than the running one, as after many failed attempts.
        let id = LogId::Run(space, clock.instance_id());
        logs.writer(id).unwrap().line("it crashed");
        old.push(id);
        world.clock.skip(Duration::from_millis(5));
    }
    Collector::start(&world).pass().await;
    let there = old.iter().filter(|log| !world.log(**log).is_empty()).count();
    assert_eq!(there, 50);
    assert!(!world.log(LogId::Run(space, instance)).is_empty(), "its app runs");
    assert!(!world.log(LogId::Build(space, build)).is_empty());
}
