//! What a command fails with: a sentence, what to do about it, and an exit code.

use serde_json::json;

/// Why a command failed.
#[derive(Debug)]
pub struct CliError {
    kind: Kind,
    message: String,
    remedy: String,
}

/// What a program can tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Failed,
    Usage,
    NotFound,
    NoPermission,
    Unreachable,
    SpaceFailed,
    OutOfTime,
}

impl CliError {
    pub(super) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), remedy: String::new() }
    }

    pub(super) fn failed(message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, message)
    }

    pub(super) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }

    /// The exit code.
    pub(super) fn code(&self) -> u8 {
        match self.kind {
            Kind::Failed => 1,
            Kind::Usage => 2,
            Kind::NotFound => 3,
            Kind::NoPermission => 4,
            Kind::Unreachable => 5,
            Kind::SpaceFailed => 6,
            Kind::OutOfTime => 7,
        }
    }

    /// For people on standard error; for programs too, as one line of JSON.
    pub(super) fn print(&self, as_json: bool) {
        if as_json {
            eprintln!("{}", json!({"error": self.message, "remedy": self.remedy, "code": self.code()}));
            return;
        }
        eprintln!("spaceport: {}", self.message);
        if !self.remedy.is_empty() {
            eprintln!("           {}", self.remedy);
        }
    }
}
