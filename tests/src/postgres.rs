//! A database of a test's own on the PostgreSQL of the tests.

use std::process::Command;

use crate::site::setting;

/// A database; dropped with the value.
#[derive(Debug)]
pub struct Database {
    server: String,
    name: String,
    /// Where it is.
    pub url: String,
}

impl Database {
    /// A new one; `None`, after saying why, where there is no server.
    ///
    /// # Panics
    /// When the server refuses.
    #[must_use]
    pub fn new() -> Option<Self> {
        let Some(server) = setting("SPACEPORT_TEST_POSTGRES_URL") else {
            println!("SKIPPED: SPACEPORT_TEST_POSTGRES_URL names no PostgreSQL; `cargo xtask test` starts one.");
            return None;
        };
        let name = format!("spaceport_e2e_{}", std::process::id());
        let (base, _) = server.rsplit_once('/').expect("the URL names a database");
        let this = Self { url: format!("{base}/{name}"), server, name };
        this.tell(&this.server, &format!("CREATE DATABASE {}", this.name)).expect("a database is made");
        Some(this)
    }

    /// What a query answers, without a frame.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    pub fn ask(&self, query: &str) -> String {
        self.tell(&self.url, query).expect("the database answers")
    }

    fn tell(&self, url: &str, query: &str) -> Result<String, String> {
        let words = ["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--command", query, url];
        let output =
            Command::new("psql").args(words).output().map_err(|error| format!("psql cannot be run: {error}"))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let _ = self.tell(&self.server, &format!("DROP DATABASE {} WITH (FORCE)", self.name));
    }
}
