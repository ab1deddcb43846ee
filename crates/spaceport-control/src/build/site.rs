//! `static` Spaces: files served without a container, made by a build command if there is one.

use std::path::{Path, PathBuf};

use spaceport_core::Reason;
use spaceport_core::config::SpaceConfig;
use spaceport_core::space::Artifact;
use spaceport_git::SourceLimits;
use spaceport_runtime::Keep;

use super::context::{Context, step};
use super::python::{CACHE, base_image, cache_volume, platform_image};
use super::scripts::quoted;
use super::{Builds, Stop};

/// Hub: a build command's output is kept on this ref.
const BUILD_REF: &str = "refs/convert/build";
const APP: &str = "/home/user/app";
/// What an archive adds to each file: its header, a longer name, the rest of its last block.
const HEADERS: u64 = 2048;

pub(super) async fn build(builds: &Builds, context: &Context, config: &SpaceConfig) -> Result<Artifact, Stop> {
    let parts = &builds.parts;
    let (folder, index) = split(config.app_file());
    let target =
        parts.config.data_dir.join("static").join(context.space.id.to_string()).join(context.build.id.to_string());
    // A process that crashed may have left the folder of this very build.
    remove(&target).await?;
    context.phase("source", "Reading the commit").await;
    let Some(command) = &config.app_build_command else {
        context.extract(&target).await?;
        return Ok(Artifact::Files { root: target.join(&folder), index });
    };
    let (archive, _) = context.archive(1000).await?;
    context.phase("base", "Preparing the build image").await;
    let base = base_image(builds, context, &parts.config.builder.node_image).await?;
    let image = platform_image(builds, context, &base, false).await?;
    context.phase("build", &format!("Running {command}")).await;
    let output = context.folder.join("output.tar");
    let limits = context.source_limits();
    // The command runs in the repository's folder, as the hosted service does it.
    let keep = Keep::Archive {
        path: if folder.as_os_str().is_empty() { APP.to_owned() } else { format!("{APP}/{}", folder.display()) },
        to: output.clone(),
        max_bytes: limits.max_total_bytes.saturating_add(limits.max_files as u64 * HEADERS),
    };
    let check = format!(
        "test -f {} || {{ echo \"The build command made no {}\"; exit 66; }}",
        quoted(config.app_file()),
        config.app_file()
    );
    let mut build = step(context, &image, "1000", format!("set -e\n{command}\n{check}\n"), keep);
    build.working_dir = APP.to_owned();
    build.input = Some((APP.to_owned(), archive));
    build.cache = Some((cache_volume(context), CACHE.to_owned()));
    for (name, value) in [
        ("HOME", "/home/user"),
        ("npm_config_cache", "/cache/npm"),
        ("CI", "true"),
        ("npm_config_update_notifier", "false"),
    ] {
        build.env.insert(name.to_owned(), value.to_owned());
    }
    let variables = parts.store.variables(context.space.id).await.map_err(|error| Stop::Again(error.to_string()))?;
    build.env.extend(variables.into_iter().map(|(name, variable)| (name, variable.value)));
    context.step(build, "running app_build_command", Reason::BuildStepFailed).await?;

    context.phase("store", "Storing the files").await;
    let unpacked = context.folder.join("output");
    let (tar, to) = (output, unpacked.clone());
    let unpack = tokio::task::spawn_blocking(move || unpack(&tar, &to, limits)).await;
    unpack.map_err(|error| Stop::Again(error.to_string()))?.map_err(|error| {
        context.failed(
            Reason::SourceUnsafe,
            &format!("The output of the build cannot be used: {error}."),
            "The output must be plain files and folders, as many and as large as a commit may have.",
        )
    })?;
    let message = format!("Build {} of {}", context.build.number, context.build.sha);
    let now = parts.control.clock().now();
    parts
        .repositories
        .write_tree_as_ref(context.space.id.into(), BUILD_REF, &unpacked, &message, now, context.source_limits())
        .await
        .map_err(|error| context.source_error(error))?;
    if let Some(parent) = target.parent() {
        tokio::fs::create_dir_all(parent).await?;
    }
    tokio::fs::rename(&unpacked, &target).await?;
    Ok(Artifact::Files { root: target, index })
}

/// Folder and name of the entry file.
fn split(file: &str) -> (PathBuf, String) {
    let path = Path::new(file);
    let folder = path.parent().map(Path::to_owned).unwrap_or_default();
    let name = path.file_name().map_or_else(|| "index.html".to_owned(), |name| name.to_string_lossy().into_owned());
    (folder, name)
}

async fn remove(folder: &Path) -> std::io::Result<()> {
    match tokio::fs::remove_dir_all(folder).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Unpacks the archive of one folder, without its name, and without anything but files and
/// folders that stay below.
fn unpack(archive: &Path, to: &Path, limits: SourceLimits) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    let (mut files, mut left) = (0, limits.max_total_bytes);
    let mut archive = tar::Archive::new(std::io::BufReader::new(std::fs::File::open(archive)?));
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let inner: PathBuf = path.components().skip(1).collect();
        if inner.as_os_str().is_empty() {
            continue;
        }
        let plain = inner.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        let kind = entry.header().entry_type();
        if !plain || !(kind.is_file() || kind.is_dir()) {
            // node_modules/.bin and the like hold links; what is served are files.
            continue;
        }
        files += 1;
        if files > limits.max_files {
            return Err(std::io::Error::other(format!("it has more than {} files", limits.max_files)));
        }
        // What the archive says of itself may be more than it has bytes.
        left = left.checked_sub(entry.size()).ok_or_else(|| {
            std::io::Error::other(format!("its files have more than {} bytes", limits.max_total_bytes))
        })?;
        let target = to.join(&inner);
        if kind.is_dir() {
            std::fs::create_dir_all(&target)?;
        } else {
            if let Some(parent) = target.parent() {
                std::fs::create_dir_all(parent)?;
            }
            let mut file = std::fs::File::create(&target)?;
            std::io::copy(&mut entry, &mut file)?;
        }
    }
    Ok(())
}
