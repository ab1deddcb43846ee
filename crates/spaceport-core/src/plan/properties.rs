//! What holds for every plan, whatever was observed: also for worlds that no history leads to.

use std::time::Duration;

use proptest::option;
use proptest::prelude::*;

use super::tests::{T0, config, sha};
use super::*;
use crate::space::Instance;
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
    })
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
        engine_up: bool,
        starts_refused: bool,
    ) -> Observed {
        for (n, seen) in (1u128..).zip(&mut instances) {
            seen.row.id = InstanceId::new(T0, n);
            if !engine_up {
                seen.container = ContainerSeen::Unknown;
            }
        }
        let builds_under_way = stale > 0 || matches!(build, Some((BuildState::Queued | BuildState::Running, ..)));
        let good = good || matches!(build, Some((BuildState::Succeeded, ..)));
        let id = BuildId::new(T0, 9);
        Observed {
            inspection,
            build: build.map(|(state, started_at, diagnosis)| BuildSeen { id, state, queued_at: T0, started_at, diagnosis }),
            stale_builds: (0..stale).map(|n| BuildId::new(T0, n)).collect(),
            builds_under_way,
            good: good.then_some(id),
            fallback: fallback.filter(|fallback| wanted.as_ref().is_none_or(|wanted| wanted.id != fallback.id)),
            wanted,
            instances,
            orphans: vec!["orphan".to_owned(); if engine_up { orphans } else { 0 }],
            engine_up,
            starts_refused,
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    #[test]
    fn every_plan_is_safe(desired in desired(), observed in observed(), now in time()) {
        let plan = plan(&desired, &observed, &LIMITS, now);
        let rests = desired.run != DesiredRun::Running;
        let of = |id: InstanceId| observed.instances.iter().find(|seen| seen.row.id == id).unwrap();

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
            let answers = seen.row.ready_at.is_some() && seen.container == ContainerSeen::Running;
            prop_assert!(rests || !answers || plan.serving.is_some(), "{:?}", action);
        }

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
            prop_assert!(!observed.builds_under_way);
            prop_assert!(observed.instances.iter().all(|seen| seen.row.ended_at.is_some()));
        }

        // A plan that waits says until when, unless somebody else will tell.
        if plan.actions.is_empty() && plan.stage == SpaceStage::AppStarting {
            prop_assert!(plan.look_again.is_some());
        }
    }
}
