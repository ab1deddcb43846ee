//! Images: find, pull, list, remove.

use std::time::Duration;

use bollard::Docker;
use bollard::models::{ImageConfig, ImageInspect};
use bollard::query_parameters::{
    CreateImageOptions, ListContainersOptions, ListImagesOptions, RemoveImageOptions, TagImageOptions,
};
use futures::StreamExt;
use spaceport_core::{ImageDigest, Timestamp};
use spaceport_runtime::{LogSink, OwnImage, RuntimeError};
use std::collections::{BTreeMap, HashMap};
use tokio_util::sync::CancellationToken;

use crate::client::{CALL_TIMEOUT, START_TIMEOUT, absent, classify, engine_error, status_of, within};
use crate::{clock, labels};

/// A registry that sends nothing for so long has stalled.
const PULL_SILENCE: Duration = Duration::from_secs(120);
/// A pull in all; the largest model images take this long on a slow line.
const PULL_TIMEOUT: Duration = Duration::from_secs(3600);

/// Repository of the tags of images that were pulled here.
const PULLED: &str = "spaceport/pulled";

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

/// What is pulled here is tagged with who pulled it and when, so that it can be told from images that
/// people put on the engine and removed when it is of no use any more.
pub(crate) async fn pull(
    docker: &Docker,
    installation: &str,
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
    let found = find(docker, reference).await?;
    let found = found.ok_or_else(|| missing(reference, "the registry sent it, but it is not there"))?;
    let hash = blake3::hash(reference.as_bytes()).to_hex();
    let tag = format!("{}-{}-{}", pulled_by(installation), clock::now().as_millis(), &hash[..16]);
    let options = TagImageOptions { repo: Some(PULLED.to_owned()), tag: Some(tag) };
    within(CALL_TIMEOUT, &format!("tag {reference}"), docker.tag_image(reference, Some(options))).await?;
    Ok(found)
}

/// An installation in the tag of an image it pulled.
fn pulled_by(installation: &str) -> String {
    blake3::hash(installation.as_bytes()).to_hex()[..16].to_owned()
}

/// When an installation pulled the image with these tags; `None` when it did not.
fn pulled_at(tags: &[String], installation: &str) -> Option<Timestamp> {
    let start = format!("{PULLED}:{}-", pulled_by(installation));
    let millis = tags.iter().find_map(|tag| tag.strip_prefix(&start)?.split('-').next()?.parse().ok())?;
    Some(Timestamp::from_millis(millis))
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
    let filters = HashMap::from([("reference".to_owned(), vec![PULLED.to_owned()])]);
    let options = ListImagesOptions { filters: Some(filters), ..Default::default() };
    let pulled = within(CALL_TIMEOUT, "list pulled images", docker.list_images(Some(options))).await?;
    let pulled = pulled.into_iter().filter_map(|image| {
        let created_at = pulled_at(&image.repo_tags, installation)?;
        let labels = BTreeMap::from([("spaceport.kind".to_owned(), "base".to_owned())]);
        let size_bytes = u64::try_from(image.size).unwrap_or_default();
        Some(digest(&image.id).map(|digest| OwnImage { digest, labels, created_at, size_bytes }))
    });
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
        .chain(pulled)
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
    let tags = found.repo_tags.unwrap_or_default();
    let (own, others): (Vec<_>, Vec<_>) = tags.iter().partition(|tag| tag.starts_with(PULLED));
    if !own.is_empty() && others.len() > 1 {
        // Somebody gave a pulled image a name of their own.
        return Ok(false);
    }
    let force = tags.len() > 1;
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

    #[test]
    fn what_an_installation_pulled_is_known_by_its_tag() {
        let tag = |installation: &str| format!("{PULLED}:{}-1800000000000-abc", pulled_by(installation));
        let tags = ["docker.io/library/python:3.12".to_owned(), tag("one")];
        assert_eq!(pulled_at(&tags, "one"), Some(Timestamp::from_millis(1_800_000_000_000)));
        assert_eq!(pulled_at(&tags, "two"), None);
        assert_eq!(pulled_at(&tags[..1], "one"), None);
    }
}
