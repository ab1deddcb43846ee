//! `preload_from_hub`: files that are in the image when the app starts, where `huggingface_hub`
//! looks before it downloads anything.
//!
//! A repository of this hub is copied from its disk. The build needs no network and no credential
//! for that, so a private repository that the Space's owner may read can be preloaded and there is
//! nothing to leak; whether it may be read is asked for by every build, also when an earlier one left
//! an image. What belongs to nobody who has an account here is downloaded from the upstream hub, as
//! nobody in particular. A name of an account of this hub never means somebody else's files there: what was
//! removed here or made private would be replaced by whatever a stranger has under that name.

use std::path::{Path, PathBuf};

use spaceport_core::config::Preload;
use spaceport_core::{CommitSha, ImageDigest, Reason, RepoId, RepoKind, RepoName};
use spaceport_git::{ArchiveOptions, GitError, SourceLimits, SourceProblem};
use spaceport_runtime::{ImageSettings, Keep, Layer};
use spaceport_store::StoreError;

use super::context::{Context, step};
use super::python::HOME;
use super::{Builds, Stop, room, scripts};
use crate::engine::chain;
use crate::source;

/// The cache of `huggingface_hub`, below the home directory. Its layout:
/// <https://huggingface.co/docs/huggingface_hub/guides/manage-cache>
const CACHE: &str = ".cache/huggingface/hub";
/// The branch of a repository that none is named of.
const MAIN: &str = "main";

/// One entry, and where it comes from. What is the same here gives the same image.
#[derive(Debug)]
pub(super) struct Found<'a> {
    preload: &'a Preload,
    /// Repository and commit on this hub; `None`: from upstream.
    here: Option<(RepoId, CommitSha)>,
}

/// Looks for everything on this hub.
pub(super) async fn find<'a>(
    builds: &Builds,
    context: &Context,
    preloads: &'a [Preload],
) -> Result<Vec<Found<'a>>, Stop> {
    let mut found = Vec::new();
    for preload in preloads {
        let here = find_one(builds, context, preload).await?;
        if here.is_none() && builds.parts.config.builder.preload_endpoint.is_empty() {
            return Err(context.failed(
                Reason::PreloadFailed,
                &format!("preload_from_hub: {} is not on this hub, and this site uses no other.", preload.repo),
                "Upload it to this hub, or take it out of preload_from_hub.",
            ));
        }
        found.push(Found { preload, here });
    }
    Ok(found)
}

async fn find_one(builds: &Builds, context: &Context, preload: &Preload) -> Result<Option<(RepoId, CommitSha)>, Stop> {
    // A model without an owner is one of the public hub's first.
    let Ok(name) = preload.repo.parse::<RepoName>() else { return Ok(None) };
    let parts = &builds.parts;
    let repo = source::readable(parts, context.space.owner, RepoKind::Model, &name).await;
    let Some(repo) = repo.map_err(again)? else { return nowhere(builds, context, &name).await };
    let revision = preload.revision.as_deref().unwrap_or(MAIN);
    let resolved = parts.repositories.resolve(repo.id, revision).await.map_err(|error| context.source_error(error))?;
    match resolved {
        Some(at) => Ok(Some((repo.id, at.commit))),
        None => Err(context.failed(
            Reason::PreloadFailed,
            &format!("preload_from_hub: {} has no revision {revision} on this hub.", preload.repo),
            "Name a branch, a tag or a commit of the repository, or none for its newest files.",
        )),
    }
}

/// What is not here for the Space's owner is at the upstream, unless an account of this hub, disabled or not, has its name.
async fn nowhere<T>(builds: &Builds, context: &Context, name: &RepoName) -> Result<Option<T>, Stop> {
    if builds.parts.store.account_listed(name.owner()).await.map_err(again)?.is_none() {
        return Ok(None);
    }
    let owner = name.owner();
    Err(context.failed(
        Reason::PreloadFailed,
        &format!(
            "preload_from_hub: {name} is not on this hub, or the Space's owner may not read it. It is not looked for on \
             another hub, since {owner} is an account of this one."
        ),
        &format!("Upload it to this hub, ask {owner} for access, or take it out of preload_from_hub."),
    ))
}

fn again(error: StoreError) -> Stop {
    Stop::Again(chain(&error))
}

/// Adds all of it to an environment; `settings` are those of the image it becomes.
pub(super) async fn add(
    builds: &Builds,
    context: &Context,
    environment: &ImageDigest,
    found: &[Found<'_>],
    settings: &ImageSettings,
) -> Result<ImageDigest, Stop> {
    context.phase("preload", "Getting preload_from_hub").await;
    let archive = archive(builds, context, found).await?;
    let upstream: Vec<&Preload> =
        found.iter().filter(|found| found.here.is_none()).map(|found| found.preload).collect();
    let (image, settings) = (environment.clone(), settings.clone());
    match archive {
        Some(archive) if upstream.is_empty() => {
            let layer = Layer { image, path: HOME.to_owned(), archive: archive.clone(), settings };
            let made = builds.parts.engine.runtime.add_layer(layer).await?;
            tokio::fs::remove_file(&archive).await?;
            Ok(made)
        }
        archive => {
            let endpoint = &builds.parts.config.builder.preload_endpoint;
            let names = upstream.iter().map(|preload| preload.repo.as_str()).collect::<Vec<_>>().join(", ");
            context.say(&format!("From {endpoint}: {names}"));
            let mut download = step(context, &image, "1000", scripts::preload(&upstream), Keep::Image(settings));
            download.input = archive.map(|archive| (HOME.to_owned(), archive));
            for (name, value) in [("HOME", HOME), ("HF_ENDPOINT", endpoint), ("HF_HUB_DISABLE_PROGRESS_BARS", "1")] {
                download.env.insert(name.to_owned(), value.to_owned());
            }
            let made = context.step(download, "downloading preload_from_hub", Reason::PreloadFailed).await?;
            made.ok_or_else(|| Stop::Again("the environment was not kept".to_owned()))
        }
    }
}

/// One archive with everything of this hub, however many entries that is: images have few layers. `None` when
/// nothing is of this hub.
async fn archive(builds: &Builds, context: &Context, found: &[Found<'_>]) -> Result<Option<PathBuf>, Stop> {
    let to = context.folder.join("preload.tar");
    let mut bytes = None;
    for found in found {
        let Some((repo, sha)) = &found.here else { continue };
        let adding = add_own(builds, context, found.preload, *repo, sha, &to, bytes);
        let added = tokio::select! {
            added = adding => added?,
            stop = room::archives(&builds.parts, context) => return Err(stop),
        };
        bytes = Some(bytes.unwrap_or_default() + added);
    }
    Ok(bytes.map(|_| to))
}

/// Adds files of this hub to an archive with so many bytes of files; `None` begins it. They are plain files and not the
/// links into a folder of contents that a download makes: the cache is as good for those who read it, as on file
/// systems without links. Returns how many bytes they have.
async fn add_own(
    builds: &Builds,
    context: &Context,
    preload: &Preload,
    repo: RepoId,
    sha: &CommitSha,
    to: &Path,
    before: Option<u64>,
) -> Result<u64, Stop> {
    let parts = &builds.parts;
    context.say(&format!("From this hub: {} at {sha}", preload.repo));
    let folder = format!("{CACHE}/models--{}", preload.repo.replace('/', "--"));
    let revision = preload.revision.as_deref().unwrap_or(MAIN);
    let mut extra = Vec::new();
    if revision != sha.as_str() {
        extra.push((format!("{folder}/refs/{revision}"), sha.as_str().as_bytes().to_vec()));
    }
    let limit = parts.config.builder.limits.disk_bytes;
    let limits = SourceLimits {
        max_file_bytes: u64::MAX,
        max_total_bytes: limit.saturating_sub(before.unwrap_or_default()),
        ..SourceLimits::default()
    };
    let options = ArchiveOptions {
        prefix: format!("{folder}/snapshots/{sha}/"),
        only: preload.files.clone(),
        append: before.is_some(),
        extra,
        limits,
        ..ArchiveOptions::default()
    };
    let failed = |message: &str, remedy: &str| {
        let message = format!("preload_from_hub: {} cannot be had: {message}.", preload.repo);
        context.failed(Reason::PreloadFailed, &message, remedy)
    };
    let summary = match source::archive(parts, repo, sha, to, &options).await {
        Ok(summary) => summary,
        Err(GitError::Source(SourceProblem::TooLarge { .. })) => {
            let message = format!("with it, preload_from_hub has more than the limit of {}", room::size(limit));
            return Err(failed(&message, "Name only the files that are needed, or download them when the app starts."));
        }
        Err(GitError::Source(problem)) => return Err(failed(&problem.to_string(), problem.remedy())),
        Err(error) => return Err(context.source_error(error)),
    };
    if summary.lfs_pointers > 0 {
        let message = format!("the hub does not have the content of {}", summary.lfs_paths.join(", "));
        return Err(failed(&message, "Upload these files again."));
    }
    Ok(summary.bytes)
}
