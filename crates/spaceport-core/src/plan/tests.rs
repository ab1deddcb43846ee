use super::*;
use crate::config::{ConfigError, SpaceConfig};
use crate::space::{Inspection, Instance};
use crate::{FlavorName, Generation, Sdk, SpaceId};

pub(super) const T0: Timestamp = Timestamp::from_millis(1_000_000);
const LIMITS: Limits = Limits { build_time: Duration::from_secs(600), drain: Duration::from_secs(30) };

fn at(seconds: u64) -> Timestamp {
    T0 + Duration::from_secs(seconds)
}

pub(super) fn sha(n: u8) -> CommitSha {
    format!("{n:040x}").parse().unwrap()
}

fn release(n: u128) -> ReleaseSeen {
    ReleaseSeen { id: ReleaseId::new(T0, n), files: false, startup_timeout: Duration::from_secs(60), needs: None }
}

pub(super) fn config() -> SpaceConfig {
    SpaceConfig {
        title: None,
        emoji: None,
        color_from: None,
        color_to: None,
        sdk: Sdk::Gradio,
        sdk_version: None,
        python_version: None,
        app_file: None,
        app_build_command: None,
        app_port: 7860,
        base_path: "/".to_owned(),
        full_width: true,
        header: "default".to_owned(),
        short_description: None,
        models: vec![],
        datasets: vec![],
        tags: vec![],
        thumbnail: None,
        pinned: false,
        license: None,
        suggested_hardware: None,
        suggested_storage: None,
        startup_timeout: Duration::from_secs(60),
        preload_from_hub: vec![],
        custom_headers: std::collections::BTreeMap::new(),
        disable_embedding: false,
        hf_oauth: false,
        hf_oauth_scopes: vec![],
        hf_oauth_expiration_minutes: 480,
        hf_oauth_authorized_org: vec![],
    }
}

/// A Space whose head is built, with the given instances.
struct World {
    desired: Desired,
    observed: Observed,
}

impl World {
    fn new() -> Self {
        Self {
            desired: Desired {
                generation: Generation(1),
                run: DesiredRun::Running,
                head: Some(sha(1)),
                rebuild: 0,
                no_cache: false,
                restart: 0,
                settings: 0,
                hardware: FlavorName::cpu_basic(),
                sleep_after_s: None,
            },
            observed: Observed { engine_up: true, ..Observed::default() },
        }
    }

    fn inspected(mut self) -> Self {
        self.observed.inspection = Some(Inspection::Buildable(Box::new(config())));
        self
    }

    fn build(mut self, state: BuildState) -> Self {
        let id = BuildId::new(T0, 1);
        self.observed.build = Some(BuildSeen { id, state, queued_at: T0, started_at: Some(T0), diagnosis: None });
        if state == BuildState::Succeeded {
            self.observed.good = Some(id);
        }
        self
    }

    fn released(self) -> Self {
        let mut world = self.inspected().build(BuildState::Succeeded);
        world.observed.wanted = Some(release(1));
        world
    }

    fn with(mut self, seen: InstanceSeen) -> Self {
        self.observed.instances.insert(0, seen);
        self
    }

    fn plan(&self, seconds: u64) -> Plan {
        plan(&self.desired, &self.observed, &LIMITS, at(seconds))
    }
}

fn instance(n: u128, of: u128, container: ContainerSeen) -> InstanceSeen {
    InstanceSeen {
        row: Instance {
            id: InstanceId::new(T0, n),
            space: SpaceId::new(T0, 1),
            release: ReleaseId::new(T0, of),
            restart: 0,
            attempt: 1,
            created_at: T0,
            started_at: (container != ContainerSeen::Missing).then_some(T0),
            ready_at: None,
            retired_at: None,
            ended_at: None,
            diagnosis: None,
            ended_by_us: false,
        },
        container,
        drained: false,
        needs: None,
        disk: None,
    }
}

fn ready(mut seen: InstanceSeen, seconds: u64) -> InstanceSeen {
    seen.row.ready_at = Some(at(seconds));
    seen
}

fn ended(mut seen: InstanceSeen, seconds: u64, reason: Reason) -> InstanceSeen {
    seen.container = ContainerSeen::Missing;
    seen.row.started_at = Some(T0);
    seen.row.ended_at = Some(at(seconds));
    seen.row.diagnosis = Some(told(reason, "crashed", "It crashed.", "Mend it.", at(seconds)));
    seen
}

fn check(plan: &Plan, stage: SpaceStage, actions: &[Action]) {
    assert_eq!((plan.stage, plan.actions.as_slice()), (stage, actions), "{plan:#?}");
    assert!(plan.stage == SpaceStage::Running || plan.diagnosis.is_some(), "every other stage says why");
}

#[test]
fn a_push_becomes_an_app_step_by_step() {
    let id = InstanceId::new(T0, 9);
    let build = BuildId::new(T0, 1);
    check(&World::new().plan(1), SpaceStage::Building, &[Action::Inspect { sha: sha(1) }]);
    check(&World::new().inspected().plan(1), SpaceStage::Building, &[Action::AddBuild { sha: sha(1) }]);
    let building = World::new().inspected().build(BuildState::Running).plan(1);
    check(&building, SpaceStage::Building, &[]);
    assert_eq!(building.diagnosis.unwrap().deadline, Some(at(600)));
    let built = World::new().inspected().build(BuildState::Succeeded);
    check(&built.plan(1), SpaceStage::AppStarting, &[Action::AddRelease { build }]);
    let add = Action::AddInstance { release: release(1).id, attempt: 1 };
    check(&World::new().released().plan(1), SpaceStage::AppStarting, &[add]);
    let world = World::new().released().with(instance(9, 1, ContainerSeen::Missing));
    check(&world.plan(1), SpaceStage::AppStarting, &[Action::Start(id)]);
    let world = World::new().released().with(instance(9, 1, ContainerSeen::Running));
    let probing = world.plan(1);
    check(&probing, SpaceStage::AppStarting, &[Action::Probe(id)]);
    assert_eq!(probing.serving, None);
    let world = World::new().released().with(ready(instance(9, 1, ContainerSeen::Running), 2));
    let running = world.plan(3);
    check(&running, SpaceStage::Running, &[]);
    assert_eq!(running.serving, Some(Serving::Instance(id)));
    assert_eq!(running.look_again, None, "a converged Space needs no timer");
}

#[test]
fn nothing_to_run_is_said() {
    let mut world = World::new();
    world.desired.head = None;
    check(&world.plan(1), SpaceStage::NoAppFile, &[]);
    let mut world = World::new();
    world.observed.inspection = Some(Inspection::NoAppFile { file: "app.py".to_owned() });
    check(&world.plan(1), SpaceStage::NoAppFile, &[]);
    assert!(world.plan(1).diagnosis.unwrap().message.contains("app.py"));
}

#[test]
fn a_bad_commit_leaves_the_last_good_release_serving() {
    let old = ready(instance(5, 1, ContainerSeen::Running), 1);
    let mut world = World::new().released().with(old);
    world.observed.build = None;
    world.observed.inspection = Some(Inspection::ConfigError(vec![ConfigError {
        key: "sdk".to_owned(),
        line: 3,
        column: 6,
        message: "unknown SDK \"gradoi\"".to_owned(),
        allowed: "gradio, streamlit, docker, static".to_owned(),
    }]));
    let plan = world.plan(5);
    check(&plan, SpaceStage::ConfigError, &[]);
    assert_eq!(plan.serving, Some(Serving::Instance(InstanceId::new(T0, 5))));
    let told = plan.diagnosis.unwrap();
    assert!(told.message.contains("line 3") && told.message.contains("keeps serving"), "{}", told.message);
    assert!(told.remedy.contains("streamlit"));

    let mut world = World::new().inspected().build(BuildState::Failed);
    world.observed.good = Some(BuildId::new(T0, 7));
    world.observed.wanted = Some(release(1));
    let world = world.with(ready(instance(5, 1, ContainerSeen::Running), 1));
    let plan = world.plan(5);
    check(&plan, SpaceStage::BuildError, &[]);
    assert!(plan.serving.is_some());
}

#[test]
fn a_new_release_starts_beside_the_old_then_the_old_is_drained() {
    let old = || ready(instance(5, 1, ContainerSeen::Running), 1);
    let (old_id, new_id) = (InstanceId::new(T0, 5), InstanceId::new(T0, 6));
    let world = |new: Option<InstanceSeen>, old: InstanceSeen| {
        let mut world = World::new().released().with(old);
        world.observed.wanted = Some(release(2));
        world.observed.fallback = Some(release(1));
        match new {
            Some(new) => world.with(new),
            None => world,
        }
    };
    let starting = world(None, old()).plan(10);
    check(&starting, SpaceStage::RunningAppStarting, &[Action::AddInstance { release: release(2).id, attempt: 1 }]);
    assert_eq!(starting.serving, Some(Serving::Instance(old_id)));
    let new = || ready(instance(6, 2, ContainerSeen::Running), 12);
    let swapped = world(Some(new()), old()).plan(12);
    check(&swapped, SpaceStage::Running, &[Action::Retire(old_id)]);
    assert_eq!(swapped.serving, Some(Serving::Instance(new_id)));
    let mut draining = old();
    draining.row.retired_at = Some(at(12));
    let waits = world(Some(new()), draining.clone()).plan(13);
    check(&waits, SpaceStage::Running, &[]);
    assert_eq!(waits.look_again, Some(at(42)));
    check(&world(Some(new()), draining.clone()).plan(42), SpaceStage::Running, &[Action::Stop(old_id)]);
    draining.drained = true;
    check(&world(Some(new()), draining).plan(13), SpaceStage::Running, &[Action::Stop(old_id)]);
}

#[test]
fn a_new_release_that_fails_leaves_the_old_one_alone() {
    let failed = ended(instance(6, 2, ContainerSeen::Missing), 3, Reason::ModuleMissing);
    let mut world = World::new().released().with(ready(instance(5, 1, ContainerSeen::Running), 1)).with(failed);
    world.observed.wanted = Some(release(2));
    world.observed.fallback = Some(release(1));
    let plan = world.plan(100);
    check(&plan, SpaceStage::RuntimeError, &[]);
    assert_eq!(plan.serving, Some(Serving::Instance(InstanceId::new(T0, 5))));
    assert!(plan.diagnosis.unwrap().message.contains("keeps serving"));

    // And when the old one crashes too, it is the old one that is started again.
    let mut world = World::new()
        .released()
        .with(ended(ready(instance(5, 1, ContainerSeen::Running), 1), 50, Reason::Crashed))
        .with(ended(instance(6, 2, ContainerSeen::Missing), 3, Reason::ModuleMissing));
    world.observed.wanted = Some(release(2));
    world.observed.fallback = Some(release(1));
    let again = Action::AddInstance { release: release(1).id, attempt: 2 };
    check(&world.plan(100), SpaceStage::RuntimeError, &[again]);
}

#[test]
fn crashes_are_repaired_with_growing_patience() {
    let crash = |n: u128, attempt: i64, seconds| {
        let mut seen = ended(ready(instance(n, 1, ContainerSeen::Running), seconds - 1), seconds, Reason::Crashed);
        seen.row.attempt = attempt;
        seen
    };
    let add = |attempt| Action::AddInstance { release: release(1).id, attempt };
    // The first crash of an app that ran: at once.
    let world = World::new().released().with(crash(1, 1, 20));
    check(&world.plan(20), SpaceStage::AppStarting, &[add(2)]);
    // The second soon after: it waits, and says until when.
    let world = World::new().released().with(crash(1, 1, 20)).with(crash(2, 2, 30));
    let waits = world.plan(30);
    check(&waits, SpaceStage::RuntimeError, &[]);
    assert_eq!(waits.look_again, Some(at(40)));
    check(&world.plan(40), SpaceStage::AppStarting, &[add(3)]);
    // A program that cannot start is not started again and again.
    let world = World::new().released().with(ended(instance(1, 1, ContainerSeen::Missing), 2, Reason::SyntaxError));
    let failed = world.plan(1000);
    check(&failed, SpaceStage::RuntimeError, &[]);
    assert_eq!(failed.look_again, None);
    // A restart by the owner tries anew.
    let mut world = World::new().released().with(ended(instance(1, 1, ContainerSeen::Missing), 2, Reason::SyntaxError));
    world.desired.restart = 1;
    check(&world.plan(1000), SpaceStage::AppStarting, &[add(1)]);
}

#[test]
fn an_app_that_does_not_answer_in_time_is_given_up() {
    let world = World::new().released().with(instance(9, 1, ContainerSeen::Running));
    let id = InstanceId::new(T0, 9);
    check(&world.plan(59), SpaceStage::AppStarting, &[Action::Probe(id)]);
    check(&world.plan(60), SpaceStage::AppStarting, &[Action::GiveUp(id)]);
}

#[test]
fn a_platform_out_of_order_is_not_the_apps_fault() {
    for (reason, started_at, goes_on) in [
        (Reason::EngineUnavailable, None, true),
        (Reason::Internal, None, true),
        // The engine's disk, and the app's own share of it.
        (Reason::DiskFull, None, true),
        (Reason::DiskFull, Some(T0), false),
    ] {
        let mut world = World::new().released();
        for attempt in 1u32..20 {
            let mut seen = ended(instance(u128::from(attempt), 1, ContainerSeen::Missing), 3, reason);
            (seen.row.attempt, seen.row.started_at) = (i64::from(attempt), started_at);
            world = world.with(seen);
        }
        assert_eq!(world.plan(4).look_again.is_some(), goes_on, "it is tried again for as long as it takes");
        let again = [Action::AddInstance { release: release(1).id, attempt: 20 }];
        assert_eq!(world.plan(1000).actions, if goes_on { again.to_vec() } else { vec![] });
    }
}

#[test]
fn a_withdrawn_build_begins_again_when_its_commit_is_the_newest() {
    let mut world = World::new().inspected().build(BuildState::Canceled);
    let build = world.observed.build.as_mut().unwrap();
    build.diagnosis = Some(told(Reason::BuildWithdrawn, "withdrawn", "A newer push replaced it.", "", T0));
    check(&world.plan(1), SpaceStage::Building, &[Action::RepeatBuild { build: BuildId::new(T0, 1) }]);
    world.observed.build.as_mut().unwrap().diagnosis = None;
    check(&world.plan(1), SpaceStage::BuildError, &[]);
}

#[test]
fn the_engine_may_go_away() {
    let mut world = World::new().released().with(ready(instance(9, 1, ContainerSeen::Unknown), 1));
    world.observed.engine_up = false;
    let plan = world.plan(5);
    check(&plan, SpaceStage::Running, &[]);
    assert!(plan.serving.is_some(), "what runs stays in the route");
    let mut world = World::new().released();
    world.observed.engine_up = false;
    let plan = world.plan(5);
    check(&plan, SpaceStage::AppStarting, &[]);
    assert!(plan.look_again.is_some());
    assert_eq!(plan.diagnosis.unwrap().reason, Reason::EngineUnavailable);
}

#[test]
fn nothing_is_started_without_isolation_and_what_runs_stays() {
    let runs = ready(instance(9, 1, ContainerSeen::Running), 1);
    let mut world = World::new().released().with(runs);
    world.observed.starts_refused = true;
    let plan = world.plan(5);
    check(&plan, SpaceStage::Running, &[]);
    assert!(plan.serving.is_some());
    for waiting in [None, Some(instance(9, 1, ContainerSeen::Missing)), Some(instance(9, 1, ContainerSeen::Created))] {
        let mut world = World::new().released();
        if let Some(mut seen) = waiting {
            seen.row.started_at = None;
            world = world.with(seen);
        }
        world.observed.starts_refused = true;
        let plan = world.plan(5);
        check(&plan, SpaceStage::AppStarting, &[]);
        assert!(plan.look_again.is_some());
        assert!(plan.diagnosis.unwrap().remedy.contains("/api/health"));
    }
}

#[test]
fn a_container_that_vanished_or_ended_is_recorded() {
    let id = InstanceId::new(T0, 9);
    for container in [ContainerSeen::Exited, ContainerSeen::Created] {
        let world = World::new().released().with(ready(instance(9, 1, container), 1));
        assert_eq!(world.plan(5).actions, [Action::RecordExit(id)]);
    }
    let mut gone = ready(instance(9, 1, ContainerSeen::Missing), 1);
    gone.row.started_at = Some(T0);
    assert_eq!(World::new().released().with(gone).plan(5).actions, [Action::RecordExit(id)]);
}

#[test]
fn pausing_and_deleting_end_everything() {
    let id = InstanceId::new(T0, 9);
    let mut world = World::new().released().with(ready(instance(9, 1, ContainerSeen::Running), 1));
    world.desired.run = DesiredRun::Paused;
    let plan = world.plan(5);
    check(&plan, SpaceStage::Paused, &[Action::Stop(id)]);
    assert_eq!(plan.serving, None);
    world.desired.run = DesiredRun::Deleting;
    check(&world.plan(5), SpaceStage::Deleting, &[Action::Stop(id)]);
    world.observed.instances.clear();
    // A build that was asked to end may still write files.
    world.observed.builds_under_way = vec![3];
    check(&world.plan(5), SpaceStage::Deleting, &[]);
    assert!(world.plan(5).look_again.is_some());
    world.observed.builds_under_way.clear();
    check(&world.plan(5), SpaceStage::Deleting, &[Action::Forget]);
}

#[test]
fn files_need_no_container() {
    let mut world = World::new().released();
    world.observed.wanted = Some(ReleaseSeen { files: true, ..release(1) });
    let plan = world.plan(1);
    check(&plan, SpaceStage::Running, &[]);
    assert_eq!(plan.serving, Some(Serving::Files(release(1).id)));
}

mod hardware {
    use super::*;
    use crate::gpu::Ending;

    fn a100() -> FlavorName {
        FlavorName("a100".to_owned())
    }

    fn needs(mut seen: InstanceSeen) -> InstanceSeen {
        seen.needs = Some(a100());
        seen
    }

    fn waiting(again: Option<(LeaseEnd, Timestamp)>) -> HardwareSeen {
        HardwareSeen::Waiting(HardwareWait {
            flavor: a100(),
            what: "1 × A100".to_owned(),
            since: at(5),
            reason: Some("all 4 are in use".to_owned()),
            position: Some(2),
            starts: Some((at(600), at(1800))),
            again,
        })
    }

    fn leased(ending: Option<Ending>) -> HardwareSeen {
        HardwareSeen::Leased { flavor: a100(), claimed: true, ending }
    }

    fn gpu(hardware: HardwareSeen) -> World {
        let mut world = World::new().released();
        if let Some(wanted) = &mut world.observed.wanted {
            wanted.needs = Some(a100());
        }
        world.observed.hardware = hardware;
        world
    }

    #[test]
    fn a_release_asks_for_its_hardware_waits_and_starts_with_it() {
        let plan = gpu(HardwareSeen::None).plan(10);
        assert_eq!(plan.actions, [Action::Claim { release: ReleaseId::new(T0, 1) }]);
        let plan = gpu(waiting(None)).plan(10);
        assert_eq!((plan.stage, plan.actions.len()), (SpaceStage::AppStarting, 0));
        let why = plan.diagnosis.unwrap();
        assert_eq!((why.reason, why.since), (Reason::HardwareWaiting, at(5)));
        assert_eq!(
            why.message,
            "Waiting for 1 × A100: all 4 are in use. 2 come before it; expected to start between 1970-01-01 00:26 and \
             1970-01-01 00:46 UTC."
        );
        let plan = gpu(leased(None)).plan(10);
        assert_eq!(plan.actions, [Action::AddInstance { release: ReleaseId::new(T0, 1), attempt: 1 }]);
    }

    #[test]
    fn a_push_swaps_old_and_new_on_one_lease() {
        let old = needs(ready(instance(1, 2, ContainerSeen::Running), 1));
        let plan = gpu(leased(None)).with(old.clone()).plan(10);
        assert_eq!(plan.serving, Some(Serving::Instance(old.row.id)));
        assert_eq!(plan.actions, [Action::AddInstance { release: ReleaseId::new(T0, 1), attempt: 1 }]);
        let new = needs(ready(instance(2, 1, ContainerSeen::Running), 9));
        let plan = gpu(leased(None)).with(old.clone()).with(new.clone()).plan(10);
        assert_eq!(plan.serving, Some(Serving::Instance(new.row.id)));
        assert_eq!(plan.actions, [Action::Retire(old.row.id)]);
    }

    #[test]
    fn who_is_told_to_leave_serves_until_then_and_waits_again() {
        let running = needs(ready(instance(1, 1, ContainerSeen::Running), 1));
        let ending = Ending { why: LeaseEnd::Preempted, told_at: at(10), by: at(130) };
        let plan = gpu(leased(Some(ending))).with(running.clone()).plan(50);
        assert_eq!((plan.stage, plan.serving.is_some(), plan.actions.len()), (SpaceStage::Running, true, 0));
        let why = plan.diagnosis.unwrap();
        assert_eq!((why.reason, why.deadline), (Reason::HardwareEnding, Some(at(130))));
        assert_eq!(plan.look_again, Some(at(100)), "requests in flight get the drain time, within the grace");
        let plan = gpu(leased(Some(ending))).with(running.clone()).plan(100);
        assert_eq!((plan.stage, plan.serving), (SpaceStage::Sleeping, None));
        assert_eq!(plan.actions, [Action::Retire(running.row.id)]);
        let mut retired = running.clone();
        retired.row.retired_at = Some(at(115));
        let plan = gpu(leased(Some(ending))).with(retired).plan(130);
        assert_eq!(plan.actions, [Action::Stop(running.row.id)], "not a moment longer");
        let plan = gpu(waiting(Some((LeaseEnd::Preempted, at(131))))).plan(140);
        let why = plan.diagnosis.unwrap();
        assert_eq!((plan.stage, why.since), (SpaceStage::Sleeping, at(131)));
        assert!(
            why.message.starts_with("Its hardware went to somebody with a better right to it. Waiting for 1 × A100:"),
            "{}",
            why.message
        );
    }

    #[test]
    fn what_runs_without_a_lease_is_stopped() {
        let running = needs(ready(instance(1, 1, ContainerSeen::Running), 1));
        let plan = gpu(HardwareSeen::None).with(running.clone()).plan(10);
        assert!(plan.actions.contains(&Action::Retire(running.row.id)), "{:?}", plan.actions);
        assert_eq!(plan.serving, None);
    }

    #[test]
    fn other_hardware_gives_the_former_back() {
        // To one without accelerators: what runs serves on until the other does.
        let mut world = World::new().released();
        world.observed.hardware = leased(None);
        let old = needs(ready(instance(1, 2, ContainerSeen::Running), 1));
        let plan = world.with(old.clone()).plan(10);
        assert_eq!(plan.serving, Some(Serving::Instance(old.row.id)));
        assert!(plan.actions.contains(&Action::EndClaim { why: LeaseEnd::HardwareChanged }), "{:?}", plan.actions);
        let mut world = World::new().released();
        world.observed.hardware = HardwareSeen::Leased { flavor: a100(), claimed: false, ending: None };
        assert_eq!(world.with(old.clone()).plan(10).serving, Some(Serving::Instance(old.row.id)));
        // To another with: the former goes first, since both may not be had at once.
        let mut world = gpu(leased(None)).with(old.clone());
        if let Some(wanted) = &mut world.observed.wanted {
            wanted.needs = Some(FlavorName("t4".to_owned()));
        }
        let plan = world.plan(10);
        assert_eq!(plan.serving, None);
        assert_eq!(plan.actions, [Action::EndClaim { why: LeaseEnd::HardwareChanged }, Action::Retire(old.row.id)]);
    }

    #[test]
    fn rest_and_failure_give_hardware_back() {
        for run in [DesiredRun::Paused, DesiredRun::Stopped, DesiredRun::Deleting] {
            let mut world = gpu(leased(None));
            world.desired.run = run;
            assert_eq!(world.plan(10).actions[0], Action::EndClaim { why: LeaseEnd::Stopped });
        }
        let mut world = gpu(leased(None));
        for n in 1..=3 {
            let mut seen =
                needs(ended(instance(n, 1, ContainerSeen::Missing), u64::try_from(n).unwrap(), Reason::ModuleMissing));
            seen.row.attempt = i64::try_from(n).unwrap();
            world = world.with(seen);
        }
        let plan = world.plan(5000);
        assert_eq!(
            (plan.stage, plan.actions),
            (SpaceStage::RuntimeError, vec![Action::EndClaim { why: LeaseEnd::AppFailed }])
        );
    }
}

mod sleeping {
    use super::*;
    use crate::gpu::Ending;

    fn used(mut world: World, at_seconds: u64) -> World {
        world.observed.idle = IdleSeen {
            last_used: Some(at(at_seconds)),
            watched_since: Some(T0),
            sleep_after: Some(Duration::from_secs(100)),
        };
        world
    }

    fn running() -> World {
        World::new().released().with(ready(instance(1, 1, ContainerSeen::Running), 5))
    }

    fn asleep(mut world: World, since: u64) -> World {
        let (release, why) = (ReleaseId::new(T0, 1), LeaseEnd::Slept);
        world.observed.asleep = Some(Asleep { release, restart: 0, since: at(since), why });
        world
    }

    #[test]
    fn who_is_not_used_falls_asleep_and_wakes_for_a_visitor() {
        let plan = used(running(), 20).plan(119);
        assert_eq!((plan.stage, plan.actions.len(), plan.look_again), (SpaceStage::Running, 0, Some(at(120))));
        let plan = used(running(), 20).plan(120);
        assert_eq!(plan.actions, [Action::Sleep { release: ReleaseId::new(T0, 1), why: LeaseEnd::Slept }]);
        let plan = asleep(used(running(), 20), 120).plan(121);
        assert_eq!((plan.stage, plan.serving), (SpaceStage::Sleeping, None));
        assert_eq!(plan.actions, [Action::Retire(InstanceId::new(T0, 1))]);
        let plan = asleep(used(World::new().released(), 200), 120).plan(200);
        assert_eq!(plan.actions[0], Action::Wake);
        assert_eq!(plan.actions[1], Action::AddInstance { release: ReleaseId::new(T0, 1), attempt: 1 });
    }

    #[test]
    fn restarts_and_new_releases_wake_and_rest_forgets_it() {
        let sleeping = || asleep(used(World::new().released(), 20), 120);
        assert_eq!(sleeping().plan(130).actions, []);
        let mut restarted = sleeping();
        restarted.desired.restart = 1;
        assert_eq!(restarted.plan(130).actions[0], Action::Wake);
        let mut pushed = sleeping();
        pushed.observed.wanted = Some(release(2));
        assert_eq!(pushed.plan(130).actions[0], Action::Wake);
        // A push that is being built does not wake what it replaces.
        let mut building = sleeping().build(BuildState::Running);
        building.observed.good = Some(BuildId::new(T0, 9));
        let plan = building.plan(130);
        assert_eq!((plan.stage, plan.actions), (SpaceStage::Building, vec![]));
        let mut paused = sleeping();
        paused.desired.run = DesiredRun::Paused;
        assert_eq!(paused.plan(130).actions, [Action::Wake]);
    }

    #[test]
    fn without_a_time_and_during_a_build_nothing_sleeps() {
        let mut never = used(running(), 20);
        never.observed.idle.sleep_after = None;
        assert_eq!(never.plan(100_000).actions, []);
        let building = used(running(), 20).build(BuildState::Running);
        assert_eq!(building.plan(500).actions, []);
    }

    #[test]
    fn reclaimed_hardware_puts_to_sleep_and_is_given_back() {
        let flavor = FlavorName("a100".to_owned());
        let ending = Some(Ending { why: LeaseEnd::Reclaimed, told_at: at(50), by: at(200) });
        let mut world = running();
        if let Some(wanted) = &mut world.observed.wanted {
            wanted.needs = Some(flavor.clone());
        }
        world.observed.instances[0].needs = Some(flavor.clone());
        world.observed.hardware = HardwareSeen::Leased { flavor, claimed: true, ending };
        assert_eq!(world.plan(100).diagnosis.unwrap().phase, "idle");
        let plan = world.plan(170);
        assert!(plan.actions.contains(&Action::Sleep { release: ReleaseId::new(T0, 1), why: LeaseEnd::Reclaimed }));
        let mut world = asleep(world, 170);
        if let Some(asleep) = &mut world.observed.asleep {
            asleep.why = LeaseEnd::Reclaimed;
        }
        assert_eq!(world.plan(171).actions[0], Action::EndClaim { why: LeaseEnd::Reclaimed });
    }
}

mod faults {
    use super::*;

    const FAULT: &str = "the database failed at release_add: disk I/O error";

    fn fault(part: Part) -> Fault {
        Fault::new(part, at(10), FAULT)
    }

    fn failing(mut world: World, part: Part) -> World {
        let steps = world.plan(1).actions;
        world.observed.failed = steps.into_iter().map(|step| FailedStep { step, fault: fault(part) }).collect();
        world
    }

    fn without_engine(mut world: World) -> World {
        world.observed.engine_up = false;
        world.observed.engine_fault = Some(fault(Part::Engine));
        world
    }

    fn refused(mut world: World) -> World {
        world.observed.starts_refused = true;
        world.observed.engine_fault = Some(fault(Part::PacketFilter));
        world
    }

    #[test]
    fn whoever_waits_for_the_platform_is_told_so_after_a_while_and_the_stage_stays() {
        use SpaceStage::{AppStarting, Building};
        let started = || World::new().released().with(instance(9, 1, ContainerSeen::Missing));
        let queued = || World::new().inspected().build(BuildState::Queued);
        for (world, stage, ordinary, phase, what) in [
            (failing(World::new(), Part::Repository), Building, "reading", "waiting for the repository", "The commit"),
            (
                failing(World::new().inspected(), Part::Database),
                Building,
                "queued",
                "waiting for the database",
                "The build",
            ),
            (without_engine(queued()), Building, "queued", "waiting for the engine", "The build"),
            (
                failing(World::new().inspected().build(BuildState::Succeeded), Part::Database),
                AppStarting,
                "releasing",
                "waiting for the database",
                "The release",
            ),
            (failing(World::new().released(), Part::Disk), AppStarting, "starting", "waiting for the disk", "The app"),
            (failing(started(), Part::Engine), AppStarting, "starting", "waiting for the engine", "The app"),
            (
                without_engine(World::new().released()),
                AppStarting,
                "waiting for the engine",
                "waiting for the engine",
                "The app",
            ),
            (
                refused(World::new().released()),
                AppStarting,
                "waiting for the packet filter",
                "waiting for the packet filter",
                "The app",
            ),
        ] {
            let (soon, late) = (world.plan(69), world.plan(70));
            assert_eq!((soon.stage, late.stage, &soon.actions), (stage, stage, &late.actions));
            let why = soon.diagnosis.unwrap();
            assert_eq!((why.phase.as_str(), why.evidence.len()), (ordinary, 0), "{why:?}");
            let why = late.diagnosis.unwrap();
            assert_eq!((why.phase.as_str(), why.since), (phase, at(10)), "{why:?}");
            assert!(why.message.starts_with(what) && why.message.contains("since 1970-01-01 00:16 UTC: "), "{why:?}");
            assert_eq!(why.evidence, [format!("last error: {FAULT}")]);
            assert!(why.remedy.contains("by itself") && why.remedy.contains("administrator"), "{why:?}");
        }
    }

    #[test]
    fn what_was_told_stays_told_when_the_server_is_a_new_one() {
        let mut world = failing(World::new(), Part::Repository);
        world.observed.told = world.plan(70).diagnosis;
        world.observed.failed[0].fault.since = at(500);
        let why = world.plan(501).diagnosis.unwrap();
        assert_eq!((why.phase.as_str(), why.since), ("waiting for the repository", at(10)));
        // Once it went on, another fault is another one.
        world.observed.told = Some(told(Reason::BuildRunning, "building", "Building.", "", at(100)));
        assert_eq!(world.plan(501).diagnosis.unwrap().phase, "reading");
    }

    #[test]
    fn what_a_deletion_cannot_remove_is_named() {
        let deleting = |mut world: World| {
            world.desired.run = DesiredRun::Deleting;
            world.observed.told = Some(told(Reason::Deleting, "deleting", "", "", at(10)));
            world
        };
        let running = || World::new().released().with(ready(instance(9, 1, ContainerSeen::Running), 1));
        let mut orphaned = World::new();
        orphaned.observed.orphans.push("0123456789abcdef".to_owned());
        let mut building = World::new();
        building.observed.builds_under_way.push(7);
        let id = InstanceId::new(T0, 9);
        for (world, what) in [
            (failing(deleting(running()), Part::Engine), format!("the container of instance {id} cannot be removed")),
            (without_engine(deleting(running())), format!("the container of instance {id} cannot be removed")),
            (failing(deleting(orphaned), Part::Engine), "the container 0123456789ab cannot be removed".to_owned()),
            (failing(deleting(World::new()), Part::Repository), "its repository cannot be removed".to_owned()),
            (failing(deleting(World::new()), Part::Disk), "its files cannot be removed".to_owned()),
            (deleting(building), "build 7 was asked to end and still runs".to_owned()),
        ] {
            let (soon, late) = (world.plan(69), world.plan(70));
            assert_eq!((soon.stage, late.stage), (SpaceStage::Deleting, SpaceStage::Deleting));
            let why = soon.diagnosis.unwrap();
            assert_eq!((why.message.as_str(), why.since), ("This Space is being deleted.", at(10)));
            let why = late.diagnosis.unwrap();
            assert!(why.message.contains(&what) && why.message.contains("since 1970-01-01 00:16 UTC"), "{why:?}");
            assert!(why.remedy.contains("administrator"), "{why:?}");
            assert_eq!(why.evidence.is_empty(), what.starts_with("build"), "{why:?}");
        }
    }

    #[test]
    fn nothing_is_forgotten_while_something_is_left() {
        let mut world = World::new();
        world.desired.run = DesiredRun::Deleting;
        world.observed.orphans.push("orphan".to_owned());
        let plan = world.plan(1);
        check(&plan, SpaceStage::Deleting, &[Action::RemoveOrphan("orphan".to_owned())]);
        assert!(plan.look_again.is_some());
    }
}

#[test]
fn who_writes_more_than_its_disk_holds_is_ended_and_stays_so() {
    let id = InstanceId::new(T0, 9);
    let wrote = |written_bytes| {
        let mut seen = ready(instance(9, 1, ContainerSeen::Running), 2);
        let flavor = FlavorName::cpu_basic();
        seen.disk = Some(DiskSeen { written_bytes, limit_bytes: 50_000_000_000, flavor });
        seen
    };
    check(&World::new().released().with(wrote(50_000_000_000)).plan(3), SpaceStage::Running, &[]);
    let plan = World::new().released().with(wrote(61_300_000_000)).plan(3);
    let why = plan.diagnosis.clone().unwrap();
    assert_eq!(why.message, "The app wrote 61 GB to its own disk; the limit of cpu-basic is 50 GB.");
    check(&plan, SpaceStage::RuntimeError, &[Action::EndAttempt { instance: id, why: why.clone() }]);
    assert_eq!(plan.serving, None, "the route goes first");
    // However long it ran before.
    let mut over = wrote(61_300_000_000);
    (over.container, over.row.ended_at, over.row.diagnosis) =
        (ContainerSeen::Missing, Some(at(90_000)), Some(why.clone()));
    let plan = World::new().released().with(over.clone()).plan(100_000);
    check(&plan, SpaceStage::RuntimeError, &[]);
    assert_eq!(plan.diagnosis.map(|told| told.message), Some(why.message));
    // A restart begins with an empty disk.
    let mut restarted = World::new().released().with(over);
    restarted.desired.restart = 1;
    check(
        &restarted.plan(100_000),
        SpaceStage::AppStarting,
        &[Action::AddInstance { release: release(1).id, attempt: 1 }],
    );
    // An engine that is away ends nothing.
    let mut away = World::new().released().with(wrote(61_300_000_000));
    away.observed.engine_up = false;
    away.observed.instances[0].container = ContainerSeen::Unknown;
    check(&away.plan(3), SpaceStage::Running, &[]);
}
