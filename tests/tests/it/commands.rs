//! The command line: what it says, how it ends, and commands that run until something ends them.

use std::io::BufRead as _;
use std::process::{Child, Command};

use reqwest::Method;
use serde_json::json;
use spaceport_e2e::files::dockerfile;
use spaceport_e2e::site::TOKEN;
use spaceport_e2e::{Files, Site, Space, until};

use crate::apps::{program, says};

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

    until("a sample of an app that works", 60, async || {
        for _ in 0..20 {
            space.get("/env").await;
        }
        let sample = site.cli(&["space", "metrics", &space.id]);
        let used = |name: &str| sample[name].as_u64().is_some_and(|amount| amount > 0);
        if used("cpu_millicores") && used("memory_used_bytes") { Ok(()) } else { Err(sample.to_string()) }
    })
    .await;

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

/// An app that is opened at `/docs`; `build` is in the log of its build.
fn app(base: &str, build: &str) -> Files {
    let rest = format!("RUN echo {build}\nCMD [\"python3\", \"-u\", \"app.py\"]");
    Files::readme("sdk: docker\nbase_path: /docs")
        .file("Dockerfile", dockerfile(base, &rest))
        .file("app.py", program("here", "0"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_space_is_kept_from_its_first_to_its_last_day() {
    let Some(site) = Site::start().await else { return };
    let fails = |token: &str, code: i32, arguments: &[&str]| {
        let said = site.command(token, arguments, "");
        assert_eq!(said.code, Some(code), "{arguments:?}: {said:?}");
        assert!(said.errors.starts_with("spaceport: "), "{said:?}");
    };
    let reads = |arguments: &[&str], input: &str, expected: &str| {
        let said = site.command(TOKEN, arguments, input);
        assert_eq!(said.code, Some(0), "{arguments:?}: {said:?}");
        assert!(said.output.contains(expected), "{arguments:?}: {said:?}");
        said.output
    };
    let says = |arguments: &[&str], expected: &str| reads(arguments, "", expected);

    says(&["health"], "ok");
    says(&["whoami"], "admin (token");
    says(&["completions", "bash"], "complete -F _spaceport");
    fails(TOKEN, 5, &["whoami", "--url", "http://127.0.0.1:1"]);

    says(&["admin", "user", "create", "ada"], "spaceport admin user signin-link ada");
    reads(&["admin", "user", "password", "ada"], "a long password\n", "Set the password of ada");
    says(&["admin", "user", "disable", "ada"], "Disabled ada");
    says(&["admin", "user", "list"], "disabled");
    says(&["admin", "user", "enable", "ada"], "Enabled ada.");
    says(&["admin", "audit"], "ada");
    says(&["admin", "tasks"], "ok");
    fails(TOKEN, 2, &["admin", "user", "delete", "ada"]);
    let ada = says(&["admin", "token", "create", "ada"], "hf_").trim().to_owned();
    assert!(site.command(&ada, &["whoami"], "").output.starts_with("ada (token \"default\", role write"));
    says(&["admin", "user", "list"], "ada");
    says(&["admin", "token", "list", "ada"], "default");
    fails(&ada, 4, &["admin", "user", "list"]);

    says(&["space", "create", "talk", "--sdk", "docker"], "git clone");
    says(&["space", "create", "hidden", "--sdk", "docker", "--private"], "admin/hidden");
    let space = Space::of(&site, "admin/talk".to_owned()).await;
    let address = format!("http://{}/docs", space.host);
    for build in ["built-first", "built-second"] {
        let sha = space.push(&app(&site.base_image, build)).await;
        space.running(&sha, 120).await;
    }
    says(&["space", "wait", "talk"], &format!("talk runs at {address}\n"));
    assert_eq!(says(&["space", "open", "talk"], ""), format!("{address}\n"));
    says(&["space", "info", "talk"], &address);
    says(&["space", "list"], "admin/talk");
    says(&["space", "list"], &format!("{address}\n"));
    says(&["space", "logs", "talk"], "listening");
    assert!(!says(&["space", "logs", "--build", "talk"], "built-second").contains("built-first"));
    assert!(!says(&["space", "logs", "--build=1", "talk"], "built-first").contains("built-second"));
    fails(TOKEN, 3, &["space", "logs", "--build=9", "talk"]);
    says(&["space", "instances", "talk"], "RELEASE");
    says(&["space", "wait", "talk", "--json"], "\"stage\":\"RUNNING\"");
    says(&["space", "set", "hidden", "--public"], "hidden is public.");
    says(&["space", "set", "hidden", "--private"], "hidden is private.");
    assert_eq!(site.command(TOKEN, &["space", "set", "hidden"], "").code, Some(2));
    says(&["space", "variables", "add", "hidden", "COLOUR", "red"], "from its next build on");

    reads(&["space", "variables", "add", "talk", "COLOUR"], "blue\n", "Set COLOUR");
    reads(&["space", "secrets", "add", "talk", "KEY"], "not to be seen\n", "Set KEY");
    says(&["space", "variables", "ls", "talk"], "blue");
    assert!(!says(&["space", "secrets", "ls", "talk"], "KEY").contains("not to be seen"));
    until("the app has both", 60, async || {
        let (_, environment) = space.get("/env").await;
        let both = environment.contains(r#""COLOUR": "blue""#) && environment.contains(r#""KEY": "not to be seen""#);
        if both { Ok(()) } else { Err(environment) }
    })
    .await;

    fails(TOKEN, 3, &["space", "info", "nothing"]);
    fails(&ada, 3, &["space", "info", "admin/hidden"]);
    fails(&ada, 4, &["space", "pause", "admin/talk"]);
    says(&["space", "restart", "talk"], "Accepted");
    says(&["space", "wait", "talk"], "runs at");
    says(&["space", "pause", "talk"], "Accepted");
    space.wait("it is paused", 60, |seen| seen.stage == "PAUSED").await;
    fails(TOKEN, 6, &["space", "wait", "talk"]);
    fails(TOKEN, 2, &["space", "delete", "talk"]);
    says(&["space", "delete", "talk", "--yes"], "Deleted admin/talk.");
    fails(TOKEN, 3, &["space", "info", "talk"]);

    says(&["admin", "token", "delete", "ada", "default"], "Deleted the token");
    fails(&ada, 4, &["whoami"]);
}
