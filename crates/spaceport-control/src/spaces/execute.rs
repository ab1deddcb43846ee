//! Performs the actions of a plan, without choosing. Each can be repeated: a crash between any
//! two statements leaves a state the next plan goes on from.

use std::time::Duration;

use spaceport_core::diagnose::{self, ExitEvidence};
use spaceport_core::gpu::{Lease, LeaseEnd};
use spaceport_core::plan::Action;
use spaceport_core::space::{Artifact, Instance, Release};
use spaceport_core::{CommitSha, Diagnosis, HardwareFlavor, InstanceId, Reason, ReleaseId, Sdk, Timestamp};
use spaceport_runtime::{Container, ContainerId, ContainerSpec, ContainerState, Exit, Grant, RuntimeError};

use super::observe::Seen;
use super::volumes::{self, VolumeError};
use super::{Parts, Spaces, WorkError};
use crate::engine::chain;
use crate::inspect::inspect;
use crate::logs::LogId;
use crate::{environment, probe};

/// An app that is asked to end may take so long.
const GRACE: Duration = Duration::from_secs(10);
/// One probe lasts so long; then the plan looks at everything else again.
const PROBE: Duration = Duration::from_millis(400);
/// As [`PROBE`], for an app that starts slowly.
const PROBE_SLOW: Duration = Duration::from_secs(2);
/// An app that does not answer by then has its sockets looked at.
const LOOK_AFTER: Duration = Duration::from_secs(4);
/// An image that is gone so soon after it was built would be gone again.
const REBUILT: Duration = Duration::from_secs(10 * 60);
/// Lines of the log a diagnosis may use.
const TAIL: usize = 60;

impl Spaces {
    pub(super) async fn execute(&self, seen: &Seen, action: &Action) -> Result<(), WorkError> {
        let now = self.parts.control.clock().now();
        match action {
            Action::Inspect { sha } => self.inspect(seen, sha, now).await,
            Action::AddBuild { sha } => {
                let desired = &seen.space.desired;
                let id = self.parts.control.clock().build_id();
                // Only the build that was asked for ignores the caches, not those of later pushes.
                let newest = self.parts.store.builds_of(seen.space.id, 1).await?;
                let asked_for = newest.first().is_none_or(|build| build.rebuild < desired.rebuild);
                let no_cache = desired.no_cache && asked_for;
                self.parts.store.build_add(id, seen.space.id, sha, desired.rebuild, no_cache, now).await?;
                self.parts.control.activate_builds();
                Ok(())
            }
            Action::RepeatBuild { build } => {
                self.parts.store.build_repeat(*build, now).await?;
                self.parts.control.activate_builds();
                Ok(())
            }
            Action::CancelBuild { build, why } => {
                self.parts.store.build_cancel(*build, why, now).await?;
                self.parts.control.activate_builds();
                Ok(())
            }
            Action::AddRelease { build } => self.add_release(seen, *build, now).await,
            Action::Claim { release } => self.claim(seen, *release).await,
            Action::EndClaim { why } => self.end_claim(seen, *why).await,
            Action::Sleep { release, why } => self.sleep(seen, *release, *why).await,
            Action::Wake => self.wake(seen).await,
            Action::AddInstance { release, attempt } => self.add_instance(seen, *release, *attempt, now).await,
            Action::Start(id) => self.start(seen, *id).await,
            Action::Probe(id) => self.probe(seen, *id).await,
            Action::RecordExit(id) => self.record_exit(seen, *id).await,
            Action::GiveUp(id) => self.give_up(seen, *id).await,
            Action::EndAttempt { instance, why } => self.end_attempt(seen, *instance, why, now).await,
            Action::Retire(id) => {
                self.parts.control.retiring(*id, seen.space.id);
                Ok(self.parts.store.instance_retired(*id, now).await?)
            }
            Action::Stop(id) => self.stop(seen, *id).await,
            Action::RemoveOrphan(container) => {
                Ok(self.parts.engine.runtime.remove(&ContainerId(container.clone())).await?)
            }
            Action::Forget => self.forget(seen).await,
        }
    }

    async fn inspect(&self, seen: &Seen, sha: &CommitSha, now: Timestamp) -> Result<(), WorkError> {
        let inspection = inspect(&self.parts.repositories, seen.space.id, sha).await?;
        Ok(self.parts.store.revision_add(seen.space.id, sha, &inspection, now).await?)
    }

    async fn add_release(&self, seen: &Seen, build: spaceport_core::BuildId, now: Timestamp) -> Result<(), WorkError> {
        let store = &self.parts.store;
        let space = &seen.space;
        let Some(build) = store.build_by_id(build).await? else { return Ok(()) };
        let Some(artifact) = build.artifact else { return Ok(()) };
        let Some(spaceport_core::space::Inspection::Buildable(config)) = store.revision(space.id, &build.sha).await?
        else {
            return Ok(());
        };
        let variables = store.variables(space.id).await?;
        let secrets = store.secrets(space.id).await?;
        // Files answer as soon as they are there.
        let ready_at = matches!(artifact, Artifact::Files { .. }).then_some(now);
        let release = Release {
            id: self.parts.control.clock().release_id(),
            space: space.id,
            number: 0,
            build: build.id,
            sha: build.sha,
            config: *config,
            artifact,
            settings: space.desired.settings,
            variables: variables.into_iter().map(|(name, variable)| (name, variable.value)).collect(),
            volumes: volumes::resolve(&self.parts, space).await?,
            sealed_secrets: secrets.into_iter().map(|(name, secret)| (name, secret.sealed)).collect(),
            hardware: space.desired.hardware.clone(),
            created_at: now,
            ready_at,
        };
        Ok(store.release_add(&release).await?)
    }

    async fn add_instance(
        &self,
        seen: &Seen,
        release: ReleaseId,
        attempt: i64,
        now: Timestamp,
    ) -> Result<(), WorkError> {
        let instance = Instance {
            id: self.parts.control.clock().instance_id(),
            space: seen.space.id,
            release,
            restart: seen.space.desired.restart,
            attempt,
            created_at: now,
            started_at: None,
            ready_at: None,
            retired_at: None,
            ended_at: None,
            diagnosis: None,
            ended_by_us: false,
        };
        Ok(self.parts.store.instance_add(&instance).await?)
    }

    async fn start(&self, seen: &Seen, id: InstanceId) -> Result<(), WorkError> {
        let Some(release) = seen.release_of(id) else { return Ok(()) };
        let now = || self.parts.control.clock().now();
        let lease = self.lease_for(seen, release).await?;
        if lease.is_none() && self.needs_lease(release) {
            // It ended meanwhile; the next plan sees that.
            return Ok(());
        }
        let mut spec = match self.container_spec(seen, release, id, lease.as_ref().map(|lease| &lease.lease)) {
            Ok(spec) => spec,
            Err(why) => return Ok(self.parts.store.instance_ended(id, Some(&why), false, now()).await?),
        };
        spec.mounts = match volumes::provide(&self.parts, &seen.space, release, &spec.image).await {
            Ok(mounts) => mounts,
            Err(VolumeError::Refused(why)) => {
                return Ok(self.parts.store.instance_ended(id, Some(&why), false, now()).await?);
            }
            Err(VolumeError::Work(error)) => return Err(error),
        };
        let why = match self.parts.engine.runtime.start(spec).await {
            Ok(container) => {
                self.parts.store.instance_started(id, now()).await?;
                if let Some(lease) = &lease {
                    // It has its devices: whether the app makes use of them is its own affair.
                    self.parts.store.outage_end(lease.lease.id, now()).await?;
                }
                self.followers.follow(&container);
                return Ok(());
            }
            Err(error @ (RuntimeError::Unreachable(_) | RuntimeError::Canceled)) => return Err(error.into()),
            Err(RuntimeError::CommandNotFound(message)) => diagnose::exit(&ExitEvidence {
                code: Some(127),
                oom_killed: false,
                engine_error: &message,
                memory_bytes: 0,
                log: &[],
                was_ready: false,
                own_image: release.config.sdk == Sdk::Docker,
                at: now(),
            }),
            Err(RuntimeError::Devices { message, remedy, source }) => {
                if let Some(lease) = &lease {
                    // The platform's fault: nothing is charged until it has them.
                    self.parts.store.outage_begin(lease.lease.id, LeaseEnd::StartFailed, now()).await?;
                }
                tracing::error!(space.id = %seen.space.id, "no device for an app: {message}. {remedy} ({source})");
                Diagnosis {
                    reason: Reason::DeviceUnavailable,
                    phase: "failed to start".to_owned(),
                    message: format!("The app could not get its devices: {message}."),
                    remedy: format!("It is tried again. Administrators: {remedy}"),
                    evidence: vec![source.to_string()],
                    since: now(),
                    deadline: None,
                }
            }
            Err(RuntimeError::ImageMissing { .. }) if self.build_anew(seen, release).await? => Diagnosis {
                reason: Reason::BaseImageUnavailable,
                phase: "failed to start".to_owned(),
                message: "The image of this release is gone from the engine; it is built anew.".to_owned(),
                remedy: "Nothing to do for you: the app starts when it is built.".to_owned(),
                evidence: Vec::new(),
                since: now(),
                deadline: None,
            },
            Err(error) => {
                let reason = match &error {
                    RuntimeError::DiskFull(_) => Reason::DiskFull,
                    RuntimeError::ImageMissing { .. } => Reason::BaseImageUnavailable,
                    _ => Reason::EngineUnavailable,
                };
                let remedy = match reason {
                    Reason::BaseImageUnavailable => {
                        "Use factory reboot: the image of this release was removed and is built anew."
                    }
                    Reason::DiskFull => "The administrator must free space on the engine's disk.",
                    _ => "It is tried again; if it stays, the administrator should look at the engine's log.",
                };
                Diagnosis {
                    reason,
                    phase: "failed to start".to_owned(),
                    message: format!("The container could not be started: {}.", chain(&error)),
                    remedy: remedy.to_owned(),
                    evidence: Vec::new(),
                    since: now(),
                    deadline: None,
                }
            }
        };
        Ok(self.parts.store.instance_ended(id, Some(&why), false, now()).await?)
    }

    /// Asks for another build of a release whose image is gone: after a restore, or when somebody pruned the engine's
    /// images. `false` when that would not help: another release is wanted, or its build ended just now.
    async fn build_anew(&self, seen: &Seen, release: &Release) -> Result<bool, WorkError> {
        let now = self.parts.control.clock().now();
        if seen.observed.build.as_ref().is_none_or(|build| build.id != release.build) {
            return Ok(false);
        }
        let build = self.parts.store.build_by_id(release.build).await?;
        let finished_at = build.and_then(|build| build.finished_at);
        if finished_at.is_none_or(|at| now.since(at) < REBUILT) {
            return Ok(false);
        }
        let seen_rebuild = seen.space.desired.rebuild;
        let changed = self.parts.store.space_change(seen.space.id, now, |desired| {
            if desired.rebuild == seen_rebuild {
                desired.rebuild += 1;
                desired.restart += 1;
                desired.no_cache = false;
            }
        });
        Ok(changed.await?.is_some())
    }

    fn hardware(&self, release: &Release) -> Result<HardwareFlavor, Box<Diagnosis>> {
        self.parts.config.hardware.get(&release.hardware).cloned().ok_or_else(|| {
            self.internal(&format!("The hardware {} is no longer offered.", release.hardware), "Choose other hardware.")
        })
    }

    fn internal(&self, message: &str, remedy: &str) -> Box<Diagnosis> {
        Box::new(Diagnosis {
            reason: Reason::Internal,
            phase: "failed to start".to_owned(),
            message: message.to_owned(),
            remedy: remedy.to_owned(),
            evidence: Vec::new(),
            since: self.parts.control.clock().now(),
            deadline: None,
        })
    }

    fn container_spec(
        &self,
        seen: &Seen,
        release: &Release,
        id: InstanceId,
        lease: Option<&Lease>,
    ) -> Result<ContainerSpec, Box<Diagnosis>> {
        let hardware = self.hardware(release)?;
        let grant = self.grant(release, &hardware, lease)?;
        let Artifact::Image { digest } = &release.artifact else {
            return Err(self.internal("The release has no image.", "Restart the Space."));
        };
        let Parts { config, vault, .. } = &self.parts;
        let env = environment::of_app(config, &seen.space, release, &hardware, grant.as_ref(), vault)
            .map_err(|error| self.internal(&format!("{error}."), "Set the secret again."))?;
        Ok(ContainerSpec {
            space: seen.space.id,
            release: release.id,
            instance: id,
            image: digest.clone(),
            command: None,
            env,
            mounts: Vec::new(),
            user: Some("1000".to_owned()),
            port: release.config.app_port,
            hardware,
            grant,
        })
    }

    /// The devices a container starts with. Hardware that has some is nothing without a lease.
    fn grant(
        &self,
        release: &Release,
        hardware: &HardwareFlavor,
        lease: Option<&Lease>,
    ) -> Result<Option<Grant>, Box<Diagnosis>> {
        let refused = |message: &str, remedy: &str| {
            let reason = Reason::DeviceUnavailable;
            Box::new(Diagnosis { reason, ..*self.internal(message, remedy) })
        };
        match lease {
            Some(lease) => self.parts.control.inventory().grant(lease).map(Some).map_err(|error| {
                refused(
                    &format!("The app could not get its devices: {error}."),
                    "It waits for others. Nothing to do for you.",
                )
            }),
            None if hardware.gpu.is_some() => Err(refused(
                &format!("The hardware {} has accelerators, and none are given to this Space.", release.hardware),
                "Choose other hardware, or ask the administrator.",
            )),
            None => Ok(None),
        }
    }

    async fn probe(&self, seen: &Seen, id: InstanceId) -> Result<(), WorkError> {
        let (Some(container), Some(release)) = (seen.containers.get(&id), seen.release_of(id)) else { return Ok(()) };
        let Some(address) = container.address else { return Ok(()) };
        let now = || self.parts.control.clock().now();
        let row = seen.observed.instances.iter().find(|seen| seen.row.id == id).map(|seen| &seen.row);
        let started = row.and_then(|row| row.started_at).unwrap_or_else(now);
        let slow = now().since(started) > LOOK_AFTER;
        let host = self.parts.config.space_host(seen.space.subdomain.as_str());
        let patience = if slow { PROBE_SLOW } else { PROBE };
        if probe::answers(address, &host, &release.config.base_path, patience).await {
            // Starting was allowed every core; from here on the flavor holds.
            let cap = release_cpu(&self.hardware(release));
            let (recorded, capped) = tokio::join!(
                self.parts.store.release_ready(release.id, now()),
                self.parts.engine.runtime.limit_cpu(&container.id, cap),
            );
            recorded?;
            if let Err(error) = capped {
                tracing::warn!(error = &error as &dyn std::error::Error, "an app runs without its CPU limit");
            }
            // The instance's own mark goes last: with it nobody asks again, and what was not done
            // before is never done.
            self.parts.store.instance_ready(id, now()).await?;
            return Ok(());
        }
        if slow {
            let note = self.why_not_answering(seen, container, release, started).await;
            if row
                .and_then(|row| row.diagnosis.as_ref())
                .is_none_or(|before| before.reason != note.reason || before.message != note.message)
            {
                self.parts.store.instance_note(id, &note).await?;
            }
        }
        Ok(())
    }

    async fn why_not_answering(
        &self,
        seen: &Seen,
        container: &Container,
        release: &Release,
        since: Timestamp,
    ) -> Diagnosis {
        let sockets = self.parts.engine.runtime.listening(&container.id).await.unwrap_or_default();
        let sockets: Vec<_> = sockets.into_iter().map(|socket| (socket.address, socket.port)).collect();
        let log = self.tail(LogId::Run(seen.space.id, container.instance)).await;
        diagnose::waiting(&sockets, release.config.app_port, &log, since)
    }

    async fn tail(&self, log: LogId) -> Vec<String> {
        let logs = self.parts.control.logs().clone();
        let read = tokio::task::spawn_blocking(move || logs.tail(log, TAIL)).await.unwrap_or_default();
        read.into_iter().map(|record| record.text).collect()
    }

    async fn record_exit(&self, seen: &Seen, id: InstanceId) -> Result<(), WorkError> {
        let Some(row) = seen.observed.instances.iter().find(|seen| seen.row.id == id).map(|seen| &seen.row) else {
            return Ok(());
        };
        if let Some(container) = seen.containers.get(&id) {
            // It may have ended while no server was there to read what it printed.
            self.followers.follow(container);
        }
        self.followers.finished(id).await;
        let log = self.tail(LogId::Run(seen.space.id, id)).await;
        let container = match seen.containers.get(&id) {
            Some(container) => self.parts.engine.runtime.inspect(&container.id).await?,
            None => None,
        };
        let exit = match container.as_ref().map(|container| &container.state) {
            Some(ContainerState::Running { .. }) => return Ok(()),
            Some(ContainerState::Exited(exit)) => Some(exit.clone()),
            Some(ContainerState::Created) | None => None,
        };
        let memory_bytes = seen
            .release_of(id)
            .and_then(|release| self.hardware(release).ok())
            .map_or(0, |hardware| hardware.memory_bytes);
        let now = self.parts.control.clock().now();
        let at = exit.as_ref().map_or(now, |exit| exit.finished_at);
        let with_engine = exit.as_ref().is_some_and(|exit| !exit.oom_killed) && self.parts.engine.ended_with(at);
        let evidence = ExitEvidence {
            code: exit.as_ref().map(|exit| exit.code),
            oom_killed: exit.as_ref().is_some_and(|exit| exit.oom_killed),
            engine_error: exit.as_ref().map_or("", |exit: &Exit| exit.error.as_str()),
            memory_bytes,
            log: &log,
            was_ready: row.ready_at.is_some(),
            own_image: seen.release_of(id).is_some_and(|release| release.config.sdk == Sdk::Docker),
            at,
        };
        let why = if with_engine { diagnose::engine_ended(at) } else { diagnose::exit(&evidence) };
        tracing::info!(space.id = %seen.space.id, "{} ended: {}", seen.space.name, why.message);
        self.parts.store.instance_ended(id, Some(&why), with_engine, now).await?;
        if let Some(container) = container {
            self.parts.engine.runtime.remove(&container.id).await?;
        }
        self.parts.control.forget_drained(id);
        Ok(())
    }

    async fn give_up(&self, seen: &Seen, id: InstanceId) -> Result<(), WorkError> {
        let (Some(container), Some(release)) = (seen.containers.get(&id), seen.release_of(id)) else { return Ok(()) };
        let now = self.parts.control.clock().now();
        let mut why = self.why_not_answering(seen, container, release, now).await;
        let seconds = release.config.startup_timeout.as_secs();
        why.message = format!("The app did not answer within {seconds} s. {}", why.message);
        why.phase = "startup timeout".to_owned();
        if why.reason == Reason::NotListening {
            "Look at its log for what it waits for; startup_duration_timeout in README.md gives it more time."
                .clone_into(&mut why.remedy);
        }
        self.parts.store.instance_ended(id, Some(&why), false, now).await?;
        self.end_container(&container.id, id).await
    }

    async fn end_attempt(&self, seen: &Seen, id: InstanceId, why: &Diagnosis, now: Timestamp) -> Result<(), WorkError> {
        let Some(container) = seen.containers.get(&id) else { return Ok(()) };
        tracing::info!(space.id = %seen.space.id, "{} is stopped: {}", seen.space.name, why.message);
        self.parts.store.instance_ended(id, Some(why), false, now).await?;
        self.end_container(&container.id, id).await
    }

    async fn stop(&self, seen: &Seen, id: InstanceId) -> Result<(), WorkError> {
        if let Some(container) = seen.containers.get(&id) {
            self.end_container(&container.id, id).await?;
        }
        let now = self.parts.control.clock().now();
        Ok(self.parts.store.instance_ended(id, None, true, now).await?)
    }

    async fn end_container(&self, container: &ContainerId, id: InstanceId) -> Result<(), WorkError> {
        self.parts.routes.save().await;
        self.parts.engine.runtime.stop(container, GRACE).await?;
        self.followers.finished(id).await;
        self.parts.engine.runtime.remove(container).await?;
        self.parts.control.forget_drained(id);
        Ok(())
    }

    /// The row goes last: whatever fails before is tried again.
    async fn forget(&self, seen: &Seen) -> Result<(), WorkError> {
        let id = seen.space.id;
        self.parts.routes.retain(|space| space != id);
        self.parts.routes.save().await;
        self.parts.repositories.delete(id.into()).await?;
        self.parts.control.logs().remove_space(id).map_err(|error| left("its logs", &error))?;
        let files = self.parts.config.data_dir.join("static").join(id.to_string());
        match tokio::fs::remove_dir_all(&files).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(left("what a static build made", &error).into());
            }
            _ => {}
        }
        self.parts.store.space_delete(id).await?;
        self.parts.control.changed(id);
        Ok(())
    }
}

/// What of a Space's files could not be removed, and why.
fn left(what: &str, error: &std::io::Error) -> std::io::Error {
    std::io::Error::new(error.kind(), format!("{what}: {error}"))
}

fn release_cpu(hardware: &Result<HardwareFlavor, Box<Diagnosis>>) -> Option<u32> {
    hardware.as_ref().ok().map(|hardware| hardware.cpu_millicores)
}
