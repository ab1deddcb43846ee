//! The mistakes people make, and what they are told: each one a test against the real thing, all
//! of them a page of the manual.
//!
//! One list is the source of both. A test checks that a Space with the mistake gets this stage,
//! reason, message and remedy, word by word (`…` stands for what differs between machines);
//! [`document`] checks that `docs/mistakes.md` is the same list.

mod build;
mod config;
mod document;
mod source;
mod start;

use spaceport_e2e::{Files, Site};

/// Until a person is told, at most, in seconds; a machine under load builds slowly.
const TOLD_S: u64 = 120;

/// One mistake.
pub(crate) struct Mistake {
    /// What the author did.
    pub did: &'static str,
    /// The commit; the argument is an image with Python.
    pub files: fn(&str) -> Files,
    /// Settings of the site, in TOML.
    pub site: &'static str,
    /// What the author is told.
    pub told: Told,
}

/// Where and what an author is told.
#[derive(Clone, Copy)]
pub(crate) enum Told {
    /// By the state of the Space.
    Stage { stage: &'static str, reason: &'static str, message: &'static str, remedy: &'static str },
    /// By git: the push is refused.
    Push { message: &'static str },
    /// By the build's log: the Space runs.
    Log { message: &'static str },
}

/// The list, and a test for each entry.
macro_rules! mistakes {
    ($($name:ident: $mistake:expr;)*) => {
        pub(super) fn all() -> Vec<super::Mistake> {
            vec![$($mistake),*]
        }
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::check(stringify!($name), &$mistake).await;
            }
        )*
    };
}
pub(crate) use mistakes;

async fn check(name: &str, mistake: &Mistake) {
    let Mistake { did, files, site: settings, told } = mistake;
    let Some(site) = Site::start_with(settings).await else { return };
    let space = site.space(&name.replace('_', "-"), "docker").await;
    let (sha, push) = space.try_push(&files(&site.base_image)).await;
    match *told {
        Told::Push { message } => {
            assert!(!push.ok, "{did}: the push was accepted: {}", push.text);
            let lines: Vec<_> = push.text.lines().map(|line| line.trim_start_matches("remote:").trim()).collect();
            assert!(lines.iter().any(|line| matches(message, line)), "{did}: git said {}", push.text);
        }
        Told::Log { message } => {
            assert!(push.ok, "{did}: the push was refused: {}", push.text);
            space.running(&sha, TOLD_S).await;
            let log = space.build_log().await;
            // A line begins with its time.
            assert!(log.lines().any(|line| matches(&format!("…{message}"), line)), "{did}: the log is {log}");
        }
        Told::Stage { stage, reason, message, remedy } => {
            assert!(push.ok, "{did}: the push was refused: {}", push.text);
            let seen = space
                .wait(&format!("{did}: {stage} because of {reason}"), TOLD_S, |seen| {
                    seen.stage == stage && seen.reason == reason
                })
                .await;
            assert!(matches(message, &seen.message), "{did}: the message is\n{}", seen.message);
            assert!(matches(remedy, &seen.remedy), "{did}: the remedy is\n{}", seen.remedy);
            let (status, page) = space.get("/").await;
            assert!(status.is_client_error() || status.is_server_error(), "{did}: {status} {page}");
        }
    }
}

/// Whether `text` is `pattern`, in which `…` stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('…') else { return pattern == text };
    let Some(text) = text.strip_prefix(start) else { return false };
    text.char_indices().map(|(at, _)| &text[at..]).chain([""]).any(|tail| matches(rest, tail))
}
