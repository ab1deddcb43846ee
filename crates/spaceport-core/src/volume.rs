//! Volumes: files of other repositories, and folders that survive restarts and builds, in an app's
//! file tree.
//! Hub: volumes of a Space; `huggingface_hub.Volume`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{AccountId, CommitSha, RepoId, RepoKind, RepoName};

/// Most volumes of one Space.
pub const MAX_VOLUMES: usize = 16;
/// Longest path of a mount.
const MAX_PATH: usize = 256;
/// Folders of the system: a volume there would replace what the app runs on.
const SYSTEM: [&str; 13] =
    ["bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "proc", "root", "run", "sbin", "sys", "usr"];
/// Where the app's own code is.
const CODE: &str = "/home/user/app";

/// What a volume holds. Hub: `type` of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VolumeKind {
    /// A folder of this site that apps read and write; it survives restarts, builds and the Space.
    Bucket,
    /// The files of a model, read-only.
    Model,
    /// The files of a data set, read-only.
    Dataset,
    /// The files of a Space, read-only.
    Space,
}

impl VolumeKind {
    /// The repository it shows; `None` for a bucket.
    #[must_use]
    pub const fn repo_kind(self) -> Option<RepoKind> {
        match self {
            Self::Bucket => None,
            Self::Model => Some(RepoKind::Model),
            Self::Dataset => Some(RepoKind::Dataset),
            Self::Space => Some(RepoKind::Space),
        }
    }

    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bucket => "bucket",
            Self::Model => "model",
            Self::Dataset => "dataset",
            Self::Space => "space",
        }
    }
}

impl fmt::Display for VolumeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for VolumeKind {
    type Err = InvalidVolume;
    fn from_str(text: &str) -> Result<Self, InvalidVolume> {
        [Self::Bucket, Self::Model, Self::Dataset, Self::Space]
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| InvalidVolume::Kind(text.chars().take(40).collect()))
    }
}

/// A volume as its owner wants it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// What it holds.
    pub kind: VolumeKind,
    /// The repository, or the bucket.
    pub source: RepoName,
    /// Branch, tag or commit of a repository; `main` when absent.
    pub revision: Option<String>,
    /// Where the app finds it.
    pub mount_path: String,
    /// Whether the app may only read it.
    pub read_only: bool,
    /// The folder of the repository that is shown; all of it when absent.
    pub path: Option<String>,
}

/// What a release mounts: the same files whatever happens to the branch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseVolume {
    /// What is mounted.
    pub source: VolumeSource,
    /// Where.
    pub mount_path: String,
    /// Whether the app may only read it.
    pub read_only: bool,
}

/// What a mount shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum VolumeSource {
    /// Files of a commit.
    Files {
        /// The repository.
        repo: RepoId,
        /// Its kind and name when the release was made, for messages.
        label: String,
        /// The commit.
        sha: CommitSha,
        /// The folder that is shown.
        path: Option<String>,
    },
    /// A folder of this site.
    Bucket {
        /// Whose.
        owner: AccountId,
        /// Its name, lower case.
        name: String,
    },
    /// It could not be found when the release was made: the Space does not start, and says why.
    Missing {
        /// What was asked for.
        label: String,
    },
}

/// Why a volume is refused, in words for the person who asked for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidVolume {
    /// No such kind.
    #[error("a volume cannot be of type {0:?}; it must be bucket, model, dataset or space")]
    Kind(String),
    /// Not a path an app may have a volume at.
    #[error("{0:?} cannot be a mount path: use an absolute path such as \"/data\", without '.' and '..'")]
    MountPath(String),
    /// A folder the app needs.
    #[error("{0:?} cannot be a mount path: the system or the app's code is there; use another one, such as \"/data\"")]
    Occupied(String),
    /// Two volumes at one place, or one inside another.
    #[error("the mount paths {0:?} and {1:?} are in each other's way")]
    Nested(String, String),
    /// Too many.
    #[error("a Space can have {MAX_VOLUMES} volumes at most")]
    TooMany,
    /// A repository cannot be written to through a volume.
    #[error("a volume of a {0} is read-only; push to the repository instead")]
    Writable(VolumeKind),
    /// A folder of a bucket.
    #[error("'path' is for volumes of repositories; a bucket is mounted whole")]
    PathOfBucket,
    /// A revision of a bucket.
    #[error("'revision' is for volumes of repositories; a bucket has none")]
    RevisionOfBucket,
    /// Not a folder of a repository.
    #[error("{0:?} is not a folder inside a repository")]
    Path(String),
}

impl Volume {
    /// Checks one volume.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), InvalidVolume> {
        check_mount(&self.mount_path)?;
        match self.kind {
            VolumeKind::Bucket if self.path.is_some() => Err(InvalidVolume::PathOfBucket),
            VolumeKind::Bucket if self.revision.is_some() => Err(InvalidVolume::RevisionOfBucket),
            VolumeKind::Bucket => Ok(()),
            kind if !self.read_only => Err(InvalidVolume::Writable(kind)),
            _ => match &self.path {
                Some(path) if !is_plain(path) => Err(InvalidVolume::Path(path.chars().take(120).collect())),
                _ => Ok(()),
            },
        }
    }
}

/// Checks all volumes of a Space.
///
/// # Errors
/// What is wrong with the first wrong one, or with two of them.
pub fn check_all(volumes: &[Volume]) -> Result<(), InvalidVolume> {
    if volumes.len() > MAX_VOLUMES {
        return Err(InvalidVolume::TooMany);
    }
    for (index, volume) in volumes.iter().enumerate() {
        volume.check()?;
        let inside = |inner: &str, outer: &str| inner == outer || inner.starts_with(&format!("{outer}/"));
        for other in &volumes[..index] {
            let (a, b) = (&volume.mount_path, &other.mount_path);
            if inside(a, b) || inside(b, a) {
                return Err(InvalidVolume::Nested(a.clone(), b.clone()));
            }
        }
    }
    Ok(())
}

/// Whether a relative path has only ordinary parts.
fn is_plain(path: &str) -> bool {
    let plain = |part: &str| !matches!(part, "" | "." | "..") && !part.eq_ignore_ascii_case(".git");
    path.len() <= MAX_PATH && path.split('/').all(plain) && !path.chars().any(|c| c.is_control() || c == '\\')
}

fn check_mount(path: &str) -> Result<(), InvalidVolume> {
    let shown = || path.chars().take(120).collect::<String>();
    let Some(rest) = path.strip_prefix('/').filter(|rest| is_plain(rest) && !rest.contains([':', ','])) else {
        return Err(InvalidVolume::MountPath(shown()));
    };
    let first = rest.split('/').next().unwrap_or("");
    let above_code = CODE == path || CODE.starts_with(&format!("{path}/"));
    if SYSTEM.contains(&first) || above_code { Err(InvalidVolume::Occupied(shown())) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(kind: VolumeKind, mount_path: &str) -> Volume {
        Volume {
            kind,
            source: "alice/data".parse().unwrap(),
            revision: None,
            mount_path: mount_path.to_owned(),
            read_only: kind != VolumeKind::Bucket,
            path: None,
        }
    }

    #[test]
    fn mount_paths() {
        for good in ["/data", "/home/user/.cache", "/home/user/app/models", "/mnt/a b"] {
            assert_eq!(volume(VolumeKind::Bucket, good).check(), Ok(()), "{good}");
        }
        for bad in [
            "",
            "/",
            "data",
            "/data/",
            "/a/../b",
            "/a//b",
            "/./a",
            "/etc/x",
            "/usr",
            "/proc/1",
            "/home",
            "/home/user",
            "/home/user/app",
            "/a:b",
            "/a,b",
            "/a\0b",
            "/x/.git",
        ] {
            assert!(volume(VolumeKind::Bucket, bad).check().is_err(), "{bad}");
        }
    }

    #[test]
    fn repositories_are_read_only_and_buckets_are_whole() {
        assert_eq!(volume(VolumeKind::Model, "/m").check(), Ok(()));
        let writable = Volume { read_only: false, ..volume(VolumeKind::Model, "/m") };
        assert_eq!(writable.check(), Err(InvalidVolume::Writable(VolumeKind::Model)));
        let part = Volume { path: Some("a/b".to_owned()), ..volume(VolumeKind::Dataset, "/m") };
        assert_eq!(part.check(), Ok(()));
        let out = Volume { path: Some("../b".to_owned()), ..volume(VolumeKind::Dataset, "/m") };
        assert!(matches!(out.check(), Err(InvalidVolume::Path(_))));
        let part = Volume { path: Some("a".to_owned()), ..volume(VolumeKind::Bucket, "/m") };
        assert_eq!(part.check(), Err(InvalidVolume::PathOfBucket));
    }

    #[test]
    fn volumes_stay_out_of_each_others_way() {
        let all =
            |paths: &[&str]| check_all(&paths.iter().map(|path| volume(VolumeKind::Bucket, path)).collect::<Vec<_>>());
        assert_eq!(all(&["/data", "/data2", "/mnt/data"]), Ok(()));
        assert!(matches!(all(&["/data", "/data"]), Err(InvalidVolume::Nested(..))));
        assert!(matches!(all(&["/data/in", "/data"]), Err(InvalidVolume::Nested(..))));
        let many: Vec<String> = (0..=MAX_VOLUMES).map(|number| format!("/v{number}")).collect();
        assert_eq!(all(&many.iter().map(String::as_str).collect::<Vec<_>>()), Err(InvalidVolume::TooMany));
    }
}
