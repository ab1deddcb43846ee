//! Python scripts with the Hub's own clients, unmodified: their only setting is where the hub is.

use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use crate::Site;
use crate::site::{TOKEN, setting};

/// A script may take so long unless it says otherwise.
const LIMIT: Duration = Duration::from_secs(120);

/// What every script imports: see there.
const PRELUDE: &str = include_str!("prelude.py");

/// Python with the Hub's clients.
#[must_use]
pub fn python() -> Option<PathBuf> {
    setting("SPACEPORT_E2E_PYTHON").map(PathBuf::from)
}

/// A script that is about to run: in a folder of its own, as the admin, against a site.
#[derive(Debug)]
pub struct Script<'a> {
    site: &'a Site,
    text: &'a str,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    limit: Duration,
}

impl<'a> Script<'a> {
    pub(crate) fn new(site: &'a Site, text: &'a str) -> Self {
        Self { site, text, arguments: Vec::new(), environment: Vec::new(), limit: LIMIT }
    }

    /// One more of `sys.argv`.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// A variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// It may take so many seconds.
    #[must_use]
    pub fn limit_s(mut self, seconds: u64) -> Self {
        self.limit = Duration::from_secs(seconds);
        self
    }

    /// Runs it, and returns what it printed.
    ///
    /// # Panics
    /// When it fails, or takes too long.
    pub async fn run(self) -> String {
        let python = python().expect("SPACEPORT_E2E_PYTHON names a Python with the Hub's clients");
        let home = TempDir::with_prefix("spaceport-script-").expect("a temporary folder");
        // Real files, so that a failure shows the line.
        let (script, log) = (home.path().join("script.py"), home.path().join("script.log"));
        std::fs::write(home.path().join("prelude.py"), PRELUDE).expect("the prelude is written");
        std::fs::write(&script, self.text).expect("the script is written");
        let work = home.path().join("work");
        std::fs::create_dir(&work).expect("a folder to work in");
        let output = std::fs::File::create(&log).expect("a file for what it prints");
        let mut command = tokio::process::Command::new(python);
        command
            .arg(&script)
            .args(&self.arguments)
            .env("HOME", home.path())
            .env("HF_HOME", home.path().join("hf"))
            .env("HF_ENDPOINT", format!("http://{}", self.site.authority()))
            .env("HF_TOKEN", TOKEN)
            .env("NO_PROXY", "*")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("HF_HUB_DISABLE_PROGRESS_BARS", "1")
            .env("PYTHONUNBUFFERED", "1")
            .envs(self.environment)
            .current_dir(work)
            .stdin(std::process::Stdio::null())
            .stdout(output.try_clone().expect("a second handle"))
            .stderr(output)
            .kill_on_drop(true);
        let mut child = command.spawn().expect("Python runs");
        let status = tokio::time::timeout(self.limit, child.wait()).await;
        let said = std::fs::read(&log).expect("what it printed");
        let said = String::from_utf8_lossy(&said).into_owned();
        let Ok(status) = status else { panic!("not within {} s:\n{said}", self.limit.as_secs()) };
        assert!(status.expect("a status").success(), "the Python script failed:\n{said}");
        said
    }
}
