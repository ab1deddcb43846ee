//! `POST …/preupload/{rev}`: how each file shall be uploaded, before it is.

use axum::Json;
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use spaceport_core::{CommitSha, Repo};
use spaceport_git::{Entry, NodeKind, PathRules, check_new_path};

use crate::error::{ApiError, ErrorBody, clip};
use crate::extract::{JsonBody, Params};
use crate::files::ReadAt;
use crate::files::target::Target;
use crate::state::ApiState;
use crate::views::RepoPath;

/// Most files of one call. Hub: 256.
const MAX_FILES: usize = 1000;
/// Larger files are kept outside of git. Hub: the same.
const MAX_REGULAR: u64 = 10 << 20;

/// Files that are to be uploaded.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PreuploadBody {
    /// At most 1000.
    #[serde(default)]
    pub files: Vec<PreuploadFile>,
    /// The `.gitignore` that comes with the commit.
    pub git_ignore: Option<String>,
}

/// A file that is to be uploaded.
#[derive(Debug, Deserialize, ToSchema)]
pub struct PreuploadFile {
    /// From the root.
    pub path: String,
    /// Its first bytes, as base64.
    #[serde(default)]
    pub sample: String,
    /// Its bytes.
    #[serde(default)]
    pub size: u64,
}

/// How files shall be uploaded.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PreuploadAnswer {
    /// In the order of the question.
    pub files: Vec<UploadMode>,
    /// The commit the branch points to.
    pub commit_oid: String,
}

/// How a file shall be uploaded.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UploadMode {
    /// From the root.
    pub path: String,
    /// `regular`: inside of the commit. `lfs`: before it.
    pub upload_mode: &'static str,
    /// Whether `.gitignore` excludes it.
    pub should_ignore: bool,
    /// The id of what is there: Git's, of a large file the SHA-256 of its content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oid: Option<String>,
}

/// How to upload files
#[utoipa::path(post, path = "/api/{kind}/{owner}/{name}/preupload/{*revision}", tag = "files",
    params(RepoPath, ("revision" = String, Path, description = "A branch, or `refs/pr/N`"),
        ("create_pr" = Option<bool>, Query, description = "For a pull request to the branch")), request_body = PreuploadBody,
    responses((status = 200, body = PreuploadAnswer), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn preupload(
    State(state): State<ApiState>,
    ReadAt { read, place }: ReadAt,
    params: Params,
    JsonBody(body): JsonBody<PreuploadBody>,
) -> Result<Json<PreuploadAnswer>, ApiError> {
    let proposes = params.flag("create_pr");
    let Target { to, head: commit, .. } = Target::find(&state, read, &place.whole, proposes).await?;
    let PreuploadBody { files, git_ignore } = body;
    if files.len() > MAX_FILES {
        return Err(ApiError::bad_request(format!("At most {MAX_FILES} files can be asked about at once")));
    }
    let mut binary = Vec::with_capacity(files.len());
    for PreuploadFile { path, sample, .. } in &files {
        check_new_path(path).map_err(|why| {
            ApiError::bad_request(format!("{:?} cannot be a path of a repository: {why}", clip(path)))
        })?;
        let sample = STANDARD
            .decode(sample)
            .map_err(|_| ApiError::bad_request(format!("'sample' of {:?} is not base64", clip(path))))?;
        binary.push(is_binary(&sample));
    }
    let paths: Vec<String> = files.iter().map(|file| file.path.clone()).collect();
    let rules = state.repositories.rules(to.repo.id, Some(&commit), git_ignore, paths.clone()).await?;
    let mut known = known(&state, &to.repo, &commit, paths).await?;
    let mode = |((file, binary), rules): ((PreuploadFile, bool), PathRules)| {
        let large = file.size > 0 && (rules.lfs || file.size > MAX_REGULAR || binary);
        UploadMode {
            upload_mode: if large { "lfs" } else { "regular" },
            should_ignore: rules.ignored,
            oid: known.remove(&file.path),
            path: file.path,
        }
    };
    let files = files.into_iter().zip(binary).zip(rules).map(mode).collect();
    Ok(Json(PreuploadAnswer { files, commit_oid: commit.into() }))
}

/// The ids of the files that are at some paths.
async fn known(
    state: &ApiState,
    repo: &Repo,
    commit: &CommitSha,
    paths: Vec<String>,
) -> Result<std::collections::HashMap<String, String>, ApiError> {
    let entries = state.repositories.entries(repo.id, commit, paths).await?;
    let id = |Entry { path, oid, lfs, .. }: Entry| {
        (path, lfs.map_or_else(|| oid.to_string(), |pointer| pointer.object.sha256))
    };
    Ok(entries.into_iter().filter(|entry| entry.kind == NodeKind::File).map(id).collect())
}

/// Whether the beginning of a file does not look like text, in UTF-8 or in one of the older
/// encodings that have it in common with ASCII.
fn is_binary(sample: &[u8]) -> bool {
    if sample.contains(&0) {
        return true;
    }
    let valid = match std::str::from_utf8(sample) {
        Ok(_) => sample.len(),
        // A character that the end of the sample cuts is none that is wrong.
        Err(error) if error.error_len().is_none() => sample.len(),
        Err(error) => error.valid_up_to(),
    };
    let is_control = |byte: &&u8| matches!(byte, 0x01..=0x08 | 0x0e..=0x1a | 0x1c..=0x1f | 0x7f);
    let is_high = |byte: &&u8| !byte.is_ascii();
    let odd = sample.iter().filter(is_control).count() + sample[valid..].iter().filter(is_high).count();
    odd * 10 > sample.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_files_are_told_from_text() {
        for text in [
            &b""[..],
            b"print('hello')\n",
            "größer, \u{1f680} \u{65e5}\u{672c}".as_bytes(),
            &"日本語".as_bytes()[..8],
            b"Gr\xf6\xdfer als je zuvor, in Latin-1 geschrieben",
            b"\x1b[31mred\x1b[0m\ttab\r\n",
        ] {
            assert!(!is_binary(text), "{text:?}");
        }
        for binary in [
            &b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"[..],
            b"a\0b",
            b"\x1f\x8b\x08\x08\xd1\xe5\x9b\xff\xfe\x80",
            b"\xff\xd8\xff\xe0\x10JFIF\x01\x01\x01\xfe\xed\xfa",
        ] {
            assert!(is_binary(binary), "{binary:?}");
        }
    }
}
