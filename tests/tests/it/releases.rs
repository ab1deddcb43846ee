//! One push after another: what visitors notice of it, which is nothing but the new content.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use reqwest::{Method, StatusCode};
use spaceport_e2e::files::dockerfile;
use spaceport_e2e::{Files, Site, Space, until};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use crate::apps::says;

/// Visitors, each of whom sends a request every 50 ms: 200 in a second.
const VISITORS: usize = 10;

/// What one visitor saw.
#[derive(Debug, Default)]
struct Seen {
    /// When a request was sent, and when its answer was there, with the answer.
    answers: Vec<(Instant, Instant, String)>,
    failures: Vec<String>,
}

async fn visit(request: reqwest::RequestBuilder, stop: &AtomicBool, pace: Duration) -> Seen {
    let mut seen = Seen::default();
    let mut tick = tokio::time::interval(pace);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    while !stop.load(Ordering::Relaxed) {
        tick.tick().await;
        let sent = Instant::now();
        match request.try_clone().expect("no body").send().await {
            Ok(answer) => {
                let status = answer.status();
                match answer.text().await {
                    Ok(text) if status == StatusCode::OK => seen.answers.push((sent, Instant::now(), text)),
                    other => seen.failures.push(format!("{status}: {other:?}")),
                }
            }
            Err(error) => seen.failures.push(format!("{error:?}")),
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_push_under_load_fails_no_request() {
    let Some(site) = Site::start().await else { return };
    let space = site.space("load", "docker").await;
    let first = space.push(&says(&site.base_image, "one")).await;
    space.running(&first, 120).await;
    let mut socket = space.websocket("/ws").await;
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("one"));

    let stop = std::sync::Arc::new(AtomicBool::new(false));
    let mut visitors = JoinSet::new();
    for visitor in 0..VISITORS + 2 {
        let (stop, slow) = (std::sync::Arc::clone(&stop), visitor >= VISITORS);
        let request = space.request(Method::GET, if slow { "/slow" } else { "/" });
        visitors.spawn(async move { (slow, visit(request, &stop, Duration::from_millis(50)).await) });
    }
    let second = space.push(&says(&site.base_image, "two")).await;
    space.running(&second, 120).await;
    until("visitors see the new release", 20, async || match space.get("/").await {
        (StatusCode::OK, text) if text == "two" => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    // What was connected stays connected while the old release drains.
    socket.send(Message::text("still there?")).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("still there?"));
    stop.store(true, Ordering::Relaxed);

    let mut all = Vec::new();
    while let Some(seen) = visitors.join_next().await {
        let (slow, Seen { answers, failures }) = seen.unwrap();
        assert!(failures.is_empty(), "{} of {} failed: {failures:?}", failures.len(), answers.len());
        let switches = answers.windows(2).filter(|pair| pair[0].2 != pair[1].2).count();
        assert!(answers.iter().all(|(_, _, text)| text == "one" || text == "two"));
        if !slow {
            assert_eq!(switches, 1, "every visitor sees the content change once");
        }
        all.extend(answers);
    }
    let first_new = all.iter().filter(|answer| answer.2 == "two").map(|answer| answer.1).min().unwrap();
    let late: Vec<_> = all.iter().filter(|(sent, _, text)| text == "one" && *sent > first_new).collect();
    assert!(late.is_empty(), "{} requests got the old content after somebody had the new one", late.len());
    assert!(all.len() > 100, "only {} requests", all.len());
}

/// Pushes a mistake onto a Space that serves, and checks that it goes on serving.
async fn mistake(space: &Space<'_>, files: &Files, stage: &str, reason: &str) {
    space.push(files).await;
    let told = format!("{stage} because of {reason}");
    let seen = space.wait(&told, 120, |seen| seen.stage == stage && seen.reason == reason).await;
    assert_eq!(seen.json["spaceport"]["serving"], true, "{}", seen.json);
    assert!(!seen.message.is_empty() && !seen.remedy.is_empty(), "{}", seen.json);
    let (status, text) = space.get("/").await;
    assert_eq!((status, text.as_str()), (StatusCode::OK, "one"));
}

#[tokio::test(flavor = "multi_thread")]
async fn failing_pushes_leave_the_old_release_serving() {
    let Some(site) = Site::start().await else { return };
    let space = site.space("steady", "docker").await;
    let base = &site.base_image;
    let first = space.push(&says(base, "one")).await;
    space.running(&first, 120).await;
    let containers = site.docker.running_apps();
    assert_eq!(containers.len(), 1);

    let build = says(base, "two").file("Dockerfile", dockerfile(base, "RUN false"));
    mistake(&space, &build, "BUILD_ERROR", "build_step_failed").await;
    mistake(&space, &Files::docker_python(base, "raise ValueError('no')"), "RUNTIME_ERROR", "crashed").await;
    mistake(&space, &Files::readme("sdk: dokcer"), "CONFIG_ERROR", "config_invalid").await;
    mistake(&space, &Files::readme("sdk: docker"), "NO_APP_FILE", "dockerfile_missing").await;
    assert_eq!(site.docker.running_apps(), containers, "the container that serves is the same one");

    let mended = space.push(&says(base, "three")).await;
    space.running(&mended, 120).await;
    assert_eq!(space.get("/").await, (StatusCode::OK, "three".to_owned()));
}
