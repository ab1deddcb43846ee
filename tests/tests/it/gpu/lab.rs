//! A site with devices, and teams that want them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use futures::StreamExt;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use spaceport_e2e::{Runtime, Site, Space, until};

use crate::apps::says;

/// What a borrower has left after it was told, in milliseconds; without the time for requests in flight.
const GRACE_MS: u64 = 9000;
/// Builds and starts of a whole team end within so many seconds.
const LONG_S: u64 = 120;
/// Pushes at the same time.
const AT_ONCE: usize = 3;

/// A site with devices.
pub struct Lab {
    /// The site.
    pub site: Site,
    nodes: Vec<Node>,
}

/// A Space without its site, so that the site can be killed.
#[derive(Debug, Clone)]
pub struct Known {
    pub id: String,
    host: String,
}

/// A device node that gives zeros.
struct Node(PathBuf);

impl Node {
    /// `None`, with the reason printed, where none can be made.
    fn make(path: PathBuf) -> Option<Self> {
        let made = Command::new("mknod").args(["-m", "666"]).arg(&path).args(["c", "1", "5"]).output();
        if made.as_ref().is_ok_and(|made| made.status.success()) {
            return Some(Self(path));
        }
        println!("SKIPPED: no device node can be made here ({made:?})");
        None
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Lab {
    /// A site with so many devices; `None`, after saying why, where there is nothing to test with.
    pub async fn start(devices: usize) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let prefix = format!("sp-e2e-{}-{}-", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = |number: usize| PathBuf::from(format!("/dev/{prefix}{number}"));
        let nodes: Vec<Node> = (0..devices).map_while(|number| Node::make(path(number))).collect();
        if nodes.len() < devices {
            return None;
        }
        let settings = format!(
            r#"
            drain_s = 1
            [gpu]
            nvidia = false
            [gpu.scheduler]
            grace_ms = {GRACE_MS}
            [[gpu.device]]
            id = "card-{{n}}"
            count = {devices}
            model = "Stand-in"
            memory_gib = 16
            attach = "devices"
            paths = ["/dev/{prefix}{{n}}"]
            env = {{ CARD = "card-{{n}}" }}
            [hardware.card]
            pretty_name = "One card"
            cpu_millicores = 100
            memory_bytes = 134217728
            gpu = {{ models = ["Stand-in"] }}
            [gpu.idle]
            warning_minutes = 0.1
            flavors = {{ brief = 0.1 }}
            [hardware.brief]
            pretty_name = "One card while it is used"
            cpu_millicores = 100
            memory_bytes = 134217728
            gpu = {{ models = ["Stand-in"] }}
            "#
        );
        let site = Site::start_with(&settings).await?;
        Some(Self { site, nodes })
    }

    /// A team with an account of its own.
    pub async fn team(&self, name: &str) {
        self.site.ask(Method::POST, "/api/organizations", Some(&json!({"name": name}))).await;
    }

    /// So many Spaces of a team that want a card each, pushed.
    pub async fn spaces(&self, team: &str, count: usize) -> Vec<Known> {
        self.spaces_from(team, 0, count).await
    }

    /// The same, numbered from `first`.
    pub async fn spaces_from(&self, team: &str, first: usize, count: usize) -> Vec<Known> {
        let made = futures::stream::iter((first..first + count).map(|number| self.space(team, number, "card")));
        made.buffered(AT_ONCE).collect().await
    }

    /// A Space of a team that wants some hardware, pushed.
    pub async fn space(&self, team: &str, number: usize, hardware: &str) -> Known {
        // Images are found by a tag that has the Space's name, so names differ between sites.
        let name = format!("app{number}-{}", self.site.docker.installation);
        let body = json!({"name": name, "organization": team, "type": "space", "sdk": "docker", "hardware": hardware});
        self.site.ask(Method::POST, "/api/repos/create", Some(&body)).await;
        let space = Space::of(&self.site, format!("{team}/{name}")).await;
        space.push(&says(&self.site.base_image, &name)).await;
        Known { id: space.id, host: space.host }
    }

    pub fn at(&self, known: &Known) -> Space<'_> {
        Space { site: &self.site, id: known.id.clone(), host: known.host.clone() }
    }

    /// How each of these runs.
    pub async fn look(&self, spaces: &[Known]) -> Vec<Runtime> {
        let mut seen = Vec::with_capacity(spaces.len());
        for known in spaces {
            seen.push(self.at(known).runtime().await);
        }
        seen
    }

    /// Waits until so many of them are in each stage.
    pub async fn wait_stages(&self, what: &str, spaces: &[Known], stages: &[(&str, usize)]) -> Vec<Runtime> {
        let wanted: BTreeMap<String, usize> =
            stages.iter().map(|(stage, count)| ((*stage).to_owned(), *count)).collect();
        until(what, LONG_S, async || {
            let seen = self.look(spaces).await;
            let mut found: BTreeMap<String, usize> = BTreeMap::new();
            for runtime in &seen {
                *found.entry(runtime.stage.clone()).or_default() += 1;
            }
            let why = || seen.iter().map(|one| format!("{}: {}", one.stage, one.message)).collect::<Vec<_>>();
            if found == wanted { Ok(seen) } else { Err(format!("{found:?} {:?}", why())) }
        })
        .await
    }

    /// Those of them that run.
    pub async fn running(&self, spaces: &[Known]) -> Vec<Known> {
        let seen = self.look(spaces).await;
        spaces.iter().zip(seen).filter(|(_, runtime)| runtime.stage == "RUNNING").map(|(one, _)| one.clone()).collect()
    }

    /// What somebody with the engine sees: the devices of each running app. No device is there twice.
    pub fn cards_in_use(&self) -> BTreeSet<String> {
        let docker = &self.site.docker;
        let mut cards = BTreeSet::new();
        for app in docker.running_apps() {
            let label = r#"{{index .Config.Labels "spaceport.devices"}}"#;
            // It may have gone meanwhile.
            let Ok(devices) = docker.run(&["inspect", "--format", label, &app]) else { continue };
            for device in devices.split(',').filter_map(|device| Some(device.split_once('=')?.0)) {
                assert!(cards.insert(device.to_owned()), "{device} is in two containers");
            }
        }
        cards
    }

    /// Waits until so many devices are in containers.
    pub async fn wait_cards(&self, count: usize) -> BTreeSet<String> {
        until("the devices in use", 60, async || {
            let cards = self.cards_in_use();
            if cards.len() == count { Ok(cards) } else { Err(format!("{cards:?}")) }
        })
        .await
    }

    /// What an app says of its environment and sees of devices.
    pub async fn card_of(&self, known: &Known) -> String {
        let (status, body) = self.at(known).get("/env").await;
        assert_eq!(status, StatusCode::OK, "{body}");
        let env: Value = serde_json::from_str(&body).expect("the app tells its environment");
        assert_eq!(env["ACCELERATOR"], "card");
        env["CARD"].as_str().expect("the variable of a device").to_owned()
    }

    pub async fn pause(&self, known: &Known) {
        self.site.ask(Method::POST, &format!("/api/spaces/{}/pause", known.id), None).await;
    }

    /// Who has which device, as the command line lists them.
    pub fn holders(&self) -> BTreeMap<String, String> {
        let list = self.site.cli(&["gpu", "list"]);
        let devices = list["devices"].as_array().expect("devices").iter();
        let holder = |device: &Value| {
            let space = device["holders"][0]["space"].as_str()?;
            Some((device["id"].as_str()?.to_owned(), space.to_owned()))
        };
        devices.filter_map(holder).collect()
    }

    /// Thousandths of a device times milliseconds, by what is asked; and the sum the report says.
    pub fn charged(&self, by: &str) -> (BTreeMap<String, i64>, i64) {
        let report = self.site.cli(&["usage", "report", "--by", by]);
        let charged = |row: &Value| row["chargedMilliDeviceMs"].as_str().and_then(|text| text.parse().ok());
        let rows = report["rows"].as_array().expect("rows").iter();
        let row = |row: &Value| Some((row["key"].as_str()?.to_owned(), charged(row)?));
        (rows.filter_map(row).collect(), charged(&report["total"]).expect("a sum"))
    }

    /// A time from now, as reservations take it.
    pub fn in_seconds(&self, seconds: u32) -> String {
        let from_now = format!("+{seconds} seconds");
        let date = Command::new("date").args(["-u", "-d", &from_now, "+%Y-%m-%dT%H:%M:%SZ"]).output().expect("date");
        String::from_utf8_lossy(&date.stdout).trim().to_owned()
    }

    /// A device is pulled out.
    pub fn pull_out(&self, number: usize) {
        std::fs::remove_file(&self.nodes[number].0).expect("the node is removed");
    }

    /// It is put in again.
    pub fn put_in(&self, number: usize) {
        // Its owner removes it in the end.
        std::mem::forget(Node::make(self.nodes[number].0.clone()).expect("it could be made before"));
    }
}
