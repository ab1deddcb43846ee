//! Devices that the configuration names: for accelerators without a driver we speak to, and for tests.

use std::path::Path;

use spaceport_core::gpu::{Attach, DeviceId, DeviceUsage, Faults, Reading};
use spaceport_runtime::DeviceSource;

/// One device of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfiguredDevice {
    /// Identity.
    pub id: DeviceId,
    /// What people know it by.
    pub model: String,
    /// Its memory in bytes.
    pub memory_bytes: u64,
    /// How a container gets it.
    pub attach: Attach,
}

/// Devices as the configuration says. They are there and well, unless a device node is missing.
#[derive(Debug)]
pub struct ConfiguredDevices {
    devices: Vec<ConfiguredDevice>,
    looks_at_nodes: bool,
}

impl ConfiguredDevices {
    /// These devices. Whether their device nodes are there can be looked at only on the engine's host.
    #[must_use]
    pub const fn new(devices: Vec<ConfiguredDevice>, looks_at_nodes: bool) -> Self {
        Self { devices, looks_at_nodes }
    }

    fn missing_node<'a>(&self, attach: &'a Attach) -> Option<&'a str> {
        match attach {
            Attach::Nodes { paths, .. } if self.looks_at_nodes => {
                paths.iter().map(String::as_str).find(|path| !Path::new(path).exists())
            }
            _ => None,
        }
    }
}

impl DeviceSource for ConfiguredDevices {
    fn name(&self) -> &'static str {
        "the configuration"
    }

    fn read(&mut self) -> Result<Vec<Reading>, String> {
        let readings = self.devices.iter().zip(0..).map(|(device, index)| Reading {
            id: device.id.clone(),
            index,
            model: device.model.clone(),
            memory_bytes: device.memory_bytes,
            slice_of: None,
            attach: device.attach.clone(),
            usage: DeviceUsage::default(),
            faults: Faults {
                lost: self.missing_node(&device.attach).map(|path| format!("the device node {path} is not there")),
                ..Faults::default()
            },
        });
        Ok(readings.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spaceport_core::gpu::DeviceHealth;

    #[test]
    fn a_device_whose_node_is_missing_is_lost_until_it_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let node = folder.path().join("accel0");
        let device = ConfiguredDevice {
            id: DeviceId("accel-0".to_owned()),
            model: "Accelerator".to_owned(),
            memory_bytes: 1 << 30,
            attach: Attach::Nodes {
                paths: vec![node.to_string_lossy().into_owned()],
                groups: Vec::new(),
                env: Default::default(),
            },
        };
        let mut source = ConfiguredDevices::new(vec![device.clone()], true);
        let health = |source: &mut ConfiguredDevices| source.read().unwrap()[0].faults.judge();
        assert!(matches!(health(&mut source), DeviceHealth::Lost { reason } if reason.contains("accel0")));
        // An engine elsewhere has other files.
        assert_eq!(health(&mut ConfiguredDevices::new(vec![device], false)), DeviceHealth::Healthy);
        std::fs::write(&node, "").unwrap();
        assert_eq!(health(&mut source), DeviceHealth::Healthy);
    }
}
