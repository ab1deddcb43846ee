//! Noise, then silence: whatever people, apps, the engine and the server did in whatever order,
//! the site comes to what is desired, and then nothing happens any more.

use std::collections::HashMap;
use std::time::Duration;

use futures::StreamExt;
use spaceport_control::Routes;
use spaceport_core::route::{RouteTable, Target};
use spaceport_core::space::{BuildState, DesiredRun};
use spaceport_core::{CommitSha, SpaceId, SpaceStage};
use spaceport_runtime::Runtime;

use crate::apps::{File, docker, gradio, gradio_with, readme, site};
use crate::world::{TICKETS, World, target};

/// Worlds at the same time.
const AT_ONCE: usize = 4;
/// Things that happen in one world.
const EVENTS: u32 = 14;
/// Fewer crashes than after which an app that never answered is left alone.
const APP_CRASHES: u32 = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_any_noise_the_site_is_as_desired() {
    futures::stream::iter(seeds()).for_each_concurrent(AT_ONCE, Simulation::run).await;
}

/// One world each; a failure names its seed. `SPACEPORT_SEEDS=100..1000` asks for others.
fn seeds() -> std::ops::Range<u64> {
    #[expect(clippy::disallowed_methods, reason = "a test is configured where it is called")]
    let asked = std::env::var("SPACEPORT_SEEDS").ok();
    let Some(asked) = asked else { return 0..24 };
    let (first, end) = asked.split_once("..").expect("SPACEPORT_SEEDS is FIRST..END");
    first.parse().expect("a number")..end.parse().expect("a number")
}

/// What the newest commit of a Space comes to.
#[derive(Debug, Clone)]
struct Commit {
    sha: CommitSha,
    text: String,
    comes_to: SpaceStage,
}

struct Simulation {
    world: World,
    rng: Rng,
    spaces: Vec<SpaceId>,
    commits: HashMap<SpaceId, Vec<Commit>>,
    head: HashMap<SpaceId, Commit>,
    app_crashes: u32,
    titles: u32,
}

impl Simulation {
    async fn run(seed: u64) {
        let mut world = World::stopped().await;
        world.name = format!("seed {seed}");
        world.config.drain = Duration::from_secs(2);
        let mut rng = Rng(seed);
        world.start_for(rng.steps()).await;
        let spaces = vec![world.space("alice/one").await, world.space("bob/two").await];
        let (commits, head) = (HashMap::new(), HashMap::new());
        let mut this = Self { world, rng, spaces, commits, head, app_crashes: 0, titles: 0 };
        for space in this.spaces.clone() {
            this.push(space).await;
        }
        for _ in 0..EVENTS {
            this.event().await;
            this.world.clock.skip(Duration::from_millis(this.rng.below(4000)));
            tokio::time::sleep(Duration::from_millis(this.rng.below(40))).await;
        }
        this.silence().await;
    }

    async fn event(&mut self) {
        let space = self.spaces[usize::try_from(self.rng.below(2)).unwrap()];
        let exists = self.world.store.space_by_id(space).await.unwrap();
        let exists = exists.is_some_and(|space| space.desired.run != DesiredRun::Deleting);
        match self.rng.below(20) {
            0..=4 if exists => self.push(space).await,
            5 if exists => self.push_again(space).await,
            6 if exists => self.world.set_variable(space, "N", &self.titles.to_string()).await,
            7 if exists => self.world.set_secret(space, "S", &self.titles.to_string()).await,
            8 if exists => self.world.pause(space).await,
            9..=10 if exists => self.world.restart_space(space).await,
            11 if exists => self.world.factory_reboot(space).await,
            12..=13 => self.crash_app(space),
            14 => self.world.fake.set_away(true),
            15 => self.world.fake.set_away(false),
            16..=18 => {
                self.world.crash().await;
                let steps = self.rng.steps();
                self.world.start_for(steps).await;
            }
            19 if self.rng.below(3) == 0 => self.world.delete(space).await,
            _ => {}
        }
    }

    async fn push(&mut self, space: SpaceId) {
        self.titles += 1;
        let title = format!("v{}", self.titles);
        let (files, text, comes_to): (Vec<File>, String, SpaceStage) = match self.rng.below(11) {
            0..=2 => (gradio(&title), title, SpaceStage::Running),
            3 => (gradio_with(&title, &format!("numpy\n# {title}\n")), title, SpaceStage::Running),
            4 => (docker(&title, "FROM scratch\n"), title, SpaceStage::Running),
            5 => (site(&title), format!("<h1>{title}</h1>"), SpaceStage::Running),
            6 => (gradio_with(&title, "no-such-package\n"), title, SpaceStage::BuildError),
            7 => (docker(&title, "FROM scratch\nRUN false\n"), title, SpaceStage::BuildError),
            8 => (vec![("README.md", format!("---\nsdk: {title}\n---\n"))], title, SpaceStage::ConfigError),
            9 => (vec![readme("gradio", &title, "")], title, SpaceStage::NoAppFile),
            _ => (gradio(&format!("{title} bad-import")), title, SpaceStage::RuntimeError),
        };
        let sha = self.world.push(space, &files).await;
        let commit = Commit { sha, text, comes_to };
        self.commits.entry(space).or_default().push(commit.clone());
        self.head.insert(space, commit);
    }

    async fn push_again(&mut self, space: SpaceId) {
        let commits = &self.commits[&space];
        let commit = commits[usize::try_from(self.rng.below(commits.len() as u64)).unwrap()].clone();
        self.world.push_commit(space, &commit.sha).await;
        self.head.insert(space, commit);
    }

    fn crash_app(&mut self, space: SpaceId) {
        if self.app_crashes == APP_CRASHES {
            return;
        }
        if let Some(container) = self.world.containers(space).last() {
            self.app_crashes += 1;
            self.world.fake.exit(&container.id, 1);
        }
    }

    /// Nothing more happens from outside.
    async fn silence(mut self) {
        self.world.fake.set_away(false);
        self.world.restart().await;
        let spaces = self.spaces.clone();
        for space in &spaces {
            self.world
                .wait_for("what is desired", || async {
                    self.world.clock.pass(Duration::from_millis(300));
                    self.as_desired(*space).await
                })
                .await;
        }
        self.check().await;

        // And once more from the beginning: there is nothing to do.
        let before = self.snapshot().await;
        let table = self.world.parts().routes.current();
        // The file follows the table in memory by an instant.
        let file = self.world.parts().config.data_dir.join("routes.json");
        self.world
            .wait_for("the table on disk", || async {
                Routes::load(file.clone(), TICKETS).current().version == table.version
            })
            .await;
        self.world.restart().await;
        for space in &spaces {
            let loaded = target(&self.world.server().loaded, *space);
            assert_eq!(loaded, target(&table, *space), "{}: right after the restart", self.world.name);
        }
        for _ in 0..2 {
            let since = self.world.clock.now();
            self.world.clock.skip(Duration::from_secs(31));
            self.world
                .wait_for("a pass over everything", || async {
                    let statuses = self.world.parts().control.statuses();
                    ["spaces", "builds"].iter().all(|task| statuses.get(task).is_some_and(|status| status.at > since))
                })
                .await;
        }
        assert_eq!(self.snapshot().await, before, "{}: converging twice changes something", self.world.name);
        self.check().await;
    }

    async fn as_desired(&self, space: SpaceId) -> bool {
        let world = &self.world;
        let Some(seen) = world.store.space_by_id(space).await.unwrap() else {
            return world.containers(space).is_empty();
        };
        let containers = world.fake.containers().iter().filter(|container| container.space == space).count();
        let (stage, head) = (seen.stage, &self.head[&space]);
        let builds = world.builds(space).await;
        if builds.iter().any(|build| matches!(build.state, BuildState::Queued | BuildState::Running)) {
            return false;
        }
        match seen.desired.run {
            DesiredRun::Paused => return stage == SpaceStage::Paused && containers == 0,
            DesiredRun::Running => {}
            DesiredRun::Stopped | DesiredRun::Deleting => return false,
        }
        let target = world.target(space);
        let serves = matches!(target, Some(Target::Upstream { .. }));
        if let Some(Target::Upstream { instance, .. }) = target {
            // A crashed attempt is followed by another after a pause, though an older one may serve until then.
            let rows = world.instances(space).await;
            let serving = rows.iter().find(|row| row.id.to_string() == instance);
            let newest = serving.and_then(|serving| rows.iter().find(|row| row.release == serving.release));
            if newest.map(|row| row.id) != serving.map(|row| row.id) {
                return false;
            }
        }
        if stage != head.comes_to || containers != usize::from(serves) {
            return false;
        }
        let answer = world.visit(space).await;
        if head.comes_to == SpaceStage::Running {
            return answer.as_deref() == Some(&head.text);
        }
        // Whatever answered before the newest commit still does.
        let good = world.store.releases_of(space, 100).await.unwrap();
        let good = good.iter().any(|release| release.ready_at.is_some());
        // An earlier commit may be on its way for the first time: it is built and has not failed.
        let built = builds.iter().any(|build| build.state == BuildState::Succeeded);
        if built && !good && world.instances(space).await.iter().all(|row| row.ended_at.is_none()) {
            return false;
        }
        answer.is_some() == good
    }

    /// What holds whenever nothing moves.
    async fn check(&self) {
        let world = &self.world;
        let name = &world.name;
        world
            .wait_for("the route table to be on disk", || async {
                let text = std::fs::read(world.config.data_dir.join("routes.json")).unwrap_or_default();
                let on_disk: RouteTable = serde_json::from_slice(&text).unwrap_or_default();
                let current = world.parts().routes.current();
                on_disk.version == current.version && on_disk.hosts == current.hosts
            })
            .await;
        for container in world.fake.containers() {
            let rows = world.instances(container.space).await;
            let row = rows.iter().find(|row| row.id == container.instance);
            let row = row.unwrap_or_else(|| panic!("{name}: {container:?} has no row"));
            assert!(row.ended_at.is_none(), "{name}: {container:?} {row:?}");
            let serving = target(&world.parts().routes.current(), container.space);
            let is_serving = matches!(&serving, Some(Target::Upstream { instance, address })
                if *instance == row.id.to_string() && Some(*address) == container.address);
            assert!(is_serving, "{name}: {container:?} is reached by nobody: {serving:?}");
            assert!(world.fake.cpu_cap(&container.id).is_some(), "{name}: {container:?} has no CPU limit");
        }
        let images = world.fake.list_images().await.unwrap();
        for space in &self.spaces {
            for row in world.instances(*space).await {
                assert!(world.fake.starts(row.id) <= 1, "{name}: {row:?} was started twice");
                if row.ready_at.is_some() {
                    let release = world.store.release_by_id(row.release).await.unwrap().unwrap();
                    assert!(release.ready_at.is_some(), "{name}: {row:?} answered and its release did not");
                }
            }
            for build in world.builds(*space).await.iter().filter(|build| build.state == BuildState::Succeeded) {
                let id = build.id.to_string();
                let made = images.iter().filter(|image| image.labels.get("spaceport.build") == Some(&id));
                let late = made.filter(|image| Some(image.created_at) > build.finished_at).count();
                assert_eq!(late, 0, "{name}: {build:?} was built again");
            }
        }
    }

    /// Every record that an action would change.
    async fn snapshot(&self) -> String {
        let mut text = format!("{} builds\n", self.world.fake.builds());
        for space in &self.spaces {
            let Some(seen) = self.world.store.space_by_id(*space).await.unwrap() else { continue };
            text.push_str(&format!("{seen:?}\n"));
            for build in self.world.builds(*space).await {
                text.push_str(&format!("{build:?}\n"));
            }
            for row in self.world.instances(*space).await {
                text.push_str(&format!("{row:?} {}\n", self.world.fake.starts(row.id)));
            }
            for release in self.world.store.releases_of(*space, 100).await.unwrap() {
                text.push_str(&format!("{release:?}\n"));
            }
        }
        text.push_str(&format!("{:?}\n", self.world.fake.containers()));
        text
    }
}

/// SplitMix64: small, and the same everywhere.
pub struct Rng(pub u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// After how many steps to or from the engine a server goes no further; often it never does.
    pub fn steps(&mut self) -> Option<u32> {
        let steps = u32::try_from(self.below(60)).unwrap();
        (self.below(2) == 0).then_some(steps)
    }
}
