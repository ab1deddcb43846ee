//! Runs the scheduler through recorded or made-up work, event by event.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::fmt::Write as _;
use std::time::Instant;

use spaceport_core::gpu::QuotaTree;
use spaceport_core::gpu::schedule::{Decision, Engine, Event, Policy, World};
use spaceport_core::{ClaimId, Timestamp};

use super::work::{Job, Work};

/// What happened, as the evaluator reads it.
pub struct Run {
    /// The decision log.
    pub log: String,
    /// Microseconds of each pass.
    pub passes_us: Vec<f64>,
    /// How many were told to leave, and did before they were done.
    pub preempted: usize,
}

struct Simulation<'a> {
    jobs: HashMap<ClaimId, &'a Job>,
    engine: Engine,
    /// Ends of leases: those that are not the lease's any more are passed over.
    ends: BinaryHeap<Reverse<(Timestamp, ClaimId, u32)>>,
    /// How often each claim was started, whether it runs, and until when it may.
    runs: HashMap<ClaimId, RunState>,
    wake: BTreeSet<Timestamp>,
    promised: BTreeSet<ClaimId>,
    run: Run,
}

#[derive(Default, Clone, Copy)]
struct RunState {
    starts: u32,
    running: bool,
    ends_by: Option<Timestamp>,
    done_at: Timestamp,
}

/// Runs all of it.
pub fn simulate(work: &Work, quotas: QuotaTree, policy: Policy) -> Run {
    let world = World { nodes: work.nodes.clone(), quotas, policy, ..World::default() };
    let mut simulation = Simulation {
        jobs: work.jobs.iter().map(|job| (job.claim.id, job)).collect(),
        engine: Engine::new(&world),
        ends: BinaryHeap::new(),
        runs: HashMap::new(),
        wake: BTreeSet::new(),
        promised: BTreeSet::new(),
        run: Run {
            log: "time,claim,event,node,gpus,lo,hi,point,pass_us\n".to_owned(),
            passes_us: Vec::new(),
            preempted: 0,
        },
    };
    let mut arrivals = work.jobs.iter().peekable();
    loop {
        let arrival = arrivals.peek().map(|job| job.claim.submitted_at);
        let end = simulation.ends.peek().map(|Reverse((at, _, _))| *at);
        let wake = simulation.wake.first().copied();
        if arrival.is_none() && end.is_none() && simulation.engine.waiting() == 0 {
            break;
        }
        let Some(now) = [arrival, end, wake].into_iter().flatten().min() else { break };
        if end == Some(now) {
            let Some(Reverse((_, claim, start))) = simulation.ends.pop() else { break };
            if !simulation.end(now, claim, start) {
                continue;
            }
        } else if arrival == Some(now) {
            let Some(job) = arrivals.next() else { break };
            simulation.engine.apply(now, Event::Submitted(job.claim.clone()));
        } else {
            simulation.wake.remove(&now);
        }
        simulation.pass(now);
    }
    simulation.run
}

impl Simulation<'_> {
    /// A lease ends by itself or because it has to; `false` when that was over already.
    fn end(&mut self, now: Timestamp, claim: ClaimId, start: u32) -> bool {
        let state = self.runs.entry(claim).or_default();
        let due = state.done_at <= now || state.ends_by.is_some_and(|by| by <= now);
        if !state.running || state.starts != start || !due {
            return false;
        }
        state.running = false;
        let done = state.done_at <= now;
        self.engine.apply(now, Event::Ended { claim, done, again: !done });
        self.run.preempted += usize::from(!done);
        self.log(now, claim, if done { "finish" } else { "preempt" }, ",,,,");
        true
    }

    fn pass(&mut self, now: Timestamp) {
        let began = Instant::now();
        let decision = self.engine.pass(now);
        let took = began.elapsed().as_secs_f64() * 1e6;
        self.run.passes_us.push(took);
        self.take(now, &decision);
    }

    fn take(&mut self, now: Timestamp, decision: &Decision) {
        for start in &decision.starts {
            let job = self.jobs[&start.claim];
            let state = self.runs.entry(start.claim).or_default();
            let done_at = now + std::time::Duration::from_millis(job.duration_ms);
            *state = RunState { starts: state.starts + 1, running: true, ends_by: None, done_at };
            self.ends.push(Reverse((done_at, start.claim, state.starts)));
            let devices: Vec<String> =
                start.device_ids().filter_map(|id| id.0.rsplit_once('/').map(|(_, index)| index.to_owned())).collect();
            let rest = format!("{},{},,,", start.node, devices.join(";"));
            self.log(now, start.claim, "start", &rest);
        }
        for preemption in &decision.preemptions {
            let state = self.runs.entry(preemption.claim).or_default();
            state.ends_by = Some(preemption.ends_by);
            self.ends.push(Reverse((preemption.ends_by, preemption.claim, state.starts)));
        }
        for kept in &decision.kept {
            self.runs.entry(*kept).or_default().ends_by = None;
        }
        for waiting in &decision.waiting {
            let Some(start) = waiting.start else { continue };
            if self.promised.insert(waiting.claim) {
                let rest =
                    format!(",,{},{},{}", seconds(start.from_90), seconds(start.until_90), seconds(start.expected));
                self.log(now, waiting.claim, "eta", &rest);
            }
        }
        self.wake.retain(|at| *at > now);
        self.wake.extend(decision.look_again);
    }

    fn log(&mut self, now: Timestamp, claim: ClaimId, event: &str, rest: &str) {
        let _ = writeln!(self.run.log, "{},{},{event},{rest},", seconds(now), self.jobs[&claim].name);
    }
}

fn seconds(at: Timestamp) -> String {
    let millis = at.as_millis();
    format!("{}.{:03}", millis.div_euclid(1000), millis.rem_euclid(1000))
}
