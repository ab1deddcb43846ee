//! Two teams, six devices, twenty Spaces: each team has three cards of its own and may borrow the other's.

use std::collections::BTreeSet;

use reqwest::{Method, StatusCode};
use serde_json::json;
use spaceport_e2e::until;

use super::lab::Lab;

#[tokio::test(flavor = "multi_thread")]
async fn two_teams_share_six_devices() {
    let Some(mut lab) = Lab::start(6).await else { return };
    for team in ["red", "blue"] {
        lab.team(team).await;
        let said = lab.site.cli(&["quota", "set", team, "--guaranteed", "3"]);
        assert!(said.is_object(), "{said}");
    }

    // Red is alone and borrows what blue does not use.
    let red = lab.spaces("red", 10).await;
    let seen = lab.wait_stages("red has all cards", &red, &[("RUNNING", 6), ("APP_STARTING", 4)]).await;
    let cards = lab.wait_cards(6).await;
    let mut told = BTreeSet::new();
    for known in lab.running(&red).await {
        told.insert(lab.card_of(&known).await);
    }
    assert_eq!(told, cards, "each app is told its own card");
    for (card, space) in lab.holders() {
        let known = red.iter().find(|known| known.id == space).expect("a Space of red's has it");
        assert_eq!(lab.card_of(known).await, card);
    }
    let queue = lab.site.cli(&["queue", "list"]);
    let positions: Vec<_> =
        queue["waiting"].as_array().expect("who waits").iter().map(|one| &one["position"]).collect();
    assert_eq!(positions, [&json!(0), &json!(1), &json!(2), &json!(3)], "{queue}");
    // What blue comes to have is known before.
    let tree = lab.site.cli(&["quota", "tree"]);
    let red_place = tree["places"].as_array().expect("places").iter().find(|place| place["place"] == "red");
    assert_eq!(red_place.expect("red's place")["inUseMilli"], 6000, "{tree}");
    for waiting in seen.iter().filter(|runtime| runtime.stage == "APP_STARTING") {
        assert_eq!(waiting.reason, "hardware_waiting");
        assert!(waiting.message.starts_with("Waiting for 1 × Stand-in: "), "{}", waiting.message);
        assert!(waiting.message.contains("It is next") || waiting.message.contains("before it"), "{}", waiting.message);
    }

    // Who would be told to leave is known before, and nobody is told.
    let tried = lab.site.cli(&["quota", "set", "red", "--hard-hours", "0.001", "--dry-run"]);
    assert_eq!((&tried["dryRun"], &tried["effect"]["leave"]), (&json!(true), &json!(6)), "{tried}");
    assert_eq!(
        tried["effect"]["replay"]["claims"],
        json!(seen.len()),
        "what was wanted until now is replayed: {tried}"
    );
    let changes = tried["effect"]["changes"].as_array().expect("changes").iter();
    let leave: Vec<_> = changes.filter(|change| change["after"]["state"] == "leaves").collect();
    let named: BTreeSet<_> = leave.iter().map(|change| change["space"].as_str().expect("a name").to_owned()).collect();
    assert_eq!(named, lab.running(&red).await.into_iter().map(|known| known.id).collect());
    for change in leave {
        assert_eq!(change["before"]["state"], "runs");
        assert!(change["after"]["reason"].as_str().is_some_and(|why| why.contains("device time")), "{change}");
    }
    assert!(lab.look(&red).await.iter().all(|now| now.reason != "hardware_ending"));
    assert!(lab.site.cli(&["quota", "show", "red"])["quota"]["budget"].is_null());

    // Blue comes: three of red's are told to leave, serve until then, and sleep.
    let mut blue = lab.spaces("blue", 1).await;
    let ending = until("red's borrowed cards are told to leave", 60, async || {
        let seen = lab.look(&red).await;
        let ending: Vec<_> = red.iter().zip(&seen).filter(|(_, now)| now.reason == "hardware_ending").collect();
        match ending.first() {
            Some((known, now)) => Ok(((*known).clone(), (*now).clone())),
            None => Err(format!("{:?}", seen.iter().map(|now| &now.reason).collect::<Vec<_>>())),
        }
    })
    .await;
    assert_eq!(ending.1.stage, "RUNNING");
    assert!(ending.1.json["spaceport"]["deadline"].is_string(), "{}", ending.1.json);
    assert_eq!(lab.at(&ending.0).get("/").await.0, StatusCode::OK, "it serves until its time is over");
    blue.extend(lab.spaces_from("blue", 1, 9).await);
    lab.wait_stages("blue has its own", &blue, &[("RUNNING", 3), ("APP_STARTING", 7)]).await;
    let seen =
        lab.wait_stages("red keeps its own", &red, &[("RUNNING", 3), ("SLEEPING", 3), ("APP_STARTING", 4)]).await;
    let asleep: Vec<_> = seen.iter().filter(|now| now.stage == "SLEEPING").collect();
    assert!(
        asleep.iter().all(|now| now.reason == "hardware_waiting" && now.message.contains("Waiting for")),
        "{seen:?}"
    );
    lab.wait_cards(6).await;

    // The process dies at once: who had a card has the same one afterwards.
    let before = lab.site.docker.running_apps();
    lab.site.kill9();
    lab.site.start_again();
    lab.site.ready().await;
    lab.wait_stages("blue is as before", &blue, &[("RUNNING", 3), ("APP_STARTING", 7)]).await;
    assert_eq!(lab.site.docker.running_apps().into_iter().collect::<BTreeSet<_>>(), before.into_iter().collect());

    // What is guaranteed to blue goes to blue.
    let leaves = lab.running(&blue).await[0].clone();
    lab.pause(&leaves).await;
    lab.wait_stages("the next of blue", &blue, &[("RUNNING", 3), ("PAUSED", 1), ("APP_STARTING", 6)]).await;

    // A Space that sleeps gives its card back, and waits for one when somebody comes.
    let sleeper = lab.running(&blue).await[0].clone();
    let seconds = json!({"seconds": 2});
    lab.site.ask(Method::POST, &format!("/api/spaces/{}/sleeptime", sleeper.id), Some(&seconds)).await;
    lab.at(&sleeper).wait("it sleeps", 60, |now| now.stage == "SLEEPING").await;
    lab.wait_stages("one more of blue", &blue, &[("RUNNING", 3), ("PAUSED", 1), ("SLEEPING", 1), ("APP_STARTING", 5)])
        .await;
    lab.site.ask(Method::POST, &format!("/api/spaces/{}/sleeptime", sleeper.id), Some(&json!({"seconds": -1}))).await;
    until("its page says what it waits for", 60, async || {
        let asked = lab.at(&sleeper).request(Method::GET, "/").header("accept", "text/html").send().await;
        let page = asked.map_err(|error| error.to_string())?.text().await.map_err(|error| error.to_string())?;
        if page.contains("Waiting for 1 × Stand-in") { Ok(()) } else { Err(page) }
    })
    .await;
    lab.at(&sleeper).wait("it waits for a card", 60, |now| now.reason == "hardware_waiting").await;
    // Everybody else of blue goes: it gets one and serves.
    for known in blue.iter().filter(|known| known.id != sleeper.id) {
        lab.pause(known).await;
    }
    lab.at(&sleeper).wait("it is awake", 60, |now| now.stage == "RUNNING").await;
    assert_eq!(lab.at(&sleeper).get("/").await.0, StatusCode::OK);

    // Two of blue's cards are unused: red borrows them again, those that slept first.
    lab.wait_stages("red borrows again", &red, &[("RUNNING", 5), ("SLEEPING", 1), ("APP_STARTING", 4)]).await;
    for known in red.iter().chain([&sleeper]) {
        lab.pause(known).await;
    }
    lab.wait_cards(0).await;
    until("all leases are in the ledger", 60, async || {
        let holders = lab.holders();
        if holders.is_empty() { Ok(()) } else { Err(format!("{holders:?}")) }
    })
    .await;

    // The ledger adds up, however it is looked at.
    let ((accounts, total), (devices, by_device), (spaces, by_space)) =
        (lab.charged("account"), lab.charged("device"), lab.charged("space"));
    assert!(total > 0 && total == by_device && total == by_space, "{accounts:?} {devices:?} {spaces:?}");
    for rows in [&accounts, &devices, &spaces] {
        assert_eq!(rows.values().sum::<i64>(), total, "{rows:?}");
    }
    assert_eq!(devices.len(), 6);
    assert!(accounts.len() == 2 && accounts.keys().all(|account| account.ends_with("/admin")), "{accounts:?}");
}
