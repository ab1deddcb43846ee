//! `docs/openapi.json` and the web page's typed client, from the API's code.
//!
//! The server prints the document itself, so that chores need not be built with the whole API.

use std::process::Command;

use anyhow::Result;

use crate::{demo, shell, web};

const FILE: &str = "docs/openapi.json";

/// Writes both.
pub fn run() -> Result<()> {
    shell::run(Command::new("cargo").args(["build", "--quiet", "--package", "spaceport"]))?;
    let document = shell::read(Command::new(demo::target_dir().join("debug/spaceport")).arg("openapi"))?;
    std::fs::write(FILE, document + "\n")?;
    web::generate()
}
