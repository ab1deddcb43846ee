//! What holds for every plan, whatever was observed: also for worlds that no history leads to.

use std::time::Duration;

use proptest::option;
use proptest::prelude::*;

use super::tests::{T0, config, sha};
use super::*;
use crate::gpu::Ending;
use crate::space::{Inspection, Instance};
use crate::{FlavorName, Generation, SpaceId};

const LIMITS: Limits = Limits { build_time: Duration::from_secs(600), drain: Duration::from_secs(30) };

fn time() -> impl Strategy<Value = Timestamp> {
    (0u64..2000).prop_map(|seconds| T0 + Duration::from_secs(seconds))
}

fn reason() -> impl Strategy<Value = Reason> {
    prop::sample::select(vec![
        Reason::Crashed,
        Reason::ModuleMissing,
        Reason::OutOfMemory,
        Reason::EngineUnavailable,
        Reason::DeviceUnavailable,
        Reason::BuildWithdrawn,
        Reason::BuildCanceled,
        Reason::Internal,
    ])
}

fn diagnosis() -> impl Strategy<Value = Option<Diagnosis>> {
    option::of((reason(), time()).prop_map(|(reason, at)| told(reason, "phase", "It happened.", "Mend it.", at)))
}

fn build_state() -> impl Strategy<Value = BuildState> {
    use BuildState::{Canceled, Failed, Queued, Running, Succeeded};
    prop::sample::select(vec![Queued, Running, Succeeded, Failed, Canceled])
}

fn release() -> impl Strategy<Value = ReleaseSeen> {
    (1u128..4, any::<bool>()).prop_map(|(id, files)| ReleaseSeen {
        id: ReleaseId::new(T0, id),
        files: files && id == 3,
        startup_timeout: Duration::from_secs(60),
        needs: needs(id),
    })
}

/// The first release needs no lease, the others do, of two kinds.
fn needs(release: u128) -> Option<FlavorName> {
    match release {
        1 => None,
        2 => Some(FlavorName("a100".to_owned())),
        _ => Some(FlavorName("t4".to_owned())),
    }
}

fn ending() -> impl Strategy<Value = Option<Ending>> {
    let why = prop::sample::select(vec![LeaseEnd::Preempted, LeaseEnd::Reclaimed, LeaseEnd::DeviceLost]);
    option::of((why, time()).prop_map(|(why, by)| Ending { why, told_at: T0, by }))
}

fn hardware() -> impl Strategy<Value = HardwareSeen> {
    let flavor = || (2u128..4).prop_map(|release| needs(release).unwrap());
    let wait = (flavor(), option::of(time())).prop_map(|(flavor, again)| {
        HardwareSeen::Waiting(HardwareWait {
            flavor,
            what: "1 × A100".to_owned(),
            since: T0,
            reason: None,
            position: None,
            starts: None,
            again: again.map(|at| (LeaseEnd::Preempted, at)),
        })
    });
    let leased = (flavor(), prop::bool::weighted(0.8), ending())
        .prop_map(|(flavor, claimed, ending)| HardwareSeen::Leased { flavor, claimed, ending });
    let impossible = HardwareSeen::Impossible { why: "There is none.".to_owned() };
    prop_oneof![Just(HardwareSeen::None), Just(impossible), wait, leased]
}

prop_compose! {
    fn asleep()(release in 1u128..4, restart in 0i64..2, since in time(), reclaimed: bool) -> Asleep {
        let why = if reclaimed { LeaseEnd::Reclaimed } else { LeaseEnd::Slept };
        Asleep { release: ReleaseId::new(T0, release), restart, since, why }
    }
}

fn fault() -> Fault {
    Fault::new(Part::Engine, T0, "it is away")
}

fn container() -> impl Strategy<Value = ContainerSeen> {
    use ContainerSeen::{Created, Exited, Missing, Running};
    prop::sample::select(vec![Missing, Created, Running, Exited])
}

prop_compose! {
    fn instance()(
        release in 1u128..4,
        restart in 0i64..2,
        attempt in 1i64..6,
        created_at in time(),
        times in prop::array::uniform4(option::of(time())),
        diagnosis in diagnosis(),
        ended_by_us: bool,
        container in container(),
        drained: bool,
        disk in option::of(8u64..13),
    ) -> InstanceSeen {
        let [started_at, ready_at, retired_at, ended_at] = times;
        InstanceSeen {
            row: Instance {
                // Given below: the place in the list.
                id: InstanceId::new(T0, 0),
                space: SpaceId::new(T0, 1),
                release: ReleaseId::new(T0, release),
                restart,
                attempt,
                created_at,
                started_at,
                ready_at,
                retired_at,
                ended_at,
                diagnosis,
                ended_by_us,
            },
            container,
            drained,
            needs: needs(release),
            disk: disk.map(|written_bytes| DiskSeen { written_bytes, limit_bytes: 10, flavor: FlavorName::cpu_basic() }),
        }
    }
}

fn inspection() -> impl Strategy<Value = Option<Inspection>> {
    prop::sample::select(vec![
        None,
        Some(Inspection::Buildable(Box::new(config()))),
        Some(Inspection::ConfigError(Vec::new())),
        Some(Inspection::NoAppFile { file: "app.py".to_owned() }),
    ])
}

prop_compose! {
    fn observed()(
        inspection in inspection(),
        build in option::of((build_state(), option::of(time()), diagnosis())),
        stale in 0u128..3,
        good: bool,
        wanted in option::of(release()),
        fallback in option::of(release()),
        mut instances in prop::collection::vec(instance(), 0..8),
        orphans in 0usize..2,
        [engine_up, starts_refused] in any::<[bool; 2]>(),
        hardware in hardware(),
        asleep in option::of(asleep()),
        (last_used, sleep_after) in (option::of(time()), option::of(1u64..600)),
    ) -> Observed {
        for (n, seen) in (1u128..).zip(&mut instances) {
            seen.row.id = InstanceId::new(T0, n);
            if !engine_up {
                seen.container = ContainerSeen::Unknown;
            }
        }
        let is_under_way = stale > 0 || matches!(build, Some((BuildState::Queued | BuildState::Running, ..)));
        let good = good || matches!(build, Some((BuildState::Succeeded, ..)));
        let id = BuildId::new(T0, 9);
        Observed {
            inspection,
            build: build.map(|(state, started_at, diagnosis)| BuildSeen { id, state, queued_at: T0, started_at, diagnosis }),
            stale_builds: (0..stale).map(|n| BuildId::new(T0, n)).collect(),
            builds_under_way: if is_under_way { vec![9] } else { Vec::new() },
            good: good.then_some(id),
            fallback: fallback.filter(|fallback| wanted.as_ref().is_none_or(|wanted| wanted.id != fallback.id)),
            wanted,
            instances,
            orphans: vec!["orphan".to_owned(); if engine_up { orphans } else { 0 }],
            engine_up,
            starts_refused,
            engine_fault: (!engine_up || starts_refused).then(fault),
            failed: Vec::new(),
            told: None,
            hardware,
            asleep,
            idle: IdleSeen { last_used, watched_since: Some(T0), sleep_after: sleep_after.map(Duration::from_secs) },
        }
    }
}

prop_compose! {
    fn desired()(
        run in prop::sample::select(vec![
            DesiredRun::Running, DesiredRun::Running, DesiredRun::Paused, DesiredRun::Stopped, DesiredRun::Deleting,
        ]),
        has_head in prop::bool::weighted(0.9),
        restart in 0i64..2,
    ) -> Desired {
        Desired {
            generation: Generation(1),
            run,
            head: has_head.then(|| sha(1)),
            rebuild: 0,
            no_cache: false,
            restart,
            settings: 0,
            hardware: FlavorName::cpu_basic(),
            sleep_after_s: None,
        }
    }
}

fn count_starts(plan: &Plan) -> usize {
    plan.actions.iter().filter(|action| matches!(action, Action::AddInstance { .. } | Action::Start(_))).count()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    #[test]
    fn every_plan_is_safe(desired in desired(), observed in observed(), now in time()) {
        let plan = plan(&desired, &observed, &LIMITS, now);
        let rests = desired.run != DesiredRun::Running;
        let of = |id: InstanceId| observed.instances.iter().find(|seen| seen.row.id == id).unwrap();
        let has_lease = |needs: Option<&FlavorName>| match &observed.hardware {
            HardwareSeen::Leased { flavor, ending, .. } => {
                Some(flavor) == needs && ending.is_none_or(|ending| now < ending.by - LIMITS.drain)
            }
            _ => false,
        };
        let is_claimed = matches!(observed.hardware, HardwareSeen::Leased { claimed: true, .. });
        let runs_with = |needs: Option<&FlavorName>| needs.is_none() || (has_lease(needs) && is_claimed);
        let gives_back = plan.actions.iter().any(|action| matches!(action, Action::EndClaim { .. }));
        let asleep = !rests && observed.asleep.is_some_and(|asleep| {
            observed.wanted.as_ref().is_some_and(|wanted| wanted.id == asleep.release)
                && desired.restart == asleep.restart
                && observed.idle.last_used.is_none_or(|used| used <= asleep.since)
        });

        let over = |id: InstanceId| {
            let seen = of(id);
            seen.container == ContainerSeen::Running && seen.disk.as_ref().is_some_and(|disk| disk.written_bytes > 10)
        };

        // People are always told why it does not simply run.
        prop_assert!(plan.stage == SpaceStage::Running || plan.diagnosis.is_some());
        prop_assert_eq!(rests, matches!(plan.stage, SpaceStage::Paused | SpaceStage::Stopped | SpaceStage::Deleting));

        // What serves has answered and still may; a serving stage has something that serves.
        if let Some(Serving::Instance(id)) = plan.serving {
            let seen = of(id);
            prop_assert!(seen.row.ready_at.is_some() && seen.row.ended_at.is_none());
            prop_assert!(matches!(seen.container, ContainerSeen::Running | ContainerSeen::Unknown));
        }
        prop_assert!(!plan.stage.is_serving() || plan.serving.is_some());
        prop_assert!(!rests || plan.serving.is_none());

        // Whoever could answer is stopped only while another does, and never who serves.
        for action in &plan.actions {
            let (Action::Stop(id) | Action::Retire(id)) = action else { continue };
            let seen = of(*id);
            prop_assert!(seen.row.ended_at.is_none());
            prop_assert!(plan.serving != Some(Serving::Instance(*id)), "{:?}", action);
            let answers = seen.row.ready_at.is_some() && seen.container == ContainerSeen::Running && !over(*id);
            // Former hardware is given back before other is asked for.
            let may_run = !asleep && runs_with(seen.needs.as_ref()) && (seen.needs.is_none() || !gives_back);
            prop_assert!(rests || !answers || !may_run || plan.serving.is_some(), "{:?}", action);
        }

        // Nothing that needs a lease starts or serves without one that is its own and not over.
        let starts = plan.actions.iter().filter_map(|action| match action {
            Action::AddInstance { release, .. } => {
                let of = [&observed.wanted, &observed.fallback].into_iter().flatten().find(|of| of.id == *release);
                of.and_then(|of| of.needs.clone())
            }
            Action::Start(id) => of(*id).needs.clone(),
            _ => None,
        });
        for needs in starts {
            prop_assert!(runs_with(Some(&needs)), "{:?}", needs);
        }
        if let Some(Serving::Instance(id)) = plan.serving {
            let flavor = of(id).needs.as_ref();
            prop_assert!(flavor.is_none() || has_lease(flavor), "{:?}", flavor);
        }
        // Nothing begins while it sleeps, and only what sleeps or lost its hardware says so.
        prop_assert!(!asleep || (plan.serving.is_none() && count_starts(&plan) == 0));
        prop_assert!(plan.stage != SpaceStage::Sleeping || plan.serving.is_none());
        // One claim: made where there is none, ended where there is one.
        let claims = plan.actions.iter().filter(|action| matches!(action, Action::Claim { .. } | Action::EndClaim { .. }));
        prop_assert!(claims.clone().count() <= 1);
        for claim in claims {
            let is_made = matches!(claim, Action::Claim { .. });
            let has_claim = matches!(observed.hardware, HardwareSeen::Waiting(_) | HardwareSeen::Leased { claimed: true, .. });
            prop_assert_eq!(is_made, !has_claim);
        }
        prop_assert!(!rests || count_starts(&plan) == 0);

        // One attempt at a time, and nothing is done twice in one plan.
        let count = |is: fn(&Action) -> bool| plan.actions.iter().filter(|action| is(action)).count();
        let attempts = count(|action| matches!(action, Action::AddInstance { .. }));
        let builds = count(|action| matches!(action, Action::AddBuild { .. } | Action::RepeatBuild { .. }));
        prop_assert!(attempts <= 1 && builds <= 1);
        for (at, action) in plan.actions.iter().enumerate() {
            let is_orphan = matches!(action, Action::RemoveOrphan(_));
            prop_assert!(is_orphan || !plan.actions[..at].contains(action), "twice: {:?}", action);
        }

        // Nothing is asked of an engine that does not answer.
        if !observed.engine_up {
            let asks = |action: &Action| matches!(
                action,
                Action::Start(_) | Action::Probe(_) | Action::Stop(_) | Action::RecordExit(_) | Action::GiveUp(_)
                    | Action::RemoveOrphan(_) | Action::Forget
            );
            prop_assert_eq!(count(asks), 0);
        }

        // Who wrote too much does not serve, and nobody else is ended for it.
        prop_assert!(!matches!(plan.serving, Some(Serving::Instance(id)) if over(id)));
        for action in &plan.actions {
            let Action::EndAttempt { instance, .. } = action else { continue };
            prop_assert!(over(*instance));
        }

        // Nothing begins to run without isolation.
        if observed.starts_refused {
            prop_assert_eq!(attempts, 0);
            for action in &plan.actions {
                let Action::Start(id) = action else { continue };
                prop_assert!(of(*id).container == ContainerSeen::Running, "{:?}", action);
            }
        }

        // A Space is forgotten when nothing of it is left.
        if plan.actions.contains(&Action::Forget) {
            prop_assert!(observed.builds_under_way.is_empty() && observed.orphans.is_empty());
            prop_assert!(observed.instances.iter().all(|seen| seen.row.ended_at.is_some()));
        }

        // A plan that waits says until when, unless somebody else will tell.
        if plan.actions.is_empty() && plan.stage == SpaceStage::AppStarting {
            prop_assert!(plan.look_again.is_some());
        }

        // A fault of the platform is told and decides nothing.
        let failed = plan.actions.iter().map(|step| FailedStep { step: step.clone(), fault: fault() }).collect();
        let faulty = super::plan(&desired, &Observed { failed, ..observed.clone() }, &LIMITS, now);
        prop_assert_eq!(faulty.stage, plan.stage);
        prop_assert_eq!((faulty.serving, faulty.look_again), (plan.serving, plan.look_again));
        prop_assert_eq!(&faulty.actions, &plan.actions);
        let waits = plan.stage.is_transitional() && plan.stage != SpaceStage::Deleting;
        if !plan.actions.is_empty() && waits && now >= T0 + fault::PATIENCE {
            prop_assert!(!faulty.diagnosis.unwrap().evidence.is_empty());
        }
    }
}
