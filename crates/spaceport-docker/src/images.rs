//! Images: find, pull, list, remove.

use std::time::Duration;

use bollard::Docker;
use bollard::models::{ImageConfig, ImageInspect};
use bollard::query_parameters::{CreateImageOptions, ListContainersOptions, ListImagesOptions, RemoveImageOptions};
use futures::StreamExt;
use spaceport_core::{ImageDigest, Timestamp};
use spaceport_runtime::{LogSink, OwnImage, RuntimeError};
use std::collections::HashMap;
use tokio_util::sync::CancellationToken;

use crate::client::{CALL_TIMEOUT, START_TIMEOUT, absent, classify, engine_error, status_of, within};
use crate::labels;

/// A registry that sends nothing for so long has stalled.
const PULL_SILENCE: Duration = Duration::from_secs(120);
/// A pull in all; the largest model images take this long on a slow line.
const PULL_TIMEOUT: Duration = Duration::from_secs(3600);

/// The digest of a local image.
pub(crate) async fn find(docker: &Docker, reference: &str) -> Result<Option<ImageDigest>, RuntimeError> {
    match inspect(docker, reference).await? {
        Some(image) => image.id.as_deref().map(digest).transpose(),
        None => Ok(None),
    }
}

/// The settings of a local image.
pub(crate) async fn config(docker: &Docker, image: &ImageDigest) -> Result<ImageConfig, RuntimeError> {
    match inspect(docker, image.as_str()).await? {
        Some(found) => Ok(found.config.unwrap_or_default()),
        None => Err(missing(image.as_str(), "it is not there any more")),
    }
}

async fn inspect(docker: &Docker, reference: &str) -> Result<Option<ImageInspect>, RuntimeError> {
    absent(within(CALL_TIMEOUT, &format!("inspect image {reference}"), docker.inspect_image(reference)).await)
}

pub(crate) async fn pull(
    docker: &Docker,
    reference: &str,
    log: &LogSink,
    cancel: &CancellationToken,
) -> Result<ImageDigest, RuntimeError> {
    if let Some(found) = find(docker, reference).await? {
        return Ok(found);
    }
    tokio::select! {
        () = cancel.cancelled() => return Err(RuntimeError::Canceled),
        pulled = tokio::time::timeout(PULL_TIMEOUT, download(docker, reference, log)) => {
            pulled.unwrap_or_else(|_| Err(missing(reference, "the registry took longer than an hour")))?;
        }
    }
    find(docker, reference).await?.ok_or_else(|| missing(reference, "the registry sent it, but it is not there"))
}

async fn download(docker: &Docker, reference: &str, log: &LogSink) -> Result<(), RuntimeError> {
    // Without a tag the engine would fetch all of them.
    let has_tag = reference.contains('@') || reference.rsplit('/').next().is_some_and(|name| name.contains(':'));
    let from_image = if has_tag { reference.to_owned() } else { format!("{reference}:latest") };
    let options = CreateImageOptions { from_image: Some(from_image), ..Default::default() };
    let mut progress = docker.create_image(Some(options), None, None);
    loop {
        let next = tokio::time::timeout(PULL_SILENCE, progress.next())
            .await
            .map_err(|_| missing(reference, "the registry sends nothing"))?;
        let line = match next {
            None => return Ok(()),
            Some(Ok(line)) => line,
            Some(Err(error)) => {
                return Err(match classify(&format!("pull {reference}"), error) {
                    RuntimeError::Engine { source, .. } => {
                        RuntimeError::ImageMissing { reference: reference.to_owned(), source }
                    }
                    RuntimeError::ImageMissing { source, .. } => {
                        RuntimeError::ImageMissing { reference: reference.to_owned(), source }
                    }
                    other => other,
                });
            }
        };
        // The engine reports every few kilobytes; a log wants the milestones.
        let is_bar = line.progress_detail.is_some_and(|detail| detail.total.is_some() || detail.current.is_some());
        match (line.id, line.status) {
            (Some(id), Some(status)) if !is_bar => log(&format!("{id}: {status}")),
            (None, Some(status)) => log(&status),
            _ => {}
        }
    }
}

pub(crate) async fn list(docker: &Docker, installation: &str) -> Result<Vec<OwnImage>, RuntimeError> {
    let options = ListImagesOptions {
        filters: Some(labels::filter(&[(labels::INSTALLATION, installation)])),
        ..Default::default()
    };
    let images = within(CALL_TIMEOUT, "list the images", docker.list_images(Some(options))).await?;
    images
        .into_iter()
        .map(|image| {
            Ok(OwnImage {
                digest: digest(&image.id)?,
                labels: image.labels.into_iter().filter(|(name, _)| name.starts_with("spaceport.")).collect(),
                created_at: Timestamp::from_millis(image.created.saturating_mul(1000)),
                size_bytes: u64::try_from(image.size).unwrap_or_default(),
            })
        })
        .collect()
}

/// `false` when a container (running or not) or another image needs it.
pub(crate) async fn remove(docker: &Docker, image: &ImageDigest) -> Result<bool, RuntimeError> {
    let Some(found) = inspect(docker, image.as_str()).await? else { return Ok(true) };
    // The engine itself refuses an image that others are based on or that runs. Of one with
    // several tags it wants to be forced, and then it would take it from stopped containers too.
    let filters = HashMap::from([("ancestor".to_owned(), vec![image.to_string()])]);
    let options = ListContainersOptions { all: true, filters: Some(filters), ..Default::default() };
    let users = within(CALL_TIMEOUT, "list the containers of an image", docker.list_containers(Some(options))).await?;
    // `ancestor` also finds containers of images made from this one.
    if users.iter().any(|container| container.image_id.as_deref() == Some(image.as_str())) {
        return Ok(false);
    }
    let force = found.repo_tags.map_or(0, |tags| tags.len()) > 1;
    let options = RemoveImageOptions { force, ..Default::default() };
    let call = docker.remove_image(image.as_str(), Some(options), None);
    match within(START_TIMEOUT, &format!("remove image {image}"), call).await {
        Ok(_) => Ok(true),
        Err(error) if status_of(&error) == Some(409) => Ok(false),
        Err(error) => absent(Err::<(), _>(error)).map(|_| true),
    }
}

/// The engine's image id as a digest.
pub(crate) fn digest(id: &str) -> Result<ImageDigest, RuntimeError> {
    id.parse().map_err(|error| engine_error("read the engine's answer", error))
}

/// `repository:tag` as the two parameters of the API; the colon of a registry's port is none.
pub(crate) fn split_tag(reference: &str) -> (Option<&str>, Option<&str>) {
    match reference.rsplit_once(':') {
        _ if reference.is_empty() => (None, None),
        Some((repository, tag)) if !tag.contains('/') => (Some(repository), Some(tag)),
        _ => (Some(reference), None),
    }
}

fn missing(reference: &str, why: &str) -> RuntimeError {
    RuntimeError::ImageMissing { reference: reference.to_owned(), source: why.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_tags_but_not_ports() {
        assert_eq!(split_tag("spaceport/env:abc"), (Some("spaceport/env"), Some("abc")));
        assert_eq!(split_tag("registry:5000/env"), (Some("registry:5000/env"), None));
        assert_eq!(split_tag(""), (None, None));
    }
}
