//! A user who may not use the engine.
//!
//! The socket of Debian's and of Docker's own packages is for root and the group `docker`. Who is not in it is added, and this command
//! begins again in a process that has the group: a process keeps the groups it began with.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context, Error, Result};

use super::{install, setting};
use crate::shell::{has, read, run, say};

const GROUP: &str = "docker";
/// Set for the process that begins again, which must not do so for ever.
const AGAIN: &str = "SPACEPORT_XTASK_IN_GROUP";

/// Begins this command again as a member of the group. Returns only when that is not possible.
///
/// # Errors
/// What this user has to do.
pub fn join(denied: Error) -> Result<()> {
    let user = read(Command::new("id").arg("-un"))?;
    if setting("DOCKER_HOST").is_some() || setting(AGAIN).is_some() || !has("sg") {
        return Err(denied.context(format!(
            "{user} may not use the container engine; add the user to the group of its socket \
             (`sudo usermod -aG {GROUP} {user}`), sign in again, and run this again"
        )));
    }
    let members = read(Command::new("id").args(["-nG", &user]))?;
    if !members.split(' ').any(|group| group == GROUP) {
        say(&format!(
            "Adding {user} to the group {GROUP}: its members may use the container engine, which is as much as being root"
        ));
        run(install::as_root("usermod")?.args(["-aG", GROUP, &user]))?;
    }
    let words: Vec<String> = std::env::args().map(|word| quoted(&word)).collect();
    let error = Command::new("sg").args([GROUP, "-c", &format!("exec {}", words.join(" "))]).env(AGAIN, "1").exec();
    Err(error).context("run sg")
}

/// One word for a shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}
