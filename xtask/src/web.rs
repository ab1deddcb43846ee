//! The web page: built here, embedded by the `embed-web` feature.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::shell::{ensure, run, say};

fn npm(arguments: &[&str]) -> Result<()> {
    run(Command::new("npm").args(arguments).current_dir("web"))
}

/// Node.js and the page's dependencies.
pub fn install() -> Result<()> {
    ensure("npm", &["nodejs", "npm"], "the web page is built with Node.js")?;
    let lock = Path::new("web/package-lock.json").metadata()?.modified()?;
    let done = Path::new("web/node_modules/.package-lock.json").metadata().and_then(|meta| meta.modified());
    if done.is_ok_and(|done| done >= lock) {
        return Ok(());
    }
    npm(&["ci", "--no-audit", "--no-fund"])
}

/// Builds `web/dist`.
pub fn build() -> Result<()> {
    install()?;
    say("Building the web page");
    npm(&["run", "build"])
}

/// Types, tests and build.
pub fn check() -> Result<()> {
    install()?;
    say("Checking the web page");
    npm(&["run", "check"])?;
    npm(&["test"])?;
    npm(&["run", "build"])
}

/// Writes the typed client.
pub fn generate() -> Result<()> {
    install()?;
    npm(&["run", "generate"])
}
