//! What a Space uses.

use std::time::Duration;

use serde_json::Value;

use super::client::Client;
use super::error::CliError;
use super::logs::Events;
use super::output::{Output, field, print};

/// A Space that runs is measured once a second.
const PATIENCE: Duration = Duration::from_secs(5);

/// One line, or one a second until the Space runs no more or somebody has seen enough. A Space that does not run to begin
/// with is a failure; one that is followed and stops is not.
pub(super) async fn show(client: &Client, out: &Output, space: &str, follow: bool) -> Result<(), CliError> {
    if !follow {
        return measure(client, out, space, follow).await;
    }
    tokio::select! {
        ended = measure(client, out, space, follow) => ended,
        seen = tokio::signal::ctrl_c() => seen.map_err(|error| CliError::failed(error.to_string())),
    }
}

async fn measure(client: &Client, out: &Output, space: &str, follow: bool) -> Result<(), CliError> {
    let path = client.space_path(space).await?;
    let mut events = Events::open(client, &format!("{path}/metrics")).await?;
    let mut measured = false;
    loop {
        let Ok(event) = tokio::time::timeout(PATIENCE, events.next()).await else {
            let info = client.get(&path).await?;
            let stage = field(&info, "/runtime/stage");
            if info["sdk"] == "static" {
                return Err(CliError::failed(format!(
                    "{space} is static: its files are served without an app to measure"
                )));
            }
            match on_silence(follow, measured, &stage) {
                Silence::Wait => continue,
                Silence::End => return Ok(()),
                Silence::Fail => {}
            }
            let remedy = if stage.starts_with("RUNNING") {
                format!("The server is busy: 'spaceport space metrics {space} --follow' waits.")
            } else {
                format!("'spaceport space info {space}' says why.")
            };
            return Err(CliError::failed(format!("{space} is not measured: it is {stage}")).remedy(remedy));
        };
        let Some(event) = event? else { return Ok(()) };
        measured = true;
        print(&if out.is_json() { event.to_string() } else { line(&event) });
        if !follow {
            return Ok(());
        }
    }
}

/// What it means that nothing was measured for a while.
#[derive(Debug, PartialEq, Eq)]
enum Silence {
    Wait,
    End,
    Fail,
}

fn on_silence(follow: bool, measured: bool, stage: &str) -> Silence {
    match (follow, measured) {
        // A busy server measures late, and `RUNNING_BUILDING` and `RUNNING_APP_STARTING` serve too.
        (true, _) if stage.starts_with("RUNNING") => Silence::Wait,
        (true, true) => Silence::End,
        _ => Silence::Fail,
    }
}

fn line(event: &Value) -> String {
    let number = |path: &str| event.pointer(path).and_then(Value::as_u64).unwrap_or_default();
    let millicores = number("/cpu_millicores");
    format!(
        "CPU {}.{:02} cores ({} %)  memory {} of {} MiB  received {} KiB/s  sent {} KiB/s",
        millicores / 1000,
        millicores % 1000 / 10,
        number("/cpu_usage_pct"),
        number("/memory_used_bytes") >> 20,
        number("/memory_total_bytes") >> 20,
        number("/rx_bps") >> 10,
        number("/tx_bps") >> 10,
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_space_that_was_followed_to_its_end_is_no_failure() {
        assert_eq!(on_silence(true, true, "RUNNING_BUILDING"), Silence::Wait);
        assert_eq!(on_silence(true, true, "SLEEPING"), Silence::End);
        assert_eq!(on_silence(true, false, "PAUSED"), Silence::Fail);
        assert_eq!(on_silence(false, false, "RUNNING"), Silence::Fail);
    }

    #[test]
    fn a_sample_is_one_line() {
        let sample = json!({
            "cpu_millicores": 1062, "cpu_usage_pct": 53, "memory_used_bytes": 105 << 20,
            "memory_total_bytes": 16384_u64 << 20, "rx_bps": 2048, "tx_bps": 0
        });
        let expected = "CPU 1.06 cores (53 %)  memory 105 of 16384 MiB  received 2 KiB/s  sent 0 KiB/s";
        assert_eq!(line(&sample), expected);
    }
}
