//! The newest commit, on its way to an artifact.

use super::{Action, Draft, Limits, Observed, fault, told};
use crate::config::ConfigError;
use crate::diagnose::sentence;
use crate::front_matter;
use crate::space::{BuildState, Desired, Inspection};
use crate::{Diagnosis, Reason, SpaceStage, Timestamp};

/// Where the newest commit is on its way to an image.
pub(super) enum Code {
    /// It will not become one.
    Verdict(SpaceStage, Diagnosis),
    /// It is being looked at or built.
    Underway(Diagnosis),
    /// It is one.
    Built,
}

pub(super) fn plan_code(desired: &Desired, observed: &Observed, limits: &Limits, draft: &mut Draft) -> Code {
    let now = draft.now;
    let Some(sha) = &desired.head else {
        let why = told(
            Reason::EmptyRepository,
            "empty",
            "The repository has no commit on main yet.",
            "Push your app: git push origin main.",
            now,
        );
        return Code::Verdict(SpaceStage::NoAppFile, why);
    };
    match &observed.inspection {
        None => {
            draft.actions.push(Action::Inspect { sha: sha.clone() });
            return Code::Underway(told(Reason::BuildQueued, "reading", "Reading the commit.", "", now));
        }
        Some(Inspection::ConfigError(errors)) => {
            return Code::Verdict(SpaceStage::ConfigError, config_error(errors, now));
        }
        Some(Inspection::NoAppFile { file }) => {
            let dockerfile = file == "Dockerfile";
            let why = told(
                if dockerfile { Reason::DockerfileMissing } else { Reason::AppFileMissing },
                "no app file",
                &format!("The commit has no {file}."),
                &if dockerfile {
                    "Add a Dockerfile at the root of the repository.".to_owned()
                } else {
                    format!("Add {file}, or set app_file in README.md to the file that starts your app.")
                },
                now,
            );
            return Code::Verdict(SpaceStage::NoAppFile, why);
        }
        Some(Inspection::Buildable(_)) => {}
    }
    let Some(build) = &observed.build else {
        draft.actions.push(Action::AddBuild { sha: sha.clone() });
        return Code::Underway(told(Reason::BuildQueued, "queued", "Waiting for a free builder.", "", now));
    };
    match build.state {
        BuildState::Succeeded => Code::Built,
        BuildState::Queued => {
            let away = || fault::of_engine("The build has been waiting for its turn", observed, now);
            let queued = || told(Reason::BuildQueued, "queued", "Waiting for a free builder.", "", build.queued_at);
            let why = (!observed.engine_up).then(away).flatten();
            Code::Underway(why.or_else(|| build.diagnosis.clone()).unwrap_or_else(queued))
        }
        BuildState::Running => {
            let since = build.started_at.unwrap_or(build.queued_at);
            let mut why = build
                .diagnosis
                .clone()
                .unwrap_or_else(|| told(Reason::BuildRunning, "building", "Building.", "", since));
            why.deadline = Some(since + limits.build_time);
            Code::Underway(why)
        }
        BuildState::Canceled if build.diagnosis.as_ref().is_some_and(|why| why.reason == Reason::BuildWithdrawn) => {
            draft.actions.push(Action::RepeatBuild { build: build.id });
            Code::Underway(told(Reason::BuildQueued, "queued", "Waiting for a free builder.", "", now))
        }
        BuildState::Failed | BuildState::Canceled => {
            let why = build.diagnosis.clone().unwrap_or_else(|| canceled("The build was canceled.", build.queued_at));
            Code::Verdict(SpaceStage::BuildError, why)
        }
    }
}

fn config_error(errors: &[ConfigError], now: Timestamp) -> Diagnosis {
    let first = errors.first();
    let more = errors.len().saturating_sub(1);
    let mut message = first
        .map_or_else(|| "The front matter of README.md is invalid.".to_owned(), |error| sentence(&error.to_string()));
    if more > 0 {
        // The evidence has all of them.
        message = format!("{} ({more} more below).", message.trim_end_matches('.'));
    }
    let allowed = first.map(|error| error.allowed.as_str()).filter(|allowed| !allowed.is_empty());
    Diagnosis {
        reason: Reason::ConfigInvalid,
        phase: "configuration".to_owned(),
        message,
        remedy: match (first, allowed) {
            (Some(_), Some(allowed)) if allowed == front_matter::README_FORM => format!("Push {allowed}."),
            (Some(error), Some(allowed)) if !error.key.is_empty() => {
                format!("Change {} in line {} of README.md; allowed: {allowed}.", error.key, error.line)
            }
            (Some(error), _) => format!("Correct line {} of README.md and push again.", error.line),
            (None, _) => "Correct README.md and push again.".to_owned(),
        },
        evidence: errors.iter().map(ToString::to_string).collect(),
        since: now,
        deadline: None,
    }
}

fn canceled(message: &str, now: Timestamp) -> Diagnosis {
    told(Reason::BuildCanceled, "canceled", message, "Restart the Space to build this commit.", now)
}
