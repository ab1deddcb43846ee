//! Devices that vanish and come back.

use super::lab::Lab;

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_vanishes_is_given_up_and_comes_back() {
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
}
