//! Pushes and clones of hundreds of megabytes pass through the server, not into it.

use reqwest::Method;
use serde_json::json;
use spaceport_e2e::git::{Checkout, git};
use spaceport_e2e::site::TOKEN;
use spaceport_e2e::{Files, Site};

/// Files of the push, and bytes of each: below the limit for a file that is not a large one.
const FILES: u64 = 40;
const BYTES: u64 = 8 << 20;
/// The server's memory may grow by so much, in MiB; the push has 320.
const GROWTH_MIB: u64 = 64;

/// Bytes that do not compress, other ones for each seed (SplitMix64).
fn noise(seed: u64) -> Vec<u8> {
    let mix = |index: u64| {
        let mixed = ((seed << 32) | index).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb)
    };
    (0..BYTES / 8).flat_map(|index| mix(index).to_le_bytes()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_of_hundreds_of_megabytes_does_not_fill_the_memory() {
    let Some(site) = Site::start().await else { return };
    site.ask(Method::POST, "/api/repos/create", Some(&json!({"name": "heavy", "type": "model"}))).await;
    let checkout = Checkout::of(&Files::new().file("README.md", "# Heavy\n")).await;
    for file in 0..FILES {
        std::fs::write(checkout.path().join(format!("part-{file}.dat")), noise(file)).expect("a file is written");
    }
    // The client's work is not what is tested.
    for setting in [["core.compression", "0"], ["pack.window", "0"]] {
        checkout.git(&["config", setting[0], setting[1]]).await;
    }
    checkout.git(&["add", "-A"]).await;
    checkout.git(&["commit", "-q", "-m", "All of it"]).await;
    let before = site.peak_memory_mib();
    let url = format!("http://admin:{TOKEN}@{}/admin/heavy", site.authority());
    let push = checkout.push(&url).await;
    assert!(push.ok, "{}", push.text);
    let pushed = site.peak_memory_mib();
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    let clone = git(folder.path(), &["clone", "-q", &url, "back"]).await;
    assert!(clone.ok, "{}", clone.text);
    let last = format!("part-{}.dat", FILES - 1);
    assert!(std::fs::read(folder.path().join("back").join(last)).expect("the file came back") == noise(FILES - 1));
    let cloned = site.peak_memory_mib();
    println!("memory at most: {before} MiB before, {pushed} after the push, {cloned} after the clone");
    assert!(cloned < before + GROWTH_MIB, "{before} MiB before, {pushed} after the push, {cloned} after the clone");
}
