//! Images made by committing a container.
//!
//! A code layer is create, upload, commit: no process runs, which takes a seventh of a second
//! where the cheapest Dockerfile takes half of one. The engine merges a container's settings into
//! those of a commit, so every setting is stated here, taken from the base image where the caller
//! gives none; otherwise a build step's command would become the app's.

use std::collections::HashMap;

use bollard::Docker;
use bollard::models::{ContainerConfig, ContainerCreateBody, HostConfig, ImageConfig};
use bollard::query_parameters::CommitContainerOptions;
use spaceport_core::ImageDigest;
use spaceport_runtime::{ImageSettings, Layer, RuntimeError};

use crate::client::{COMMIT_TIMEOUT, within};
use crate::scratch::Scratch;
use crate::{DockerRuntime, archive, images, labels};

/// What an image without a command gets, so that the command of a build step is not it.
const NO_COMMAND: [&str; 1] = ["/bin/sh"];

pub(crate) async fn add_layer(runtime: &DockerRuntime, layer: Layer) -> Result<ImageDigest, RuntimeError> {
    let Layer { image, path, archive, settings } = layer;
    let docker = runtime.docker().await?;
    let body = ContainerCreateBody {
        image: Some(image.to_string()),
        cmd: Some(NO_COMMAND.map(str::to_owned).to_vec()),
        host_config: Some(HostConfig { network_mode: Some("none".to_owned()), ..Default::default() }),
        ..Default::default()
    };
    // The image's settings are needed for the commit only, and each question has its price.
    let (base, scratch) =
        tokio::try_join!(images::config(&docker, &image), Scratch::create(runtime, &docker, &settings.tag, body))?;
    archive::upload_file(&docker, scratch.id(), &path, &archive).await?;
    let trust = base.labels.as_ref().and_then(|all| all.get_key_value(labels::TRUST));
    let trust = trust.map(|(name, value)| (name.clone(), value.clone()));
    // The container goes in the background when `scratch` does: nobody waits for that.
    commit(runtime, &docker, scratch.id(), &base, &settings, trust).await
}

/// Makes the container an image with the base image's settings, changed as told. `trust` is the
/// label of the certificates it has.
pub(crate) async fn commit(
    runtime: &DockerRuntime,
    docker: &Docker,
    container: &str,
    base: &ImageConfig,
    settings: &ImageSettings,
    trust: Option<(String, String)>,
) -> Result<ImageDigest, RuntimeError> {
    let ImageSettings { tag, labels: own_labels, env, command, entrypoint, user, working_dir } = settings;
    let given = |own: &Option<String>, base: &Option<String>, default: &str| {
        Some(own.clone().or_else(|| base.clone().filter(|text| !text.is_empty())).unwrap_or_else(|| default.to_owned()))
    };
    let no_command = || NO_COMMAND.map(str::to_owned).to_vec();
    // A new entry point makes the base image's command meaningless, as in a Dockerfile.
    let base_command = if entrypoint.is_some() { None } else { base.cmd.clone() };
    let mut all_labels = base.labels.clone().unwrap_or_default();
    all_labels.retain(|name, _| !name.starts_with("spaceport."));
    all_labels.extend(own_labels.clone());
    all_labels.extend(trust);
    all_labels.insert(labels::INSTALLATION.to_owned(), runtime.shared.config.installation.clone());
    let config = ContainerConfig {
        env: Some(merge_env(base.env.as_deref().unwrap_or_default(), env)),
        cmd: Some(command.clone().or(base_command).filter(|words| !words.is_empty()).unwrap_or_else(no_command)),
        entrypoint: Some(entrypoint.clone().or_else(|| base.entrypoint.clone()).unwrap_or_default()),
        user: given(user, &base.user, "0"),
        working_dir: given(working_dir, &base.working_dir, "/"),
        labels: Some(all_labels),
        ..Default::default()
    };
    let (repo, tag) = images::split_tag(tag);
    let options = CommitContainerOptions {
        container: Some(container.to_owned()),
        repo: repo.map(str::to_owned),
        tag: tag.map(str::to_owned),
        // The step has ended; pausing would only cost two more calls.
        pause: false,
        ..Default::default()
    };
    let committed =
        within(COMMIT_TIMEOUT, "commit a build container", docker.commit_container(options, config)).await?;
    images::digest(&committed.id)
}

/// `NAME=value` lines, later ones in place of earlier ones of the same name.
pub(crate) fn merge_env<'a>(base: &[String], own: impl IntoIterator<Item = (&'a String, &'a String)>) -> Vec<String> {
    let own: HashMap<&str, &str> = own.into_iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let name_of = |line: &str| line.split('=').next().unwrap_or_default().to_owned();
    let kept = base.iter().filter(|line| !own.contains_key(name_of(line).as_str())).cloned();
    let mut added: Vec<String> = own.iter().map(|(name, value)| format!("{name}={value}")).collect();
    added.sort();
    kept.chain(added).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn environment_is_replaced_by_name_and_keeps_its_order() {
        let base = ["PATH=/bin".to_owned(), "A=1".to_owned(), "B=2".to_owned()];
        let own = BTreeMap::from([("A".to_owned(), "x=y".to_owned()), ("C".to_owned(), String::new())]);
        assert_eq!(merge_env(&base, &own), ["PATH=/bin", "B=2", "A=x=y", "C="]);
    }
}
