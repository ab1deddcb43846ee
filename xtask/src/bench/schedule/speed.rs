//! How long decisions take: 10,000 claims waiting on 10,000 devices that are all in use.

use std::time::Instant;

use spaceport_core::gpu::schedule::{Engine, Event, Policy, World, schedule};
use spaceport_core::gpu::{QuotaTree, Shape};
use spaceport_core::{ClaimId, Timestamp};

use super::made::Random;
use super::work::{job, node};

/// Prints the time of a pass over everything, and of single arrivals and releases.
pub fn run(waiting: usize, nodes: u32, events: usize) -> anyhow::Result<()> {
    let mut random = Random::new(1);
    let nodes = (0..nodes)
        .map(|number| node(&format!("n{number:05}"), 96_000, 768 << 30, 8, "A100"))
        .collect::<Result<Vec<_>, _>>()?;
    let devices = nodes.iter().map(|node| node.devices.len()).sum::<usize>();
    let mut claim = |number: usize| {
        let several = random.unit() < 0.02;
        let milli = [1000, 1000, 500, 250][number % 4];
        let (devices, milli) = if several { (2, 1000) } else { (1, milli) };
        let shape = Shape {
            cpu_millicores: 2000,
            memory_bytes: 8 << 30,
            devices,
            milli,
            models: Vec::new(),
            min_device_memory_bytes: 0,
        };
        let account = format!("t{}/u{:03}", number % 50, number % 500);
        let limit = [900_000, 3_600_000, 14_400_000][number % 3];
        job(number, String::new(), account, shape, number as u64, 1, limit).claim
    };
    let mut engine =
        Engine::new(&World { nodes, quotas: QuotaTree::default(), policy: Policy::default(), ..World::default() });
    let mut number = 0;
    while (engine.waiting() as usize) < waiting {
        let batch = waiting.max(devices) / 4;
        for _ in 0..batch {
            number += 1;
            let claim = claim(number);
            engine.apply(at(number), Event::Submitted(claim));
        }
        engine.pass(at(number));
    }
    let running: Vec<ClaimId> = engine.world(at(number)).running.iter().map(|one| one.claim.id).collect();
    println!("{} claims wait, {} run, on {devices} devices", engine.waiting(), running.len());
    let world = engine.world(at(number));
    let mut whole = Vec::new();
    for _ in 0..20 {
        let began = Instant::now();
        let decision = schedule(&world);
        whole.push(began.elapsed().as_secs_f64() * 1e3);
        anyhow::ensure!(
            decision.waiting.len() + decision.starts.len() >= waiting,
            "claims are missing from the decision"
        );
    }
    let (mut decided, mut single) = (Vec::new(), Vec::new());
    for (step, ends) in running.into_iter().take(events).enumerate() {
        number += 1;
        let now = at(number);
        let event = if step % 2 == 0 {
            Event::Submitted(claim(number))
        } else {
            Event::Ended { claim: ends, done: true, again: false }
        };
        let began = Instant::now();
        engine.apply(now, event);
        engine.decide(now);
        decided.push(began.elapsed().as_secs_f64() * 1e3);
        engine.explain(now);
        single.push(began.elapsed().as_secs_f64() * 1e3);
    }
    let rows = [("whole pass", whole), ("single event, decided", decided), ("single event, explained", single)];
    for (name, mut times) in rows {
        times.sort_by(f64::total_cmp);
        let p = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or(f64::NAN);
        println!("{name}: p50 {:.2} ms, p99 {:.2} ms", p(50), p(99));
    }
    Ok(())
}

fn at(number: usize) -> Timestamp {
    Timestamp::from_millis(i64::try_from(number).unwrap_or(0))
}
