//! `cargo xtask dev`: a running instance, and Vite in front of it with live reload.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::site::{self, Site};
use crate::{demo, docker, shell, web};

/// Runs until Vite ends (Ctrl-C).
pub fn run() -> Result<()> {
    let engine = docker::ensure()?;
    web::install()?;
    shell::run(Command::new("cargo").args(["build", "--package", "spaceport"]))?;
    let port = site::port(8080)?;
    let binary = demo::target_dir().join("debug/spaceport");
    let site = Site::start(&binary, Path::new(".spaceport/dev"), port, &engine, false)?;
    shell::say(&format!("Spaceport: {}   log: {}   admin token: {}", site.url, site.log.display(), site.token()?));
    shell::run(web::npm(&["run", "dev"])?.env("SPACEPORT_HUB_URL", &site.url))
}
