//! `spaceport queue …`: who waits for hardware, why, and moving them.

use clap::Subcommand;
use serde_json::{Value, json};

use super::client::Client;
use super::error::{CliError, Kind};
use super::logs::Events;
use super::output::{Output, field, moment, plain_table, print};

#[derive(Debug, Subcommand)]
pub enum QueueCommand {
    /// List who waits for hardware, in the order of turns.
    List {
        /// At most so many.
        #[arg(long, default_value_t = 100)]
        limit: u64,
    },
    /// Say why a Space waits, and when its turn is expected.
    Why {
        /// The Space, `owner/name`; a bare name is your own.
        space: String,
        /// Goes on until it has its hardware.
        #[arg(long)]
        watch: bool,
    },
    /// Give a Space another place in the queue, as a site admin.
    Move {
        /// The Space.
        space: String,
        /// Its class: a higher one goes before a lower one, whatever else.
        #[arg(long, value_parser = ["low", "normal", "high"])]
        priority: Option<String>,
        /// As if it had waited since then: 2026-01-31 or 2026-01-31T12:00Z.
        #[arg(long)]
        since: Option<String>,
    },
    /// Take a Space out of the queue, as a site admin: it is paused.
    Cancel {
        /// The Space.
        space: String,
    },
}

pub(super) async fn run(command: QueueCommand, client: &Client, out: &Output) -> Result<(), CliError> {
    match command {
        QueueCommand::List { limit } => {
            let queue = client.get(&format!("/api/gpu/queue?limit={limit}")).await?;
            out.show(&queue, table);
        }
        QueueCommand::Why { space, watch: false } => {
            let seen = client.get(&format!("{}/queue", client.space_path(&space).await?)).await?;
            out.show(&seen, |seen| why(&space, seen));
        }
        QueueCommand::Why { space, watch: true } => return watch(client, out, &space).await,
        QueueCommand::Move { space, priority, since } => {
            let path = format!("/api/gpu/queue/{}/move", claim(client, &space).await?);
            let moved = client.post(&path, &json!({"priority": priority, "submittedAt": since})).await?;
            out.show(&moved, |moved| {
                let (priority, since) = (field(moved, "/priority"), moment(moved, "/submittedAt"));
                format!("{space} waits with the class {priority}, since {since}.")
            });
        }
        QueueCommand::Cancel { space } => {
            let path = format!("/api/gpu/queue/{}/cancel", claim(client, &space).await?);
            let gone = client.post(&path, &json!({})).await?;
            out.show(&gone, |_| format!("{space} is out of the queue and paused."));
        }
    }
    Ok(())
}

async fn claim(client: &Client, space: &str) -> Result<String, CliError> {
    let seen = client.get(&format!("{}/queue", client.space_path(space).await?)).await?;
    match seen["waiting"]["claim"].as_str() {
        Some(claim) => Ok(claim.to_owned()),
        None => Err(CliError::new(Kind::NotFound, format!("{space} is not in the queue: {}", why(space, &seen)))),
    }
}

async fn watch(client: &Client, out: &Output, space: &str) -> Result<(), CliError> {
    let path = format!("{}/queue", client.space_path(space).await?);
    let mut events = Events::open(client, &path).await?;
    while let Some(seen) = events.next().await? {
        print(&if out.is_json() { seen.to_string() } else { why(space, &seen) });
        if seen["state"] != "waiting" {
            return Ok(());
        }
    }
    Ok(())
}

/// The queue for a terminal.
pub(super) fn table(queue: &Value) -> String {
    let row = |waiting: &Value| {
        let text = |path: &str| match field(waiting, path) {
            text if text.is_empty() => "-".to_owned(),
            text => text,
        };
        let start = moment(waiting, "/start/expected");
        vec![
            waiting["position"].as_u64().map_or_else(|| "?".to_owned(), |position| (position + 1).to_string()),
            text("/space"),
            text("/account"),
            text("/what"),
            text("/priority"),
            if start.is_empty() { "-".to_owned() } else { start },
            text("/reason"),
        ]
    };
    let rows: Vec<Vec<String>> = queue["waiting"].as_array().into_iter().flatten().map(row).collect();
    if rows.is_empty() {
        return "Nobody waits.".to_owned();
    }
    plain_table(&["#", "SPACE", "ACCOUNT", "WANTS", "CLASS", "EXPECTED (UTC)", "WHY"], &rows)
}

fn why(space: &str, seen: &Value) -> String {
    let text = |path: &str| field(seen, path);
    match seen["state"].as_str() {
        Some("leased") => {
            let mut line = format!("{space} has {} since {}.", text("/lease/flavor"), moment(seen, "/lease/since"));
            if !seen["lease"]["endsBy"].is_null() {
                line += &format!(" It ends by {}: {}", moment(seen, "/lease/endsBy"), text("/lease/why"));
            }
            line
        }
        Some("waiting") => waits(space, &seen["waiting"]),
        _ => format!("{space} asks for no hardware that is waited for."),
    }
}

fn waits(space: &str, waiting: &Value) -> String {
    let text = |path: &str| field(waiting, path);
    let mut line = format!("{space} waits for {}: {}.", text("/what"), text("/reason"));
    match waiting["position"].as_u64() {
        None => {}
        Some(0) => line += " It is next.",
        Some(1) => line += " One comes before it.",
        Some(others) => line += &format!(" {others} come before it."),
    }
    if !waiting["start"].is_null() {
        let minute = |path: &str| moment(waiting, path).chars().take(16).collect::<String>();
        line += &format!(
            " It starts about {} UTC: with 50 % between {} and {}, with 90 % between {} and {}.",
            minute("/start/expected"),
            minute("/start/from50"),
            minute("/start/until50"),
            minute("/start/from90"),
            minute("/start/until90"),
        );
    }
    if let Some(space) = waiting["freedBy"]["space"].as_str() {
        line += &format!(" It gets what {space} gives back.");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_is_one_line_with_numbers() {
        let start = json!({"expected": "2026-01-02T03:04:05.000Z", "from50": "2026-01-02T03:02:05.000Z",
            "until50": "2026-01-02T03:09:05.000Z", "from90": "2026-01-02T03:01:05.000Z", "until90": "2026-01-02T04:00:00.000Z"});
        let waiting = json!({"what": "2 × NVIDIA L4", "reason": "all 4 such devices are in use", "position": 2,
            "start": start, "freedBy": {"space": "bob/held"}});
        let seen = json!({"state": "waiting", "waiting": waiting});
        let expected = "alice/demo waits for 2 × NVIDIA L4: all 4 such devices are in use. 2 come before it. \
            It starts about 2026-01-02 03:04 UTC: with 50 % between 2026-01-02 03:02 and 2026-01-02 03:09, \
            with 90 % between 2026-01-02 03:01 and 2026-01-02 04:00. It gets what bob/held gives back.";
        assert_eq!(why("alice/demo", &seen), expected);
        let none = json!({"state": "none", "waiting": null});
        assert_eq!(why("alice/demo", &none), "alice/demo asks for no hardware that is waited for.");
    }
}
