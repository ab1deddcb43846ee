//! The command line that talks to a server: the API's second client besides the web page, and
//! nothing but a client: what it can do, anybody can do over HTTP.
//!
//! Every command has `--json` for programs. Exit codes are part of the contract:
//! 0 done, 1 failed, 2 wrong usage, 3 not found, 4 no permission, 5 server unreachable,
//! 6 the Space ended in an error, 7 out of time.

mod admin;
mod amounts;
mod ask;
mod builds;
mod client;
mod error;
mod gpu;
mod logs;
mod metrics;
mod output;
mod queue;
mod quota;
mod reservation;
mod settings;
mod site;
mod space;
mod usage;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use client::Client;
use error::CliError;
use output::Output;

/// Which server, and as whom.
#[derive(Debug, Clone, Args)]
pub struct Server {
    /// The server's address.
    #[arg(long, env = "SPACEPORT_URL", default_value = "http://localhost:8080", global = true)]
    url: String,
    /// The access token. Without one, for a server on this machine, the file admin-token in its data
    /// directory; else HF_TOKEN.
    #[arg(long, env = "SPACEPORT_TOKEN", hide_env_values = true, global = true)]
    token: Option<String>,
    /// Answers as JSON.
    #[arg(long, global = true)]
    json: bool,
    #[arg(long, env = "HF_TOKEN", hide = true, hide_env_values = true, global = true)]
    hub_token: Option<String>,
    #[arg(long, env = "SPACEPORT_DATA_DIR", hide = true, global = true)]
    data_dir: Option<PathBuf>,
    #[arg(long, env = "NO_COLOR", hide = true, global = true)]
    no_color: Option<String>,
}

/// Commands that talk to a server.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Spaces: create, watch, read logs, change settings.
    Space {
        #[command(flatten)]
        server: Server,
        #[command(subcommand)]
        action: space::SpaceCommand,
    },
    /// Users, their tokens, and what happened on the site, for site admins.
    Admin {
        #[command(flatten)]
        server: Server,
        #[command(subcommand)]
        action: admin::AdminCommand,
    },
    /// Accelerators: list, watch, take out of service.
    Gpu {
        #[command(flatten)]
        server: Server,
        #[command(subcommand)]
        action: gpu::GpuCommand,
    },
    /// The queue for hardware: who waits, why, and moving them.
    Queue {
        #[command(flatten)]
        server: Server,
        #[command(subcommand)]
        action: queue::QueueCommand,
    },
    /// Who may have how much hardware.
    Quota {
        #[command(flatten)]
        server: Server,
        #[command(subcommand)]
        action: quota::QuotaCommand,
    },
    /// Who used how much hardware, and how long budgets will last.
    Usage {
        #[command(flatten)]
        server: Server,
        #[command(subcommand)]
        action: usage::UsageCommand,
    },
    /// Devices that are kept for somebody at some time.
    Reservation {
        #[command(flatten)]
        server: Server,
        #[command(subcommand)]
        action: reservation::ReservationCommand,
    },
    /// The hardware a Space can ask for.
    Hardware {
        #[command(flatten)]
        server: Server,
    },
    /// Who the token belongs to.
    Whoami {
        #[command(flatten)]
        server: Server,
    },
    /// How the server and its parts are; exit code 1 when it is not ready.
    Health {
        #[command(flatten)]
        server: Server,
    },
    /// Print a script that completes commands in a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Runs a command; `root` is the whole command line, for completions.
pub async fn run(command: Command, mut root: clap::Command) -> ExitCode {
    let (server, result) = match command {
        Command::Completions { shell } => {
            // In one piece: the library panics when whoever reads has had enough.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut root, "spaceport", &mut script);
            output::print(String::from_utf8_lossy(&script).trim_end());
            return ExitCode::SUCCESS;
        }
        Command::Space { server, action } => {
            let result = with(&server, async |client, out| space::run(action, client, out).await).await;
            (server, result)
        }
        Command::Admin { server, action } => {
            let result = with(&server, async |client, out| admin::run(action, client, out).await).await;
            (server, result)
        }
        Command::Gpu { server, action } => {
            let result = with(&server, async |client, out| gpu::run(action, client, out).await).await;
            (server, result)
        }
        Command::Queue { server, action } => {
            let result = with(&server, async |client, out| queue::run(action, client, out).await).await;
            (server, result)
        }
        Command::Quota { server, action } => {
            let result = with(&server, async |client, out| quota::run(action, client, out).await).await;
            (server, result)
        }
        Command::Usage { server, action } => {
            let result = with(&server, async |client, out| usage::run(action, client, out).await).await;
            (server, result)
        }
        Command::Reservation { server, action } => {
            let result = with(&server, async |client, out| reservation::run(action, client, out).await).await;
            (server, result)
        }
        Command::Hardware { server } => {
            let result = with(&server, async |client, out| site::hardware(client, out).await).await;
            (server, result)
        }
        Command::Whoami { server } => {
            let result = with(&server, async |client, out| site::whoami(client, out).await).await;
            (server, result)
        }
        Command::Health { server } => {
            let result = with(&server, async |client, out| site::health(client, out).await).await;
            (server, result)
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error.print(server.json);
            ExitCode::from(error.code())
        }
    }
}

async fn with(
    server: &Server,
    work: impl AsyncFnOnce(&Client, &Output) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let output = Output::new(server.json, server.no_color.as_deref());
    let client = Client::new(server)?;
    work(&client, &output).await
}
