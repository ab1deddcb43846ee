//! Build steps: one command in a container of its own.
//!
//! The script comes in through standard input, with the environment as `export` lines before it.
//! The engine merges a container's environment and command into the image it becomes; this way
//! there is nothing to merge, and neither secrets nor scripts show up in `docker inspect`.
//! A build runs code of strangers (`setup.py`), so it is as locked down as an app. Only a step of
//! user 0, which installs system packages, keeps the few capabilities `dpkg` needs.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigLogConfig, ImageConfig, Mount, MountType, VolumeCreateRequest,
};
use bollard::query_parameters::{
    AttachContainerOptions, InspectContainerOptions, StartContainerOptions, WaitContainerOptions,
};
use futures::StreamExt;
use spaceport_runtime::{BuildStep, Keep, LogSink, RuntimeError, StepOutcome};
use tokio::io::AsyncWriteExt;
use tokio_util::sync::CancellationToken;

use crate::app::CPU_PERIOD_US;
use crate::app::{bytes, inspect_raw, ulimits};
use crate::archive::{self, Entry};
use crate::client::{CALL_TIMEOUT, START_TIMEOUT, classify, engine_error, within};
use crate::lines::Lines;
use crate::scratch::Scratch;
use crate::trust::Trust;
use crate::{DockerRuntime, commit, images, labels};

/// Reads all of standard input before it runs any of it, so that a command of the script that
/// reads standard input finds its end and not the rest of the script.
const RUN_STDIN: [&str; 3] = ["/bin/sh", "-c", "eval \"$(cat)\""];
/// What `apt-get` and `dpkg` do: own files, drop to the `_apt` user, set modes.
const INSTALL_CAPABILITIES: [&str; 6] = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETUID", "SETGID", "FSETID"];
/// A step's disk use is looked at after this, or after so many times as long as the last look took:
/// the engine walks all files, which a step that writes many of them must not have to wait for.
const DISK_CHECK_EVERY: Duration = Duration::from_secs(3);
const DISK_CHECK_SHARE: u32 = 20;

/// How the process ended, before anything is kept.
enum End {
    Exited { code: i64, oom_killed: bool },
    TimedOut,
    DiskExceeded,
}

pub(crate) async fn run(
    runtime: &DockerRuntime,
    step: BuildStep,
    log: LogSink,
    cancel: CancellationToken,
) -> Result<StepOutcome, RuntimeError> {
    let docker = runtime.docker().await?;
    tokio::select! {
        biased;
        // Dropping the other branch removes its container in the background.
        () = cancel.cancelled() => Err(RuntimeError::Canceled),
        outcome = run_to_end(runtime, &docker, &step, &log) => outcome,
    }
}

async fn run_to_end(
    runtime: &DockerRuntime,
    docker: &Docker,
    step: &BuildStep,
    log: &LogSink,
) -> Result<StepOutcome, RuntimeError> {
    let base = images::config(docker, &step.image).await?;
    if let Some((volume, _)) = &step.cache {
        create_volume(runtime, docker, volume).await?;
    }
    let scratch = Scratch::create(runtime, docker, &step.title, body(runtime, step)).await?;
    fill(runtime, docker, step, &base, scratch.id()).await?;
    let script = script(runtime, step)?;
    let end = tokio::select! {
        end = execute(docker, scratch.id(), &step.title, &script, log) => end?,
        () = tokio::time::sleep(step.limits.time) => End::TimedOut,
        exceeded = watch_disk(docker, scratch.id(), step.limits.disk_bytes) => exceeded?,
    };
    let outcome = match end {
        End::Exited { code: 0, .. } => keep(runtime, docker, step, &base, scratch.id()).await?,
        End::Exited { code, oom_killed } => StepOutcome::Failed { code, oom_killed },
        End::TimedOut => StepOutcome::TimedOut,
        End::DiskExceeded => StepOutcome::DiskExceeded,
    };
    // The container goes in the background when `scratch` does: thousands of files take a second.
    Ok(outcome)
}

fn body(runtime: &DockerRuntime, step: &BuildStep) -> ContainerCreateBody {
    let config = &runtime.shared.config;
    let limits = &step.limits;
    let capabilities = if step.user == "0" { &INSTALL_CAPABILITIES[..] } else { &[] };
    let mount = |(volume, path): &(String, String)| Mount {
        target: Some(path.clone()),
        source: Some(volume.clone()),
        typ: Some(MountType::VOLUME),
        ..Default::default()
    };
    ContainerCreateBody {
        image: Some(step.image.to_string()),
        entrypoint: Some(Vec::new()),
        cmd: Some(RUN_STDIN.map(str::to_owned).to_vec()),
        user: Some(step.user.clone()),
        working_dir: Some(step.working_dir.clone()),
        open_stdin: Some(true),
        stdin_once: Some(true),
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        host_config: Some(HostConfig {
            init: Some(true),
            cap_drop: Some(vec!["ALL".to_owned()]),
            cap_add: Some(capabilities.iter().map(|&name| name.to_owned()).collect()),
            security_opt: Some(vec!["no-new-privileges".to_owned()]),
            pids_limit: Some(i64::from(limits.pids)),
            memory: Some(bytes(limits.memory_bytes)),
            memory_swap: Some(bytes(limits.memory_bytes)),
            // As a quota and not as a count of CPUs: the engine refuses a count above the machine's,
            // and a site's limit must not depend on how large its smallest node is.
            cpu_period: Some(CPU_PERIOD_US),
            cpu_quota: Some(i64::from(limits.cpu_millicores) * CPU_PERIOD_US / 1000),
            ulimits: Some(ulimits()),
            network_mode: Some(config.network.clone()),
            dns: config.dns_servers(),
            mounts: step.cache.as_ref().map(|cache| vec![mount(cache)]),
            // The output is taken live; the engine need not write it to its disk too.
            log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

async fn create_volume(runtime: &DockerRuntime, docker: &Docker, name: &str) -> Result<(), RuntimeError> {
    let installation = runtime.shared.config.installation.clone();
    let request = VolumeCreateRequest {
        name: Some(name.to_owned()),
        labels: Some(HashMap::from([(labels::INSTALLATION.to_owned(), installation)])),
        ..Default::default()
    };
    within(CALL_TIMEOUT, &format!("create volume {name}"), docker.create_volume(request)).await.map(drop)
}

/// Puts in what the step finds when it starts.
async fn fill(
    runtime: &DockerRuntime,
    docker: &Docker,
    step: &BuildStep,
    base: &ImageConfig,
    id: &str,
) -> Result<(), RuntimeError> {
    if let Some(trust) = &runtime.shared.trust {
        trust.install(docker, id, base).await?;
    }
    if let Some((_, path)) = &step.cache {
        // A new volume belongs to root. Unpacking its directory over it, from above, changes the
        // owner; an entry `.` inside it would be skipped by the engine.
        let owner = step.user.split(':').next().and_then(|user| user.parse().ok()).unwrap_or(0);
        let top = archive::small(&[Entry::Directory { path: path.trim_start_matches('/'), owner }])?;
        archive::upload(docker, id, "/", top).await?;
    }
    if let Some((path, tar)) = &step.input {
        archive::upload_file(docker, id, path, tar, transfer_time(step)).await?;
    }
    Ok(())
}

/// What goes into standard input.
fn script(runtime: &DockerRuntime, step: &BuildStep) -> Result<String, RuntimeError> {
    let mut env: BTreeMap<String, String> = step.env.clone();
    if let Some(trust) = &runtime.shared.trust {
        env.extend(trust.environment(|name| step.env.contains_key(name)));
    }
    let mut script = String::new();
    for (name, value) in &env {
        if !is_variable_name(name) || value.contains('\0') {
            return Err(engine_error(
                format!("run a step of {}", step.title),
                format!("{name:?} cannot be an environment variable; use letters, digits and _"),
            ));
        }
        // Writing to a String cannot fail.
        let _ = writeln!(script, "export {name}={}", quoted(value));
    }
    script.push_str(&step.script);
    script.push('\n');
    Ok(script)
}

async fn execute(docker: &Docker, id: &str, title: &str, script: &str, log: &LogSink) -> Result<End, RuntimeError> {
    let options =
        AttachContainerOptions { stream: true, stdin: true, stdout: true, stderr: true, ..Default::default() };
    // Attached before it starts, so that the first line is there.
    let operation = format!("run a step of {title}");
    let attached = within(CALL_TIMEOUT, &operation, docker.attach_container(id, Some(options))).await?;
    let (mut output, mut input) = (attached.output, attached.input);
    within(START_TIMEOUT, &operation, docker.start_container(id, None::<StartContainerOptions>)).await?;
    let write = async {
        // A shell that is gone already has an exit code that says more than a broken pipe.
        if input.write_all(script.as_bytes()).await.is_ok() {
            let _ = input.shutdown().await;
        }
    };
    let read = async {
        let (mut stdout, mut stderr) = (Lines::default(), Lines::default());
        while let Some(piece) = output.next().await {
            match piece.map_err(|error| classify(&operation, error))? {
                LogOutput::StdErr { message } => stderr.push(&message, |line| log(line)),
                LogOutput::StdOut { message } | LogOutput::Console { message } | LogOutput::StdIn { message } => {
                    stdout.push(&message, |line| log(line));
                }
            }
        }
        stdout.finish(|line| log(line));
        stderr.finish(|line| log(line));
        Ok::<(), RuntimeError>(())
    };
    let ((), output) = futures::future::join(write, read).await;
    output?;
    wait(docker, id).await?;
    let state = inspect_raw(docker, id)
        .await?
        .and_then(|response| response.state)
        .ok_or_else(|| RuntimeError::NoContainer(id.to_owned()))?;
    Ok(End::Exited { code: state.exit_code.unwrap_or_default(), oom_killed: state.oom_killed.unwrap_or_default() })
}

/// The output ends a moment before the engine has written the exit code. The library reports a
/// code other than 0 as an error, so the code is read by `inspect`.
async fn wait(docker: &Docker, id: &str) -> Result<(), RuntimeError> {
    let options = WaitContainerOptions { condition: "not-running".to_owned() };
    let mut waiting = docker.wait_container(id, Some(options));
    let call = async {
        match waiting.next().await {
            None | Some(Ok(_) | Err(bollard::errors::Error::DockerContainerWaitError { .. })) => Ok(()),
            Some(Err(error)) => Err(error),
        }
    };
    within(START_TIMEOUT, "wait for a build step", call).await
}

/// Ends only when the limit is passed.
async fn watch_disk(docker: &Docker, id: &str, limit: u64) -> Result<End, RuntimeError> {
    let mut pause = DISK_CHECK_EVERY;
    loop {
        tokio::time::sleep(pause).await;
        let began = Instant::now();
        if written(docker, id).await? > limit {
            return Ok(End::DiskExceeded);
        }
        pause = DISK_CHECK_EVERY.max(began.elapsed() * DISK_CHECK_SHARE);
    }
}

async fn written(docker: &Docker, id: &str) -> Result<u64, RuntimeError> {
    let options = InspectContainerOptions { size: true };
    let response =
        within(CALL_TIMEOUT, "measure a build step's disk", docker.inspect_container(id, Some(options))).await?;
    Ok(u64::try_from(response.size_rw.unwrap_or_default()).unwrap_or_default())
}

async fn keep(
    runtime: &DockerRuntime,
    docker: &Docker,
    step: &BuildStep,
    base: &ImageConfig,
    id: &str,
) -> Result<StepOutcome, RuntimeError> {
    // A fast step may have written a lot between two looks.
    if written(docker, id).await? > step.limits.disk_bytes {
        return Ok(StepOutcome::DiskExceeded);
    }
    match &step.keep {
        Keep::Image(settings) => {
            let trust = runtime.shared.trust.as_ref().map(Trust::label);
            commit::commit(runtime, docker, id, base, settings, trust, transfer_time(step))
                .await
                .map(|digest| StepOutcome::Done(Some(digest)))
        }
        Keep::Archive { path, to, max_bytes } => {
            match archive::download(docker, id, path, to, *max_bytes, transfer_time(step)).await? {
                true => Ok(StepOutcome::Done(None)),
                false => Ok(StepOutcome::ArchiveTooLarge),
            }
        }
    }
}

/// What goes into and out of a step may be as large as the step's limits allow, so it has the step's time; and a little
/// more, as the caller knows better what it means that this is over.
fn transfer_time(step: &BuildStep) -> Duration {
    step.limits.time + CALL_TIMEOUT
}

fn is_variable_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// For the shell, as one word.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}
