//! Chores of the repository: `cargo xtask <chore>`.

mod bench;
mod check;
mod demo;
mod dev;
mod docker;
mod openapi;
mod shell;
mod site;
mod web;

use clap::Parser;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Chores of the repository")]
enum Chore {
    /// Installs what is missing, builds, starts Spaceport, pushes a sample app and prints its URL.
    Demo(demo::Options),
    /// Everything CI runs: format, lints, generated files, web, documentation and all tests.
    Test(check::Options),
    /// Measures Spaceport beside its peers.
    #[command(subcommand)]
    Bench(bench::Bench),
    /// A running instance for developers, with live reload of the web page.
    Dev,
    /// Makes a container engine and base images available on this machine.
    Docker(docker::Options),
    /// Writes docs/openapi.json and the web page's typed client from the API's code.
    Openapi,
}

fn main() -> anyhow::Result<()> {
    std::env::set_current_dir(shell::root())?;
    site::watch()?;
    let result = match Chore::parse() {
        Chore::Demo(options) => demo::run(&options),
        Chore::Test(options) => check::run(&options),
        Chore::Bench(bench) => bench.run(),
        Chore::Dev => dev::run(),
        Chore::Docker(options) => docker::run(&options),
        Chore::Openapi => openapi::run(),
    };
    site::yield_to_stop();
    result
}
