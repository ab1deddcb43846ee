//! How a container gets the devices of its lease, and what the engine's refusals mean.
//!
//! Three ways, by what is installed beside the engine: its own request for NVIDIA devices, CDI, and
//! plain device nodes. None of them divides a device: a container with a share of one can use all of it.

use std::collections::BTreeMap;

use bollard::models::{DeviceMapping, DeviceRequest, HostConfig};
use spaceport_core::gpu::Attach;
use spaceport_runtime::Grant;

/// What NVIDIA's runtime goes by. Where it is the engine's default runtime, an image that says `all` here
/// (every CUDA image does) or an app's own variable would get every device without any lease.
const NVIDIA_VISIBLE: &str = "NVIDIA_VISIBLE_DEVICES";
/// No device, and no driver either.
const NONE_VISIBLE: &str = "void";
/// Between several values of one variable.
const SEPARATOR: char = ',';

/// What a container with these devices is made with.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Attached {
    requests: Vec<DeviceRequest>,
    nodes: Vec<DeviceMapping>,
    groups: Vec<String>,
    /// Goes over what the app or its image say.
    pub(crate) env: BTreeMap<String, String>,
}

impl Attached {
    /// Of a grant; without one, what keeps a container from having any device.
    pub(crate) fn of(grant: Option<&Grant>) -> Self {
        let mut attached = Self::default();
        let (mut nvidia, mut cdi) = (Vec::new(), Vec::new());
        for device in grant.map(Grant::devices).unwrap_or_default() {
            match &device.attach {
                Attach::Nvidia => nvidia.push(device.id.0.clone()),
                Attach::Cdi { name } => cdi.push(name.clone()),
                Attach::Nodes { paths, groups, env } => attached.add_nodes(paths, groups, env),
            }
        }
        let visible = if nvidia.is_empty() { NONE_VISIBLE.to_owned() } else { nvidia.join(",") };
        attached.env.insert(NVIDIA_VISIBLE.to_owned(), visible);
        if !nvidia.is_empty() {
            // As `docker run --gpus` does: the engine chooses the driver that can do `gpu`.
            let capabilities = Some(vec![vec!["gpu".to_owned()]]);
            let request = DeviceRequest { device_ids: Some(nvidia), capabilities, ..Default::default() };
            attached.requests.push(request);
        }
        if !cdi.is_empty() {
            let driver = Some("cdi".to_owned());
            attached.requests.push(DeviceRequest { driver, device_ids: Some(cdi), ..Default::default() });
        }
        attached
    }

    fn add_nodes(&mut self, paths: &[String], groups: &[u32], env: &BTreeMap<String, String>) {
        for path in paths {
            // Some nodes, such as /dev/kfd, belong to every device of a vendor.
            if self.nodes.iter().any(|node| node.path_on_host.as_ref() == Some(path)) {
                continue;
            }
            self.nodes.push(DeviceMapping {
                path_on_host: Some(path.clone()),
                path_in_container: Some(path.clone()),
                cgroup_permissions: Some("rwm".to_owned()),
            });
        }
        for group in groups.iter().map(ToString::to_string) {
            if !self.groups.contains(&group) {
                self.groups.push(group);
            }
        }
        for (name, value) in env {
            let all = self.env.entry(name.clone()).or_default();
            if !all.split(SEPARATOR).any(|other| other == value) {
                if !all.is_empty() {
                    all.push(SEPARATOR);
                }
                all.push_str(value);
            }
        }
    }

    /// Puts them into the settings of a container.
    pub(crate) fn into_settings(self, settings: &mut HostConfig) {
        let some = |is_there: bool| is_there.then_some(());
        settings.device_requests = some(!self.requests.is_empty()).map(|()| self.requests);
        settings.devices = some(!self.nodes.is_empty()).map(|()| self.nodes);
        settings.group_add = some(!self.groups.is_empty()).map(|()| self.groups);
    }
}

/// What is wrong and what helps, when an engine's message is about devices.
pub(crate) fn failure(message: &str) -> Option<(String, String)> {
    let said = |cause: &str, remedy: &str| Some((cause.to_owned(), remedy.to_owned()));
    if message.contains("could not select device driver \"cdi\"") {
        return said(
            "the container engine does not know CDI devices",
            "Use Docker Engine 28.2 or newer (25 to 28.1: turn on the feature \"cdi\" in daemon.json), or another \
             \"attach\" for the device.",
        );
    }
    if message.contains("could not select device driver") {
        return said(
            "the container engine has no driver for NVIDIA devices",
            "Install NVIDIA's container toolkit on the engine's host and restart dockerd.",
        );
    }
    if let Some((_, names)) = message.split_once("unresolvable CDI devices ") {
        return Some((
            format!("the container engine finds no CDI device {}", names.trim()),
            "Write its specification into /etc/cdi (NVIDIA: nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml) and \
             compare the name with `nvidia-ctk cdi list`."
                .to_owned(),
        ));
    }
    if let Some((_, rest)) = message.split_once("error gathering device information while adding custom device ") {
        let path = rest.split('"').nth(1).unwrap_or(rest);
        return Some((
            format!("the device node {path} is not on the engine's host"),
            "Load the device's driver there, or correct \"paths\" of its [[gpu.device]].".to_owned(),
        ));
    }
    if message.contains("nvidia-container-cli") {
        let words = message.rsplit_once("nvidia-container-cli: ").map_or(message, |(_, words)| words);
        let words = words.lines().next().unwrap_or(words).trim();
        let remedy = if words.contains("unknown device") {
            "Compare the device with `nvidia-smi -L` on the engine's host; slices get new ids when they are made anew."
        } else {
            "Run nvidia-smi on the engine's host; after an update of the driver the host has to be restarted."
        };
        return Some((format!("NVIDIA's container toolkit could not attach the device: {words}"), remedy.to_owned()));
    }
    None
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;
    use spaceport_core::gpu::{DeviceId, Lease, LeasedDevice, NodeName};
    use spaceport_core::{ClaimId, LeaseId, Timestamp};
    use spaceport_runtime::Attachable;

    use super::*;

    fn grant(devices: &[(&str, Attach)]) -> Grant {
        let at = Timestamp::from_millis(1_767_323_045_678);
        let here = NodeName("here".to_owned());
        let id = |name: &str| DeviceId(name.to_owned());
        let lease = Lease {
            id: LeaseId::new(at, 1),
            claim: ClaimId::new(at, 2),
            node: here.clone(),
            devices: devices.iter().map(|(name, _)| LeasedDevice { device: id(name), milli: 1000 }).collect(),
            started_at: at,
            ends_by: None,
        };
        let known = devices
            .iter()
            .map(|(name, attach)| (id(name), Attachable { attach: attach.clone(), memory_bytes: 1 << 30 }));
        Grant::of_lease(&lease, &here, &known.collect()).unwrap()
    }

    /// The part of the request's body, as it is sent.
    fn body(grant: Option<&Grant>) -> serde_json::Value {
        let mut settings = HostConfig::default();
        let attached = Attached::of(grant);
        let env = attached.env.clone();
        attached.into_settings(&mut settings);
        let mut body = serde_json::to_value(settings).unwrap();
        body["Env"] = json!(env);
        body
    }

    #[test]
    fn without_a_lease_no_device_can_be_had() {
        assert_eq!(body(None), json!({"Env": {"NVIDIA_VISIBLE_DEVICES": "void"}}));
        assert_eq!(body(Some(&grant(&[]))), body(None));
    }

    #[test]
    fn nvidia_devices_are_requested_by_their_ids() {
        let grant = grant(&[("GPU-a", Attach::Nvidia), ("MIG-b", Attach::Nvidia)]);
        let expected = json!({
            "DeviceRequests": [{"DeviceIDs": ["GPU-a", "MIG-b"], "Capabilities": [["gpu"]]}],
            "Env": {"NVIDIA_VISIBLE_DEVICES": "GPU-a,MIG-b"},
        });
        assert_eq!(body(Some(&grant)), expected);
    }

    #[test]
    fn cdi_devices_are_requested_by_their_names() {
        let name = "vendor.example/gpu=1".to_owned();
        let expected = json!({
            "DeviceRequests": [{"Driver": "cdi", "DeviceIDs": ["vendor.example/gpu=1"]}],
            "Env": {"NVIDIA_VISIBLE_DEVICES": "void"},
        });
        assert_eq!(body(Some(&grant(&[("gpu-1", Attach::Cdi { name })]))), expected);
    }

    #[test]
    fn nodes_come_once_with_their_groups_and_environment() {
        let nodes = |number: u32| Attach::Nodes {
            paths: vec!["/dev/kfd".to_owned(), format!("/dev/dri/renderD{}", 128 + number)],
            groups: vec![44],
            env: [("VENDOR_DEVICES".to_owned(), number.to_string())].into(),
        };
        let node = |path: &str| json!({"PathOnHost": path, "PathInContainer": path, "CgroupPermissions": "rwm"});
        let expected = json!({
            "Devices": [node("/dev/kfd"), node("/dev/dri/renderD128"), node("/dev/dri/renderD129")],
            "GroupAdd": ["44"],
            "Env": {"NVIDIA_VISIBLE_DEVICES": "void", "VENDOR_DEVICES": "0,1"},
        });
        assert_eq!(body(Some(&grant(&[("a", nodes(0)), ("b", nodes(1))]))), expected);
    }

    #[test]
    fn refusals_name_what_is_missing_and_what_helps() {
        for (message, cause, remedy) in [
            ("could not select device driver \"\" with capabilities: [[gpu]]", "no driver for NVIDIA", "toolkit"),
            ("could not select device driver \"cdi\" with capabilities: []", "does not know CDI", "daemon.json"),
            (
                "CDI device injection failed: unresolvable CDI devices vendor.example/gpu=9",
                "vendor.example/gpu=9",
                "/etc/cdi",
            ),
            (
                "error gathering device information while adding custom device \"/dev/nope\": no such file or directory",
                "node /dev/nope is not",
                "paths",
            ),
            (
                "OCI runtime create failed: runc create failed: error running hook #0: exit status 1, stderr: \
                 nvidia-container-cli: device error: GPU-x: unknown device: unknown",
                "device error: GPU-x: unknown device",
                "nvidia-smi -L",
            ),
            (
                "hook #0: nvidia-container-cli: initialization error: nvml error: driver not loaded\n: unknown",
                "driver not loaded",
                "Run nvidia-smi",
            ),
        ] {
            let (told, helps) = failure(message).unwrap();
            assert!(told.contains(cause), "{told}");
            assert!(helps.contains(remedy), "{helps}");
        }
        assert_eq!(failure("exec: \"nope\": executable file not found in $PATH"), None);
    }
}
