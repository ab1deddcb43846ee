//! What every kind of build has: a log, phases, a folder for temporary files, and the source.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use spaceport_core::diagnose::{self, BuildEvidence};
use spaceport_core::space::{Build, Space};
use spaceport_core::{Diagnosis, ImageDigest, Reason};
use spaceport_git::{ArchiveOptions, GitError, SourceLimits, SourceSummary};
use spaceport_runtime::{BuildLimits, BuildStep, Keep, LogSink, StepOutcome};
use tokio_util::sync::CancellationToken;

use super::{Builds, Stop};
use crate::logs::{LogId, LogWriter};
use crate::source;
use crate::spaces::Parts;

/// Lines of output a diagnosis may use.
const TAIL: usize = 60;
/// A transfer outlives its build by so much at most.
const TRANSFER_GRACE: Duration = Duration::from_secs(30);
/// One file of a commit may have so many bytes.
const MAX_FILE: u64 = 2 << 30;

/// One build under way.
pub(crate) struct Context {
    pub(crate) build: Build,
    pub(crate) space: Space,
    pub(crate) cancel: CancellationToken,
    pub(crate) folder: PathBuf,
    parts: Parts,
    lease: String,
    log: Option<Arc<LogWriter>>,
    tail: Arc<Mutex<VecDeque<String>>>,
    phases: Mutex<Phases>,
    began: Instant,
}

#[derive(Default)]
struct Phases {
    done: BTreeMap<String, u64>,
    current: Option<(String, Instant)>,
}

impl Phases {
    fn end(&mut self) {
        if let Some((name, began)) = self.current.take() {
            let took = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            *self.done.entry(name).or_default() += took;
        }
    }
}

impl Context {
    pub(crate) fn open(builds: &Builds, build: Build, space: Space, cancel: CancellationToken) -> Self {
        let parts = builds.parts.clone();
        let folder = parts.config.data_dir.join("tmp").join(format!("build-{}", build.id));
        // A build without a log is better than none.
        let log = parts.control.logs().writer(LogId::Build(space.id, build.id)).inspect_err(|error| {
            tracing::error!(build.id = %build.id, error = %error, "the log of a build cannot be written: {error}");
        });
        Self {
            build,
            space,
            cancel,
            folder,
            parts,
            lease: builds.lease.clone(),
            log: log.ok().map(Arc::new),
            tail: Arc::default(),
            phases: Mutex::default(),
            began: Instant::now(),
        }
    }

    /// Makes the build's folder, without what a crashed process left of this build.
    pub(crate) async fn prepare(&self) -> std::io::Result<()> {
        match tokio::fs::remove_dir_all(&self.folder).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        tokio::fs::create_dir_all(&self.folder).await
    }

    /// Writes a line of our own.
    pub(crate) fn say(&self, text: &str) {
        if let Some(log) = &self.log {
            log.line(text);
        }
    }

    /// Takes the output of a step.
    pub(crate) fn sink(&self) -> LogSink {
        let (log, tail) = (self.log.clone(), Arc::clone(&self.tail));
        Arc::new(move |line: &str| {
            if let Some(log) = &log {
                log.line(line);
            }
            let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
            if tail.len() == TAIL {
                tail.pop_front();
            }
            tail.push_back(line.to_owned());
        })
    }

    pub(crate) fn tail(&self) -> Vec<String> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Begins a phase: `name` for the breakdown, `text` for people.
    pub(crate) async fn phase(&self, name: &str, text: &str) {
        {
            let mut phases = self.phases.lock().unwrap_or_else(PoisonError::into_inner);
            phases.end();
            phases.current = Some((name.to_owned(), Instant::now()));
        }
        self.tail.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.say(&format!("--> {text}"));
        let mut doing = self.diagnosis(Reason::BuildRunning, &format!("{text}."), "");
        name.clone_into(&mut doing.phase);
        match self.parts.store.build_progress(self.build.id, &self.lease, &doing).await {
            Ok(true) => self.parts.control.activate_quietly(self.space.id),
            // Somebody else has the build, or it shall end: what we do here is of no use to anyone.
            Ok(false) => self.cancel.cancel(),
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "build progress was not recorded"),
        }
    }

    /// Milliseconds each phase took.
    pub(crate) fn phases(&self) -> BTreeMap<String, u64> {
        let mut phases = self.phases.lock().unwrap_or_else(PoisonError::into_inner);
        phases.end();
        phases.done.clone()
    }

    pub(crate) fn diagnosis(&self, reason: Reason, message: &str, remedy: &str) -> Diagnosis {
        Diagnosis {
            reason,
            phase: "building".to_owned(),
            message: message.to_owned(),
            remedy: remedy.to_owned(),
            evidence: Vec::new(),
            since: self.parts.control.clock().now(),
            deadline: None,
        }
    }

    pub(crate) fn failed(&self, reason: Reason, message: &str, remedy: &str) -> Stop {
        let mut why = self.diagnosis(reason, message, remedy);
        why.evidence = self.tail();
        Stop::Failed(Box::new(why))
    }

    pub(crate) fn timed_out(&self, limit: Duration) -> Diagnosis {
        let minutes = limit.as_secs() / 60;
        let mut why = self.diagnosis(
            Reason::BuildTimeout,
            &format!("The build did not end within its limit of {minutes} min."),
            "Look for the step that hangs or is slow at the end of the build log.",
        );
        why.evidence = self.tail();
        why
    }

    /// The limits of a step: what is left of the build's time.
    pub(crate) fn limits(&self) -> BuildLimits {
        let limits = self.parts.config.builder.limits;
        BuildLimits { time: limits.time.saturating_sub(self.began.elapsed()), ..limits }
    }

    /// The limit of a transfer: more than is left of the build's time, so that it is the build's limit that is told of.
    pub(crate) fn transfer_time(&self) -> Duration {
        self.limits().time + TRANSFER_GRACE
    }

    /// Runs a step and turns its failure into a diagnosis.
    pub(crate) async fn step(
        &self,
        step: BuildStep,
        doing: &str,
        otherwise: Reason,
    ) -> Result<Option<ImageDigest>, Stop> {
        let outcome = self.parts.engine.runtime.run_step(step, self.sink(), self.cancel.clone()).await?;
        match outcome {
            StepOutcome::Done(image) => Ok(image),
            StepOutcome::Failed { code, oom_killed } => Err(Stop::Failed(Box::new(diagnose::build(&BuildEvidence {
                phase: doing,
                code,
                oom_killed,
                memory_bytes: self.parts.config.builder.limits.memory_bytes,
                otherwise,
                log: &self.tail(),
                at: self.parts.control.clock().now(),
            })))),
            StepOutcome::TimedOut => Err(Stop::Failed(Box::new(self.timed_out(self.parts.config.builder.limits.time)))),
            StepOutcome::DiskExceeded => Err(self.disk_exceeded(doing)),
            StepOutcome::ArchiveTooLarge => Err(self.failed(
                Reason::SourceTooLarge,
                &format!("The build's output has more than {} GiB.", self.parts.config.builder.max_source_bytes >> 30),
                "Let the build make fewer or smaller files.",
            )),
        }
    }

    /// A build wrote too much.
    pub(crate) fn disk_exceeded(&self, doing: &str) -> Stop {
        let limit = self.parts.config.builder.limits.disk_bytes >> 30;
        self.failed(
            Reason::DiskFull,
            &format!("The build wrote more than its limit of {limit} GiB while {doing}."),
            "Install less, or download large files when the app starts.",
        )
    }

    /// Writes the commit as an archive below the build's folder.
    pub(crate) async fn archive(&self, uid: u64) -> Result<(PathBuf, SourceSummary), Stop> {
        let to = self.folder.join(format!("source-{uid}.tar"));
        let (limits, time) = (self.source_limits(), self.transfer_time());
        let options = ArchiveOptions { uid, gid: uid, limits, time, ..ArchiveOptions::default() };
        let result = source::archive(&self.parts, self.space.id.into(), &self.build.sha, &to, &options).await;
        let summary = result.map_err(|error| self.source_error(error))?;
        self.warn(&summary);
        Ok((to, summary))
    }

    /// Puts the files of the commit into a new folder.
    pub(crate) async fn extract(&self, to: &Path) -> Result<(), Stop> {
        let limits = self.source_limits();
        let result = source::extract(&self.parts, self.space.id.into(), &self.build.sha, to, limits).await;
        let summary = result.map_err(|error| self.source_error(error))?;
        self.warn(&summary);
        Ok(())
    }

    pub(crate) fn source_limits(&self) -> SourceLimits {
        let builder = &self.parts.config.builder;
        SourceLimits {
            max_files: builder.max_source_files,
            max_file_bytes: MAX_FILE,
            max_total_bytes: builder.max_source_bytes,
        }
    }

    /// Tells of what git lists and the hub does not have.
    fn warn(&self, summary: &SourceSummary) {
        match summary.lfs_pointers {
            0 => {}
            1 => self.say(&format!(
                "Warning: {} is a Git LFS pointer whose content is not on this hub; the app finds the pointer",
                summary.lfs_paths.join(", ")
            )),
            count => self.say(&format!(
                "Warning: {count} files are Git LFS pointers whose content is not on this hub; the app finds the \
                 pointers: {}",
                summary.lfs_paths.join(", ")
            )),
        }
        for folder in &summary.submodules {
            self.say(&format!("Warning: {folder} is a submodule and stays empty; commit its files instead"));
        }
    }

    pub(crate) fn source_error(&self, error: GitError) -> Stop {
        match error {
            GitError::Source(problem) => {
                let text = problem.to_string();
                let mut chars = text.chars();
                let message = chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect());
                self.failed(problem.reason(), &format!("{message}."), problem.remedy())
            }
            error => Stop::Again(crate::engine::chain(&error)),
        }
    }

    /// A file of the commit as text; `None` when there is none.
    pub(crate) async fn text_file(&self, path: &str, max: u64) -> Result<Option<String>, Stop> {
        match self.parts.repositories.read_file(self.space.id.into(), &self.build.sha, path, max).await {
            Ok(None) => Ok(None),
            Ok(Some(bytes)) => String::from_utf8(bytes).map(Some).map_err(|_| {
                self.failed(
                    Reason::DependencyFailed,
                    &format!("{path} is not a UTF-8 text file."),
                    "Save it as UTF-8 text and push again.",
                )
            }),
            Err(GitError::FileTooLarge { bytes, .. }) => Err(self.failed(
                Reason::SourceTooLarge,
                &format!("{path} has {bytes} bytes; at most {max} are read."),
                "Shorten it.",
            )),
            Err(error) => Err(self.source_error(error)),
        }
    }

    /// Removes the build's folder; what stays is removed with the next build of the same id.
    pub(crate) async fn clean(&self) {
        let _ = tokio::fs::remove_dir_all(&self.folder).await;
    }
}

/// A step with what all steps have.
pub(crate) fn step(context: &Context, image: &ImageDigest, user: &str, script: String, keep: Keep) -> BuildStep {
    BuildStep {
        title: format!("{} build {}", context.space.name, context.build.number),
        image: image.clone(),
        script,
        user: user.to_owned(),
        working_dir: "/".to_owned(),
        env: BTreeMap::new(),
        input: None,
        cache: None,
        limits: context.limits(),
        keep,
    }
}
