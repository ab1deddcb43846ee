//! `docs/openapi.json` and the web page's typed client, from the API's code.
//!
//! An example of the API's crate prints the document, so that chores need not be built with the
//! whole API.

use std::process::Command;

use anyhow::Result;

use crate::{shell, web};

const FILE: &str = "docs/openapi.json";

/// Writes both.
pub fn run() -> Result<()> {
    let example = ["run", "--quiet", "--package", "spaceport-api", "--example", "openapi"];
    let document = shell::read(Command::new("cargo").args(example))?;
    std::fs::write(FILE, document + "\n")?;
    web::generate()
}
