//! Which flavors a site has, and which of them it offers.

use std::collections::{BTreeMap, BTreeSet};

use super::{FlavorName, HardwareFlavor, presets};
use crate::gpu::{Node, Unfulfillable};

/// All flavors a Space can have: the Hub's, and the site's own beside and over them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalog {
    presets: Vec<(FlavorName, HardwareFlavor)>,
    own: BTreeMap<FlavorName, HardwareFlavor>,
    hidden: BTreeSet<FlavorName>,
}

impl Default for Catalog {
    /// The Hub's alone.
    fn default() -> Self {
        Self::new(BTreeMap::new(), BTreeSet::new())
    }
}

impl Catalog {
    /// The Hub's with the site's own. What is hidden is not offered; a Space that has it keeps it.
    #[must_use]
    pub fn new(own: BTreeMap<FlavorName, HardwareFlavor>, hidden: BTreeSet<FlavorName>) -> Self {
        Self { presets: presets::presets().collect(), own, hidden }
    }

    /// A flavor, offered or not: what a Space has got it keeps, also while no device is there.
    #[must_use]
    pub fn get(&self, name: &FlavorName) -> Option<&HardwareFlavor> {
        let preset = || self.presets.iter().find(|(preset, _)| preset == name).map(|(_, flavor)| flavor);
        self.own.get(name).or_else(preset)
    }

    /// What can be asked for, in the order people are shown it: the Hub's, then the site's own.
    ///
    /// One of the Hub's with devices is offered when a machine could fulfil it; the site's own always, since
    /// somebody wrote them down.
    pub fn offered<'a>(&'a self, nodes: &'a [Node]) -> impl Iterator<Item = (&'a FlavorName, &'a HardwareFlavor)> {
        let presets = self.presets.iter().filter_map(move |(name, preset)| match self.own.get(name) {
            Some(own) => Some((name, own)),
            None => preset.shape(nodes).is_ok().then_some((name, preset)),
        });
        let others = self.own.iter().filter(|(name, _)| self.presets.iter().all(|(preset, _)| preset != *name));
        presets.chain(others).filter(|(name, _)| !self.hidden.contains(name))
    }

    /// Whether it can be asked for.
    #[must_use]
    pub fn is_offered(&self, name: &FlavorName, nodes: &[Node]) -> bool {
        self.offered(nodes).any(|(offered, _)| offered == name)
    }

    /// The site's own flavors that no machine can ever fulfil, and why.
    #[must_use]
    pub fn unfulfillable(&self, nodes: &[Node]) -> Vec<(FlavorName, Unfulfillable)> {
        let why =
            |(name, flavor): (&FlavorName, &HardwareFlavor)| flavor.shape(nodes).err().map(|why| (name.clone(), why));
        self.own.iter().filter_map(why).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{Device, DeviceHealth, DeviceId, GpuNeed, NodeName};

    fn machine(model: &str, mib: u64, count: u32) -> Node {
        let device = |index| Device {
            id: DeviceId(format!("GPU-{index}")),
            index,
            model: model.to_owned(),
            memory_bytes: mib << 20,
            slice_of: None,
            health: DeviceHealth::Healthy,
        };
        Node {
            name: NodeName("here".to_owned()),
            cpu_millicores: 192_000,
            memory_bytes: 2 << 40,
            devices: (0..count).map(device).collect(),
            cordoned: false,
        }
    }

    fn offered(catalog: &Catalog, nodes: &[Node]) -> Vec<String> {
        catalog.offered(nodes).map(|(name, _)| name.0.clone()).collect()
    }

    fn own(name: &str, gpu: Option<GpuNeed>) -> (FlavorName, HardwareFlavor) {
        let basic = Catalog::default().get(&FlavorName::cpu_basic()).unwrap().clone();
        (FlavorName(name.to_owned()), HardwareFlavor { gpu, ..basic })
    }

    #[test]
    fn presets_are_offered_where_the_devices_are() {
        let catalog = Catalog::default();
        assert_eq!(offered(&catalog, &[machine("", 0, 0)]), ["cpu-basic", "cpu-upgrade"]);
        assert_eq!(offered(&catalog, &[]), ["cpu-basic", "cpu-upgrade"]);
        let t4 = machine("Tesla T4", 15_360, 1);
        assert_eq!(offered(&catalog, &[t4]), ["cpu-basic", "cpu-upgrade", "t4-small", "t4-medium"]);
        let a100 = machine("NVIDIA A100-SXM4-80GB", 81_920, 4);
        assert_eq!(offered(&catalog, &[a100]), ["cpu-basic", "cpu-upgrade", "a100-large", "a100x4"]);
        let small = machine("NVIDIA A100-PCIE-40GB", 40_960, 8);
        assert_eq!(offered(&catalog, &[small]), ["cpu-basic", "cpu-upgrade"]);
    }

    #[test]
    fn a_device_that_is_out_of_order_is_still_hardware_of_the_site() {
        let mut broken = machine("NVIDIA L4", 23_034, 1);
        broken.devices[0].health = DeviceHealth::Lost { reason: "gone".to_owned() };
        assert!(Catalog::default().is_offered(&FlavorName("l4x1".to_owned()), &[broken]));
    }

    #[test]
    fn the_sites_own_are_beside_and_over_the_hubs() {
        let (mine, mut basic) =
            (own("lab-half", Some(GpuNeed { share_milli: Some(500), ..GpuNeed::default() })), own("cpu-basic", None));
        basic.1.memory_bytes = 4 << 30;
        let catalog = Catalog::new([mine, basic].into(), [FlavorName("cpu-upgrade".to_owned())].into());
        assert_eq!(offered(&catalog, &[]), ["cpu-basic", "lab-half"]);
        assert_eq!(catalog.get(&FlavorName::cpu_basic()).map(|flavor| flavor.memory_bytes), Some(4 << 30));
        assert!(catalog.get(&FlavorName("cpu-upgrade".to_owned())).is_some(), "a Space that has it keeps it");
        let warnings = catalog.unfulfillable(&[]);
        assert_eq!(warnings, [(FlavorName("lab-half".to_owned()), Unfulfillable::NoDevices)]);
    }

    #[test]
    fn no_preset_contradicts_itself() {
        for (name, flavor) in presets::presets() {
            assert_eq!(flavor.problems(), Vec::<String>::new(), "{name}");
        }
    }
}
