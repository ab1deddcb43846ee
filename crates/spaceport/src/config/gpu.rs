//! `[gpu]` and `[[gpu.device]]`: which accelerators there are and how containers get them.

pub(super) mod policy;

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use spaceport_core::gpu::{Attach, DeviceId, NodeName};
use spaceport_devices::ConfiguredDevice;
use toml::{Table, Value};

use super::hardware::{parse, take_unknown};

pub(super) const KEYS: [&str; 4] = ["nvidia", "attach", "node", "device"];
pub(super) const DEVICE_KEYS: [&str; 9] =
    ["id", "model", "memory_gib", "count", "attach", "cdi", "paths", "groups", "env"];
/// Stands for a device's number where `count` makes several of one entry.
const NUMBER: &str = "{n}";
/// Devices of one entry at most.
const MOST: u32 = 64;

/// What the configuration says of accelerators.
#[derive(Debug, Clone)]
pub struct Gpu {
    /// Ask NVIDIA's driver for its devices.
    pub nvidia: bool,
    /// The driver's devices are attached by CDI instead of NVIDIA's own request.
    pub by_cdi: bool,
    /// What this machine is called; default: as its engine says.
    pub node: Option<NodeName>,
    /// Devices that are named here.
    pub devices: Vec<ConfiguredDevice>,
    /// Who gets hardware, and when it is taken back.
    pub policy: spaceport_control::GpuPolicy,
}

impl Default for Gpu {
    fn default() -> Self {
        Self {
            nvidia: true,
            by_cdi: false,
            node: None,
            devices: Vec::new(),
            policy: spaceport_control::GpuPolicy::default(),
        }
    }
}

/// One `[[gpu.device]]`.
#[derive(Debug, Deserialize)]
struct Entry {
    id: String,
    model: String,
    memory_gib: u64,
    count: Option<u32>,
    attach: String,
    cdi: Option<String>,
    #[serde(default)]
    paths: Vec<String>,
    #[serde(default)]
    groups: Vec<u32>,
    #[serde(default)]
    env: BTreeMap<String, String>,
}

/// The section, and what is wrong with it.
pub(super) fn read(table: &Table) -> (Gpu, Vec<String>) {
    let (mut gpu, mut table) = (Gpu::default(), table.clone());
    let (policy, mut problems) = policy::take(&mut table);
    gpu.policy = policy;
    problems.extend(take_unknown(&mut table, &KEYS, "gpu"));
    match table.get("nvidia") {
        None => {}
        Some(Value::Boolean(nvidia)) => gpu.nvidia = *nvidia,
        Some(other) => problems.push(format!("gpu.nvidia is {other}; it must be true or false")),
    }
    match table.get("attach").map(|attach| attach.as_str()) {
        None | Some(Some("nvidia")) => {}
        Some(Some("cdi")) => gpu.by_cdi = true,
        Some(_) => problems.push("gpu.attach must be \"nvidia\" or \"cdi\"".to_owned()),
    }
    match table.get("node").map(|node| node.as_str()) {
        None => {}
        Some(Some(node)) if is_name(node) => gpu.node = Some(NodeName(node.to_owned())),
        Some(_) => problems.push("gpu.node must be a name of letters, digits, -, _ and .".to_owned()),
    }
    match table.get("device") {
        None => {}
        Some(Value::Array(entries)) => {
            for (number, entry) in entries.iter().enumerate() {
                match read_entry(entry, number + 1) {
                    Ok(devices) => gpu.devices.extend(devices),
                    Err(more) => problems.extend(more),
                }
            }
        }
        Some(_) => problems.push("gpu.device is a list; write [[gpu.device]], with two brackets".to_owned()),
    }
    let mut seen = BTreeSet::new();
    for device in &gpu.devices {
        if !seen.insert(&device.id) {
            problems.push(format!(
                "gpu.device: two devices have the id {}; one of them would never be given out",
                device.id
            ));
        }
    }
    (gpu, problems)
}

fn read_entry(entry: &Value, number: usize) -> Result<Vec<ConfiguredDevice>, Vec<String>> {
    let place = format!("gpu.device number {number}");
    let Value::Table(table) = entry else { return Err(vec![format!("{place} is not a table")]) };
    let mut table = table.clone();
    let mut problems = take_unknown(&mut table, &DEVICE_KEYS, &place);
    let entry: Entry = match parse(table, &place) {
        Ok(entry) => entry,
        Err(problem) => {
            problems.push(problem);
            return Err(problems);
        }
    };
    let place = format!("gpu.device {:?}", entry.id);
    problems.extend(check(&entry).into_iter().map(|problem| format!("{place}: {problem}")));
    match attach(&entry) {
        Ok(attach) if problems.is_empty() => Ok(devices(&entry, &attach)),
        Ok(_) => Err(problems),
        Err(problem) => {
            problems.push(format!("{place}: {problem}"));
            Err(problems)
        }
    }
}

fn check(entry: &Entry) -> Vec<String> {
    let mut problems = Vec::new();
    if !is_name(&entry.id.replace(NUMBER, "0")) {
        problems.push("its id must have 1 to 96 letters, digits, -, _, : and .".to_owned());
    }
    if entry.model.trim().is_empty() {
        problems.push("its model is empty; flavors find it by that".to_owned());
    }
    if !(1..=1 << 16).contains(&entry.memory_gib) {
        problems.push(format!("memory_gib is {}; it must be between 1 and 65536", entry.memory_gib));
    }
    if entry.count.is_some_and(|count| !(1..=MOST).contains(&count)) {
        problems.push(format!("count must be between 1 and {MOST}"));
    }
    if entry.count.is_none() && entry.id.contains(NUMBER) {
        problems.push(format!("{NUMBER} is a device's number, and without a count there is none"));
    }
    problems
}

/// How a container gets the devices of an entry, their numbers still open.
fn attach(entry: &Entry) -> Result<Attach, String> {
    let has_nodes = !entry.paths.is_empty() || !entry.groups.is_empty() || !entry.env.is_empty();
    let only = |key: &str, attach: &str| format!("{key} is for attach = {attach:?}, and attach is {:?}", entry.attach);
    match (entry.attach.as_str(), &entry.cdi) {
        ("nvidia" | "cdi", _) if has_nodes => Err(only("one of paths, groups and env", "devices")),
        ("nvidia" | "devices", Some(_)) => Err(only("cdi", "cdi")),
        ("nvidia", None) => Ok(Attach::Nvidia),
        ("cdi", Some(name)) if is_cdi(name) => Ok(Attach::Cdi { name: name.clone() }),
        ("cdi", _) => Err("attach = \"cdi\" needs cdi = \"vendor.example/class=name\"".to_owned()),
        ("devices", None) => nodes(entry),
        _ => Err("attach must be \"nvidia\", \"cdi\" or \"devices\"".to_owned()),
    }
}

fn nodes(entry: &Entry) -> Result<Attach, String> {
    let Entry { paths, groups, env, .. } = entry;
    if paths.is_empty() && env.is_empty() {
        return Err("attach = \"devices\" needs paths, env or both".to_owned());
    }
    let is_node =
        |path: &&String| path.starts_with("/dev/") && !path.split('/').any(|part| part == ".." || part == ".");
    if let Some(path) = paths.iter().find(|path| !is_node(path)) {
        return Err(format!("{path:?} is not a path of a device node below /dev"));
    }
    let is_variable =
        |name: &&String| !name.is_empty() && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
    if let Some(name) = env.keys().find(|name| !is_variable(name)) {
        return Err(format!("{name:?} is not a name of an environment variable"));
    }
    if env.contains_key("NVIDIA_VISIBLE_DEVICES") {
        return Err("NVIDIA_VISIBLE_DEVICES follows from the lease; use attach = \"nvidia\"".to_owned());
    }
    Ok(Attach::Nodes { paths: paths.clone(), groups: groups.clone(), env: env.clone() })
}

fn devices(entry: &Entry, open: &Attach) -> Vec<ConfiguredDevice> {
    let device = |number: Option<u32>| {
        let put = |text: &str| number.map_or_else(|| text.to_owned(), |n| text.replace(NUMBER, &n.to_string()));
        let id = match number {
            Some(number) if !entry.id.contains(NUMBER) => format!("{}-{number}", entry.id),
            _ => put(&entry.id),
        };
        let attach = match open {
            Attach::Nvidia => Attach::Nvidia,
            Attach::Cdi { name } => Attach::Cdi { name: put(name) },
            Attach::Nodes { paths, groups, env } => Attach::Nodes {
                paths: paths.iter().map(|path| put(path)).collect(),
                groups: groups.clone(),
                env: env.iter().map(|(name, value)| (name.clone(), put(value))).collect(),
            },
        };
        ConfiguredDevice { id: DeviceId(id), model: entry.model.clone(), memory_bytes: entry.memory_gib << 30, attach }
    };
    match entry.count {
        None => vec![device(None)],
        Some(count) => (0..count).map(|number| device(Some(number))).collect(),
    }
}

/// <https://github.com/cncf-tags/container-device-interface/blob/main/SPEC.md>: `vendor.example/class=name`.
fn is_cdi(name: &str) -> bool {
    let parts = name.split_once('=').and_then(|(kind, device)| Some((kind.split_once('/')?, device)));
    parts.is_some_and(|((vendor, class), device)| [vendor, class, device].iter().all(|part| !part.is_empty()))
}

fn is_name(name: &str) -> bool {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || "-_.:".contains(letter);
    (1..=96).contains(&name.len()) && name.chars().all(fits)
}

#[cfg(test)]
mod tests;
