//! Variables and secrets reach the app and nobody else.

use std::collections::BTreeMap;

use reqwest::{Method, StatusCode};
use spaceport_e2e::files::dockerfile;
use spaceport_e2e::{Files, Site, until};

use crate::apps::program;

const SECRET: &str = "s3cr3t-value-that-nobody-may-see";

#[tokio::test(flavor = "multi_thread")]
async fn secrets_and_variables_reach_the_app_alone() {
    let Some(site) = Site::start_with("app_hf_endpoint = \"https://hub.example\"").await else { return };
    let space = site.space("settings", "docker").await;
    space.set_variable("GREETING", "hello").await;
    space.set_secret("API_KEY", SECRET).await;
    // The build is given the variable as an argument and the secret as a file of one step.
    let build = "ARG GREETING\nUSER 0\nRUN test \"$GREETING\" = hello && test -z \"$API_KEY\"\n\
        RUN --mount=type=secret,id=API_KEY test $(wc -c </run/secrets/API_KEY) = 32 && test ! -e /API_KEY\n\
        USER 1000\nCMD [\"python3\", \"-u\", \"app.py\"]";
    let files = Files::readme("sdk: docker\ntitle: Settings")
        .file("Dockerfile", dockerfile(&site.base_image, build))
        .file("app.py", program("here", "0"));
    let sha = space.push(&files).await;
    space.running(&sha, 120).await;

    let (status, text) = space.get("/env").await;
    assert_eq!(status, StatusCode::OK);
    let environment: BTreeMap<String, String> = serde_json::from_str(&text).unwrap();
    let expected = [
        ("GREETING", "hello"),
        ("API_KEY", SECRET),
        ("SPACE_ID", &space.id),
        ("SPACE_AUTHOR_NAME", "admin"),
        ("SPACE_REPO_NAME", space.id.split_once('/').unwrap().1),
        ("SPACE_HOST", &space.host),
        ("SPACE_TITLE", "Settings"),
        ("HF_ENDPOINT", "https://hub.example"),
    ];
    for (name, value) in expected {
        assert_eq!(environment.get(name).map(String::as_str), Some(value), "{name}");
    }

    let container = &site.docker.running_apps()[0];
    let image = site.docker.run(&["inspect", container, "--format", "{{.Image}}"]).unwrap();
    let (_, secrets) = site.call(Method::GET, &space.api("/secrets"), None).await;
    let run_log = site.docker.run(&["logs", container]).unwrap();
    for (place, text) in [
        ("docker history", site.docker.run(&["history", "--no-trunc", &image]).unwrap()),
        ("the image", site.docker.run(&["inspect", &image]).unwrap()),
        ("the build log", space.build_log().await),
        ("the app's log", run_log),
        ("the server's log", site.log()),
        ("the API", secrets.to_string()),
        ("the routes", std::fs::read_to_string(site.data_dir().join("routes.json")).unwrap()),
    ] {
        assert!(!text.contains(SECRET), "{place} shows the secret: {text}");
    }
    assert!(secrets.get("API_KEY").is_some());
    let grep = std::process::Command::new("grep").args(["-rlaF", SECRET]).arg(site.data_dir()).output().unwrap();
    assert!(grep.stdout.is_empty(), "it lies in the clear in {}", String::from_utf8_lossy(&grep.stdout));

    // A change restarts the app without a build.
    space.set_variable("GREETING", "good evening").await;
    until("the app knows the new value", 60, async || match space.get("/env").await.1 {
        text if text.contains("good evening") => Ok(()),
        text => Err(text),
    })
    .await;
    assert_eq!(space.builds().await.len(), 1);
}
