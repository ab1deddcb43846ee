//! The tables.

use crate::bench::median;

use super::hand::{Builder, Installer, Made};
use super::http::POLL;
use super::ours::Pushed;

/// What the platform may add to the app's own start, in milliseconds.
const GOAL_ADDED: f64 = 500.0;
/// What a change of dependencies may take, in units of `docker build` with pip.
const GOAL_TO_PIP: f64 = 0.6;

/// Code alone.
pub struct Code {
    pub builder: Builder,
    pub ours: Vec<Pushed>,
    pub hand: Vec<Made>,
    /// The app's start by hand where nothing says that it is a Space.
    pub elsewhere: Vec<u64>,
}

/// Dependencies.
#[derive(Default)]
pub struct Dependencies {
    pub ours: Vec<Pushed>,
    /// Totals of deployments that could not start from an earlier environment.
    pub scratch: Vec<u64>,
    /// By installer.
    pub hand: [Vec<Made>; Installer::ALL.len()],
}

impl Code {
    /// Prints it; whether the goals are met.
    pub fn print(&self) -> bool {
        let start = Times::of(self.hand.iter().map(|made| made.start));
        let (ours, hand) = (totals(&self.ours), Times::of(self.hand.iter().map(|made| made.total)));
        title("Code only: to the first correct answer");
        row("Spaceport: git push until it answers", &ours);
        row("by hand: build and run until it answers", &hand);
        row(&format!("  docker build ({})", self.builder.name()), &Times::of(self.hand.iter().map(|made| made.build)));
        row("  docker run until it answers: own start", &start);
        row("  the same, not told that it is a Space", &Times::of(self.elsewhere.iter().copied()));
        phases(&self.ours);
        println!("Each waits by asking every {} ms.", POLL.as_millis());
        let ratio = median(self.ours.iter().zip(&self.hand).map(|(ours, hand)| ratio(ours.total, hand.total)));
        let added = median(self.ours.iter().zip(&self.hand).map(|(ours, hand)| float(ours.total) - float(hand.start)));
        goal(&format!("no slower than by hand: {ratio:.2} x"), ratio <= 1.0)
            & goal(&format!("own start + {GOAL_ADDED:.0} ms: + {added:.0} ms"), added <= GOAL_ADDED)
    }
}

impl Dependencies {
    /// Prints it; whether the goals are met.
    pub fn print(&self) -> bool {
        title("Dependencies changed, download caches warm: to the first correct answer");
        row("Spaceport (bytecode compiled)", &totals(&self.ours));
        row("Spaceport without an earlier environment", &Times::of(self.scratch.iter().copied()));
        for (installer, made) in Installer::ALL.iter().zip(&self.hand) {
            row(installer.name(), &Times::of(made.iter().map(|made| made.total)));
            row("  docker build alone", &Times::of(made.iter().map(|made| made.build)));
        }
        phases(&self.ours);
        let to = |installer: usize| {
            median(self.ours.iter().zip(&self.hand[installer]).map(|(ours, hand)| ratio(ours.total, hand.total)))
        };
        let [pip, uv, plain] = [to(0), to(1), to(2)];
        println!("  {:<52}{plain:.2} x", "beside uv without bytecode, whose app starts slower");
        let first = median(self.scratch.iter().zip(&self.hand[1]).map(|(ours, hand)| ratio(*ours, hand.total)));
        println!("  {:<52}{first:.2} x", "without an earlier environment, beside uv, bytecode");
        goal(&format!("at most {GOAL_TO_PIP} x docker build with pip: {pip:.2} x"), pip <= GOAL_TO_PIP)
            & goal(&format!("no slower than BuildKit, uv, cache mount, bytecode: {uv:.2} x"), uv <= 1.0)
    }
}

/// Median and least, in milliseconds.
struct Times {
    median: f64,
    least: f64,
}

impl Times {
    fn of(times: impl Iterator<Item = u64> + Clone) -> Self {
        Self { median: median(times.clone().map(float)), least: times.map(float).fold(f64::INFINITY, f64::min) }
    }
}

fn totals(pushed: &[Pushed]) -> Times {
    Times::of(pushed.iter().map(|pushed| pushed.total))
}

fn title(text: &str) {
    println!("\n{text:<58}{:>10}{:>10}", "median ms", "min ms");
}

fn row(name: &str, times: &Times) {
    println!("{name:<58}{:>10.0}{:>10.0}", times.median, times.least);
}

fn phases(pushed: &[Pushed]) {
    let Some(first) = pushed.first() else { return };
    println!("Spaceport by phase:");
    for (name, _) in &first.phases {
        let times = pushed.iter().filter_map(|pushed| pushed.phases.iter().find(|(other, _)| other == name));
        row(&format!("  {name}"), &Times::of(times.map(|(_, ms)| *ms)));
    }
}

fn goal(text: &str, met: bool) -> bool {
    println!("goal: {text}: {}", if met { "met" } else { "missed" });
    met
}

fn float(ms: u64) -> f64 {
    // Hours at most.
    f64::from(u32::try_from(ms).unwrap_or(u32::MAX))
}

fn ratio(one: u64, other: u64) -> f64 {
    float(one) / float(other)
}
