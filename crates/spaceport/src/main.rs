//! The `spaceport` binary: the only place that knows every crate, reads the environment and
//! decides when to stop.

mod cli;
mod config;
mod health;
mod serve;
mod state;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

/// What stands below the commands.
const MORE: &str = "\
A first app on a server that runs on this machine:
  spaceport space create hello --sdk gradio    # prints how to push to it
  spaceport space wait admin/hello --watch     # the build, live, until the app answers

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 no permission, 5 the server cannot be
reached, 6 the Space ended in an error, 7 out of time. `--json` after any command that talks to a
server makes answers and errors JSON.";

/// The open, self-hosted home for AI demos: the server, and the commands that talk to one.
#[derive(Debug, Parser)]
#[command(name = "spaceport", version, after_help = MORE, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Client(Box<cli::Command>),
    /// Run the server: hub, builds, apps and proxy on one address.
    ///
    /// Settings come from the environment (SPACEPORT_LISTEN, SPACEPORT_HUB_URL,
    /// SPACEPORT_SPACES_DOMAIN, SPACEPORT_DATA_DIR, SPACEPORT_DATABASE_URL,
    /// SPACEPORT_ADMIN_TOKEN, SPACEPORT_CA_BUNDLE) and from a TOML file; the environment wins.
    Serve {
        /// The configuration file; default: spaceport.toml in the working directory, if it exists.
        #[arg(long, env = "SPACEPORT_CONFIG")]
        config: Option<PathBuf>,
    },
    /// Print the configuration that `serve` would use as TOML, and check it.
    ///
    /// Secrets are shown as "(set)".
    Config {
        /// The configuration file.
        #[arg(long, env = "SPACEPORT_CONFIG")]
        config: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.command {
        Command::Client(command) => return client(*command),
        Command::Serve { config } => config::Config::load(config.as_deref()).and_then(serve::run),
        Command::Config { config } => {
            config::Config::load(config.as_deref()).and_then(|config| config.to_toml()).map(|text| print!("{text}"))
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("spaceport: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A command that talks to a server: one thread is enough.
fn client(command: cli::Command) -> ExitCode {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(cli::run(command, Arguments::command())),
        Err(error) => {
            eprintln!("spaceport: could not start the runtime: {error}");
            ExitCode::FAILURE
        }
    }
}
