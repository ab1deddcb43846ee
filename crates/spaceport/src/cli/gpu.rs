//! `spaceport gpu …`: devices, who has them, and taking them out of service.

use std::io::IsTerminal;
use std::time::Duration;

use clap::Subcommand;
use serde_json::{Value, json};

use super::amounts::decimal;
use super::client::{Client, encode};
use super::error::CliError;
use super::output::{Output, field, moment, plain_table, print};

/// Clears a terminal and goes to its first line.
const CLEAR: &str = "\x1b[H\x1b[2J\x1b[3J";

#[derive(Debug, Subcommand)]
pub enum GpuCommand {
    /// List all devices: what they are, how they are, who has them.
    List {
        /// Also those that are not there any more.
        #[arg(long)]
        lost: bool,
    },
    /// Show how busy the devices are, and the queue, again and again.
    Top {
        /// Seconds between two looks.
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
        every: u64,
        /// Ends after so many looks; one where nobody watches (no terminal).
        #[arg(long)]
        count: Option<u64>,
    },
    /// Take a device out of service: nothing new is placed on it, what runs may finish.
    Drain {
        /// The device's id.
        device: String,
        /// Why, for whoever asks.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Put a device back into service, and forget the errors its driver told.
    Undrain {
        /// The device's id.
        device: String,
    },
    /// Take a machine out of service: nothing new is placed on it, what runs may finish.
    Cordon {
        /// The machine's name.
        node: String,
        /// Why, for whoever asks.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Put a machine back into service.
    Uncordon {
        /// The machine's name.
        node: String,
    },
}

pub(super) async fn run(command: GpuCommand, client: &Client, out: &Output) -> Result<(), CliError> {
    match command {
        GpuCommand::List { lost } => {
            let list = client.get(&format!("/api/gpu/devices?lost={lost}")).await?;
            out.show(&list, devices);
        }
        GpuCommand::Top { every, count } => return top(client, out, Duration::from_secs(every), count).await,
        GpuCommand::Drain { device, reason } => {
            let path = format!("/api/gpu/devices/{}/drain", encode(&device));
            let after = client.post(&path, &json!({"reason": reason})).await?;
            out.show(&after, |after| match after["leasedMilli"].as_u64() {
                Some(0) => format!("{device} is out of service."),
                _ => format!("Nothing new is placed on {device}; what runs on it may finish."),
            });
        }
        GpuCommand::Undrain { device } => {
            let after = client.post(&format!("/api/gpu/devices/{}/undrain", encode(&device)), &json!({})).await?;
            out.show(&after, |after| match field(after, "/reason").as_str() {
                "" => format!("{device} is in service."),
                reason => format!("{device} is still {}: {reason}", field(after, "/health")),
            });
        }
        GpuCommand::Cordon { node, reason } => {
            let path = format!("/api/gpu/nodes/{}/cordon", encode(&node));
            let after = client.post(&path, &json!({"reason": reason})).await?;
            out.show(&after, |_| format!("Nothing new is placed on {node}; what runs there may finish."));
        }
        GpuCommand::Uncordon { node } => {
            let after = client.post(&format!("/api/gpu/nodes/{}/uncordon", encode(&node)), &json!({})).await?;
            out.show(&after, |_| format!("{node} is in service."));
        }
    }
    Ok(())
}

async fn top(client: &Client, out: &Output, every: Duration, count: Option<u64>) -> Result<(), CliError> {
    let watched = std::io::stdout().is_terminal();
    let count = count.or_else(|| (!watched && !out.is_json()).then_some(1));
    let mut looks = 0;
    loop {
        let devices = client.get("/api/gpu/devices").await?;
        let queue = client.get("/api/gpu/queue?limit=10").await?;
        if out.is_json() {
            print(&json!({"devices": devices, "queue": queue}).to_string());
        } else {
            let clear = if watched { CLEAR } else { "" };
            print(&format!("{clear}{}", screen(&devices, &queue)));
        }
        looks += 1;
        if count.is_some_and(|count| looks >= count) {
            return Ok(());
        }
        tokio::time::sleep(every).await;
    }
}

fn screen(devices: &Value, queue: &Value) -> String {
    let all: Vec<&Value> = devices["devices"].as_array().into_iter().flatten().collect();
    let leased: i64 = all.iter().filter_map(|device| device["leasedMilli"].as_i64()).sum();
    let head = format!("{} of {} devices leased, {} waiting", decimal(&json!(leased)), all.len(), queue["total"]);
    format!("{head}\n\n{}\n\n{}", self::devices(devices), super::queue::table(queue)).trim_end().to_owned()
}

fn devices(list: &Value) -> String {
    let row = |device: &Value| {
        let percent = |path: &str| match field(device, path) {
            percent if percent.is_empty() => "-".to_owned(),
            percent => format!("{percent} %"),
        };
        let memory = device["memoryBytes"].as_u64().unwrap_or_default() >> 30;
        let used = device["memoryUsedBytes"].as_u64().map_or_else(|| "-".to_owned(), |used| (used >> 30).to_string());
        vec![
            field(device, "/node"),
            field(device, "/id"),
            field(device, "/model"),
            field(device, "/health"),
            percent("/utilizationPercent"),
            format!("{used}/{memory} GiB"),
            who(device),
        ]
    };
    let rows: Vec<Vec<String>> = list["devices"].as_array().into_iter().flatten().map(row).collect();
    let mut text = plain_table(&["NODE", "DEVICE", "MODEL", "HEALTH", "BUSY", "MEMORY", "HELD BY"], &rows);
    for node in list["nodes"].as_array().into_iter().flatten().filter(|node| !node["cordoned"].is_null()) {
        let (name, reason) = (field(node, "/name"), field(node, "/cordoned/reason"));
        text += &format!("\n{name} is out of service since {}: {reason}", moment(node, "/cordoned/at"));
    }
    for device in list["devices"].as_array().into_iter().flatten().filter(|device| !device["reason"].is_null()) {
        let (id, health) = (field(device, "/id"), field(device, "/health"));
        text += &format!("\n{id} is {health}: {}", field(device, "/reason"));
    }
    text
}

/// `alice/demo`, or of how many; those whose names are not for the caller are `another`.
fn who(device: &Value) -> String {
    let name = |holder: &Value| match field(holder, "/space") {
        name if name.is_empty() => "another".to_owned(),
        name => name,
    };
    let holders: Vec<String> = device["holders"].as_array().into_iter().flatten().map(name).collect();
    holders.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screen_has_devices_reasons_and_the_queue() {
        let devices = json!({
            "nodes": [{"name": "box", "cordoned": null}],
            "devices": [
                {"node": "box", "id": "GPU-0", "model": "L4", "health": "healthy", "reason": null, "leasedMilli": 500,
                    "utilizationPercent": 93, "memoryBytes": 24_u64 << 30, "memoryUsedBytes": 3_u64 << 30,
                    "holders": [{"space": "alice/demo"}, {"space": null}]},
                {"node": "box", "id": "GPU-1", "model": "L4", "health": "drained", "reason": "a loud fan",
                    "leasedMilli": 0, "utilizationPercent": null, "memoryBytes": 24_u64 << 30, "holders": []},
            ]
        });
        let queue = json!({"total": 0, "waiting": []});
        let text = screen(&devices, &queue);
        for part in
            ["0.5 of 2 devices leased, 0 waiting", "93 %", "3/24 GiB", "alice/demo", "GPU-1 is drained: a loud fan"]
        {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(text.ends_with("Nobody waits."), "{text}");
    }
}
