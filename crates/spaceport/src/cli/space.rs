//! `spaceport space …`.

use std::io::IsTerminal;
use std::time::Duration;

use clap::Subcommand;
use reqwest::Method;
use serde_json::{Value, json};

use super::ask::confirm;
use super::builds;
use super::client::Client;
use super::error::CliError;
use super::logs::{self, Wanted};
use super::metrics;
use super::output::{Output, address, field, moment, table};
use super::settings::{self, Setting, SettingCommand};
use super::watch::{Patience, wait};

#[derive(Debug, Subcommand)]
pub enum SpaceCommand {
    /// List the Spaces the token may see.
    List {
        /// Only those whose owner/name contains this.
        search: Option<String>,
        /// Only those of this owner.
        #[arg(long)]
        author: Option<String>,
    },
    /// Create a Space and print how to push to it.
    Create {
        /// The Space: name, or owner/name.
        space: String,
        /// What it is made with: gradio, streamlit, docker or static.
        #[arg(long, default_value = "gradio")]
        sdk: String,
        /// Hide it from others.
        #[arg(long)]
        private: bool,
        /// A flavor of 'spaceport hardware'.
        #[arg(long)]
        hardware: Option<String>,
        /// No error when it exists already.
        #[arg(long)]
        exist_ok: bool,
        /// Wait for the first push and show every step until the app runs.
        #[arg(long)]
        watch: bool,
    },
    /// Show a Space: state, cause and remedy, address.
    Info {
        /// The Space, owner/name.
        space: String,
    },
    /// Delete a Space with its code, logs and settings.
    Delete {
        /// The Space, owner/name.
        space: String,
        /// Do not ask.
        #[arg(long, short)]
        yes: bool,
    },
    /// Print what the app prints, or the log of its build.
    Logs {
        /// The Space, owner/name.
        space: String,
        /// The newest build's log, or with a number that of an earlier one; 'spaceport space builds' lists them.
        #[arg(long, value_name = "NUMBER", num_args = 0..=1, require_equals = true)]
        build: Option<Option<u32>>,
        /// Go on as new lines come.
        #[arg(long, short)]
        follow: bool,
        /// Only the last lines.
        #[arg(long, short = 'n')]
        tail: Option<u64>,
    },
    /// Print what the app uses: CPU, memory, network.
    Metrics {
        /// The Space, owner/name.
        space: String,
        /// Go on, once a second.
        #[arg(long, short)]
        follow: bool,
    },
    /// Wait until the newest commit runs; exit code 6 when it cannot, 7 out of time.
    Wait {
        /// The Space, owner/name.
        space: String,
        /// Show every change of stage and phase.
        #[arg(long)]
        watch: bool,
        /// Give up after so long: 90s, 10m, 2h.
        #[arg(long, default_value = "30m", value_parser = duration)]
        timeout: Duration,
    },
    /// Start a Space anew; builds again what failed.
    Restart {
        /// The Space, owner/name.
        space: String,
        /// Build anew, without any cache.
        #[arg(long)]
        factory: bool,
        /// Show every step until the app runs.
        #[arg(long)]
        watch: bool,
    },
    /// Pause a Space until its owner restarts it.
    Pause {
        /// The Space, owner/name.
        space: String,
    },
    /// Stop a Space until a site admin restarts it.
    Stop {
        /// The Space, owner/name.
        space: String,
    },
    /// Set who may see a Space.
    #[command(group(clap::ArgGroup::new("access").required(true)))]
    Set {
        /// The Space, owner/name.
        space: String,
        /// The owner's people alone see it.
        #[arg(long, group = "access")]
        private: bool,
        /// Everybody sees it.
        #[arg(long, group = "access")]
        public: bool,
    },
    /// Ask for other hardware.
    Hardware {
        /// The Space, owner/name.
        space: String,
        /// A flavor of 'spaceport hardware'.
        flavor: String,
    },
    /// Set after how many seconds without visitors it may sleep; -1 is never.
    SleepTime {
        /// The Space, owner/name.
        space: String,
        /// Seconds, or -1.
        #[arg(allow_negative_numbers = true)]
        seconds: i64,
    },
    /// Secrets: build secrets and environment variables nobody can read again.
    #[command(subcommand)]
    Secrets(SettingCommand),
    /// Variables: build arguments and environment variables.
    #[command(subcommand)]
    Variables(SettingCommand),
    /// List the builds of a Space.
    Builds {
        /// The Space, owner/name.
        space: String,
    },
    /// Cancel a build; the newest one unless a number is given.
    CancelBuild {
        /// The Space, owner/name.
        space: String,
        /// The build's number.
        number: Option<i64>,
    },
    /// List the releases of a Space.
    Releases {
        /// The Space, owner/name.
        space: String,
    },
    /// List the attempts to run a Space: when each answered, and why it ended.
    Instances {
        /// The Space, owner/name.
        space: String,
    },
    /// Print the app's address, and open it in a browser when there is one.
    Open {
        /// The Space, owner/name.
        space: String,
    },
}

pub(super) async fn run(command: SpaceCommand, client: &Client, out: &Output) -> Result<(), CliError> {
    match command {
        SpaceCommand::List { search, author } => list(client, out, search.as_deref(), author.as_deref()).await,
        SpaceCommand::Create { space, sdk, private, hardware, exist_ok, watch } => {
            let (owner, name) = match space.split_once('/') {
                Some((owner, name)) => (Some(owner), name),
                None => (None, space.as_str()),
            };
            let body = json!({
                "type": "space", "name": name, "organization": owner, "sdk": sdk, "private": private, "hardware": hardware
            });
            create(client, out, &space, &body, exist_ok).await?;
            let patience = Patience { timeout: None, for_push: true, tell: true };
            if watch { wait(client, out, &client.space_name(&space).await?, patience).await } else { Ok(()) }
        }
        SpaceCommand::Info { space } => info(client, out, &space).await,
        SpaceCommand::Delete { space, yes } => delete(client, out, &space, yes).await,
        SpaceCommand::Logs { space, build, follow, tail } => {
            logs::show(client, out, &space, Wanted { build, follow, tail }).await
        }
        SpaceCommand::Metrics { space, follow } => metrics::show(client, out, &space, follow).await,
        SpaceCommand::Wait { space, watch, timeout } => {
            wait(client, out, &space, Patience { timeout: Some(timeout), for_push: false, tell: watch }).await
        }
        SpaceCommand::Restart { space, factory, watch } => {
            act(client, out, &space, &format!("restart?factory={factory}"), &json!({})).await?;
            let patience = Patience { timeout: None, for_push: false, tell: true };
            if watch { wait(client, out, &space, patience).await } else { Ok(()) }
        }
        SpaceCommand::Pause { space } => act(client, out, &space, "pause", &json!({})).await,
        SpaceCommand::Stop { space } => act(client, out, &space, "stop", &json!({})).await,
        SpaceCommand::Set { space, private, public: _ } => set_access(client, out, &space, private).await,
        SpaceCommand::Hardware { space, flavor } => {
            act(client, out, &space, "hardware", &json!({"flavor": flavor})).await
        }
        SpaceCommand::SleepTime { space, seconds } => {
            act(client, out, &space, "sleeptime", &json!({"seconds": seconds})).await
        }
        SpaceCommand::Secrets(command) => settings::run(Setting::Secrets, command, client, out).await,
        SpaceCommand::Variables(command) => settings::run(Setting::Variables, command, client, out).await,
        SpaceCommand::Builds { space } => builds::builds(client, out, &space).await,
        SpaceCommand::CancelBuild { space, number } => builds::cancel(client, out, &space, number).await,
        SpaceCommand::Releases { space } => builds::releases(client, out, &space).await,
        SpaceCommand::Instances { space } => builds::instances(client, out, &space).await,
        SpaceCommand::Open { space } => open(client, out, &space).await,
    }
}

async fn list(client: &Client, out: &Output, search: Option<&str>, author: Option<&str>) -> Result<(), CliError> {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (key, value) in [("search", search), ("author", author)] {
        if let Some(value) = value {
            query.append_pair(key, value);
        }
    }
    let spaces = client.pages(&format!("/api/spaces?{}", query.append_pair("limit", "500").finish())).await?;
    out.show(&Value::Array(spaces), |spaces| listed(out, spaces));
    Ok(())
}

/// A table of Spaces.
fn listed(out: &Output, spaces: &Value) -> String {
    let row = |space: &Value| {
        let (id, stage) = (field(space, "/id"), field(space, "/runtime/stage"));
        let mark = if space["private"] == true { "private" } else { "" };
        vec![id, stage, field(space, "/sdk"), mark.to_owned(), address(space)]
    };
    let rows: Vec<Vec<String>> = spaces.as_array().into_iter().flatten().map(row).collect();
    let paint = |column, cell: &str| if column == 1 { out.stage(cell) } else { cell.to_owned() };
    if rows.is_empty() {
        "There are no Spaces.".to_owned()
    } else {
        table(&["SPACE", "STAGE", "SDK", "", "URL"], &rows, paint)
    }
}

async fn create(client: &Client, out: &Output, space: &str, body: &Value, exist_ok: bool) -> Result<(), CliError> {
    let made = match client.post("/api/repos/create", body).await {
        // The server says 409; whether that is the Space meant here, its info tells.
        Err(error) if exist_ok => {
            let found = client.space_name(space).await?;
            let info = client.get(&format!("/api/spaces/{found}")).await.map_err(|_| error)?;
            json!({"name": info["id"]})
        }
        made => made?,
    };
    let name = field(&made, "/name");
    let info = client.get(&format!("/api/spaces/{name}")).await?;
    let url = field(&made, "/url");
    out.show(&info, |info| {
        format!(
            "Created {name}. It will be at {}\n\n  git clone {url}\n  cd {}\n  … add the app …\n  git push",
            address(info),
            name.rsplit('/').next().unwrap_or_default()
        )
    });
    Ok(())
}

async fn info(client: &Client, out: &Output, space: &str) -> Result<(), CliError> {
    let info = client.get(&client.space_path(space).await?).await?;
    out.show(&info, |info| describe(out, info));
    Ok(())
}

/// A Space, line by line.
fn describe(out: &Output, info: &Value) -> String {
    let state = |path: &str| field(info, &format!("/runtime/spaceport/{path}"));
    let commit: String = field(info, "/sha").chars().take(12).collect();
    let mut lines = vec![
        ("Space", field(info, "/id")),
        ("Stage", out.stage(&field(info, "/runtime/stage"))),
        ("Phase", state("phase")),
        ("Since", moment(info, "/runtime/spaceport/since")),
        ("What", state("message")),
        ("Remedy", state("remedy")),
    ];
    let evidence = info["runtime"]["spaceport"]["evidence"].as_array().into_iter().flatten();
    for (at, line) in evidence.filter_map(Value::as_str).enumerate() {
        // An app may have printed it.
        let line = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        lines.push((if at == 0 { "Evidence" } else { "" }, line));
    }
    lines.extend([
        ("URL", address(info)),
        ("SDK", field(info, "/sdk")),
        ("Hardware", field(info, "/runtime/hardware/requested")),
        ("Access", field(info, "/visibility")),
        ("Commit", commit),
        ("Release", state("release")),
        ("Changed", moment(info, "/lastModified")),
    ]);
    let shown = lines.iter().filter(|(_, value)| !value.is_empty());
    shown.map(|(name, value)| format!("{name:<9} {value}")).collect::<Vec<_>>().join("\n")
}

async fn delete(client: &Client, out: &Output, space: &str, yes: bool) -> Result<(), CliError> {
    let name = client.space_name(space).await?;
    if !yes {
        confirm(&name, "with its code, logs and settings")?;
    }
    let body = json!({"name": name, "type": "space"});
    let gone = client.send(Method::DELETE, "/api/repos/delete", &body).await?;
    out.show(&gone, |_| format!("Deleted {name}."));
    Ok(())
}

async fn set_access(client: &Client, out: &Output, space: &str, private: bool) -> Result<(), CliError> {
    let path = format!("{}/settings", client.space_path(space).await?);
    let settings = client.send(Method::PUT, &path, &json!({"private": private})).await?;
    out.show(&settings, |settings| format!("{space} is {}.", field(settings, "/visibility")));
    Ok(())
}

/// An action that answers the runtime.
async fn act(client: &Client, out: &Output, space: &str, action: &str, body: &Value) -> Result<(), CliError> {
    let runtime = client.post(&format!("{}/{action}", client.space_path(space).await?), body).await?;
    out.show(&runtime, |runtime| {
        let hardware = field(runtime, "/hardware/requested");
        let on = if hardware.is_empty() { String::new() } else { format!(" on {hardware}") };
        format!("Accepted; {space} is {}{on}.", out.stage(&field(runtime, "/stage")))
    });
    Ok(())
}

async fn open(client: &Client, out: &Output, space: &str) -> Result<(), CliError> {
    let info = client.get(&client.space_path(space).await?).await?;
    let url = address(&info);
    out.show(&json!({"host": info["host"], "subdomain": info["subdomain"], "url": url}), |_| url.clone());
    let opener = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    if std::io::stdout().is_terminal() && !out.is_json() {
        let mut command = tokio::process::Command::new(opener);
        command.arg(&url).stdin(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        // Without a desktop the printed address is all there is.
        if let Ok(mut opener) = command.spawn() {
            let _ = tokio::time::timeout(Duration::from_secs(5), opener.wait()).await;
        }
    }
    Ok(())
}

/// `90s`, `10m`, `2h`, or seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a time such as 90s, 10m or 2h");
    let (number, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
        Some(at) => text.split_at(at),
        None => (text, "s"),
    };
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(factor).map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_the_address_where_each_space_is_opened() {
        let spaces = json!([
            {"id": "a/one", "host": "http://a-one.localhost", "cardData": {"base_path": "/docs"}},
            {"id": "a/two", "host": format!("http://{}.localhost", "x".repeat(60))},
        ]);
        let told = listed(&Output::new(false, Some("1")), &spaces);
        let urls: Vec<_> = told.lines().skip(1).filter_map(|line| line.split_whitespace().last()).collect();
        assert_eq!(urls, ["http://a-one.localhost/docs".to_owned(), format!("http://{}.localhost", "x".repeat(60))]);
    }

    #[test]
    fn a_space_tells_what_it_waits_for_since_when_and_what_that_is_known_from() {
        let info = json!({"id": "alice/demo", "host": "http://alice-demo.localhost", "runtime": {
        "stage": "APP_STARTING", "spaceport": {
            "phase": "waiting for the engine",
            "since": "2026-01-02T03:04:05.678Z",
            "message": "The app has been waiting to be started since 2026-01-02 03:04 UTC.",
            "remedy": "Ask the administrator of this site.",
            "evidence": ["last error: it is\u{1b}[2Jaway", "twice"],
        }}});
        let told = describe(&Output::new(false, Some("1")), &info);
        for line in [
            "Stage     APP_STARTING",
            "Phase     waiting for the engine",
            "Since     2026-01-02 03:04:05",
            "Remedy    Ask the administrator of this site.",
            "Evidence  last error: it is [2Jaway",
            "          twice",
            "URL       http://alice-demo.localhost",
        ] {
            assert!(told.lines().any(|told| told == line), "{line:?}\n{told}");
        }
    }

    #[test]
    fn times_have_units() {
        for (text, seconds) in [("90", 90), ("90s", 90), ("10m", 600), ("2h", 7200)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)));
        }
        for wrong in ["", "m", "1d", "-1", "1.5h", "99999999999999999999h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
