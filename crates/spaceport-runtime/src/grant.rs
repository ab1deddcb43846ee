//! The proof that a container may have devices.
//!
//! A [`Grant`] is made of a lease and of nothing else, so no container can be started with a device that
//! was not given out. It is kept in the container's labels, so that leases and containers find each other
//! again after a restart.

use std::collections::BTreeMap;

use spaceport_core::LeaseId;
use spaceport_core::gpu::{Attach, DeviceId, Lease, LeasedDevice, NodeName};

/// What the node knows of a device that a container can get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachable {
    /// How the engine is asked for it.
    pub attach: Attach,
    /// Its memory in bytes.
    pub memory_bytes: u64,
}

/// One device of a grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantedDevice {
    /// Which.
    pub id: DeviceId,
    /// How much of it, in thousandths.
    pub milli: u32,
    /// How the engine is asked for it.
    pub attach: Attach,
    /// The part of its memory that goes with it, in bytes. Nothing enforces it.
    pub memory_bytes: u64,
}

/// Devices that a lease gives to a container; none for a lease of CPU and memory alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    lease: LeaseId,
    devices: Vec<GrantedDevice>,
}

/// Why a lease cannot be turned into devices here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// It is for another machine.
    #[error("the lease is for the machine {wanted}, and this is {here}")]
    OtherNode {
        /// Where it is for.
        wanted: NodeName,
        /// Where it was asked for.
        here: NodeName,
    },
    /// The device is not there (any more).
    #[error("the device {0} of the lease is not on this machine")]
    UnknownDevice(DeviceId),
}

impl Grant {
    /// Turns a lease into devices of this node.
    ///
    /// # Errors
    /// When the lease is for another node, or names a device this one has not.
    pub fn of_lease(
        lease: &Lease,
        here: &NodeName,
        known: &BTreeMap<DeviceId, Attachable>,
    ) -> Result<Self, GrantError> {
        if &lease.node != here {
            return Err(GrantError::OtherNode { wanted: lease.node.clone(), here: here.clone() });
        }
        let device = |LeasedDevice { device: id, milli }: &LeasedDevice| {
            let Attachable { attach, memory_bytes } =
                known.get(id).cloned().ok_or_else(|| GrantError::UnknownDevice(id.clone()))?;
            let memory_bytes = memory_bytes / 1000 * u64::from(*milli);
            Ok(GrantedDevice { id: id.clone(), milli: *milli, attach, memory_bytes })
        };
        let devices = lease.devices.iter().map(device).collect::<Result<_, _>>()?;
        Ok(Self { lease: lease.id, devices })
    }

    /// The lease it was made of.
    #[must_use]
    pub const fn lease(&self) -> LeaseId {
        self.lease
    }

    /// The devices.
    #[must_use]
    pub fn devices(&self) -> &[GrantedDevice] {
        &self.devices
    }

    /// What a container with it holds.
    #[must_use]
    pub fn held(&self) -> HeldLease {
        let device = |device: &GrantedDevice| LeasedDevice { device: device.id.clone(), milli: device.milli };
        HeldLease { lease: self.lease, devices: self.devices.iter().map(device).collect() }
    }
}

/// The lease a container was started with, from its labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldLease {
    /// The lease.
    pub lease: LeaseId,
    /// Its devices.
    pub devices: Vec<LeasedDevice>,
}

impl HeldLease {
    /// The devices as one label: `GPU-1=1000,GPU-2=1000`.
    #[must_use]
    pub fn devices_label(&self) -> String {
        let device = |device: &LeasedDevice| format!("{}={}", device.device, device.milli);
        self.devices.iter().map(device).collect::<Vec<_>>().join(",")
    }

    /// From the two labels; `None` when they are not ours.
    #[must_use]
    pub fn from_labels(lease: &str, devices: &str) -> Option<Self> {
        let device = |text: &str| {
            let (id, milli) = text.rsplit_once('=')?;
            Some(LeasedDevice { device: DeviceId(id.to_owned()), milli: milli.parse().ok()? })
        };
        let devices = devices.split(',').filter(|text| !text.is_empty()).map(device).collect::<Option<_>>()?;
        Some(Self { lease: lease.parse().ok()?, devices })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spaceport_core::{ClaimId, Timestamp};

    fn lease(node: &str, devices: &[(&str, u32)]) -> Lease {
        let at = Timestamp::from_millis(1_767_323_045_678);
        Lease {
            id: LeaseId::new(at, 1),
            claim: ClaimId::new(at, 2),
            node: NodeName(node.to_owned()),
            devices: devices
                .iter()
                .map(|(id, milli)| LeasedDevice { device: DeviceId((*id).to_owned()), milli: *milli })
                .collect(),
            started_at: at,
            ends_by: None,
        }
    }

    fn known() -> BTreeMap<DeviceId, Attachable> {
        let device = Attachable { attach: Attach::Nvidia, memory_bytes: 24_000 };
        [(DeviceId("GPU-a".to_owned()), device.clone()), (DeviceId("GPU-b".to_owned()), device)].into()
    }

    #[test]
    fn a_lease_becomes_the_devices_it_names_and_no_others() {
        let here = NodeName("here".to_owned());
        let grant = Grant::of_lease(&lease("here", &[("GPU-b", 250)]), &here, &known()).unwrap();
        let [device] = grant.devices() else { panic!("{grant:?}") };
        assert_eq!((device.id.0.as_str(), device.milli, device.memory_bytes), ("GPU-b", 250, 6000));
        let other = Grant::of_lease(&lease("there", &[]), &here, &known()).unwrap_err();
        assert_eq!(other.to_string(), "the lease is for the machine there, and this is here");
        let gone = Grant::of_lease(&lease("here", &[("GPU-c", 1000)]), &here, &known()).unwrap_err();
        assert_eq!(gone, GrantError::UnknownDevice(DeviceId("GPU-c".to_owned())));
    }

    #[test]
    fn what_a_container_holds_is_read_back_from_its_labels() {
        let here = NodeName("here".to_owned());
        for devices in [&[][..], &[("GPU-a", 1000)], &[("GPU-a", 1000), ("GPU-b", 1000)]] {
            let held = Grant::of_lease(&lease("here", devices), &here, &known()).unwrap().held();
            assert_eq!(HeldLease::from_labels(&held.lease.to_string(), &held.devices_label()), Some(held));
        }
        assert_eq!(HeldLease::from_labels("nonsense", ""), None);
        assert_eq!(HeldLease::from_labels(&lease("here", &[]).id.to_string(), "GPU-a=much"), None);
    }
}
