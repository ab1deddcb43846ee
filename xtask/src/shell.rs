//! Running programs: what is run is said, and a failure names the program and its end.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned).unwrap_or_default()
}

/// Says what comes.
pub fn say(text: &str) {
    eprintln!("\n==> {text}");
}

/// Runs a program and fails when it does.
pub fn run(command: &mut Command) -> Result<()> {
    let shown = shown(command);
    let status = command.status().with_context(|| format!("could not run {shown}"))?;
    if !status.success() {
        bail!("{shown} failed ({status})");
    }
    Ok(())
}

/// Runs a program and returns what it printed.
pub fn read(command: &mut Command) -> Result<String> {
    let shown = shown(command);
    let output = command.stderr(Stdio::inherit()).output().with_context(|| format!("could not run {shown}"))?;
    if !output.status.success() {
        bail!("{shown} failed ({})", output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Whether a program is on the path.
pub fn has(program: &str) -> bool {
    let finder = Command::new("sh").args(["-c", &format!("command -v {program}")]).stdout(Stdio::null()).status();
    finder.is_ok_and(|status| status.success())
}

/// Installs Debian packages when a program is missing: as root, by `sudo` otherwise.
///
/// # Errors
/// On machines without apt, with what is to be installed by hand.
pub fn ensure(program: &str, packages: &[&str], why: &str) -> Result<()> {
    if has(program) {
        return Ok(());
    }
    install(packages, &format!("{program} is missing; {why}"))
}

/// Installs Debian packages.
///
/// # Errors
/// On machines without apt, with what is to be installed by hand.
pub fn install(packages: &[&str], why: &str) -> Result<()> {
    let names = packages.join(" ");
    if !has("apt-get") {
        bail!("{why}: install it ({names} on Debian) and run this again");
    }
    say(&format!("Installing {names}: {why}"));
    let user = read(Command::new("id").arg("-u"))?;
    let apt = |arguments: &[&str]| {
        let mut command = if user == "0" { Command::new("apt-get") } else { Command::new("sudo") };
        if user != "0" {
            command.arg("apt-get");
        }
        run(command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive"))
    };
    apt(&["update", "-qq"])?;
    let mut arguments = vec!["install", "-y", "-qq", "--no-install-recommends"];
    arguments.extend(packages);
    apt(&arguments)
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
