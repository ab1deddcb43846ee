//! Devices that go: they vanish, nobody uses them, or they are reserved for somebody else.

use reqwest::Method;
use spaceport_e2e::{Runtime, until};

use super::lab::Lab;

#[tokio::test(flavor = "multi_thread")]
async fn devices_go_and_come_back() {
    let Some(lab) = Lab::start(2).await else { return };
    lab.team("lab").await;
    let spaces = lab.spaces("lab", 3).await;
    lab.wait_stages("both cards are used", &spaces, &[("RUNNING", 2), ("APP_STARTING", 1)]).await;
    let mut lost = None;
    for known in lab.running(&spaces).await {
        if lab.card_of(&known).await == "card-0" {
            lost = Some(known);
        }
    }
    let lost = lost.expect("somebody has the first card");
    lab.pull_out(0);
    let asleep = lab.at(&lost).wait("it lost its card", 60, |now| now.stage == "SLEEPING").await;
    assert_eq!(asleep.reason, "hardware_waiting");
    lab.wait_stages("the others are as before", &spaces, &[("RUNNING", 1), ("APP_STARTING", 1), ("SLEEPING", 1)]).await;
    assert!(lab.wait_cards(1).await.contains("card-1"));
    lab.put_in(0);
    // Who lost it keeps its place in time, and comes first.
    lab.at(&lost).wait("it has its card again", 60, |now| now.stage == "RUNNING").await;
    assert_eq!(lab.card_of(&lost).await, "card-0");
    for known in lab.running(&spaces).await {
        lab.pause(&known).await;
    }
    lab.wait_stages("the last one has its turn", &spaces, &[("RUNNING", 1), ("PAUSED", 2)]).await;

    // What is held and not used is taken back, and its owner is told before.
    let unused = lab.space("lab", 3, "brief").await;
    lab.at(&unused).wait("nobody uses it", 60, |now| now.stage == "SLEEPING").await;
    let queue = lab.site.ask(Method::GET, &format!("/api/spaces/{}/queue", unused.id), None).await;
    assert_eq!(queue["notices"][0]["kind"], "idle", "{queue}");
    until("the card to be given back", 60, async || {
        let (reasons, _) = lab.charged("reason");
        if reasons.contains_key("reclaimed") { Ok(()) } else { Err(format!("{reasons:?}")) }
    })
    .await;

    // Both cards are reserved: who has one is told in time, and leaves when the reservation begins.
    lab.team("course").await;
    let last = lab.running(&spaces).await.remove(0);
    let (from, end) = (lab.in_seconds(10), lab.in_seconds(3600));
    let reserve = ["reservation", "create", "course", "--devices", "2", "--from", &from, "--until", &end];
    let made = lab.site.cli(&reserve);
    assert_eq!(made["state"], "planned", "{made}");
    lab.at(&last).wait("its card is reserved", 60, |now| now.reason == "hardware_ending").await;
    let course = lab.spaces("course", 1).await;
    lab.wait_stages("the course has begun", &course, &[("RUNNING", 1)]).await;
    let waits = |now: &Runtime| now.stage == "SLEEPING" && now.reason == "hardware_waiting";
    lab.at(&last).wait("the other card is kept for the course", 60, waits).await;
    assert_eq!(lab.site.cli(&["reservation", "list"])[0]["state"], "running");
    let ended = lab.site.cli(&["reservation", "end", made["id"].as_str().expect("an id")]);
    assert!(ended.is_object(), "{ended}");
    lab.at(&last).wait("what was reserved is free", 60, |now| now.stage == "RUNNING").await;
}
