//! The volumes of an app: resolved when a release is made, provided before it starts.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use spaceport_core::space::{Release, Space};
use spaceport_core::volume::{ReleaseVolume, VolumeSource};
use spaceport_core::{Diagnosis, ImageDigest, Reason, SpaceId, Volume};
use spaceport_git::{ArchiveOptions, SourceLimits};
use spaceport_runtime::{Mount, RuntimeError, VolumeSpec};
use spaceport_store::BucketSize;

use super::{Parts, WorkError};
use crate::source::{may_read, readable};

/// Label of a volume: what it is for.
const KIND: &str = "spaceport.kind";
/// [`KIND`] of the files of a commit: made anew when they are needed again.
const KIND_FILES: &str = "files";
/// [`KIND`] of a folder apps write to: never removed by itself.
const KIND_BUCKET: &str = "bucket";
/// What names of buckets' volumes begin with.
const BUCKET: &str = "spaceport-bucket-";
/// Longest part of a name that comes from a path.
const DIGEST_CHARS: usize = 16;

/// Why an app does not start.
pub(super) enum VolumeError {
    /// The Space's volumes are wrong, or what they show is gone.
    Refused(Box<Diagnosis>),
    /// Trying again may help.
    Work(WorkError),
}

impl From<RuntimeError> for VolumeError {
    fn from(error: RuntimeError) -> Self {
        Self::Work(error.into())
    }
}

/// What a release mounts: branches become commits.
pub(super) async fn resolve(parts: &Parts, space: &Space) -> Result<Vec<ReleaseVolume>, WorkError> {
    let mut resolved = Vec::new();
    for volume in parts.store.volumes(space.id).await? {
        let source = source(parts, space, &volume).await?;
        resolved.push(ReleaseVolume { source, mount_path: volume.mount_path, read_only: volume.read_only });
    }
    Ok(resolved)
}

async fn source(parts: &Parts, space: &Space, volume: &Volume) -> Result<VolumeSource, WorkError> {
    let Some(kind) = volume.kind.repo_kind() else {
        let owner = parts.store.account_by_name(volume.source.owner()).await?;
        let label = format!("bucket {}", volume.source);
        return Ok(match owner {
            Some(owner) if owner.id == space.owner => {
                VolumeSource::Bucket { owner: owner.id, name: volume.source.name().to_ascii_lowercase() }
            }
            Some(_) | None => VolumeSource::Missing { label },
        });
    };
    let revision = volume.revision.as_deref().unwrap_or("main");
    let label = format!("{kind} {} at {revision}", volume.source);
    let missing = VolumeSource::Missing { label: label.clone() };
    let Some(repo) = readable(parts, space.owner, kind, &volume.source).await? else { return Ok(missing) };
    match parts.repositories.resolve(repo.id, revision).await? {
        Some(at) => Ok(VolumeSource::Files { repo: repo.id, label, sha: at.commit, path: volume.path.clone() }),
        None => Ok(missing),
    }
}

/// Makes every volume of a release and says where each is mounted.
pub(super) async fn provide(
    parts: &Parts,
    space: &Space,
    release: &Release,
    image: &ImageDigest,
) -> Result<Vec<Mount>, VolumeError> {
    let mut mounts = Vec::new();
    for volume in &release.volumes {
        let name = match &volume.source {
            VolumeSource::Missing { label } => return Err(unavailable(parts, label)),
            // The right is asked for at every start: a bucket does not go along when a Space gets another owner.
            VolumeSource::Bucket { owner, name } if *owner != space.owner => {
                return Err(unavailable(parts, &format!("bucket {name}")));
            }
            VolumeSource::Bucket { owner, name } => {
                let spec = VolumeSpec {
                    name: format!("{BUCKET}{owner}-{name}"),
                    labels: BTreeMap::from([(KIND.to_owned(), KIND_BUCKET.to_owned())]),
                    image: image.clone(),
                    content: None,
                };
                let name = spec.name.clone();
                parts.engine.runtime.provide_volume(spec).await?;
                name
            }
            VolumeSource::Files { .. } => files(parts, space, &volume.source, image).await?,
        };
        mounts.push(Mount { volume: name, path: volume.mount_path.clone(), read_only: volume.read_only });
    }
    Ok(mounts)
}

/// The volume with the files of a commit, made when it is not there.
async fn files(
    parts: &Parts,
    space: &Space,
    source: &VolumeSource,
    image: &ImageDigest,
) -> Result<String, VolumeError> {
    let VolumeSource::Files { repo: id, label, .. } = source else {
        return Err(unavailable(parts, "a volume"));
    };
    // The right is asked for at every start: a repository that became private is private.
    let repo = parts.store.repo_by_id(*id).await.map_err(|error| VolumeError::Work(error.into()))?;
    let Some(repo) = repo else { return Err(unavailable(parts, label)) };
    if !may_read(parts, space.owner, &repo).await.map_err(|error| VolumeError::Work(error.into()))? {
        return Err(unavailable(parts, label));
    }
    let name = files_name(source);
    if parts.engine.runtime.has_volume(&name).await? {
        return Ok(name);
    }
    let folder = parts.config.data_dir.join("tmp");
    let archive = folder.join(format!("{name}-{}.tar", space.id));
    let made = archived(parts, space.id, &folder, &archive, source, label).await;
    let filled = match made {
        Ok(()) => {
            let labels = BTreeMap::from([(KIND.to_owned(), KIND_FILES.to_owned())]);
            let content = Some(archive.clone());
            let spec = VolumeSpec { name: name.clone(), labels, image: image.clone(), content };
            parts.engine.runtime.provide_volume(spec).await.map_err(VolumeError::from)
        }
        Err(error) => Err(error),
    };
    // What cannot be removed now goes with the next start of the process.
    let _ = tokio::fs::remove_file(&archive).await;
    filled.map(|()| name)
}

async fn archived(
    parts: &Parts,
    space: SpaceId,
    folder: &Path,
    archive: &Path,
    source: &VolumeSource,
    label: &str,
) -> Result<(), VolumeError> {
    let VolumeSource::Files { repo, sha, path, .. } = source else { return Ok(()) };
    tokio::fs::create_dir_all(folder).await.map_err(|error| VolumeError::Work(error.into()))?;
    tracing::info!(space.id = %space, "a volume with the {label} is made");
    let limits = SourceLimits { max_file_bytes: u64::MAX, max_total_bytes: u64::MAX, ..SourceLimits::default() };
    let options = ArchiveOptions { below: path.clone(), limits, ..ArchiveOptions::default() };
    match crate::source::archive(parts, *repo, sha, archive, &options).await {
        Ok(_) => Ok(()),
        Err(spaceport_git::GitError::Source(problem)) => {
            let message = format!("The {label} cannot be mounted: {problem}.");
            Err(VolumeError::Refused(diagnosis(parts, message)))
        }
        Err(error) => Err(VolumeError::Work(error.into())),
    }
}

/// The volume of a commit's files, the same for every Space.
fn files_name(source: &VolumeSource) -> String {
    let VolumeSource::Files { repo, sha, path, .. } = source else { return String::new() };
    let part = path.as_ref().map_or(String::new(), |path| {
        let digest = blake3::hash(path.as_bytes()).to_hex();
        format!("-{}", &digest[..DIGEST_CHARS])
    });
    format!("spaceport-files-{repo}-{}{part}", sha.as_str())
}

/// What each bucket takes, as the engine says. It reads every file of them.
///
/// # Errors
/// When the engine fails.
pub(crate) async fn bucket_sizes(parts: &Parts) -> Result<Vec<BucketSize>, WorkError> {
    let sizes = parts.engine.runtime.volume_sizes().await?;
    Ok(sizes.into_iter().filter_map(|(volume, bytes)| bucket(&volume, bytes)).collect())
}

fn bucket(volume: &str, bytes: u64) -> Option<BucketSize> {
    let rest = volume.strip_prefix(BUCKET)?;
    let (owner, name) = rest.split_once('-')?;
    Some(BucketSize { owner: owner.parse().ok()?, name: name.to_owned(), bytes })
}

fn unavailable(parts: &Parts, label: &str) -> VolumeError {
    let message =
        format!("The volume of the {label} cannot be mounted: there is none that this Space's owner may read.");
    VolumeError::Refused(diagnosis(parts, message))
}

fn diagnosis(parts: &Parts, message: String) -> Box<Diagnosis> {
    Box::new(Diagnosis {
        reason: Reason::VolumeUnavailable,
        phase: "failed to start".to_owned(),
        message,
        remedy: "Change the Space's volumes, or make the repository readable again and restart the Space.".to_owned(),
        evidence: Vec::new(),
        since: parts.control.clock().now(),
        deadline: None,
    })
}

/// Removes volumes of files that no release which may still be started mounts.
///
/// # Errors
/// When the database or the engine fails.
pub(crate) async fn sweep(parts: &Parts, releases_kept: i64) -> Result<usize, WorkError> {
    // Listed first: a volume that is made meanwhile is not in the list.
    let volumes = parts.engine.runtime.list_volumes().await?;
    let mut used = HashSet::new();
    for space in parts.store.space_ids().await? {
        let mut releases = parts.store.releases_of(space, releases_kept).await?;
        releases.extend(parts.store.release_last_ready(space, None).await?);
        used.extend(releases.iter().flat_map(|release| &release.volumes).map(|volume| files_name(&volume.source)));
    }
    let mut removed = 0;
    for volume in volumes {
        let of_files = volume.labels.get(KIND).is_some_and(|kind| kind == KIND_FILES);
        if of_files && !used.contains(&volume.name) && parts.engine.runtime.remove_volume(&volume.name).await? {
            removed += 1;
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use spaceport_core::{RepoId, Timestamp};

    #[test]
    fn parts_of_a_repository_are_volumes_of_their_own() {
        let repo = RepoId::new(Timestamp::from_millis(1), 1);
        let sha: spaceport_core::CommitSha = "a".repeat(40).parse().unwrap();
        let of = |path: Option<&str>| {
            let (label, path) = (String::new(), path.map(str::to_owned));
            files_name(&VolumeSource::Files { repo, label, sha: sha.clone(), path })
        };
        assert_eq!(of(None), format!("spaceport-files-{repo}-{sha}"));
        assert_ne!(of(Some("a")), of(Some("b")));
        assert!(of(Some("a b/../c")).bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'));
    }
}
