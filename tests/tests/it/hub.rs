//! The Hub's own client, unmodified, against this server; and what others may not see.

use reqwest::{Method, StatusCode};
use serde_json::json;
use spaceport_e2e::site::TOKEN;
use spaceport_e2e::{Site, Space, git};

use crate::apps::says;

/// Everything a script about Spaces calls, in the order in which people call it.
const SCRIPT: &str = r#"
import subprocess, sys, time
from huggingface_hub import HfApi
from huggingface_hub.errors import RepositoryNotFoundError, HfHubHTTPError

api, name, base = HfApi(), sys.argv[1], sys.argv[2]
me = api.whoami()
assert me["name"] == "admin" and me["auth"]["accessToken"]["role"] == "write", me
url = api.create_repo(name, repo_type="space", space_sdk="docker", space_variables=[{"key": "FIRST", "value": "1"}])
repo = url.repo_id
assert repo == "admin/" + name, repo
api.create_repo(name, repo_type="space", space_sdk="docker", exist_ok=True)
try:
    api.create_repo(name, repo_type="space", space_sdk="docker")
    raise SystemExit("a second Space of the same name was made")
except HfHubHTTPError as error:
    assert error.response.status_code == 409, error
info = api.space_info(repo)
assert info.sdk == "docker" and not info.private and info.host.startswith("http://"), info
assert api.wait_for_space(repo, timeout=30).stage == "NO_APP_FILE"

api.add_space_variable(repo, "GREETING", "hello")
assert api.get_space_variables(repo)["GREETING"].value == "hello"
api.add_space_secret(repo, "API_KEY", "only-the-app-knows", description="a key")
assert "API_KEY" in api.get_space_secrets(repo)

subprocess.run(["git", "-c", "protocol.version=2", "clone", "-q", sys.argv[3] + "/spaces/" + repo, "work"], check=True)
for path, text in {"Dockerfile": sys.argv[4], "app.py": sys.argv[5]}.items():
    open("work/" + path, "w").write(text)
run = lambda *a: subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *a], cwd="work", check=True)
run("add", "-A"); run("commit", "-q", "-m", "An app"); run("push", "-q", "origin", "HEAD:main")
end = time.monotonic() + 100
while (runtime := api.get_space_runtime(repo)).stage != "RUNNING" and time.monotonic() < end:
    time.sleep(0.2)
assert runtime.stage == "RUNNING", runtime
assert runtime.hardware == "cpu-basic", runtime
build = "".join(api.fetch_space_logs(repo, build=True))
assert "Building the Dockerfile" in build, build
assert "listening" in "".join(api.fetch_space_logs(repo)), "the app's log"
assert any(space.id == repo for space in api.list_spaces(author="admin"))

assert api.pause_space(repo).stage == "PAUSED"
assert api.restart_space(repo).stage in ("APP_STARTING", "RUNNING", "BUILDING")
assert api.wait_for_space(repo, timeout=100).stage == "RUNNING"
assert api.request_space_hardware(repo, "cpu-upgrade").requested_hardware == "cpu-upgrade"
try:
    api.request_space_hardware(repo, "a100x800")
    raise SystemExit("a flavor that does not exist was accepted")
except HfHubHTTPError as error:
    assert error.response.status_code == 400 and "cpu-basic" in str(error), error
assert "cpu-upgrade" in [hardware.name for hardware in api.list_spaces_hardware()]
api.set_space_sleep_time(repo, 3600)
api.delete_space_secret(repo, "API_KEY")
assert "API_KEY" not in api.get_space_secrets(repo)
api.delete_space_variable(repo, "GREETING")
api.delete_repo(repo, repo_type="space")
try:
    api.space_info(repo)
    raise SystemExit("the Space is still there")
except RepositoryNotFoundError:
    pass
api.delete_repo(repo, repo_type="space", missing_ok=True)
print("all is well")
"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_hubs_client_manages_a_space() {
    let Some(site) = Site::start().await else { return };
    let name = format!("client-{}", site.docker.installation);
    let hub = format!("http://admin:{TOKEN}@{}", site.authority());
    let dockerfile = spaceport_e2e::files::dockerfile(&site.base_image, "CMD [\"python3\", \"-u\", \"app.py\"]");
    let app = crate::apps::program("from the client", "0");
    let said = site.python(SCRIPT, &[&name, &site.base_image, &hub, &dockerfile, &app]).await;
    assert!(said.contains("all is well"), "{said}");
    spaceport_e2e::until("the deleted Space leaves no container", 60, async || match site.docker.apps() {
        apps if apps.is_empty() => Ok(()),
        apps => Err(format!("{apps:?}")),
    })
    .await;
}

/// A user with a write token.
async fn user(site: &Site, name: &str) -> String {
    site.ask(Method::POST, "/api/admin/users", Some(&json!({"name": name}))).await;
    let path = format!("/api/admin/users/{name}/tokens");
    let made = site.ask(Method::POST, &path, Some(&json!({"name": "all", "role": "write"}))).await;
    made["token"].as_str().expect("a token").to_owned()
}

async fn clone(space: &Space<'_>, login: &str) -> git::Outcome {
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    let url = format!("http://{login}{}/spaces/{}", space.site.authority(), space.id);
    git::git(folder.path(), &["clone", "-q", &url, "work"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_space_does_not_exist_for_others() {
    let Some(site) = Site::start().await else { return };
    let space = site.space_with("hidden", "docker", json!({"private": true})).await;
    let sha = space.push(&says(&site.base_image, "for my eyes")).await;
    space.running(&sha, 120).await;
    let stranger = user(&site, "stranger").await;

    for token in [None, Some(&*stranger)] {
        for path in ["", "/runtime", "/variables", "/logs/build", "/builds"] {
            let (status, answer) = site.call_as(token, Method::GET, &space.api(path), None).await;
            let expected = if token.is_some() { StatusCode::NOT_FOUND } else { StatusCode::UNAUTHORIZED };
            assert!(status == expected || status == StatusCode::NOT_FOUND, "{path}: {status} {answer}");
            assert!(!answer.to_string().contains("for my eyes"));
        }
        let mut request = space.request(Method::GET, "/");
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "the proxy");
        assert!(!answer.text().await.unwrap().contains("for my eyes"));
        let (_, list) = site.call_as(token, Method::GET, "/api/spaces", None).await;
        assert!(!list.to_string().contains("hidden"), "{list}");
    }
    assert!(!clone(&space, "").await.ok, "git without a token");
    assert!(!clone(&space, &format!("stranger:{stranger}@")).await.ok, "git as somebody else");

    assert!(clone(&space, &format!("admin:{TOKEN}@")).await.ok, "git as its owner");
    for header in ["authorization", "x-hf-authorization"] {
        let request = space.request(Method::GET, "/").header(header, format!("Bearer {TOKEN}"));
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{header}");
        assert_eq!(answer.text().await.unwrap(), "for my eyes");
    }
    // A browser comes with a ticket and stays with a cookie.
    let ticket = site.ask(Method::GET, &space.api("/jwt"), None).await["token"].as_str().unwrap().to_owned();
    let page = |path: &str| space.request(Method::GET, path).header("accept", "text/html");
    let entered = page(&format!("/?__sign={ticket}")).send().await.unwrap();
    assert_eq!(entered.status(), StatusCode::FOUND);
    assert_eq!(entered.headers()["location"], "/");
    let cookie = entered.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let shown = page("/").header("cookie", &cookie).send().await.unwrap();
    assert_eq!(shown.text().await.unwrap(), "for my eyes");
    let (status, _) = site.call_as(Some(&stranger), Method::GET, &space.api("/jwt"), None).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "a ticket for a stranger");
    // One who is not signed in is shown the way to the hub's own page.
    let way = page("/chat?room=1").send().await.unwrap().text().await.unwrap();
    let sign_in = format!("http://{}/login?app=", site.authority());
    assert!(way.contains(&sign_in) && way.contains("path=%2Fchat%3Froom%3D1"), "{way}");
    let (status, _) = site
        .call_as(Some(&stranger), Method::POST, &space.api("/variables"), Some(&json!({"key": "A", "value": "1"})))
        .await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_space_can_be_read_and_not_changed_by_others() {
    let Some(site) = Site::start().await else { return };
    let space = site.space("open", "static").await;
    let stranger = user(&site, "stranger").await;
    for (method, path, body) in [
        (Method::POST, "/secrets", json!({"key": "A", "value": "1"})),
        (Method::POST, "/pause", json!({})),
        (Method::POST, "/restart", json!({})),
        (Method::POST, "/hardware", json!({"flavor": "cpu-upgrade"})),
    ] {
        let (status, answer) = site.call_as(Some(&stranger), method, &space.api(path), Some(&body)).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{path}: {answer}");
    }
    let checkout = git::Checkout::of(&spaceport_e2e::Files::readme("sdk: static")).await;
    let url = format!("http://stranger:{stranger}@{}/spaces/{}", site.authority(), space.id);
    assert!(!checkout.push(&url).await.ok, "git as somebody else");
    assert!(clone(&space, "").await.ok, "anybody may clone");
    let (status, _) = site.call_as(Some("hf_wrong"), Method::GET, &space.api(""), None).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "a token that is wrong is not the same as none");
}
