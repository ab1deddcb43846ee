use http_body_util::BodyExt;
use spaceport_core::route::{Access, Target};
use spaceport_core::{Diagnosis, Reason, SpaceId};

use super::*;

fn route(standing: &Standing) -> Route {
    Route {
        space: SpaceId::new(Timestamp::from_millis(0), 1),
        name: "alice/demo".parse().unwrap(),
        title: "Alice's <Demo>".to_owned(),
        hub_page: "https://hub.example/spaces/alice/demo".to_owned(),
        access: Access::Public,
        target: Target::Page(standing.clone()),
        response_headers: Vec::new(),
    }
}

fn building() -> Standing {
    let since = Timestamp::from_millis(0);
    let diagnosis = Diagnosis {
        reason: Reason::BuildRunning,
        phase: "installing".to_owned(),
        message: "installs secret-package".to_owned(),
        remedy: String::new(),
        evidence: vec!["line of the log".to_owned()],
        since,
        deadline: None,
    };
    Standing { stage: SpaceStage::Building, since, diagnosis: Some(diagnosis) }
}

async fn text(response: Response<ProxyBody>) -> String {
    let body = response.into_body();
    let bytes = body.collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn show(building: &Standing, page: bool) -> Response<ProxyBody> {
    standing(&route(building), building, false, Timestamp::from_millis(72_000), page)
}

#[tokio::test]
async fn people_see_the_phase_and_nothing_private() {
    let response = show(&building(), true);
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()[RETRY_AFTER], "3");
    assert!(response.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().contains("style-src 'sha256-"));
    let html = text(response).await;
    assert!(!html.contains("secret-package") && !html.contains("line of the log"));
    let without_style = html.split("<style>").next().unwrap().to_owned() + html.split("</style>").nth(1).unwrap();
    insta::assert_snapshot!("building", without_style);
}

#[tokio::test]
async fn who_waits_for_hardware_is_told_why_and_for_how_long() {
    let mut waiting = building();
    waiting.stage = SpaceStage::Sleeping;
    if let Some(diagnosis) = &mut waiting.diagnosis {
        diagnosis.reason = Reason::HardwareWaiting;
        diagnosis.message = "Waiting for 1 × A100: all 4 are in use. 2 come before it; expected to start between \
            2026-01-02 03:00 and 2026-01-02 04:00 UTC."
            .to_owned();
    }
    let response = show(&waiting, true);
    assert_eq!(response.headers()[RETRY_AFTER], "10");
    let html = text(response).await;
    for part in [
        "<h1>Waiting for hardware</h1>",
        "all 4 are in use. 2 come before it;",
        "between 2026-01-02 03:00 and 2026-01-02 04:00 UTC",
        // By itself, and without JavaScript.
        "<meta http-equiv=\"refresh\" content=\"10\">",
    ] {
        assert!(html.contains(part), "{part}\n{html}");
    }
}

#[tokio::test]
async fn who_waits_for_another_attempt_is_told_and_looks_again() {
    let mut waiting = building();
    waiting.stage = SpaceStage::RuntimeError;
    if let Some(diagnosis) = &mut waiting.diagnosis {
        diagnosis.reason = Reason::CrashLoop;
        diagnosis.phase = "waiting to try again".to_owned();
        diagnosis.deadline = Some(Timestamp::from_millis(60_000));
    }
    let response = show(&waiting, true);
    assert_eq!(response.headers()[RETRY_AFTER], "10");
    let html = text(response).await;
    assert!(html.contains("waiting to try again") && html.contains("content=\"10\""), "{html}");
}

#[tokio::test]
async fn programs_get_json() {
    let response = show(&building(), false);
    assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
    assert_eq!(response.headers()["x-error-code"], "SpaceNotRunning");
    insta::assert_snapshot!("building_json", text(response).await);
}

#[tokio::test]
async fn every_stage_has_a_page_and_only_what_moves_or_is_mended_reloads() {
    let mut pages = String::new();
    for stage in SpaceStage::ALL {
        let standing = Standing { stage, since: Timestamp::from_millis(0), diagnosis: None };
        let response = show(&standing, true);
        assert_eq!(response.headers().contains_key(RETRY_AFTER), stage.is_transitional(), "{stage}");
        let html = text(response).await;
        assert_eq!(html.contains("http-equiv=\"refresh\""), stage.is_transitional() || stage.is_error(), "{stage}");
        let main = html.split("<main").nth(1).unwrap().split("</header>").nth(1).unwrap();
        pages.push_str(&format!("{stage}{}", main.split("<footer>").next().unwrap()));
    }
    insta::assert_snapshot!("stages", pages);
}
