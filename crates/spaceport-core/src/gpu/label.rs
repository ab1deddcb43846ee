//! How the accelerators of a flavor are told to people.

use super::device::WHOLE_MILLI;
use super::need::sold_gib;
use super::{Device, GpuNeed, Node};

/// What somebody who chooses hardware wants to know of its accelerators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// `T4`, or the names of the devices there are.
    pub model: String,
    /// How many.
    pub count: u32,
    /// Memory of all of them together, in GiB as cards are sold; of a share, what goes with it.
    pub memory_gib: u64,
    /// `Nvidia`.
    pub manufacturer: &'static str,
    /// Thousandths of the one device it is a share of.
    pub share_milli: Option<u32>,
}

impl Label {
    /// For a need on these machines. Of several kinds of devices that will do, the smallest counts.
    #[must_use]
    pub fn of(need: &GpuNeed, nodes: &[Node]) -> Self {
        let fitting: Vec<&Device> =
            nodes.iter().flat_map(|node| &node.devices).filter(|device| need.accepts(device)).collect();
        let smallest = fitting.iter().map(|device| device.memory_bytes).min();
        let whole_gib = smallest.map_or(need.min_memory_gib, sold_gib);
        let share_milli = smallest.map(|bytes| need.milli(bytes)).or(need.share_milli).filter(|_| need.is_shared());
        let part_gib = |milli: u32| (whole_gib * u64::from(milli)).div_ceil(WHOLE_MILLI.into());
        let one_gib = need.share_memory_gib.or(share_milli.map(part_gib)).unwrap_or(whole_gib);
        Self {
            model: model(need, &fitting),
            count: need.count,
            memory_gib: one_gib * u64::from(need.count),
            manufacturer: manufacturer(fitting.first().map_or("", |device| &device.model), &need.models),
            share_milli,
        }
    }
}

/// The words that were asked for and are there; those of the devices when none were asked for.
fn model(need: &GpuNeed, fitting: &[&Device]) -> String {
    let is_there = |model: &&String| {
        let alone = GpuNeed { models: vec![(*model).clone()], ..need.clone() };
        fitting.iter().any(|device| alone.accepts(device))
    };
    let mut names: Vec<&str> = need.models.iter().filter(is_there).map(String::as_str).collect();
    if need.models.is_empty() {
        names = fitting.iter().map(|device| device.model.as_str()).collect();
        names.sort_unstable();
        names.dedup();
    } else if names.is_empty() {
        names = need.models.iter().map(String::as_str).collect();
    }
    if names.is_empty() { "any".to_owned() } else { names.join(" or ") }
}

fn manufacturer(device: &str, asked: &[String]) -> &'static str {
    let name = format!("{device} {}", asked.join(" ")).to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    if has(&["nvidia", "tesla", "geforce", "quadro", "mig "]) {
        "Nvidia"
    } else if has(&["amd", "instinct", "radeon"]) {
        "AMD"
    } else if has(&["intel", "gaudi", "habana"]) {
        "Intel"
    } else {
        "unknown"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{DeviceHealth, DeviceId, NodeName};

    fn site(devices: &[(&str, u64)]) -> Node {
        let device = |(index, (model, mib)): (usize, &(&str, u64))| Device {
            id: DeviceId(index.to_string()),
            index: 0,
            model: (*model).to_owned(),
            memory_bytes: mib << 20,
            slice_of: None,
            health: DeviceHealth::Healthy,
        };
        Node {
            name: NodeName("here".to_owned()),
            cpu_millicores: 1,
            memory_bytes: 1,
            devices: devices.iter().enumerate().map(device).collect(),
            cordoned: false,
        }
    }

    fn label(need: &GpuNeed, devices: &[(&str, u64)]) -> (String, u32, u64, &'static str, Option<u32>) {
        let Label { model, count, memory_gib, manufacturer, share_milli } = Label::of(need, &[site(devices)]);
        (model, count, memory_gib, manufacturer, share_milli)
    }

    #[test]
    fn people_read_what_they_know_from_the_card() {
        let four = GpuNeed { count: 4, models: vec!["L4".to_owned()], min_memory_gib: 24, ..GpuNeed::default() };
        assert_eq!(label(&four, &[("NVIDIA L4", 23_034)]), ("L4".to_owned(), 4, 96, "Nvidia", None));
        let a10 = GpuNeed { models: vec!["A10G".to_owned(), "A10".to_owned()], ..GpuNeed::default() };
        assert_eq!(label(&a10, &[("NVIDIA A10", 23_028)]), ("A10".to_owned(), 1, 24, "Nvidia", None));
        let any = GpuNeed::default();
        assert_eq!(
            label(&any, &[("AMD Instinct MI210", 65_520)]),
            ("AMD Instinct MI210".to_owned(), 1, 64, "AMD", None)
        );
        assert_eq!(label(&any, &[]), ("any".to_owned(), 1, 0, "unknown", None));
    }

    #[test]
    fn a_share_is_told_by_its_memory() {
        let half = GpuNeed { share_milli: Some(500), ..GpuNeed::default() };
        assert_eq!(label(&half, &[("NVIDIA L4", 23_034)]), ("NVIDIA L4".to_owned(), 1, 12, "Nvidia", Some(500)));
        let ten = GpuNeed { share_memory_gib: Some(10), ..GpuNeed::default() };
        let (_, _, memory, _, share) = label(&ten, &[("NVIDIA A100-SXM4-80GB", 81_920)]);
        assert_eq!((memory, share), (10, Some(125)));
    }
}
