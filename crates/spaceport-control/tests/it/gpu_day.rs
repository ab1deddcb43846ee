//! A day of a machine with accelerators, with crashes of the server at random points: no device is given twice or lost,
//! and the ledger is what the leases had.

use std::time::Duration;

use futures::StreamExt;
use spaceport_core::gpu::{DeviceHealth, DeviceId, LeaseEnd, Quota, QuotaPath};
use spaceport_core::space::DesiredRun;
use spaceport_core::{Reason, SpaceId, SpaceStage};
use spaceport_store::{Mark, QuotaChange};

use crate::apps::{gradio, readme};
use crate::hardware::{check_ledger, set_flavor};
use crate::simulation::Rng;
use crate::world::{World, t4};

/// Worlds at the same time.
const AT_ONCE: usize = 4;
/// Crashes of one world.
const CRASHES: u64 = 10;
/// Crashes in all, unless `SPACEPORT_CRASHES` says how many.
const CRASHES_IN_ALL: u64 = 40;
/// Fewer than after which an app that never answered is left alone.
const APP_CRASHES: u32 = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_crash_gives_a_device_twice_or_loses_one() {
    #[expect(clippy::disallowed_methods, reason = "a test is configured where it is called")]
    let asked = std::env::var("SPACEPORT_CRASHES").ok();
    let crashes = asked.map_or(CRASHES_IN_ALL, |asked| asked.parse().expect("SPACEPORT_CRASHES is a number"));
    futures::stream::iter(0..crashes.div_ceil(CRASHES)).for_each_concurrent(AT_ONCE, Day::run).await;
}

struct Day {
    world: World,
    rng: Rng,
    spaces: Vec<SpaceId>,
    app_crashes: u32,
    titles: u32,
    others: u32,
}

impl Day {
    async fn run(seed: u64) {
        let mut world = World::stopped().await;
        world.name = format!("day {seed}");
        world.config.drain = Duration::from_secs(2);
        // Hours pass at once here, and no build hangs.
        world.config.builder.limits.time = Duration::from_secs(1 << 30);
        world.set_devices(devices());
        world.start().await;
        let mut spaces = Vec::new();
        for name in ["alice/one", "alice/two", "bob/three", "bob/four"] {
            spaces.push(world.space(name).await);
        }
        let mut this = Self { world, rng: Rng(seed), spaces, app_crashes: 0, titles: 0, others: 0 };
        for space in this.spaces.clone() {
            set_flavor(&this.world, space, "t4-small").await;
            this.push(space).await;
        }
        for _ in 0..CRASHES {
            for _ in 0..3 {
                this.event().await;
                this.world.clock.skip(Duration::from_secs(this.rng.below(200)));
                tokio::time::sleep(Duration::from_millis(this.rng.below(60))).await;
            }
            this.world.crash().await;
            check_ledger(&this.world).await;
            let steps = this.rng.steps();
            this.world.start_for(steps).await;
        }
        this.silence().await;
    }

    async fn event(&mut self) {
        let space = self.spaces[usize::try_from(self.rng.below(4)).unwrap()];
        match self.rng.below(20) {
            0..=1 => self.push(space).await,
            2 => self.world.pause(space).await,
            3..=5 => self.world.restart_space(space).await,
            6 => set_flavor(&self.world, space, "cpu-basic").await,
            7..=8 => set_flavor(&self.world, space, "t4-small").await,
            9 => self.guarantee().await,
            10 => self.crash_app(space),
            11 => self.world.fake.set_away(true),
            12 => self.world.fake.set_away(false),
            13 => self.lose_device(),
            14..=15 => self.world.set_devices(devices()),
            16 => {
                let mark = Mark { reason: "fan".to_owned(), by: "admin".to_owned(), at: self.world.clock.now() };
                let mark = (self.rng.below(2) == 0).then_some(mark);
                self.world.store.device_drain(&DeviceId("GPU-1".to_owned()), mark.as_ref()).await.unwrap();
            }
            17 => {
                // An admin takes a claim away; the Space asks again.
                if let Some(claim) = self.world.store.claim_of(space).await.unwrap() {
                    let now = self.world.clock.now();
                    self.world.store.claim_end(claim.claim.id, LeaseEnd::Revoked, now).await.unwrap();
                }
            }
            18 => self.world.clock.skip(Duration::from_secs(2000)),
            _ => {
                if let Some(server) = &self.world.server {
                    server.parts.control.used(space, self.world.clock.now());
                }
            }
        }
    }

    async fn push(&mut self, space: SpaceId) {
        self.titles += 1;
        let title = format!("v{}", self.titles);
        let mut files = gradio(&title);
        // Nor does an app take too long to start.
        files[0] = readme("gradio", &title, "startup_duration_timeout: 24h\n");
        self.world.push(space, &files).await;
    }

    async fn guarantee(&mut self) {
        let name = ["~alice", "~bob"][usize::try_from(self.rng.below(2)).unwrap()];
        let quota = Quota { guaranteed_milli: 1000 * self.rng.below(2), ..Quota::default() };
        let change = QuotaChange { path: QuotaPath(name.to_owned()), quota: Some(quota) };
        let (generation, _) = self.world.store.quotas().await.unwrap();
        assert!(self.world.store.quotas_change(&[change], generation, self.world.clock.now()).await.unwrap());
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

    /// One device fails, vanishes, or is another one from now on.
    fn lose_device(&mut self) {
        let mut devices = devices();
        let at = usize::try_from(self.rng.below(2)).unwrap();
        match self.rng.below(3) {
            0 => devices[at].health = DeviceHealth::Lost { reason: "it fell off the bus".to_owned() },
            1 => drop(devices.remove(at)),
            _ => {
                self.others += 1;
                devices[at].id = DeviceId(format!("GPU-other-{}", self.others));
            }
        }
        self.world.set_devices(devices);
    }

    /// Nothing more happens from outside: whoever can run does.
    async fn silence(mut self) {
        self.world.fake.set_away(false);
        self.world.set_devices(devices());
        self.world.store.device_drain(&DeviceId("GPU-1".to_owned()), None).await.unwrap();
        self.world.restart().await;
        self.world
            .wait_for("what is desired", || async {
                self.world.clock.skip(Duration::from_secs(1));
                self.as_desired().await
            })
            .await;
        check_ledger(&self.world).await;
        for container in self.world.fake.containers() {
            let Some(held) = container.held else { continue };
            let lease = self.world.store.lease_by_id(held.lease).await.unwrap().unwrap();
            assert!(lease.ended_at.is_none(), "{}: a container without a lease", self.world.name);
        }
        // Everybody leaves: all devices are free, and nothing is owed.
        for space in self.spaces.clone() {
            self.world.pause(space).await;
        }
        self.world
            .wait_for("every device to be free", || async {
                self.world.clock.skip(Duration::from_secs(1));
                self.world.store.leases_live().await.unwrap().is_empty()
                    && self.world.store.claims_live().await.unwrap().is_empty()
            })
            .await;
        assert!(self.world.store.devices_known().await.unwrap().iter().all(|device| device.leased_milli == 0));
        check_ledger(&self.world).await;
        self.world.stop().await;
    }

    async fn as_desired(&self) -> bool {
        let world = &self.world;
        let (mut waiting, mut leased) = (0, 0);
        for space in &self.spaces {
            // Somebody looks, so that nothing is taken back for want of use.
            world.parts().control.used(*space, world.clock.now());
            let seen = world.seen(*space).await;
            let reason = seen.diagnosis.map(|diagnosis| diagnosis.reason);
            let lease = world.store.lease_of(*space).await.unwrap();
            leased += usize::from(lease.is_some());
            match seen.desired.run {
                DesiredRun::Paused => {
                    if seen.stage != SpaceStage::Paused || lease.is_some() {
                        return false;
                    }
                }
                _ if reason == Some(Reason::HardwareWaiting) => waiting += 1,
                _ => {
                    let wants = seen.desired.hardware.0 == "t4-small";
                    if seen.stage != SpaceStage::Running || reason.is_some() || wants != lease.is_some() {
                        return false;
                    }
                    if world.visit(*space).await.is_none() {
                        return false;
                    }
                }
            }
        }
        leased <= 2 && (waiting == 0 || leased == 2)
    }
}

fn devices() -> Vec<spaceport_core::gpu::Device> {
    vec![t4("GPU-0", 0), t4("GPU-1", 1)]
}
