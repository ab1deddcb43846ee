//! `docs/openapi.json` and the web page's typed client, from the API's code.

use anyhow::Result;

use crate::web;

const FILE: &str = "docs/openapi.json";

/// Writes both.
pub fn run() -> Result<()> {
    std::fs::write(FILE, spaceport_api::openapi().to_pretty_json()? + "\n")?;
    web::generate()
}
