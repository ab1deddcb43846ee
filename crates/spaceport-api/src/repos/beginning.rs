//! The first commit of a repository: the caller's files, a template's, and what every repository begins with.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use utoipa::ToSchema;

use spaceport_core::front_matter::InitialReadme;
use spaceport_core::{RepoKind, RepoName, Sdk, front_matter};
use spaceport_git::{InitialFile, check_new_path};

use crate::error::{ApiError, clip};
use crate::repos::attributes::attributes;

/// Most files of a first commit.
const MAX_FILES: usize = 100;

/// A file of the first commit.
#[derive(Debug, Deserialize, ToSchema)]
pub struct NewFile {
    /// Relative to the root.
    pub path: String,
    /// Its content.
    pub content: String,
    /// `utf-8` or `base64`.
    pub encoding: Option<String>,
}

/// Whether a first commit can become an app.
pub(super) fn has_start_file(files: &[InitialFile]) -> bool {
    let readme = files.iter().find(|file| file.path == "README.md");
    let config = readme.and_then(|file| front_matter::parse(&file.content).ok());
    config.is_some_and(|config| files.iter().any(|file| file.path == config.start_file()))
}

/// The first files: the caller's, and what every Space begins with where the caller has none.
pub(super) fn files(kind: RepoKind, given: Vec<NewFile>, readme: Option<String>) -> Result<Vec<InitialFile>, ApiError> {
    if given.len() > MAX_FILES {
        return Err(ApiError::bad_request(format!(
            "The first commit may have {MAX_FILES} files at most; push the rest"
        )));
    }
    let mut files = Vec::new();
    for NewFile { path, content, encoding } in given {
        check_new_path(&path).map_err(|why| {
            ApiError::bad_request(format!("{:?} cannot be a path of a repository: {why}", clip(&path)))
        })?;
        let content = match encoding.as_deref() {
            Some("base64") => STANDARD
                .decode(content.trim())
                .map_err(|_| ApiError::bad_request(format!("The content of {:?} is not base64", clip(&path))))?,
            None | Some("utf-8" | "utf8" | "text") => content.into_bytes(),
            Some(other) => {
                let other = clip(other);
                return Err(ApiError::bad_request(format!(
                    "'encoding' cannot be {other:?}; it must be utf-8 or base64"
                )));
            }
        };
        files.push(InitialFile { path, content });
    }
    if !files.iter().any(|file| file.path == ".gitattributes") {
        files.push(InitialFile { path: ".gitattributes".to_owned(), content: attributes(kind).into_bytes() });
    }
    if let Some(readme) = readme.filter(|_| !files.iter().any(|file| file.path == "README.md")) {
        files.push(InitialFile { path: "README.md".to_owned(), content: readme.into_bytes() });
    }
    check_together(&files)?;
    Ok(files)
}

/// Refuses two files of one path, and a file that is a folder of another: git would keep the later one alone.
fn check_together(files: &[InitialFile]) -> Result<(), ApiError> {
    let mut paths = HashSet::new();
    if let Some(twice) = files.iter().find(|file| !paths.insert(file.path.as_str())) {
        return Err(ApiError::bad_request(format!("{:?} is in 'files' twice", clip(&twice.path))));
    }
    for InitialFile { path, .. } in files {
        let mut folders = path.match_indices('/').map(|(end, _)| &path[..end]);
        if let Some(folder) = folders.find(|folder| paths.contains(folder)) {
            let (path, folder) = (clip(path), clip(folder));
            return Err(ApiError::bad_request(format!("{path:?} cannot be a file: {folder:?} is one, not a folder")));
        }
    }
    Ok(())
}

/// The first README. Hub: emoji and colours are drawn there too; here the name decides, so that
/// the same name looks the same.
pub(super) fn readme(name: &RepoName, sdk: Sdk, sdk_version: Option<String>) -> String {
    const EMOJI: [&str; 12] = ["🚀", "🌍", "🔭", "🎨", "🎧", "📚", "🧭", "⚡", "🔥", "🌱", "🐙", "🪐"];
    const COLORS: [&str; 8] = ["red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"];
    let sum: usize = name.key().bytes().map(usize::from).sum();
    let title = name.name().replace(['-', '_'], " ");
    let app_file = match sdk {
        Sdk::Gradio | Sdk::Streamlit => Some("app.py"),
        Sdk::Static => Some("index.html"),
        Sdk::Docker => None,
    };
    InitialReadme {
        title: title.trim().to_owned(),
        emoji: EMOJI[sum % EMOJI.len()].to_owned(),
        color_from: COLORS[sum % COLORS.len()].to_owned(),
        color_to: COLORS[(sum / 3 + 1) % COLORS.len()].to_owned(),
        sdk,
        sdk_version,
        app_file: app_file.map(str::to_owned),
        pinned: false,
    }
    .to_markdown()
}
