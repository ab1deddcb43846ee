//! `docker` Spaces: the repository's own Dockerfile, through BuildKit.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::path::Path;

use spaceport_core::Reason;
use spaceport_core::diagnose::sentence;
use spaceport_core::dockerfile;
use spaceport_core::space::Artifact;
use spaceport_runtime::{DockerfileBuild, DockerfileOutcome};

use super::context::Context;
use super::{Builds, Stop};

/// The build argument that names another frontend.
const FRONTEND: &str = "BUILDKIT_SYNTAX";
/// Larger ones are not read, and not built.
const MAX_DOCKERFILE: u64 = 1 << 20;
/// What BuildKit says of a step that was killed.
const KILLED: &str = "exit code: 137";

pub(super) async fn build(builds: &Builds, context: &Context) -> Result<Artifact, Stop> {
    let parts = &builds.parts;
    context.phase("source", "Reading the commit").await;
    let (archive, _) = context.archive(0).await?;
    let may_fetch = parts.config.builder.engine_may_fetch;
    if !may_fetch {
        check_fetches(context, &archive).await?;
    }
    let failed = |error: spaceport_store::StoreError| Stop::Again(error.to_string());
    let variables = parts.store.variables(context.space.id).await.map_err(failed)?;
    let mut secrets = BTreeMap::new();
    for (name, secret) in parts.store.secrets(context.space.id).await.map_err(failed)? {
        let value = parts
            .vault
            .open(context.space.id, &name, &secret.sealed)
            .map_err(|error| context.failed(Reason::Internal, &format!("{error}."), "Set the secret again."))?;
        secrets.insert(name, value.into_bytes());
    }
    context.phase("dockerfile", "Building the Dockerfile").await;
    let build = DockerfileBuild {
        context: archive,
        args: variables
            .into_iter()
            .filter(|(name, _)| may_fetch || name != FRONTEND)
            .map(|(name, variable)| (name, variable.value))
            .collect(),
        cache_scope: parts.vault.name(&["builder cache", &context.space.owner.to_string()])[..32].to_owned(),
        secrets,
        labels: labels(context, "release"),
        tag: tag(context),
        no_cache: context.build.no_cache,
        limits: context.limits(),
    };
    match parts.engine.runtime.build_dockerfile(build, context.sink(), context.cancel.clone()).await? {
        DockerfileOutcome::Done(digest) => Ok(Artifact::Image { digest }),
        DockerfileOutcome::TimedOut => Err(Stop::Failed(Box::new(context.timed_out(parts.config.builder.limits.time)))),
        DockerfileOutcome::DiskExceeded => Err(context.disk_exceeded("building the Dockerfile")),
        DockerfileOutcome::Failed { message } if message.contains(KILLED) => {
            let limit = parts.config.builder.limits.memory_bytes >> 30;
            let text = format!(
                "The Dockerfile failed: {}; code 137 is that of a process that was killed, as happens to one that needs \
                 more than {limit} GiB of memory",
                plain(&message)
            );
            let remedy = "Use less memory in this step: fewer parallel jobs, smaller pieces, prebuilt packages.";
            Err(context.failed(Reason::OutOfMemory, &sentence(&text), remedy))
        }
        DockerfileOutcome::Failed { message } => {
            let full = message.contains("no space left on device");
            let base = message.contains("pull access denied")
                || message.contains("not found: manifest unknown")
                || message.contains("failed to resolve source metadata")
                || message.contains("failed to do request")
                || message.contains("failed to solve with frontend") && message.contains("docker.io");
            let (reason, remedy) = if full {
                (Reason::DiskFull, "The administrator must free space on the engine's disk; then restart the Space.")
            } else if base {
                (Reason::BaseImageUnavailable, "Check the image named in FROM; this site must be able to pull it.")
            } else {
                (
                    Reason::BuildStepFailed,
                    "Read the build log from the failing step on, correct the Dockerfile and push.",
                )
            };
            Err(context.failed(reason, &sentence(&format!("The Dockerfile failed: {}", plain(&message))), remedy))
        }
    }
}

/// Refuses a Dockerfile that lets the engine fetch something on the node's own network. What goes to the engine is
/// read, and not what the repository has at that path, which may be a pointer to a large file.
async fn check_fetches(context: &Context, archive: &Path) -> Result<(), Stop> {
    let archive = archive.to_owned();
    let text = tokio::task::spawn_blocking(move || find(&archive)).await;
    let text = text.map_err(|error| Stop::Again(error.to_string()))?.map_err(|error| Stop::Again(error.to_string()))?;
    let fetch = match text {
        Found::Text(text) => dockerfile::fetches(&text),
        Found::Unread(why) => {
            let message = format!("The Dockerfile {why}; this site reads it before it builds it.");
            let remedy = "Put the file itself at the root of the repository and push again.";
            return Err(context.failed(Reason::BuildStepFailed, &message, remedy));
        }
    };
    let Some(fetch) = fetch else { return Ok(()) };
    let message = format!(
        "The Dockerfile lets the engine itself fetch something, which is on the node's own network, and this site does \
         not allow that: {fetch}."
    );
    let remedy = format!("{} Administrators: engine_may_fetch in [builder] allows it.", fetch.remedy());
    Err(context.failed(Reason::BuildStepFailed, &message, &remedy))
}

enum Found {
    Text(String),
    Unread(&'static str),
}

fn find(archive: &Path) -> io::Result<Found> {
    let mut archive = tar::Archive::new(io::BufReader::new(std::fs::File::open(archive)?));
    for entry in archive.entries()? {
        let mut entry = entry?;
        if entry.path()?.as_ref() != Path::new("Dockerfile") {
            continue;
        }
        if !entry.header().entry_type().is_file() {
            return Ok(Found::Unread("is a link or a folder"));
        }
        if entry.size() > MAX_DOCKERFILE {
            return Ok(Found::Unread("has more than a MiB"));
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        return Ok(Found::Text(String::from_utf8_lossy(&bytes).into_owned()));
    }
    Ok(Found::Unread("is not there"))
}

/// One line, without BuildKit's names for its own parts.
fn plain(message: &str) -> String {
    let inner = ["failed to solve with frontend dockerfile.v0: ", "failed to create LLB definition: "];
    let text = inner.iter().fold(message.to_owned(), |text, part| text.replace(part, ""));
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(|line| {
        // The command is named in the step's title already.
        match (line.split_once("executor failed running ["), line.rsplit_once("]: exit code: ")) {
            (Some((step, _)), Some((_, code))) => format!("{step}exit code {code}"),
            _ => line.to_owned(),
        }
    });
    let first = lines.next().unwrap_or_default();
    lines.fold(first, |text, line| format!("{text}: {line}"))
}

/// Labels by which the garbage collector knows what an image is for.
pub(super) fn labels(context: &Context, kind: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("spaceport.kind".to_owned(), kind.to_owned()),
        ("spaceport.space".to_owned(), context.space.id.to_string()),
        ("spaceport.build".to_owned(), context.build.id.to_string()),
    ])
}

/// The tag a release's image is found by in the engine's list. Nothing runs by tag, and nobody can
/// guess it: another owner's Dockerfile could start `FROM` it and read a private Space's code.
pub(super) fn tag(context: &Context) -> String {
    format!("spaceport/space:{}-{}-{:032x}", context.space.subdomain, context.build.number, crate::clock::random())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buildkit_is_told_plainly() {
        for (said, told) in [
            (
                "failed to solve with frontend dockerfile.v0: failed to create LLB definition: unknown instruction: FORM",
                "unknown instruction: FORM",
            ),
            (
                "[5/5] RUN a: executor failed running [/bin/sh -c a]: exit code: 2\nno such file\n",
                "[5/5] RUN a: exit code 2: no such file",
            ),
            ("", ""),
        ] {
            assert_eq!(plain(said), told);
        }
    }
}
