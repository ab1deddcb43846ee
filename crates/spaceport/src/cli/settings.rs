//! `spaceport space secrets|variables …`.

use std::io::{IsTerminal, Read};

use clap::Subcommand;
use reqwest::Method;
use serde_json::{Value, json};

use super::client::Client;
use super::error::{CliError, Kind};
use super::output::{Output, field, moment, plain_table};

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Setting {
    Secrets,
    Variables,
}

#[derive(Debug, Subcommand)]
pub enum SettingCommand {
    /// List them; values of secrets are never shown.
    Ls {
        /// The Space, owner/name.
        space: String,
    },
    /// Add or replace one; the value is read from standard input when it is not given.
    Add {
        /// The Space, owner/name.
        space: String,
        /// The name, such as API_KEY.
        key: String,
        /// The value. Better not on a shared machine: others see it in the list of processes.
        value: Option<String>,
        /// A note for people.
        #[arg(long)]
        description: Option<String>,
    },
    /// Delete one.
    Delete {
        /// The Space, owner/name.
        space: String,
        /// The name.
        key: String,
    },
}

pub(super) async fn run(
    setting: Setting,
    command: SettingCommand,
    client: &Client,
    out: &Output,
) -> Result<(), CliError> {
    let word = match setting {
        Setting::Secrets => "secrets",
        Setting::Variables => "variables",
    };
    let path = async |space: &str| Ok::<_, CliError>(format!("{}/{word}", client.space_path(space).await?));
    match command {
        SettingCommand::Ls { space } => {
            let list = client.get(&path(&space).await?).await?;
            out.show(&list, |list| show(setting, list));
        }
        SettingCommand::Add { space, key, value, description } => {
            let value = value.map_or_else(|| read_value(&format!("The value of {key}")), Ok)?;
            let body = json!({"key": key, "value": value, "description": description});
            let answer = client.post(&path(&space).await?, &body).await?;
            let runtime = match out.is_json() {
                true => Value::Null,
                false => client.get(&format!("{}/runtime", client.space_path(&space).await?)).await?,
            };
            out.show(&answer, |_| format!("Set {key}; {}", taken_up(&field(&runtime, "/stage"))));
        }
        SettingCommand::Delete { space, key } => {
            let answer = client.send(Method::DELETE, &path(&space).await?, &json!({"key": key})).await?;
            out.show(&answer, |_| format!("Deleted {key}."));
        }
    }
    Ok(())
}

/// When a Space in a stage gets what was set.
fn taken_up(stage: &str) -> &'static str {
    match stage {
        "PAUSED" | "STOPPED" | "SLEEPING" => "the Space has it when it starts again.",
        "NO_APP_FILE" | "CONFIG_ERROR" | "BUILD_ERROR" => "the Space has it from its next build on.",
        _ => "the Space starts anew with it.",
    }
}

fn show(setting: Setting, list: &Value) -> String {
    let mut rows = Vec::new();
    for (name, entry) in list.as_object().into_iter().flatten() {
        let text = match setting {
            Setting::Secrets => field(entry, "/description"),
            Setting::Variables => field(entry, "/value"),
        };
        rows.push(vec![name.clone(), moment(entry, "/updatedAt"), text]);
    }
    match setting {
        Setting::Secrets => plain_table(&["SECRET", "CHANGED", "DESCRIPTION"], &rows),
        Setting::Variables => plain_table(&["VARIABLE", "CHANGED", "VALUE"], &rows),
    }
}

/// A value from standard input.
pub(super) fn read_value(key: &str) -> Result<String, CliError> {
    let mut input = std::io::stdin().lock();
    if input.is_terminal() {
        eprintln!("{key}, then Ctrl-D:");
    }
    let mut value = String::new();
    let read = input.read_to_string(&mut value);
    read.map_err(|error| CliError::new(Kind::Usage, format!("the value cannot be read: {error}")))?;
    // The line break of `echo` is not part of a value.
    let end = value.strip_suffix('\n').map(|value| value.strip_suffix('\r').unwrap_or(value));
    Ok(end.unwrap_or(&value).to_owned())
}

#[cfg(test)]
mod tests {
    use super::taken_up;

    #[test]
    fn only_a_space_that_runs_starts_anew() {
        assert!(taken_up("RUNNING").contains("starts anew"));
        for stage in ["PAUSED", "STOPPED", "SLEEPING", "NO_APP_FILE", "CONFIG_ERROR", "BUILD_ERROR"] {
            assert!(!taken_up(stage).contains("starts anew"), "{stage}");
        }
    }
}
