//! The Hub's clients as they come from PyPI, git and git-lfs, with nothing set but where the hub is:
//! once as they are installed, with Xet, and once with Xet switched off.
//!
//! What is asserted stands in the scripts beside this file. Each is one story on one site, told by both
//! ways of transfer at the same time, so that they also show that neither disturbs the other.

mod spaces;

use serde_json::json;
use spaceport_e2e::{Script, Site};

/// What a script says at its end.
const WELL: &str = "all is well";
/// A script with two ways of transfer at once on two busy cores may take so long.
const LIMIT_S: u64 = 400;

/// A site that may send webhooks to this machine, and sends files in parts that fit a quick test.
async fn site() -> Option<Site> {
    Site::start_with("[webhooks]\nallow_private = true\n[objects]\nmultipart_above_mib = 4\nkeep_free_gib = 1").await
}

/// A user with a write token.
pub(crate) async fn user(site: &Site, name: &str) -> String {
    site.ask(reqwest::Method::POST, "/api/admin/users", Some(&json!({"name": name}))).await;
    let path = format!("/api/admin/users/{name}/tokens");
    let made = site.ask(reqwest::Method::POST, &path, Some(&json!({"name": "all", "role": "write"}))).await;
    made["token"].as_str().expect("a token").to_owned()
}

async fn tell(script: Script<'_>) {
    let said = script.limit_s(LIMIT_S).run().await;
    assert!(said.contains(WELL), "{said}");
}

/// Runs a script with Xet and without.
async fn both_ways(site: &Site, script: &str, arguments: &[&str]) {
    let one = |disable: &str| {
        let script = site.script(script).env("HF_HUB_DISABLE_XET", disable);
        tell(arguments.iter().fold(script, |script, argument| script.argument(*argument)))
    };
    tokio::join!(one("0"), one("1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_through_the_library() {
    let Some(site) = site().await else { return };
    both_ways(&site, include_str!("files.py"), &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn repositories_through_the_command_line() {
    let Some(site) = site().await else { return };
    both_ways(&site, include_str!("repos.py"), &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_client_writes_every_other_reads() {
    let Some(site) = site().await else { return };
    let stranger = user(&site, "stranger").await;
    both_ways(&site, include_str!("git_lfs.py"), &[&stranger]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn transfers_that_are_cut_off_go_on() {
    let Some(site) = site().await else { return };
    both_ways(&site, include_str!("interrupted.py"), &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_of_many_files() {
    let Some(site) = site().await else { return };
    both_ways(&site, include_str!("many.py"), &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_talk_about_repositories() {
    let Some(site) = site().await else { return };
    let bob = user(&site, "bob").await;
    tell(site.script(include_str!("community.py")).argument(bob)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_libraries_on_top() {
    let Some(site) = site().await else { return };
    both_ways(&site, include_str!("datasets.py"), &[]).await;
    both_ways(&site, include_str!("transformers.py"), &[]).await;
}
