//! The server's process ends at the worst moments: everything converges, nothing is done twice.

use reqwest::{Method, StatusCode};
use spaceport_e2e::engine::Engine;
use spaceport_e2e::postgres::Database;
use spaceport_e2e::{Files, Site, Space, until};

use crate::apps::{says, says_after};

/// The Space without its site, so that the site can be killed.
struct Known {
    id: String,
    host: String,
    sha: String,
}

impl Known {
    async fn push(site: &Site, name: &str, files: &Files) -> Self {
        let space = site.space(name, "docker").await;
        let sha = space.push(files).await;
        Self { id: space.id, host: space.host, sha }
    }

    fn at<'a>(&self, site: &'a Site) -> Space<'a> {
        Space { site, id: self.id.clone(), host: self.host.clone() }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_during_a_build() {
    let Some(mut site) = Site::start().await else { return };
    // Of this run alone: BuildKit does not repeat a step it knows.
    let mark = format!("{}-begun", site.docker.installation);
    let slow = format!("RUN : {} && echo {mark} && sleep 5\nCMD [\"python3\", \"-u\", \"app.py\"]", site.address);
    let files =
        says(&site.base_image, "built").file("Dockerfile", spaceport_e2e::files::dockerfile(&site.base_image, &slow));
    let known = Known::push(&site, "midbuild", &files).await;
    let space = known.at(&site);
    until("the build is in its slow step", 60, async || {
        let log = space.build_log().await;
        // The command itself is in the log, too.
        if log.lines().any(|line| line.ends_with(&mark)) { Ok(()) } else { Err(log) }
    })
    .await;
    site.kill9();
    site.start_again();
    site.ready().await;
    let space = known.at(&site);
    space.running(&known.sha, 120).await;
    assert_eq!(space.get("/").await, (StatusCode::OK, "built".to_owned()));
    let builds = space.builds().await;
    assert_eq!(builds.len(), 1, "one build, taken up again: {builds:?}");
    assert_eq!(builds[0]["state"], "succeeded");
    assert_eq!(site.docker.apps().len(), 1);
    let log = space.build_log().await;
    assert_eq!(log.matches("===== Build 1 of").count(), 2, "the log tells of both attempts: {log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_during_a_start() {
    let Some(mut site) = Site::start().await else { return };
    let known = Known::push(&site, "midstart", &says_after(&site.base_image, "started", "5")).await;
    let docker = site.docker.clone();
    let before = until("the container runs", 120, async || match docker.running_apps() {
        apps if apps.is_empty() => Err("no container".to_owned()),
        apps => Ok(apps),
    })
    .await;
    assert_eq!(known.at(&site).runtime().await.stage, "APP_STARTING");
    site.kill9();
    site.start_again();
    site.ready().await;
    let space = known.at(&site);
    space.running(&known.sha, 60).await;
    assert_eq!(space.get("/").await, (StatusCode::OK, "started".to_owned()));
    assert_eq!(site.docker.apps(), before, "the container that was starting is the one that serves");
    let instances = space.instances().await;
    assert_eq!(instances.len(), 1, "{instances:?}");
    assert_eq!(space.builds().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_opened_just_before_the_end_is_counted() {
    let Some(mut site) = Site::start().await else { return };
    let space = site.space("visited", "static").await;
    let sha = space.push(&Files::readme("sdk: static").file("index.html", "here")).await;
    space.running(&sha, 60).await;
    let path = format!("{}?expand=visits", space.api(""));
    let page = space.request(Method::GET, "/").header("accept", "text/html").header("sec-fetch-mode", "navigate");
    assert_eq!(page.send().await.unwrap().status(), StatusCode::OK);
    site.stop().await;
    site.start_again();
    site.ready().await;
    assert_eq!(site.ask(Method::GET, &path, None).await["visits"], 1);
}

/// The very first answer that the new process gives to a visitor.
async fn first_answer(space: &Space<'_>) -> (StatusCode, String) {
    until("the proxy listens", 60, async || {
        let answer = space.request(Method::GET, "/").send().await.map_err(|error| error.to_string())?;
        Ok((answer.status(), answer.text().await.unwrap_or_default()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_serving_and_stopped_gracefully() {
    let Some(mut site) = Site::start().await else { return };
    let known = Known::push(&site, "serving", &says(&site.base_image, "here")).await;
    known.at(&site).running(&known.sha, 120).await;
    let before = site.docker.running_apps();

    site.kill9();
    assert_eq!(site.docker.running_apps(), before, "apps outlive the server");
    site.start_again();
    assert_eq!(first_answer(&known.at(&site)).await, (StatusCode::OK, "here".to_owned()));
    site.ready().await;

    site.stop().await;
    assert_eq!(site.docker.running_apps(), before, "apps outlive a graceful stop");
    site.start_again();
    assert_eq!(first_answer(&known.at(&site)).await, (StatusCode::OK, "here".to_owned()));
    site.ready().await;

    let space = known.at(&site);
    space.running(&known.sha, 60).await;
    assert_eq!(site.docker.apps(), before, "nothing was started twice");
    assert_eq!(space.builds().await.len(), 1, "nothing was built twice");
    assert_eq!(space.instances().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_in_postgres_when_that_is_the_database() {
    let Some(database) = Database::new() else { return };
    let Some(mut site) = Site::start_with(&format!("database_url = {:?}", database.url)).await else { return };
    let health = site.ask(Method::GET, "/api/health", None).await;
    assert_eq!(health["parts"]["database"]["message"], "PostgreSQL", "{health}");
    let known = Known::push(&site, "elephant", &says(&site.base_image, "one")).await;
    let secret = "s3cr3t-value-that-nobody-may-see";
    known.at(&site).set_secret("API_KEY", secret).await;
    known.at(&site).running(&known.sha, 120).await;
    let has_secret = async |site: &Site| {
        let space = known.at(site);
        until("the app has its secret", 60, async || match space.get("/env").await.1 {
            text if text.contains(secret) => Ok(()),
            text => Err(text),
        })
        .await;
    };
    has_secret(&site).await;
    let before = site.docker.running_apps();

    site.kill9();
    site.start_again();
    assert_eq!(first_answer(&known.at(&site)).await.0, StatusCode::OK);
    site.ready().await;
    known.at(&site).running(&known.sha, 60).await;
    assert_eq!(site.docker.running_apps(), before, "the same container serves");
    // Another container is given the secret, which the new process has read from the database.
    site.ask(Method::POST, &known.at(&site).api("/restart"), None).await;
    until("another container serves", 60, async || match site.docker.running_apps() {
        apps if apps.len() == 1 && apps != before => Ok(()),
        apps => Err(format!("{apps:?}")),
    })
    .await;
    has_secret(&site).await;

    let space = known.at(&site);
    let second = space.push(&says(&site.base_image, "two")).await;
    space.running(&second, 120).await;
    assert_eq!(space.get("/").await, (StatusCode::OK, "two".to_owned()));
    assert_eq!(space.builds().await.len(), 2);
    assert!(!site.data_dir().join("spaceport.db").exists(), "there is no other database");
    assert_eq!(database.ask("SELECT count(*) FROM spaces"), "1");
}

/// Waits until the server says of its engine that it is there or away.
async fn engine_is(site: &Site, there: bool) {
    until("health tells of the engine", 60, async || {
        let (_, health) = site.call(Method::GET, "/api/health", None).await;
        if health["parts"]["engine"]["ok"] == there { Ok(()) } else { Err(health.to_string()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_engine_ends_and_comes_back() {
    let others = || std::path::Path::new("/sys/class/net/docker0").exists();
    let (there, Some(mut engine)) = (others(), Engine::start().await) else { return };
    let Some(site) = Site::start_with(&engine.settings()).await else { return };
    engine.load(&site.base_image);
    // Without a step, for which this engine has no network.
    let docker =
        format!("FROM {}\nWORKDIR /app\nCOPY . .\nUSER 1000\nCMD [\"python3\", \"-u\", \"app.py\"]\n", site.base_image);
    let files = says(&site.base_image, "here").file("Dockerfile", docker);
    let known = Known::push(&site, "survivor", &files).await;
    let space = known.at(&site);
    space.running(&known.sha, 120).await;
    assert_eq!(space.get("/").await, (StatusCode::OK, "here".to_owned()));

    for killed in [false, true] {
        if killed {
            engine.kill9();
        } else {
            engine.stop().await;
        }
        engine_is(&site, false).await;
        // One that was killed has left its containers as they were, and they are in the route.
        let (status, text) = space.get("/").await;
        if killed {
            assert_eq!((status, text.as_str()), (StatusCode::OK, "here"));
        } else {
            assert!(status == StatusCode::SERVICE_UNAVAILABLE && text.contains("cannot be reached"), "{status} {text}");
        }
        let before = space.instances().await.len();
        engine.start_again().await;
        until("another attempt serves", 60, async || {
            let instances = space.instances().await;
            let answer = space.get("/").await;
            let served = answer == (StatusCode::OK, "here".to_owned());
            if instances.len() > before && served { Ok(()) } else { Err(format!("{answer:?} {instances:?}")) }
        })
        .await;
        engine_is(&site, true).await;
        space.running(&known.sha, 60).await;
    }
    // It was no fault of the app's.
    let instances = space.instances().await;
    let [_, ended @ ..] = instances.as_slice() else { panic!("no instance") };
    assert_eq!(ended.len(), 2, "{ended:?}");
    for instance in ended {
        assert_eq!(instance["endedByPlatform"], true, "{instance}");
        assert_eq!(instance["diagnosis"]["reason"], "engine_unavailable", "{instance}");
    }
    assert_eq!(space.builds().await.len(), 1, "nothing was built twice");
    assert_eq!(site.docker.apps().len(), 1);
    assert_eq!(others(), there, "the machine's engine is as it was");
}
