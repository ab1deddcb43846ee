//! What others may not see of a Space.

use reqwest::{Method, StatusCode};
use serde_json::json;
use spaceport_e2e::site::TOKEN;
use spaceport_e2e::{Site, Space, git};

use crate::apps::says;
use crate::clients::user;

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

#[tokio::test(flavor = "multi_thread")]
async fn the_web_page_is_in_the_binary() {
    let Some(site) = Site::start().await else { return };
    let get = async |path: &str| {
        let url = format!("http://{}{path}", site.address);
        let answer = site.http.get(url).header("host", site.authority()).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        let header = |name: &str| answer.headers()[name].to_str().expect("text").to_owned();
        let (kind, policy) = (header("content-type"), header("content-security-policy"));
        assert!(policy.contains("default-src 'none'") && policy.contains("script-src 'self'"), "{path}: {policy}");
        (kind, answer.text().await.expect("text"))
    };
    let (kind, page) = get("/").await;
    assert_eq!(kind, "text/html; charset=utf-8");
    for (ending, of_type) in [(".js", "text/javascript"), (".css", "text/css")] {
        let named = page.split('"').find(|part| part.starts_with("/assets/") && part.ends_with(ending));
        let (kind, file) = get(named.unwrap_or_else(|| panic!("no {ending} in {page}"))).await;
        assert!(kind.starts_with(of_type) && !file.is_empty(), "{kind}");
    }
}
