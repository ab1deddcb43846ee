//! `docker` Spaces: their own Dockerfile, built by BuildKit inside the engine.
//!
//! The context goes up as a stream from its file. Time is limited here, the rest by `buildkit`. The
//! site's certificates cannot be put under somebody else's `FROM`; a step that needs them mounts
//! them: `RUN --mount=type=secret,id=spaceport-ca,target=/etc/spaceport-ca.pem …`. Writing that mount, and an `ARG`
//! for the variables behind each `FROM`, into the Dockerfile was considered: its text is read by whatever frontend
//! its `# syntax` names, the lines of its mistakes would be others, and `COPY . .` would copy what nobody wrote.
//!
//! BuildKit has one cache for everybody. A step's key knows neither the secrets it was given nor what it
//! downloaded, so a stranger with the same Dockerfile would get both. Each build therefore has a
//! scope: a name in every step's `/etc/hosts`, which is part of the key, and the namespace of
//! its cache mounts. Layers without a step (`FROM`, `COPY`) are found by content, which is harmless.

use std::collections::HashMap;

use bollard::errors::Error;
use bollard::models::{BuildInfo, BuildInfoAux};
use bollard::query_parameters::{BuildImageOptions, BuilderVersion};
use futures::StreamExt;
use spaceport_core::ImageDigest;
use spaceport_runtime::{DockerfileBuild, DockerfileOutcome, LogSink, RuntimeError};
use tokio_util::sync::CancellationToken;

use crate::client::{classify, engine_error, status_of};
use crate::lines::Lines;
use crate::progress::Progress;
use crate::{DockerRuntime, archive, buildkit, images, labels, session};

/// The secret that holds the site's certificates.
const CA_SECRET: &str = "spaceport-ca";
/// A build argument of BuildKit's own: a prefix of the names of cache mounts.
/// <https://docs.docker.com/reference/dockerfile/#buildkit-built-in-build-args>
const CACHE_NAMESPACE: &str = "BUILDKIT_CACHE_MOUNT_NS";

pub(crate) async fn build(
    runtime: &DockerRuntime,
    build: DockerfileBuild,
    log: &LogSink,
    cancel: &CancellationToken,
) -> Result<DockerfileOutcome, RuntimeError> {
    let limits = build.limits;
    let host = cache_host(&build.cache_scope);
    tokio::select! {
        biased;
        // Dropping the request makes the engine cancel the build.
        () = cancel.cancelled() => Err(RuntimeError::Canceled),
        () = tokio::time::sleep(limits.time) => Ok(DockerfileOutcome::TimedOut),
        () = buildkit::limit(host, limits) => Ok(DockerfileOutcome::DiskExceeded),
        outcome = run(runtime, build, log) => outcome,
    }
}

async fn run(
    runtime: &DockerRuntime,
    build: DockerfileBuild,
    log: &LogSink,
) -> Result<DockerfileOutcome, RuntimeError> {
    let docker = runtime.docker().await?;
    let shared = &runtime.shared;
    let session = crate::unique()?;
    let mut secrets = build.secrets;
    if let Some(trust) = &shared.trust {
        secrets.entry(CA_SECRET.to_owned()).or_insert_with(|| trust.pem().as_bytes().to_vec());
    }
    let serving = if secrets.is_empty() {
        futures::future::Either::Left(std::future::pending())
    } else {
        futures::future::Either::Right(session::open(&shared.client.endpoint, &session, secrets).await?)
    };
    let mut all_labels: HashMap<String, String> = build.labels.into_iter().collect();
    all_labels.insert(labels::INSTALLATION.to_owned(), shared.config.installation.clone());
    let mut args: HashMap<String, String> = build.args.into_iter().collect();
    // Last, since a Space's variable may have this name.
    args.insert(CACHE_NAMESPACE.to_owned(), build.cache_scope.clone());
    let options = BuildImageOptions {
        dockerfile: "Dockerfile".to_owned(),
        t: Some(build.tag.clone()),
        nocache: build.no_cache,
        buildargs: Some(args),
        extrahosts: Some(format!("{}:127.0.0.1", cache_host(&build.cache_scope))),
        labels: Some(all_labels),
        version: BuilderVersion::BuilderBuildKit,
        session: Some(session),
        ..Default::default()
    };
    let context = bollard::body_try_stream(archive::file_body(&build.context).await?);
    let messages = docker.build_image(options, None, Some(context));
    let building = follow(messages, &build.tag, log);
    let ended = tokio::select! {
        ended = building => ended?,
        () = serving => Err("the engine closed the session of the build".to_owned()),
    };
    match ended {
        Err(message) => Ok(DockerfileOutcome::Failed { message }),
        Ok(Some(digest)) => Ok(DockerfileOutcome::Done(digest)),
        // Older engines do not say the id.
        Ok(None) => match images::find(&docker, &build.tag).await? {
            Some(digest) => Ok(DockerfileOutcome::Done(digest)),
            None => {
                Err(engine_error(format!("build {}", build.tag), "the engine says it is built, but it is not there"))
            }
        },
    }
}

/// A name that is nobody's: RFC 2606.
fn cache_host(scope: &str) -> String {
    format!("cache-{scope}.invalid")
}

/// The inner result is BuildKit's: the image's id when it says it, or what failed.
async fn follow(
    messages: impl futures::Stream<Item = Result<BuildInfo, Error>>,
    tag: &str,
    log: &LogSink,
) -> Result<Result<Option<ImageDigest>, String>, RuntimeError> {
    let mut messages = std::pin::pin!(messages);
    let (mut progress, mut text, mut digest) = (Progress::default(), Lines::default(), None);
    while let Some(message) = messages.next().await {
        match message {
            Ok(message) => {
                match message.aux {
                    Some(BuildInfoAux::BuildKit(report)) => progress.report(&report, &|line| log(line)),
                    Some(BuildInfoAux::Default(image)) => {
                        digest = image.id.as_deref().map(images::digest).transpose()?;
                    }
                    None => {}
                }
                if let Some(stream) = message.stream {
                    text.push(stream.as_bytes(), |line| log(line));
                }
            }
            Err(error) => return failure(error, progress, tag).map(Err),
        }
    }
    text.finish(|line| log(line));
    Ok(Ok(digest))
}

/// A mistake in the Dockerfile is an outcome; an engine that breaks down is an error.
fn failure(error: Error, progress: Progress, tag: &str) -> Result<String, RuntimeError> {
    let said = match &error {
        Error::DockerStreamError { error } => Some(error.clone()),
        Error::DockerResponseServerError { message, .. } => Some(message.clone()),
        _ => None,
    };
    let error = classify(&format!("build {tag}"), error);
    match (&error, said) {
        (RuntimeError::DiskFull(_) | RuntimeError::Unreachable(_), _) | (_, None) => Err(error),
        (_, Some(_)) if status_of(&error).is_some_and(|status| status >= 500) && progress.is_empty() => Err(error),
        (_, Some(said)) => match progress.failure().unwrap_or(said) {
            told if is_context_lost(&told) => Err(error),
            told => Ok(told),
        },
    }
}

/// BuildKit did not find what it was sent by this connection, as happens on a busy engine (seen with 20.10): nothing
/// of the Dockerfile's. Names of such contexts are the engine's own.
fn is_context_lost(message: &str) -> bool {
    message.contains("failed to read downloaded context") && message.contains("http://build-context-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_the_engine_lost_is_no_mistake_of_the_dockerfile() {
        let said = "failed to read downloaded context: Get \"http://build-context-5819\": context not found";
        assert!(is_context_lost(said));
        for mistake in ["failed to read downloaded context: Get \"https://example.com/a.tar\": 404", "exit code: 1"] {
            assert!(!is_context_lost(mistake), "{mistake}");
        }
    }
}
