//! The watch over devices: readings in, devices with their health out.
//!
//! A driver forgets: an error code is told once, and a device that fell off the bus is not listed
//! any more. So what was seen is kept until somebody who looked at it says that it is well again.

use std::collections::{BTreeMap, BTreeSet};

use super::reading::is_serious;
use super::{Device, DeviceHealth, DeviceId, Reading};

/// What one source of devices has told so far.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    seen: BTreeMap<DeviceId, Reading>,
    codes: BTreeMap<DeviceId, BTreeSet<u64>>,
    missing: BTreeSet<DeviceId>,
    silent: Option<String>,
}

impl Watch {
    /// Takes all readings of one look. Devices that were there before and are not among them are lost.
    pub fn take(&mut self, readings: Vec<Reading>) {
        self.silent = None;
        self.missing = self.seen.keys().cloned().collect();
        for reading in readings {
            self.missing.remove(&reading.id);
            let codes = self.codes.entry(reading.id.clone()).or_default();
            codes.extend(reading.faults.xids.iter().copied().filter(|xid| is_serious(*xid)));
            self.seen.insert(reading.id.clone(), reading);
        }
    }

    /// The source does not answer, and why. What it told before stands, but nothing new is placed on it.
    pub fn silent(&mut self, why: String) {
        self.silent = Some(why);
    }

    /// Why the source does not answer; `None` while it does.
    #[must_use]
    pub fn silence(&self) -> Option<&str> {
        self.silent.as_deref()
    }

    /// Somebody looked after a device: its past errors are forgotten, and one that is not there any more
    /// is not waited for.
    pub fn forgive(&mut self, device: &DeviceId) {
        self.codes.remove(device);
        if self.missing.remove(device) {
            self.seen.remove(device);
        }
    }

    /// The devices with their health, by their numbers.
    #[must_use]
    pub fn devices(&self) -> Vec<Device> {
        let mut devices: Vec<Device> = self.seen.values().map(|reading| self.device(reading)).collect();
        devices.sort_by(|one, other| (one.index, &one.id).cmp(&(other.index, &other.id)));
        devices
    }

    /// The last reading of each device.
    pub fn readings(&self) -> impl Iterator<Item = &Reading> {
        self.seen.values()
    }

    fn device(&self, reading: &Reading) -> Device {
        let Reading { id, index, model, memory_bytes, slice_of, attach: _, usage: _, faults } = reading;
        let health = if self.missing.contains(id) {
            DeviceHealth::Lost { reason: "the driver does not list it any more".to_owned() }
        } else {
            let mut faults = faults.clone();
            faults.xids = self.codes.get(id).map(|codes| codes.iter().copied().collect()).unwrap_or_default();
            match (faults.judge(), &self.silent) {
                (DeviceHealth::Healthy, Some(why)) => DeviceHealth::Drained { reason: why.clone() },
                (health, _) => health,
            }
        };
        Device {
            id: id.clone(),
            index: *index,
            model: model.clone(),
            memory_bytes: *memory_bytes,
            slice_of: slice_of.clone(),
            health,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{Attach, DeviceUsage, Faults};

    fn reading(id: &str, index: u32) -> Reading {
        Reading {
            id: DeviceId(id.to_owned()),
            index,
            model: "NVIDIA L4".to_owned(),
            memory_bytes: 23_034 << 20,
            slice_of: None,
            attach: Attach::Nvidia,
            usage: DeviceUsage::default(),
            faults: Faults::default(),
        }
    }

    fn health(watch: &Watch, id: &str) -> DeviceHealth {
        let devices = watch.devices();
        devices.iter().find(|device| device.id.0 == id).expect("it is listed").health.clone()
    }

    #[test]
    fn an_error_is_remembered_until_somebody_looked_at_it() {
        let mut watch = Watch::default();
        let mut broken = reading("GPU-a", 0);
        broken.faults.xids = vec![48];
        watch.take(vec![broken]);
        watch.take(vec![reading("GPU-a", 0)]);
        assert!(matches!(health(&watch, "GPU-a"), DeviceHealth::Drained { reason } if reason.contains("XID 48")));
        watch.forgive(&DeviceId("GPU-a".to_owned()));
        assert_eq!(health(&watch, "GPU-a"), DeviceHealth::Healthy);
    }

    #[test]
    fn a_device_that_vanishes_is_lost_and_well_again_when_it_comes_back() {
        let mut watch = Watch::default();
        watch.take(vec![reading("GPU-b", 1), reading("GPU-a", 0)]);
        assert_eq!(watch.devices().iter().map(|device| device.index).collect::<Vec<_>>(), [0, 1]);
        watch.take(vec![reading("GPU-a", 0)]);
        assert!(matches!(health(&watch, "GPU-b"), DeviceHealth::Lost { .. }));
        watch.take(vec![reading("GPU-a", 0), reading("GPU-b", 1)]);
        assert_eq!(health(&watch, "GPU-b"), DeviceHealth::Healthy);
    }

    #[test]
    fn a_slice_that_was_taken_apart_on_purpose_can_be_forgotten() {
        let mut watch = Watch::default();
        watch.take(vec![reading("MIG-a", 0), reading("MIG-b", 0)]);
        watch.take(vec![reading("MIG-a", 0)]);
        watch.forgive(&DeviceId("MIG-b".to_owned()));
        assert_eq!(watch.devices().len(), 1);
    }

    #[test]
    fn a_driver_that_does_not_answer_drains_its_devices_and_loses_none() {
        let mut watch = Watch::default();
        watch.take(vec![reading("GPU-a", 0)]);
        watch.silent("the driver has not answered for 30 s".to_owned());
        let drained = DeviceHealth::Drained { reason: "the driver has not answered for 30 s".to_owned() };
        assert_eq!(health(&watch, "GPU-a"), drained);
        watch.take(vec![reading("GPU-a", 0)]);
        assert_eq!(health(&watch, "GPU-a"), DeviceHealth::Healthy);
    }
}
