//! Chores of the repository: `cargo xtask <chore>`.

mod docker;

use clap::Parser;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Chores of the repository")]
enum Chore {
    /// Makes a container engine and base images available on this machine.
    Docker(docker::Options),
}

fn main() -> anyhow::Result<()> {
    match Chore::parse() {
        Chore::Docker(options) => docker::run(&options),
    }
}
