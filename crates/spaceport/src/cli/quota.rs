//! `spaceport quota …`: who may have how much.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::amounts::{Bound, bound, decimal, devices, hours, most, span, thousandths};
use super::client::{Client, encode};
use super::error::{CliError, Kind};
use super::output::{Output, field, moment, plain_table};

#[derive(Debug, Subcommand)]
pub enum QuotaCommand {
    /// Show the whole tree, as far as you may see it, with what is in use.
    Tree,
    /// Show one place.
    Show {
        /// `@site`, `~USER`, `ORGANIZATION` or `ORGANIZATION/USER`.
        place: String,
    },
    /// Change what a place may have; what is not named stays as it is.
    Set {
        /// `@site`, `~USER`, `ORGANIZATION` or `ORGANIZATION/USER`.
        place: String,
        #[command(flatten)]
        change: Box<Change>,
        /// Only say what it would do: who would have to leave, whose wait would be another.
        #[arg(long)]
        dry_run: bool,
    },
    /// Take a place's own quota away, so that it has the default one.
    Remove {
        /// `@site`, `~USER`, `ORGANIZATION` or `ORGANIZATION/USER`.
        place: String,
        /// Only say what it would do.
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Debug, Default, PartialEq, Eq, Args)]
pub struct Change {
    /// Devices that are always its own when it wants them: 2, 0.5.
    #[arg(long, value_parser = thousandths)]
    guaranteed: Option<i64>,
    /// Devices it may have at most, or `none`.
    #[arg(long, value_parser = bound)]
    limit: Option<Bound>,
    /// Whether it may borrow what others leave unused.
    #[arg(long)]
    borrows: Option<bool>,
    /// Whether others may borrow what it leaves unused.
    #[arg(long)]
    lends: Option<bool>,
    /// Its share beside its siblings; 1 is the rule.
    #[arg(long, value_parser = thousandths)]
    weight: Option<i64>,
    /// Device hours per period, beyond which nothing runs; or `none`.
    #[arg(long, value_parser = bound)]
    hard_hours: Option<Bound>,
    /// Device hours per period, beyond which its Spaces wait behind others; or `none`.
    #[arg(long, value_parser = bound)]
    soft_hours: Option<Bound>,
    /// Days of a period; 30 unless it had another.
    #[arg(long)]
    period_days: Option<i64>,
    /// The highest class its Spaces may have.
    #[arg(long, value_parser = ["low", "normal", "high"])]
    max_priority: Option<String>,
    /// Spaces at most, or `none`.
    #[arg(long, value_parser = most)]
    max_spaces: Option<Bound>,
    /// GiB of repositories, large files and buckets at most, or `none`.
    #[arg(long, value_parser = most)]
    max_storage_gib: Option<Bound>,
    /// Builds at once at most, or `none`.
    #[arg(long, value_parser = most)]
    max_builds: Option<Bound>,
}

pub(super) async fn run(command: QuotaCommand, client: &Client, out: &Output) -> Result<(), CliError> {
    match command {
        QuotaCommand::Tree => {
            let tree = client.get("/api/quotas").await?;
            out.show(&tree, tree_table);
        }
        QuotaCommand::Show { place } => {
            let seen = client.get(&path(&place)).await?;
            out.show(&seen, show);
        }
        QuotaCommand::Set { place, change, dry_run } => {
            // The generation first: who changes it in between is not overwritten.
            let generation = client.get("/api/quotas").await?["generation"].clone();
            let mut quota = client.get(&path(&place)).await?["quota"].clone();
            change.apply(&mut quota)?;
            let path = format!("{}?generation={generation}&dryRun={dry_run}", path(&place));
            let changed = client.send(Method::PUT, &path, &quota).await?;
            out.show(&changed, told);
        }
        QuotaCommand::Remove { place, dry_run } => {
            let path = format!("{}?dryRun={dry_run}", path(&place));
            let changed = client.send(Method::DELETE, &path, &json!({})).await?;
            out.show(&changed, told);
        }
    }
    Ok(())
}

fn path(place: &str) -> String {
    format!("/api/quotas/{}", encode(place))
}

impl Change {
    fn apply(self, quota: &mut Value) -> Result<(), CliError> {
        if self == Self::default() {
            return Err(CliError::new(Kind::Usage, "nothing is named that shall be another than it is")
                .remedy("'spaceport quota set --help' lists what can be changed."));
        }
        self.apply_counts(quota);
        let Self {
            guaranteed, limit, borrows, lends, weight, hard_hours, soft_hours, period_days, max_priority, ..
        } = self;
        let before = quota["budget"].clone();
        let mut set = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                quota[key] = value;
            }
        };
        set("guaranteedMilli", guaranteed.map(Value::from));
        set("limitMilli", limit.map(|Bound(limit)| Value::from(limit)));
        set("borrows", borrows.map(Value::from));
        set("lends", lends.map(Value::from));
        set("weightMilli", weight.map(Value::from));
        set("maxPriority", max_priority.map(Value::from));
        if hard_hours.is_some() || soft_hours.is_some() || period_days.is_some() {
            // Thousandths of an hour are 3.6 seconds.
            let seconds = |hours: Option<Bound>, before: &Value| match hours {
                Some(Bound(hours)) => Value::from(hours.map(|milli| milli.saturating_mul(36) / 10)),
                None => before.clone(),
            };
            let hard = seconds(hard_hours, &before["hardDeviceSeconds"]);
            let soft = seconds(soft_hours, &before["softDeviceSeconds"]);
            let days = period_days.or_else(|| before["periodDays"].as_i64()).unwrap_or(30);
            let budget = json!({"periodDays": days, "softDeviceSeconds": soft, "hardDeviceSeconds": hard});
            set("budget", Some(if hard.is_null() && soft.is_null() { Value::Null } else { budget }));
        }
        Ok(())
    }
}

impl Change {
    fn apply_counts(&self, quota: &mut Value) {
        let Self { max_spaces, max_storage_gib, max_builds, .. } = self;
        let mut set = |key: &str, value: &Option<Bound>, unit: i64| {
            if let Some(Bound(value)) = value {
                quota[key] = Value::from(value.map(|value| value.saturating_mul(unit)));
            }
        };
        set("maxSpaces", max_spaces, 1);
        set("maxStorageBytes", max_storage_gib, 1 << 30);
        set("maxBuilds", max_builds, 1);
    }
}

fn tree_table(tree: &Value) -> String {
    let row = |place: &Value| {
        let name = field(place, "/place");
        let indent = if name == "@site" {
            ""
        } else if name.contains('/') {
            "    "
        } else {
            "  "
        };
        let quota = &place["quota"];
        vec![
            format!("{indent}{name}"),
            decimal(&place["inUseMilli"]),
            decimal(&quota["guaranteedMilli"]),
            decimal(&quota["limitMilli"]),
            decimal(&quota["weightMilli"]),
            budget(place),
            field(place, "/waiting"),
        ]
    };
    let rows: Vec<Vec<String>> = tree["places"].as_array().into_iter().flatten().map(row).collect();
    let table = plain_table(&["PLACE", "IN USE", "OWN", "LIMIT", "WEIGHT", "HOURS", "WAITING"], &rows);
    format!("{table}\nIn service: {}.", devices(&tree["devicesMilli"]))
}

/// `12.5 of 100.0`: of the hard edge, else of the soft one.
fn budget(place: &Value) -> String {
    if place["budget"].is_null() {
        return "-".to_owned();
    }
    let edges = &place["quota"]["budget"];
    let edge = if edges["hardDeviceSeconds"].is_null() { "softDeviceSeconds" } else { "hardDeviceSeconds" };
    format!("{} of {}", hours(&place["budget"]["usedDeviceSeconds"]), hours(&edges[edge]))
}

fn show(place: &Value) -> String {
    let quota = &place["quota"];
    let may = |key: &str, yes: &str, no: &str| if quota[key] == true { yes.to_owned() } else { no.to_owned() };
    let origin = if place["isSet"] == true {
        format!("set on {}", moment(place, "/updatedAt"))
    } else {
        "the default: nothing was set".to_owned()
    };
    let mut rows = vec![
        ("quota", origin),
        ("in use", format!("{}, {} waiting", devices(&place["inUseMilli"]), field(place, "/waiting"))),
        ("own", devices(&quota["guaranteedMilli"])),
        (
            "limit",
            if quota["limitMilli"].is_null() { "all there is".to_owned() } else { devices(&quota["limitMilli"]) },
        ),
        ("borrows", may("borrows", "what others leave unused", "nothing")),
        ("lends", may("lends", "what it leaves unused", "nothing")),
        ("weight", decimal(&quota["weightMilli"])),
        ("class", format!("{} at most", field(place, "/quota/maxPriority"))),
    ];
    for (name, key, unit) in
        [("Spaces", "maxSpaces", 1), ("GiB", "maxStorageBytes", 1 << 30), ("builds", "maxBuilds", 1)]
    {
        if let Some(most) = quota[key].as_i64() {
            rows.push((name, format!("{} at most", most / unit)));
        }
    }
    if !place["budget"].is_null() {
        let edges = &quota["budget"];
        let (soft, hard) = (hours(&edges["softDeviceSeconds"]), hours(&edges["hardDeviceSeconds"]));
        let used = hours(&place["budget"]["usedDeviceSeconds"]);
        let until = moment(place, "/budget/renewsAt");
        rows.push(("hours", format!("{used} used, soft {soft}, hard {hard}; anew {until} UTC")));
    }
    let lines = rows.iter().map(|(name, text)| format!("{name:<9}{text}"));
    std::iter::once(field(place, "/place")).chain(lines).collect::<Vec<_>>().join("\n")
}

fn told(changed: &Value) -> String {
    let mut lines = Vec::new();
    let name = field(changed, "/place/place");
    if changed["dryRun"] == true {
        lines.push(format!("Nothing is changed. With this quota for {name}:"));
        lines.push(effect(&changed["effect"]));
    } else {
        lines.push(show(&changed["place"]));
    }
    for warning in changed["warnings"].as_array().into_iter().flatten() {
        lines.push(format!("Mind: {}.", warning.as_str().unwrap_or_default()));
    }
    lines.join("\n")
}

fn effect(effect: &Value) -> String {
    let row = |change: &Value| {
        let who = |path: &str| match field(change, path) {
            name if name.is_empty() => "another".to_owned(),
            name => name,
        };
        vec![who("/space"), who("/account"), outcome(&change["before"]), outcome(&change["after"])]
    };
    let rows: Vec<Vec<String>> = effect["changes"].as_array().into_iter().flatten().map(row).collect();
    let at_once = if rows.is_empty() {
        "nobody would fare differently at once.".to_owned()
    } else {
        let table = plain_table(&["SPACE", "ACCOUNT", "NOW", "THEN"], &rows);
        format!("{} would have to leave, {} would start at once.\n{table}", effect["leave"], effect["start"])
    };
    format!("{at_once}\n{}", replay(&effect["replay"]))
}

/// What the demand of the last days would have become.
fn replay(replay: &Value) -> String {
    let (claims, from) = (&replay["claims"], moment(replay, "/from"));
    let row = |one: &Value| {
        let change = |key: &str, text: fn(&Value) -> String| {
            let (before, after) = (text(&one["before"][key]), text(&one["after"][key]));
            if before == after { before } else { format!("{before} -> {after}") }
        };
        vec![
            if one["account"].is_null() { "others".to_owned() } else { field(one, "/account") },
            field(one, "/claims"),
            change("meanWaitSeconds", span),
            change("started", Value::to_string),
            change("left", Value::to_string),
            change("usedDeviceSeconds", hours),
        ]
    };
    let rows: Vec<Vec<String>> = replay["accounts"].as_array().into_iter().flatten().map(row).collect();
    if rows.is_empty() {
        return format!("The {claims} claims since {from} UTC would have fared the same.");
    }
    let table = plain_table(&["ACCOUNT", "CLAIMS", "MEAN WAIT", "STARTED", "HAD TO LEAVE", "HOURS"], &rows);
    format!("With it since {from} UTC, for the {claims} claims of that time:\n{table}")
}

fn outcome(outcome: &Value) -> String {
    let reason = field(outcome, "/reason");
    match outcome["state"].as_str() {
        Some("leaves") => format!("leaves by {}: {reason}", moment(outcome, "/endsBy")),
        Some("waits") => {
            let position = outcome["position"].as_u64().map_or(0, |position| position + 1);
            let start = moment(outcome, "/start/expected");
            let start = if start.is_empty() { String::new() } else { format!(", expected {start}") };
            format!("waits as number {position}{start}: {reason}")
        }
        state => state.unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota() -> Value {
        json!({"guaranteedMilli": 1000, "limitMilli": 2000, "budget": null, "weightMilli": 1000})
    }

    #[test]
    fn what_is_not_named_stays_as_it_is() {
        let mut quota = quota();
        let change = Change {
            limit: Some(Bound(None)),
            hard_hours: Some(Bound(Some(1500))),
            max_storage_gib: Some(Bound(Some(2))),
            ..Change::default()
        };
        assert!(change.apply(&mut quota).is_ok());
        let budget = json!({"periodDays": 30, "softDeviceSeconds": null, "hardDeviceSeconds": 5400});
        let expected = json!({"guaranteedMilli": 1000, "limitMilli": null, "budget": budget, "weightMilli": 1000,
            "maxStorageBytes": 2_i64 << 30});
        assert_eq!(quota, expected);
        let without = Change { hard_hours: Some(Bound(None)), ..Change::default() };
        assert!(without.apply(&mut quota).is_ok());
        assert_eq!(quota["budget"], Value::Null);
        assert!(Change::default().apply(&mut quota).is_err(), "who names nothing has forgotten something");
    }

    #[test]
    fn a_trial_says_who_would_leave_and_who_would_start_and_how_the_last_days_would_have_been() {
        let changed = json!({"dryRun": true, "place": {"place": "lab"}, "warnings": ["3 are promised, 2 are there"],
            "effect": {"leave": 1, "start": 0, "changes": [{"space": "bob/held", "account": "~bob",
                "before": {"state": "runs"},
                "after": {"state": "leaves", "endsBy": "2026-01-02T03:04:05.000Z", "reason": "it is borrowed"}}],
            "replay": {"from": "2026-01-01T03:04:05.000Z", "until": "2026-01-02T03:04:05.000Z", "claims": 7,
                "accounts": [{"account": null, "claims": 3,
                    "before": {"meanWaitSeconds": 5400, "started": 3, "left": 0, "usedDeviceSeconds": 3600},
                    "after": {"meanWaitSeconds": 90, "started": 3, "left": 2, "usedDeviceSeconds": 3600}}]}}});
        let text = told(&changed);
        for part in [
            "Nothing is changed",
            "1 would have to leave, 0 would start",
            "bob/held",
            "for the 7 claims of that time",
            "others",
            "1h30m -> 1m30s",
            "0 -> 2",
            "Mind: 3 are promised",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }
}
