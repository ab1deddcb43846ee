//! The same upload over a line as people have it: in a network namespace of its own, whose loopback is as slow.

use std::env;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::{GOAL_CHANGED, Hub, Run, goal, seconds};
use crate::shell::{self, ensure as ensure_tool, say};

impl Hub {
    /// Measures in a namespace of its own; `false` when the goal is missed.
    pub(super) fn over_a_line(&self, server: &Path) -> Result<bool> {
        ensure_tool("tc", &["iproute2"], "it makes the loopback of a network namespace as slow as a line")?;
        say(&format!("One file of {} MiB over a line of {} Mbit/s", self.large_mib, self.line_mbit));
        let mut command = Command::new("unshare");
        if shell::read(Command::new("id").arg("-u"))? != "0" {
            command.arg("--map-root-user");
        }
        command.args(["--net", "--"]).arg(env::current_exe()?).args(["bench", "hub", "--in-namespace"]);
        command.args(["--large-mib", &self.large_mib.to_string(), "--line-mbit", &self.line_mbit.to_string()]);
        Ok(command.arg("--server").arg(server).status().context("unshare")?.success())
    }

    /// Makes this namespace's loopback slow.
    pub(super) fn slow_down(&self) -> Result<()> {
        let rate = format!("{}mbit", self.line_mbit);
        shell::run(Command::new("ip").args(["link", "set", "lo", "up"]))?;
        let shaped = ["qdisc", "add", "dev", "lo", "root", "tbf", "rate", &rate, "burst", "512kb", "latency", "100ms"];
        shell::run(Command::new("tc").args(shaped))
    }
}

impl Run {
    /// The whole file, and then one per cent of it changed.
    pub(super) fn line(&self, options: &Hub) -> Result<bool> {
        let folder = self.folder.display().to_string();
        self.client("make", &[&folder, &(options.large_mib << 20).to_string(), "0"])?;
        let whole = seconds(&self.client("upload-large", &[&folder, "admin/large"])?);
        self.client("change", &[&folder, "0.01"])?;
        let changed = seconds(&self.client("upload-large", &[&folder, "admin/large"])?);
        println!("upload, whole            Spaceport {whole:7.2} s");
        println!("upload, 1 % changed      Spaceport {changed:7.2} s");
        Ok(goal("times as fast over the line: one per cent changed", whole / changed, GOAL_CHANGED, true))
    }
}
