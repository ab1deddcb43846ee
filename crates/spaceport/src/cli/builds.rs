//! `spaceport space builds|releases|instances|cancel-build`.

use serde_json::{Value, json};

use super::client::Client;
use super::error::CliError;
use super::output::{Output, field, moment, plain_table};

pub(super) async fn builds(client: &Client, out: &Output, space: &str) -> Result<(), CliError> {
    let list = client.get(&format!("{}/builds", client.space_path(space).await?)).await?;
    out.show(&list, |list| {
        let row = |build: &Value| {
            let took: u64 = build["phasesMs"].as_object().into_iter().flatten().filter_map(|(_, ms)| ms.as_u64()).sum();
            let took = if took == 0 { String::new() } else { format!("{}.{} s", took / 1000, took % 1000 / 100) };
            vec![
                field(build, "/number"),
                short(build),
                field(build, "/state"),
                moment(build, "/queuedAt"),
                took,
                field(build, "/diagnosis/message"),
            ]
        };
        let rows: Vec<Vec<String>> = list.as_array().into_iter().flatten().map(row).collect();
        plain_table(&["BUILD", "COMMIT", "STATE", "QUEUED", "TOOK", "MESSAGE"], &rows)
    });
    Ok(())
}

pub(super) async fn releases(client: &Client, out: &Output, space: &str) -> Result<(), CliError> {
    let list = client.get(&format!("{}/releases", client.space_path(space).await?)).await?;
    out.show(&list, |list| {
        let row = |release: &Value| {
            let serving = if release["serving"] == true { "serves" } else { "" };
            vec![
                field(release, "/number"),
                short(release),
                field(release, "/hardware"),
                moment(release, "/createdAt"),
                moment(release, "/readyAt"),
                serving.to_owned(),
            ]
        };
        let rows: Vec<Vec<String>> = list.as_array().into_iter().flatten().map(row).collect();
        plain_table(&["RELEASE", "COMMIT", "HARDWARE", "CREATED", "FIRST ANSWER", ""], &rows)
    });
    Ok(())
}

pub(super) async fn instances(client: &Client, out: &Output, space: &str) -> Result<(), CliError> {
    let list = client.get(&format!("{}/instances", client.space_path(space).await?)).await?;
    out.show(&list, attempts);
    Ok(())
}

fn attempts(list: &Value) -> String {
    let row = |instance: &Value| {
        let by = if instance["endedByPlatform"] == true { "platform" } else { "app" };
        let ended = moment(instance, "/endedAt");
        vec![
            field(instance, "/release"),
            field(instance, "/attempt"),
            moment(instance, "/createdAt"),
            moment(instance, "/readyAt"),
            if ended.is_empty() { String::new() } else { by.to_owned() },
            ended,
            field(instance, "/diagnosis/message"),
        ]
    };
    let rows: Vec<Vec<String>> = list.as_array().into_iter().flatten().map(row).collect();
    plain_table(&["RELEASE", "ATTEMPT", "CREATED", "FIRST ANSWER", "ENDED BY", "AT", "MESSAGE"], &rows)
}

pub(super) async fn cancel(client: &Client, out: &Output, space: &str, number: Option<i64>) -> Result<(), CliError> {
    let path = client.space_path(space).await?;
    let number = match number {
        Some(number) => number,
        None => {
            let list = client.get(&format!("{path}/builds?limit=1")).await?;
            list[0]["number"].as_i64().ok_or_else(|| CliError::failed("there is no build to cancel"))?
        }
    };
    let build = client.post(&format!("{path}/builds/{number}/cancel"), &json!({})).await?;
    out.show(&build, |build| match field(build, "/state").as_str() {
        "canceled" => format!("Build {number} is canceled."),
        state => format!("Build {number} is {state} and ends within moments."),
    });
    Ok(())
}

fn short(value: &Value) -> String {
    field(value, "/sha").chars().take(7).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_says_who_ended_it() {
        let (created, ended) = ("2026-01-02T03:04:05.678Z", "2026-01-02T03:05:00.000Z");
        let list = json!([
            {"release": 2, "attempt": 1, "createdAt": created, "endedByPlatform": false},
            {"release": 1, "attempt": 3, "createdAt": created, "endedAt": ended, "endedByPlatform": false},
            {"release": 1, "attempt": 2, "createdAt": created, "endedAt": ended, "endedByPlatform": true},
        ]);
        let told = attempts(&list);
        let ends: Vec<_> = told.lines().skip(1).map(|line| line.split("03:04:05").nth(1).unwrap_or_default()).collect();
        assert_eq!(ends[0].trim(), "");
        assert!(ends[1].trim().starts_with("app ") && ends[2].trim().starts_with("platform "), "{told}");
    }
}
