//! The web page: built here, embedded by the `embed-web` feature.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::demo::target_dir;
use crate::shell::{ensure, read, run, say};

/// What the page's tools need, as they say in `engines`: 20.19, or 22.12 and later.
const NODE: [(u32, u32); 2] = [(20, 19), (22, 12)];
/// What is fetched where the system's is older, as Debian 12's and Ubuntu 24.04's are.
const NODE_PACKAGE: &str = "node@22";

/// npm, with a Node.js that is new enough.
pub fn npm(arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new("npm");
    command.args(arguments).current_dir("web");
    if let Ok(own) = node_folder().join("node_modules/node/bin").canonicalize() {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(own).chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(folders)?);
    }
    Ok(command)
}

fn node_folder() -> PathBuf {
    target_dir().join("node")
}

/// Fetches a Node.js into `target/` unless the system's is new enough.
fn node() -> Result<()> {
    let version = read(Command::new("node").arg("--version"))?;
    if suits(&version) || node_folder().join("node_modules/node/bin/node").is_file() {
        return Ok(());
    }
    say(&format!("Fetching {NODE_PACKAGE} into target/node: the web page's tools do not run on {version}"));
    std::fs::create_dir_all(node_folder())?;
    let prefix = node_folder().display().to_string();
    run(Command::new("npm").args([
        "install",
        "--no-audit",
        "--no-fund",
        "--no-save",
        "--prefix",
        &prefix,
        NODE_PACKAGE,
    ]))
}

/// Of `v20.19.4`.
fn suits(version: &str) -> bool {
    let mut parts = version.trim_start_matches('v').split('.').map(|part| part.parse::<u32>().unwrap_or_default());
    let (major, minor) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let [(old, old_minor), (new, new_minor)] = NODE;
    (major == old && minor >= old_minor) || (major, minor) >= (new, new_minor)
}

/// Node.js and the page's dependencies.
pub fn install() -> Result<()> {
    ensure("npm", &["nodejs", "npm"], "the web page is built with Node.js")?;
    node()?;
    let lock = Path::new("web/package-lock.json").metadata()?.modified()?;
    let done = Path::new("web/node_modules/.package-lock.json").metadata().and_then(|meta| meta.modified());
    if done.is_ok_and(|done| done >= lock) {
        return Ok(());
    }
    run(&mut npm(&["ci", "--no-audit", "--no-fund"])?)
}

/// Builds `web/dist`.
pub fn build() -> Result<()> {
    install()?;
    say("Building the web page");
    run(&mut npm(&["run", "build"])?)
}

/// Types, tests and build.
pub fn check() -> Result<()> {
    install()?;
    say("Checking the web page");
    run(&mut npm(&["run", "check"])?)?;
    run(&mut npm(&["test"])?)?;
    run(&mut npm(&["run", "build"])?)
}

/// Writes the typed client.
pub fn generate() -> Result<()> {
    install()?;
    run(&mut npm(&["run", "generate"])?)
}

#[cfg(test)]
mod tests {
    use super::suits;

    #[test]
    fn a_node_that_the_tools_run_on_is_told_from_an_older_one() {
        for (version, expected) in [
            ("v18.20.4", false),
            ("v20.18.0", false),
            ("v20.19.2", true),
            ("v21.7.0", false),
            ("v22.12.0", true),
            ("v24.1.0", true),
        ] {
            assert_eq!(suits(version), expected, "{version}");
        }
    }
}
