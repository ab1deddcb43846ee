//! `spaceport usage …`: who used how much, and how long budgets will last.

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use url::form_urlencoded::Serializer;

use super::client::{Client, encode};
use super::error::CliError;
use super::output::{Output, field, moment, plain_table, print};

#[derive(Debug, Subcommand)]
pub enum UsageCommand {
    /// Add up the device time of a period.
    Report(Report),
    /// Say when budgets will be empty at this rate.
    Forecast {
        /// One place with a budget: `@site`, `~USER`, `ORGANIZATION`, `ORGANIZATION/USER`.
        #[arg(long)]
        account: Option<String>,
    },
    /// Give back device time that was not worth anything, as a site admin.
    Refund {
        /// The id of a row, as `report --csv` lists it.
        entry: String,
        /// What the platform was at fault for.
        #[arg(long, value_parser = ["device_lost", "node_lost", "start_failed"])]
        reason: String,
        /// From; the beginning of the row unless given.
        #[arg(long)]
        from: Option<String>,
        /// Until; the end of the row unless given.
        #[arg(long)]
        until: Option<String>,
    },
}

#[derive(Debug, Args)]
pub struct Report {
    /// By what.
    #[arg(long, default_value = "account",
        value_parser = ["account", "space", "organization", "device", "model", "node", "flavor", "reason"])]
    by: String,
    /// From: 2026-01-31 or 2026-01-31T12:00Z; 30 days before the end unless given.
    #[arg(long)]
    from: Option<String>,
    /// Until; now unless given.
    #[arg(long)]
    until: Option<String>,
    /// Only this place and what lies below it.
    #[arg(long)]
    account: Option<String>,
    /// Only this Space.
    #[arg(long)]
    space: Option<String>,
    /// Only this device.
    #[arg(long)]
    device: Option<String>,
    /// The rows themselves, for spreadsheets.
    #[arg(long)]
    csv: bool,
}

pub(super) async fn run(command: UsageCommand, client: &Client, out: &Output) -> Result<(), CliError> {
    match command {
        UsageCommand::Report(report) => {
            let (csv, path) = (report.csv, format!("/api/usage?{}", query(client, report).await?));
            if csv {
                print(client.text(&path, "text/csv").await?.trim_end());
                return Ok(());
            }
            out.show(&all(client, &path).await?, table);
        }
        UsageCommand::Forecast { account } => {
            let query = account.map_or_else(String::new, |account| pairs(&[("account", Some(account))]));
            let list = client.get(&format!("/api/usage/forecast?{query}")).await?;
            out.show(&list, |list| {
                let lines: Vec<String> =
                    list.as_array().into_iter().flatten().map(|one| field(one, "/sentence")).collect();
                if lines.is_empty() { "No place that you may see has a budget.".to_owned() } else { lines.join("\n") }
            });
        }
        UsageCommand::Refund { entry, reason, from, until } => {
            let path = format!("/api/usage/{}/refund", encode(&entry));
            let given = client.post(&path, &json!({"reason": reason, "from": from, "until": until})).await?;
            out.show(&given, |given| format!("{} device hours are given back.", field(given, "/hours")));
        }
    }
    Ok(())
}

/// A report with the sums of all its pages.
async fn all(client: &Client, path: &str) -> Result<Value, CliError> {
    let (mut usage, mut next) = client.page(path).await?;
    while let Some(path) = next.take() {
        let mut page;
        (page, next) = client.page(&path).await?;
        if let (Some(all), Some(rows)) = (usage["rows"].as_array_mut(), page["rows"].as_array_mut()) {
            all.append(rows);
        }
    }
    Ok(usage)
}

async fn query(client: &Client, report: Report) -> Result<String, CliError> {
    let Report { by, from, until, account, space, device, csv: _ } = report;
    let space = match space {
        Some(space) => Some(client.space_name(&space).await?),
        None => None,
    };
    let by = Some(by);
    Ok(pairs(&[
        ("by", by),
        ("from", from),
        ("until", until),
        ("account", account),
        ("space", space),
        ("device", device),
    ]))
}

fn pairs(pairs: &[(&str, Option<String>)]) -> String {
    let mut query = Serializer::new(String::new());
    for (key, value) in pairs {
        if let Some(value) = value {
            query.append_pair(key, value);
        }
    }
    query.finish()
}

fn table(usage: &Value) -> String {
    let row = |sum: &Value, name: String| {
        vec![
            name,
            field(sum, "/usedHours"),
            field(sum, "/refundedHours"),
            field(sum, "/chargedHours"),
            field(sum, "/weightedHours"),
            field(sum, "/leases"),
        ]
    };
    let sums = usage["rows"].as_array().into_iter().flatten();
    let mut rows: Vec<Vec<String>> = sums.map(|sum| row(sum, field(sum, "/key"))).collect();
    rows.push(row(&usage["total"], "total".to_owned()));
    let head = field(usage, "/by").to_uppercase();
    let table = plain_table(&[head.as_str(), "USED", "REFUNDED", "CHARGED", "WEIGHTED", "LEASES"], &rows);
    let (from, until) = (moment(usage, "/from"), moment(usage, "/until"));
    format!("{table}\nDevice hours from {from} until {until} UTC.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_ends_with_the_total() {
        let sum = |key: &str, hours: &str| {
            json!({"key": key, "usedHours": hours, "refundedHours": "0.000",
            "chargedHours": hours, "weightedHours": hours, "leases": 1})
        };
        let usage = json!({"by": "account", "from": "2026-01-01T00:00:00.000Z", "until": "2026-01-02T00:00:00.000Z",
            "rows": [sum("~alice", "2.000"), sum("lab", "1.000")], "total": sum("", "3.000")});
        let text = table(&usage);
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[0].starts_with("ACCOUNT") && lines[3].starts_with("total") && lines[3].contains("3.000"),
            "{text}"
        );
        assert_eq!(lines[4], "Device hours from 2026-01-01 00:00:00 until 2026-01-02 00:00:00 UTC.");
    }

    #[test]
    fn only_what_is_given_is_asked() {
        let given = [("by", Some("space".to_owned())), ("from", None), ("account", Some("~a b".to_owned()))];
        assert_eq!(pairs(&given), "by=space&account=%7Ea+b");
    }
}
