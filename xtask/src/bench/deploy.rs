//! From a push to the first correct answer: Spaceport beside the same app by hand, on one engine.
//!
//! Everything is timed from the person's command to the first answer that carries the change:
//! the push and the proxy are in it, as are `docker build` and `docker run`. The ways take turns
//! within each repetition, since the same minutes are what makes a ratio mean something. By hand
//! nothing of the old version runs any more when the clock starts; Spaceport's serves on.

mod hand;
mod http;
mod ours;
mod report;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};

use crate::demo::copy;
use crate::docker;
use crate::shell::{ensure, say};
use crate::site::{self, Site};
use hand::{Hand, Installer};
use ours::Ours;

/// The app.
const SAMPLE: &str = "examples/gradio-hello";
/// What the sample's page is called, in the code.
const TITLE: &str = "gr.Blocks(title=\"Ghostwriter\"";
/// Small packages of pure Python that no other one of them needs, one per repetition.
const PACKAGES: [&str; 10] = [
    "iniconfig",
    "inflection",
    "toolz",
    "humanize",
    "sortedcontainers",
    "tabulate",
    "texttable",
    "boltons",
    "funcy",
    "xmltodict",
];
/// An app may take so long to answer.
const LIMIT: Duration = Duration::from_secs(180);

/// Settings of the measurement.
#[derive(Args)]
pub struct Deploy {
    /// How often everything is measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=10))]
    repetitions: u8,
    /// Measure one part only.
    #[arg(long)]
    only: Option<Part>,
    /// A server to measure instead of a release build of this tree.
    #[arg(long)]
    server: Option<PathBuf>,
}

/// What is changed.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// A line of the code.
    Code,
    /// A line of requirements.txt.
    Dependencies,
}

impl Deploy {
    pub(super) fn run(self) -> Result<()> {
        ensure("git", &["git", "ca-certificates"], "apps are pushed with git")?;
        let engine = docker::ensure()?;
        let server = super::server(self.server.as_deref())?;
        let folder = PathBuf::from("target/bench/deploy");
        if folder.exists() {
            // What a measurement left that was ended on its way.
            ours::clear(&folder.join("data"));
            fs::remove_dir_all(&folder).with_context(|| format!("could not empty {}", folder.display()))?;
        }
        fs::create_dir_all(&folder)?;
        let folder = folder.canonicalize()?;

        say("Preparing the same app by hand");
        let hand = Hand::new(&folder, &engine)?;
        say("Starting Spaceport");
        let site = Site::start(&server, &folder, site::port(0)?, &engine, false)?;
        let ours = Ours::new(&folder, site)?;
        println!("By hand: {}. Load average: {}.", hand.describe(), load_average());
        let mut met = true;
        if self.only != Some(Part::Dependencies) {
            met &= self.code(&hand, &ours)?;
        }
        if self.only != Some(Part::Code) {
            met &= self.dependencies(&hand, &ours)?;
        }
        println!("\nLoad average: {}.", load_average());
        println!("{}", if met { "All goals are met." } else { "A goal is missed." });
        Ok(())
    }

    /// A change of the code alone.
    fn code(&self, hand: &Hand, ours: &Ours) -> Result<bool> {
        say("Code only: the first deployment of each, which is not measured");
        let first = App::new("first", None);
        ours.deploy(&first)?;
        hand.environment(&first)?;
        let builder = hand.fastest_builder(&first)?;
        say(&format!("Code only: {} repetitions", self.repetitions));
        let mut rows = report::Code { builder, ours: Vec::new(), hand: Vec::new(), elsewhere: Vec::new() };
        for repetition in 1..=self.repetitions {
            let app = App::new(&format!("code {repetition}"), None);
            let pushed = ours.deploy(&app)?;
            let made = hand.deploy_code(&app, builder)?;
            println!("{repetition}: Spaceport {} ms, by hand {} ms", pushed.total, made.total);
            rows.ours.push(pushed);
            rows.hand.push(made);
            rows.elsewhere.push(hand.start_elsewhere(&app)?);
        }
        Ok(rows.print())
    }

    /// One more package in requirements.txt, whose files are in every download cache.
    fn dependencies(&self, hand: &Hand, ours: &Ours) -> Result<bool> {
        say("Dependencies: filling every download cache, which is not measured");
        let everything = App::new("everything", Some(&PACKAGES.join("\n")));
        ours.deploy(&everything)?;
        for installer in Installer::ALL {
            hand.deploy_dependencies(&everything, installer)?;
        }
        say(&format!("Dependencies: {} repetitions", self.repetitions));
        let mut rows = report::Dependencies::default();
        for (repetition, package) in (1..=self.repetitions).zip(PACKAGES) {
            let app = App::new(&format!("dependencies {repetition}"), Some(package));
            let pushed = ours.deploy(&app)?;
            print!("{repetition}: Spaceport {} ms", pushed.total);
            rows.ours.push(pushed);
            let marker = format!("{}, from scratch", app.marker);
            let scratch = ours.deploy(&App { marker, from_scratch: true, ..app.clone() })?;
            print!(", from scratch {} ms", scratch.total);
            rows.scratch.push(scratch.total);
            for (installer, times) in Installer::ALL.into_iter().zip(&mut rows.hand) {
                let made = hand.deploy_dependencies(&app, installer)?;
                print!(", {} {} ms", installer.name(), made.total);
                times.push(made);
            }
            println!();
        }
        Ok(rows.print())
    }
}

/// The sample with a change.
#[derive(Clone)]
struct App {
    /// What the page is called; the answer must have it.
    marker: String,
    requirements: Option<String>,
    /// With a `pre-requirements.txt`, for which Spaceport starts from no earlier environment.
    from_scratch: bool,
}

impl App {
    fn new(name: &str, packages: Option<&str>) -> Self {
        // Caches of earlier runs must not know this one's inputs.
        let run = std::process::id();
        let requirements = packages.map(|packages| format!("# {name} of run {run}\n{packages}\n"));
        Self { marker: format!("Ghostwriter {run}, {name}"), requirements, from_scratch: false }
    }

    /// Writes the files, `before` in front of the requirements.
    fn write(&self, to: &Path, before: &str) -> Result<()> {
        copy(Path::new(SAMPLE), to)?;
        let file = to.join("app.py");
        let code = fs::read_to_string(&file)?;
        ensure!(code.contains(TITLE), "{SAMPLE}/app.py has no {TITLE} any more, which the measurement changes");
        fs::write(&file, code.replace(TITLE, &format!("gr.Blocks(title={:?}", self.marker)))?;
        if let Some(requirements) = &self.requirements {
            fs::write(to.join("requirements.txt"), format!("{before}{requirements}"))?;
        }
        let first = to.join("pre-requirements.txt");
        if self.from_scratch {
            fs::write(first, "pip\n")?;
        } else if first.exists() {
            fs::remove_file(first)?;
        }
        Ok(())
    }
}

/// A release build, as people run it.
fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}
