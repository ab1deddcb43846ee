//! Every SDK, pushed with git and reached by its host name; the interactive part is used.

use futures::{SinkExt, StreamExt};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use spaceport_e2e::{Files, Site};
use tokio_tungstenite::tungstenite::Message;

#[tokio::test(flavor = "multi_thread")]
async fn the_static_sample_is_built_and_served() {
    let Some(site) = Site::start().await else { return };
    let space = site.space("static", "static").await;
    space.set_variable("SITE_TITLE", "Colours of the test").await;
    let sha = space.push(&Files::example("static-build")).await;
    space.running(&sha, 120).await;

    let (status, page) = space.get("/").await;
    assert_eq!(status, StatusCode::OK);
    assert!(page.contains("window.huggingface") && page.contains("Colours of the test"), "{page}");
    // The file names are made from the content, so the page is what names them.
    let script = page.split('"').find(|part| part.ends_with(".js")).expect("a script").trim_start_matches("./");
    let path = format!("/{}", script.trim_start_matches('/'));
    let whole = space.request(Method::GET, &path).send().await.unwrap();
    assert_eq!(whole.status(), StatusCode::OK);
    assert!(whole.headers()["content-type"].to_str().unwrap().contains("javascript"));
    let tag = whole.headers()["etag"].clone();
    let text = whole.bytes().await.unwrap();

    let part = space.request(Method::GET, &path).header("range", "bytes=5-24").send().await.unwrap();
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(part.headers()["content-range"], format!("bytes 5-24/{}", text.len()));
    assert_eq!(part.bytes().await.unwrap(), text[5..25]);
    let beyond = space.request(Method::GET, &path).header("range", "bytes=9999999-").send().await.unwrap();
    assert_eq!(beyond.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    let same = space.request(Method::GET, &path).header("if-none-match", tag).send().await.unwrap();
    assert_eq!(same.status(), StatusCode::NOT_MODIFIED);
    assert!(same.bytes().await.unwrap().is_empty());
    let packed = space.request(Method::GET, &path).header("accept-encoding", "gzip, br").send().await.unwrap();
    assert!(packed.headers().contains_key("content-encoding"), "text is compressed: {:?}", packed.headers());
    assert_eq!(space.get("/no-such-file").await.0, StatusCode::NOT_FOUND);
    assert!(site.docker.apps().is_empty(), "files are served without a container");

    // Headers that the README asks for, on everything there is; before, nobody asked.
    let frame = format!("frame-ancestors http://{}", site.authority());
    let asked = [
        ("cross-origin-embedder-policy", "require-corp"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "cross-origin"),
        ("content-security-policy", &frame),
    ];
    let answer = space.request(Method::GET, "/").send().await.unwrap();
    assert!(asked.iter().all(|(name, _)| !answer.headers().contains_key(*name)), "{:?}", answer.headers());
    let [custom @ .., _] = asked;
    let custom: String = custom.iter().map(|(name, value)| format!("\n  {name}: {value}")).collect();
    let front = format!("sdk: static\ndisable_embedding: true\ncustom_headers:{custom}");
    let sha = space.push(&Files::readme(&front).file("index.html", "a page").file("data.json", "{}")).await;
    space.running(&sha, 60).await;
    for path in ["/", "/data.json"] {
        let answer = space.request(Method::GET, path).send().await.unwrap();
        for (name, value) in asked {
            assert_eq!(answer.headers().get(name).map(|value| value.to_str().unwrap()), Some(value), "{path}: {name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_docker_sample_talks_over_its_websocket() {
    let Some(site) = Site::start().await else { return };
    let space = site.space("room", "docker").await;
    space.set_variable("PYTHON_IMAGE", &site.base_image).await;
    let sha = space.push(&Files::example("fastapi-websocket")).await;
    space.running(&sha, 240).await;

    let mut ada = space.websocket("/ws").await;
    let mut bob = space.websocket("/ws").await;
    ada.send(Message::text(r#"{"type": "say", "text": "hello, room"}"#)).await.unwrap();
    let heard = spaceport_e2e::until("Bob hears Ada", 20, async || {
        let Some(Ok(message)) = bob.next().await else { panic!("the socket ended") };
        let event: Value = serde_json::from_str(message.to_text().unwrap_or_default()).unwrap_or_default();
        if event["type"] == "message" { Ok(event) } else { Err(event.to_string()) }
    })
    .await;
    assert_eq!(heard["text"], "hello, room");
    let (status, state) = space.get("/state").await;
    assert_eq!(status, StatusCode::OK);
    let state: Value = serde_json::from_str(&state).unwrap();
    assert_eq!(state["people"].as_array().unwrap().len(), 2);
    ada.close(None).await.unwrap();
}
