//! Commands that run until something ends them.

use std::io::BufRead as _;
use std::process::{Child, Command};

use reqwest::Method;
use serde_json::json;
use spaceport_e2e::{Site, until};

use crate::apps::says;

/// Takes what a command prints, and waits for its first line.
async fn first_line(child: &mut Child) -> impl std::io::BufRead + use<> {
    let mut output = std::io::BufReader::new(child.stdout.take().expect("its output"));
    let read = move || {
        let mut line = String::new();
        output.read_line(&mut line).expect("its output is read");
        assert!(line.contains("CPU"), "{line:?}");
        output
    };
    tokio::task::spawn_blocking(read).await.expect("a line of metrics")
}

async fn ends_well(child: &mut Child) {
    let status = until("the command ends", 60, async || match child.try_wait() {
        Ok(Some(status)) => Ok(status),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert!(status.success(), "it ended with {status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_followed_until_somebody_or_the_space_has_enough() {
    let Some(site) = Site::start().await else { return };
    let space = site.space("measured", "docker").await;
    let sha = space.push(&says(&site.base_image, "here")).await;
    space.running(&sha, 120).await;
    let follow = || site.cli_running(&["space", "metrics", &space.id, "--follow"]);

    let mut interrupted = follow();
    let _output = first_line(&mut interrupted).await;
    assert!(Command::new("kill").args(["-INT", &interrupted.id().to_string()]).status().expect("kill runs").success());
    ends_well(&mut interrupted).await;

    let mut outlived = follow();
    let _output = first_line(&mut outlived).await;
    site.ask(Method::POST, &space.api("/pause"), Some(&json!({}))).await;
    ends_well(&mut outlived).await;
}
