//! Containers that live as long as one call.
//!
//! Whatever happens to the call (done, failed, canceled, its future dropped), its container is
//! removed; after a crash of this process, `prepare` finds it by its labels.

use std::collections::HashMap;

use bollard::Docker;
use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{CreateContainerOptions, ListContainersOptions, RemoveContainerOptions};
use spaceport_runtime::RuntimeError;
use tokio_util::task::TaskTracker;

use crate::client::{CALL_TIMEOUT, START_TIMEOUT, absent, status_of, within};
use crate::{DockerRuntime, labels};

/// A container that is removed when this value goes away.
pub(crate) struct Scratch {
    docker: Docker,
    clean_up: TaskTracker,
    id: Option<String>,
}

impl Scratch {
    /// Creates it, with the labels of a build container of this process.
    pub(crate) async fn create(
        runtime: &DockerRuntime,
        docker: &Docker,
        title: &str,
        mut body: ContainerCreateBody,
    ) -> Result<Self, RuntimeError> {
        let shared = &runtime.shared;
        body.labels.get_or_insert_default().extend(HashMap::from([
            (labels::INSTALLATION.to_owned(), shared.config.installation.clone()),
            (labels::ROLE.to_owned(), labels::ROLE_BUILD.to_owned()),
            (labels::PROCESS.to_owned(), shared.process.clone()),
        ]));
        let options = CreateContainerOptions {
            name: Some(format!("spaceport-build-{}", crate::unique()?)),
            ..Default::default()
        };
        // The guard is made before the answer is awaited in a task of its own, so that a call
        // dropped while the engine creates the container leaves none behind.
        let (docker, clean_up) = (docker.clone(), shared.clean_up.clone());
        let operation = format!("create a build container for {title}");
        let creating = clean_up.clone().spawn({
            let (docker, clean_up) = (docker.clone(), clean_up.clone());
            async move {
                let created = within(CALL_TIMEOUT, &operation, docker.create_container(Some(options), body)).await?;
                Ok(Self { docker, clean_up, id: Some(created.id) })
            }
        });
        creating.await.unwrap_or_else(|error| Err(crate::engine_error("create a build container", error)))
    }

    pub(crate) fn id(&self) -> &str {
        self.id.as_deref().unwrap_or_default()
    }

    /// Removes it now, so that the caller knows it is gone.
    pub(crate) async fn remove(mut self) -> Result<(), RuntimeError> {
        let Some(id) = self.id.take() else { return Ok(()) };
        remove(&self.docker, &id).await
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let Some(id) = self.id.take() else { return };
        // Without a runtime the process is ending; the next one removes it by its labels.
        let Ok(handle) = tokio::runtime::Handle::try_current() else { return };
        let docker = self.docker.clone();
        self.clean_up.spawn_on(
            async move {
                if let Err(error) = remove(&docker, &id).await {
                    tracing::warn!(container.id = %id, error = %error, "could not remove a build container");
                }
            },
            &handle,
        );
    }
}

/// Removes a container, running or not. Absent is success, as is one that is being removed.
pub(crate) async fn remove(docker: &Docker, id: &str) -> Result<(), RuntimeError> {
    let options = RemoveContainerOptions { force: true, v: true, ..Default::default() };
    let removed =
        within(START_TIMEOUT, &format!("remove container {id}"), docker.remove_container(id, Some(options))).await;
    match removed {
        Err(error) if status_of(&error) == Some(409) => Ok(()),
        other => absent(other).map(drop),
    }
}

/// Removes build containers of this installation that another process left behind.
pub(crate) async fn remove_leftovers(runtime: &DockerRuntime, docker: &Docker) -> Result<(), RuntimeError> {
    let shared = &runtime.shared;
    let filters =
        labels::filter(&[(labels::INSTALLATION, &shared.config.installation), (labels::ROLE, labels::ROLE_BUILD)]);
    let options = ListContainersOptions { all: true, filters: Some(filters), ..Default::default() };
    let found = within(CALL_TIMEOUT, "list build containers", docker.list_containers(Some(options))).await?;
    for container in found {
        let process = container.labels.as_ref().and_then(|all| all.get(labels::PROCESS));
        if process == Some(&shared.process) {
            continue;
        }
        if let Some(id) = container.id {
            remove(docker, &id).await?;
        }
    }
    Ok(())
}
