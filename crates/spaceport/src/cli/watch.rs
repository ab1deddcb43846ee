//! Waiting for a Space: every change of stage and phase with the time it took, until it runs or
//! cannot.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::client::Client;
use super::error::{CliError, Kind};
use super::logs::Events;
use super::output::{Output, address, field, print};

/// What was already so when the waiting began may be older than the push before it; it counts
/// after this time.
const FIRST_LOOK: Duration = Duration::from_secs(2);

/// How a stage ends the waiting.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Running,
    Failed,
    Idle,
    GoesOn,
}

/// What to wait for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// Gives up then.
    pub(super) timeout: Option<Duration>,
    /// A Space without anything to run waits for its first push.
    pub(super) for_push: bool,
    /// Prints each change.
    pub(super) tell: bool,
}

pub(super) async fn wait(client: &Client, out: &Output, space: &str, patience: Patience) -> Result<(), CliError> {
    let watching = watch(client, out, space, patience);
    match patience.timeout {
        None => watching.await,
        Some(timeout) => tokio::time::timeout(timeout, watching).await.unwrap_or_else(|_| {
            let message = format!("{space} is not running after {}", elapsed(timeout));
            Err(CliError::new(Kind::OutOfTime, message)
                .remedy(format!("'spaceport space info {space}' says what it is doing; --timeout waits longer.")))
        }),
    }
}

async fn watch(client: &Client, out: &Output, space: &str, patience: Patience) -> Result<(), CliError> {
    let began = Instant::now();
    let path = format!("{}/events", client.space_path(space).await?);
    let mut told = String::new();
    loop {
        let mut events = Events::open(client, &path).await?;
        let mut last: Option<Value> = None;
        loop {
            // The last state again when nothing new came for a while, so that a state that was
            // there at the beginning counts at some time.
            let next = match &last {
                Some(state) if began.elapsed() < FIRST_LOOK => {
                    match tokio::time::timeout(FIRST_LOOK.saturating_sub(began.elapsed()), events.next()).await {
                        Ok(next) => next?,
                        Err(_) => Some(state.clone()),
                    }
                }
                _ => events.next().await?,
            };
            let Some(state) = next else { break };
            let line = line(out, &state);
            if patience.tell && line != told {
                if out.is_json() {
                    print(&state.to_string());
                } else {
                    print(&format!("{:>8}  {line}", elapsed(began.elapsed())));
                }
                told = line;
            }
            match verdict(&state, patience.for_push) {
                Verdict::Running => {
                    if !out.is_json() {
                        print(&format!("{space} runs at {}", address(&state)));
                    } else if !patience.tell {
                        print(&state.to_string());
                    }
                    return Ok(());
                }
                Verdict::GoesOn => {}
                Verdict::Failed | Verdict::Idle if began.elapsed() < FIRST_LOOK => {}
                Verdict::Failed => return Err(failed(space, &state)),
                Verdict::Idle => {
                    let message =
                        format!("{space} is {} and will not start by itself", field(&state, "/runtime/stage"));
                    let remedy = format!("Start it with 'spaceport space restart {space}'.");
                    return Err(CliError::new(Kind::SpaceFailed, message).remedy(remedy));
                }
            }
            last = Some(state);
        }
        // The server ended the stream: it restarts, or the Space is gone.
        client.get(&client.space_path(space).await?).await?;
    }
}

fn line(out: &Output, state: &Value) -> String {
    let text = |path: &str| field(state, &format!("/runtime/spaceport/{path}"));
    let (stage, phase, message) = (field(state, "/runtime/stage"), text("phase"), text("message"));
    let phase = if phase.eq_ignore_ascii_case(&stage) { String::new() } else { format!("  {phase}") };
    let message = if message.is_empty() { String::new() } else { format!("  {message}") };
    format!("{}{phase}{message}", out.stage(&stage))
}

fn verdict(state: &Value, for_push: bool) -> Verdict {
    match state["runtime"]["stage"].as_str().unwrap_or_default() {
        // An older commit may still serve while a newer one was not looked at yet.
        "RUNNING" if !state["runtime"]["sha"].is_null() && !state["sha"].is_null() => {
            if state["runtime"]["sha"] == state["sha"] { Verdict::Running } else { Verdict::GoesOn }
        }
        "RUNNING" => Verdict::Running,
        "NO_APP_FILE" if for_push => Verdict::GoesOn,
        "NO_APP_FILE" | "CONFIG_ERROR" | "BUILD_ERROR" | "RUNTIME_ERROR" => Verdict::Failed,
        "PAUSED" | "STOPPED" | "SLEEPING" => Verdict::Idle,
        _ => Verdict::GoesOn,
    }
}

fn failed(space: &str, state: &Value) -> CliError {
    let text = |path: &str| field(state, &format!("/runtime/spaceport/{path}"));
    let message = format!("{space}: {}: {}", field(state, "/runtime/stage"), text("message"));
    CliError::new(Kind::SpaceFailed, message).remedy(text("remedy"))
}

/// `12.3s`, `4m05s`.
fn elapsed(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds < 60 {
        format!("{seconds}.{}s", time.subsec_millis() / 100)
    } else {
        format!("{}m{:02}s", seconds / 60, seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn it_ends_when_the_newest_commit_serves_or_cannot() {
        let state = |stage: &str, head: &str, serving: Option<&str>| json!({"sha": head, "runtime": {"stage": stage, "sha": serving}});
        for (state, for_push, expected) in [
            (state("RUNNING", "a", Some("a")), false, Verdict::Running),
            (state("RUNNING", "b", Some("a")), false, Verdict::GoesOn),
            (state("RUNNING", "b", None), false, Verdict::Running),
            (state("RUNNING_BUILDING", "b", Some("a")), false, Verdict::GoesOn),
            (state("BUILDING", "b", None), false, Verdict::GoesOn),
            (state("BUILD_ERROR", "b", None), true, Verdict::Failed),
            (state("NO_APP_FILE", "b", None), false, Verdict::Failed),
            (state("NO_APP_FILE", "b", None), true, Verdict::GoesOn),
            (state("PAUSED", "b", None), true, Verdict::Idle),
        ] {
            assert_eq!(verdict(&state, for_push), expected, "{state}");
        }
    }

    #[test]
    fn times_are_short() {
        assert_eq!(elapsed(Duration::from_millis(12_345)), "12.3s");
        assert_eq!(elapsed(Duration::from_secs(245)), "4m05s");
    }
}
