//! What the engine says, through its command line client: what a person would look with.

use std::process::Command;

/// A container engine, as the tests look at it.
#[derive(Debug, Clone)]
pub struct Docker {
    /// `-H`; the default socket when absent.
    pub host: Option<String>,
    /// The installation under test.
    pub installation: String,
}

impl Docker {
    /// Runs `docker` and returns what it prints.
    ///
    /// # Errors
    /// What it wrote to standard error.
    pub fn run(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new("timeout");
        command.args(["60", "docker"]);
        if let Some(host) = &self.host {
            let url = if host.contains("://") { host.clone() } else { format!("unix://{host}") };
            command.args(["-H", &url]);
        }
        let output = command.args(arguments).output().map_err(|error| format!("docker could not be run: {error}"))?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
        }
    }

    fn label(&self) -> String {
        format!("label=spaceport.installation={}", self.installation)
    }

    /// Ids of the app containers of this installation, running or not.
    ///
    /// # Panics
    /// When the engine cannot be asked.
    #[must_use]
    pub fn apps(&self) -> Vec<String> {
        self.list(&["ps", "-aq", "--no-trunc", "--filter", &self.label(), "--filter", "label=spaceport.role=app"])
    }

    /// Ids of the app containers that run.
    ///
    /// # Panics
    /// When the engine cannot be asked.
    #[must_use]
    pub fn running_apps(&self) -> Vec<String> {
        self.list(&["ps", "-q", "--no-trunc", "--filter", &self.label(), "--filter", "label=spaceport.role=app"])
    }

    fn list(&self, arguments: &[&str]) -> Vec<String> {
        let text = self.run(arguments).expect("docker answers");
        text.lines().map(str::to_owned).collect()
    }

    /// Removes what the installation made. The platform images stay: they hold nothing of a Space
    /// and every other site of this machine uses them, as it does the base images.
    pub fn clean(&self) {
        let ids = |arguments: &[&str]| {
            self.run(arguments).map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).unwrap_or_default()
        };
        let remove = |command: &[&str], ids: &[String]| {
            if !ids.is_empty() {
                let mut arguments = command.to_vec();
                arguments.extend(ids.iter().map(String::as_str));
                let _ = self.run(&arguments);
            }
        };
        remove(&["rm", "-f", "-v"], &ids(&["ps", "-aq", "--filter", &self.label()]));
        for kind in ["release", "environment"] {
            let kind = format!("label=spaceport.kind={kind}");
            let mut images = ids(&["images", "-q", "--filter", &self.label(), "--filter", &kind]);
            images.sort();
            images.dedup();
            remove(&["rmi", "-f"], &images);
        }
        remove(&["volume", "rm", "-f"], &ids(&["volume", "ls", "-q", "--filter", &self.label()]));
    }
}
