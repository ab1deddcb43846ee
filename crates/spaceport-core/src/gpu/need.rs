//! What a flavor wants of a site's devices, and which claim that makes.

use serde::{Deserialize, Serialize};

use super::device::WHOLE_MILLI;
use super::{Device, Node, Shape};

/// Devices one flavor may ask for at most.
const MOST: u32 = 64;
const GIB: u64 = 1 << 30;
/// Sizes cards are sold with, in GiB.
const SOLD_GIB: [u64; 22] = [4, 6, 8, 10, 11, 12, 16, 20, 24, 32, 40, 48, 64, 80, 94, 96, 128, 141, 144, 180, 192, 288];

/// The accelerators of a flavor: `gpu = { models = ["A100"], count = 2 }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GpuNeed {
    /// How many, all on one machine.
    pub count: u32,
    /// Models that will do; empty: any whole device. Words of the driver's name in their order, upper or
    /// lower case: `A100` is `NVIDIA A100-SXM4-80GB`, and `L4` is not `NVIDIA L40S`. A slice is only meant
    /// where `MIG` is among the words: `MIG 1g.10gb`, `A100 MIG 3g.40gb`.
    pub models: Vec<String>,
    /// Each has at least so much memory, in GiB as cards are sold: drivers report up to a tenth less.
    pub min_memory_gib: u64,
    /// Only so many thousandths of one device, shared with others.
    pub share_milli: Option<u32>,
    /// Only so much of one device's memory, in GiB, shared with others.
    pub share_memory_gib: Option<u64>,
}

impl Default for GpuNeed {
    fn default() -> Self {
        Self { count: 1, models: Vec::new(), min_memory_gib: 0, share_milli: None, share_memory_gib: None }
    }
}

/// Why no machine of the site can ever do what a flavor says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfulfillable {
    /// There are no devices at all.
    #[error("this site has no accelerators")]
    NoDevices,
    /// None of the right model.
    #[error("no device is a {wanted}; there are {there}")]
    Model {
        /// What will do.
        wanted: String,
        /// What there is.
        there: String,
    },
    /// None with the memory.
    #[error("no such device has {wanted_gib} GiB of memory; the largest has {largest_gib}")]
    Memory {
        /// What is asked for.
        wanted_gib: u64,
        /// What there is, as sold.
        largest_gib: u64,
    },
    /// Not so many on one machine.
    #[error("{wanted} such devices are asked for, and no machine has more than {most}")]
    Count {
        /// What is asked for.
        wanted: u32,
        /// What there is.
        most: usize,
    },
    /// No machine with enough of the rest.
    #[error(
        "{millicores} thousandths of a core and {memory_mib} MiB of memory are asked for beside the devices, and no \
         machine with such devices gives out so much"
    )]
    Machine {
        /// CPU.
        millicores: u64,
        /// Memory.
        memory_mib: u64,
    },
}

impl GpuNeed {
    /// What contradicts itself, without looking at any device; one sentence each.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !(1..=MOST).contains(&self.count) {
            problems.push(format!("gpu.count is {}; it must be between 1 and {MOST}", self.count));
        }
        if self.models.iter().any(|model| words(model).is_empty()) {
            problems.push("gpu.models has an entry without a name; leave the list empty for any model".to_owned());
        }
        if self.min_memory_gib > 1 << 16 {
            problems.push(format!("gpu.min_memory_gib is {}; no device has so much", self.min_memory_gib));
        }
        if self.share_milli.is_some() && self.share_memory_gib.is_some() {
            problems.push("gpu.share_milli and gpu.share_memory_gib say the same in two ways; keep one".to_owned());
        }
        if self.is_shared() && self.count > 1 {
            problems.push(format!("a share is of one device, and gpu.count is {}", self.count));
        }
        if let Some(milli) = self.share_milli
            && !(1..=WHOLE_MILLI).contains(&milli)
        {
            problems.push(format!("gpu.share_milli is {milli}; it must be between 1 and {WHOLE_MILLI}"));
        }
        if let Some(gib) = self.share_memory_gib
            && !(1..=1 << 16).contains(&gib)
        {
            problems.push(format!("gpu.share_memory_gib is {gib}; it must be between 1 and 65536"));
        }
        problems
    }

    /// Whether it takes a part of a device and leaves the rest to others.
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        self.share_milli.is_some() || self.share_memory_gib.is_some()
    }

    /// Whether a device will do.
    #[must_use]
    pub fn accepts(&self, device: &Device) -> bool {
        self.is_model(device) && device.memory_bytes >= as_reported(self.least_gib())
    }

    /// The claim this makes, beside so much CPU and memory of the machine. Devices that are drained or lost
    /// count as well: a claim waits for them.
    ///
    /// # Errors
    /// When no machine can ever fulfil it.
    pub fn shape(&self, cpu_millicores: u64, memory_bytes: u64, nodes: &[Node]) -> Result<Shape, Unfulfillable> {
        let all = || nodes.iter().flat_map(|node| &node.devices);
        if all().next().is_none() {
            return Err(Unfulfillable::NoDevices);
        }
        if !all().any(|device| self.is_model(device)) {
            let mut there: Vec<&str> = all().map(|device| device.model.as_str()).collect();
            there.sort_unstable();
            there.dedup();
            let wanted = if self.models.is_empty() { "whole device".to_owned() } else { self.models.join(" or ") };
            return Err(Unfulfillable::Model { wanted, there: there.join(", ") });
        }
        let fitting: Vec<&Device> = all().filter(|device| self.accepts(device)).collect();
        let Some(smallest) = fitting.iter().map(|device| device.memory_bytes).min() else {
            let largest = all().filter(|device| self.is_model(device)).map(|device| device.memory_bytes).max();
            let largest_gib = sold_gib(largest.unwrap_or_default());
            return Err(Unfulfillable::Memory { wanted_gib: self.least_gib(), largest_gib });
        };
        let count = |node: &Node| node.devices.iter().filter(|device| self.accepts(device)).count();
        let wanted = usize::try_from(self.count).unwrap_or(usize::MAX);
        let most = nodes.iter().map(count).max().unwrap_or_default();
        if most < wanted {
            return Err(Unfulfillable::Count { wanted: self.count, most });
        }
        let gives = |node: &&Node| node.cpu_millicores >= cpu_millicores && node.memory_bytes >= memory_bytes;
        if !nodes.iter().filter(|node| count(node) >= wanted).any(|node| gives(&node)) {
            let memory_mib = memory_bytes >> 20;
            return Err(Unfulfillable::Machine { millicores: cpu_millicores, memory_mib });
        }
        let mut models: Vec<String> = fitting.iter().map(|device| device.model.clone()).collect();
        models.sort_unstable();
        models.dedup();
        Ok(Shape {
            cpu_millicores,
            memory_bytes,
            devices: self.count,
            milli: self.milli(smallest),
            models,
            min_device_memory_bytes: as_reported(self.least_gib()),
        })
    }

    /// Thousandths of a device. A share of memory is worked out for the smallest device that will do, so
    /// that it is enough on every one.
    pub(super) fn milli(&self, smallest_bytes: u64) -> u32 {
        let of_memory = |gib: u64| {
            let milli =
                (u128::from(gib) * u128::from(GIB) * u128::from(WHOLE_MILLI)).div_ceil(smallest_bytes.max(1).into());
            u32::try_from(milli).unwrap_or(WHOLE_MILLI).clamp(1, WHOLE_MILLI)
        };
        self.share_milli.or(self.share_memory_gib.map(of_memory)).unwrap_or(WHOLE_MILLI)
    }

    /// Memory a device needs, in GiB as sold.
    fn least_gib(&self) -> u64 {
        self.min_memory_gib.max(self.share_memory_gib.unwrap_or_default())
    }

    fn is_model(&self, device: &Device) -> bool {
        let name = words(&device.model);
        let is_slice = device.slice_of.is_some() || name.iter().any(|word| word == "mig");
        if self.models.is_empty() {
            return !is_slice;
        }
        self.models.iter().map(|model| words(model)).any(|wanted| {
            let is_part = !wanted.is_empty() && name.windows(wanted.len()).any(|part| part == wanted);
            is_part && (!is_slice || wanted.iter().any(|word| word == "mig"))
        })
    }
}

/// The words of a model's name; the point of `1g.10gb` is part of one.
fn words(name: &str) -> Vec<String> {
    name.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '.')
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase)
        .collect()
}

/// What a driver reports, at least, of a card that is sold with so many GiB: up to a tenth is kept for error
/// correction and the driver itself.
const fn as_reported(sold_gib: u64) -> u64 {
    sold_gib.saturating_mul(GIB) / 10 * 9
}

/// What a card is sold with, in GiB, from what its driver reports.
#[must_use]
pub fn sold_gib(reported_bytes: u64) -> u64 {
    let reported = reported_bytes.div_ceil(GIB);
    let sold = SOLD_GIB.into_iter().find(|sold| *sold >= reported);
    sold.filter(|sold| as_reported(*sold) <= reported_bytes).unwrap_or(reported)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{DeviceHealth, DeviceId, NodeName};

    const T4: (&str, u64) = ("Tesla T4", 15_360);
    const L4: (&str, u64) = ("NVIDIA L4", 23_034);
    const L40S: (&str, u64) = ("NVIDIA L40S", 46_068);
    const A100: (&str, u64) = ("NVIDIA A100-SXM4-80GB", 81_920);
    const SMALL_A100: (&str, u64) = ("NVIDIA A100-PCIE-40GB", 40_960);
    const SLICE: (&str, u64) = ("NVIDIA A100-SXM4-80GB MIG 1g.10gb", 9_728);

    fn node(name: &str, devices: &[(&str, u64)]) -> Node {
        let device = |(index, (model, mib)): (usize, &(&str, u64))| Device {
            id: DeviceId(format!("{name}-{index}")),
            index: u32::try_from(index).unwrap(),
            model: (*model).to_owned(),
            memory_bytes: mib << 20,
            slice_of: model.contains("MIG").then(|| DeviceId("GPU-parent".to_owned())),
            health: DeviceHealth::Healthy,
        };
        Node {
            name: NodeName(name.to_owned()),
            cpu_millicores: 64_000,
            memory_bytes: 256 * GIB,
            devices: devices.iter().enumerate().map(device).collect(),
            cordoned: false,
        }
    }

    fn need(models: &[&str]) -> GpuNeed {
        GpuNeed { models: models.iter().map(|&model| model.to_owned()).collect(), ..GpuNeed::default() }
    }

    fn shape(need: &GpuNeed, nodes: &[Node]) -> Result<Shape, String> {
        need.shape(4000, 8 * GIB, nodes).map_err(|why| why.to_string())
    }

    #[test]
    fn models_are_told_apart_by_whole_words() {
        for (pattern, model, expected) in [
            ("T4", T4, true),
            ("L4", L4, true),
            ("L4", L40S, false),
            ("l40s", L40S, true),
            ("A100", A100, true),
            ("A10", A100, false),
            ("A100 80GB", A100, false),
            ("A100-SXM4-80GB", A100, true),
            ("NVIDIA A100", A100, true),
            ("A100", SLICE, false),
            ("MIG 1g.10gb", SLICE, true),
            ("MIG 1g.1", SLICE, false),
            ("A100-SXM4-80GB MIG 1g.10gb", SLICE, true),
        ] {
            let device = node("n", &[model]).devices.remove(0);
            assert_eq!(need(&[pattern]).accepts(&device), expected, "{pattern} and {}", model.0);
        }
    }

    #[test]
    fn any_model_is_any_whole_device() {
        let shape = shape(&GpuNeed::default(), &[node("n", &[SLICE, A100, T4])]).unwrap();
        assert_eq!(shape.models, ["NVIDIA A100-SXM4-80GB", "Tesla T4"]);
        assert_eq!((shape.devices, shape.milli), (1, 1000));
    }

    #[test]
    fn memory_is_as_cards_are_sold() {
        for ((_, mib), sold) in [(T4, 16), (L4, 24), (L40S, 48), (A100, 80), (SMALL_A100, 40), (SLICE, 10)] {
            assert_eq!(sold_gib(mib << 20), sold);
        }
        assert_eq!(sold_gib(97_887 << 20), 96);
        let eighty = GpuNeed { min_memory_gib: 80, ..need(&["A100"]) };
        let both = [node("n", &[A100, SMALL_A100])];
        assert_eq!(shape(&eighty, &both).unwrap().models, ["NVIDIA A100-SXM4-80GB"]);
        assert_eq!(shape(&need(&["A100"]), &both).unwrap().models.len(), 2);
    }

    #[test]
    fn a_share_of_memory_is_enough_on_every_device_that_will_do() {
        let ten = GpuNeed { share_memory_gib: Some(10), ..need(&["A100"]) };
        assert_eq!(shape(&ten, &[node("n", &[A100])]).unwrap().milli, 125);
        assert_eq!(shape(&ten, &[node("n", &[A100, SMALL_A100])]).unwrap().milli, 250);
        let whole = GpuNeed { share_memory_gib: Some(24), ..need(&["L4"]) };
        assert_eq!(shape(&whole, &[node("n", &[L4])]).unwrap().milli, 1000);
        let half = GpuNeed { share_milli: Some(500), ..GpuNeed::default() };
        assert_eq!(shape(&half, &[node("n", &[L4])]).unwrap().milli, 500);
    }

    #[test]
    fn what_nobody_can_ever_fulfil_says_why() {
        let nodes = [node("one", &[T4, T4]), node("two", &[L4])];
        let told = |need: GpuNeed| shape(&need, &nodes).unwrap_err();
        assert_eq!(shape(&need(&["T4"]), &[node("n", &[])]).unwrap_err(), "this site has no accelerators");
        assert_eq!(told(need(&["H100", "A100"])), "no device is a H100 or A100; there are NVIDIA L4, Tesla T4");
        assert_eq!(
            told(GpuNeed { min_memory_gib: 40, ..GpuNeed::default() }),
            "no such device has 40 GiB of memory; the largest has 24"
        );
        assert_eq!(
            told(GpuNeed { count: 3, ..GpuNeed::default() }),
            "3 such devices are asked for, and no machine has more than 2"
        );
        let huge = need(&["T4"]).shape(100_000, GIB, &nodes).unwrap_err();
        assert!(matches!(huge, Unfulfillable::Machine { millicores: 100_000, memory_mib: 1024 }), "{huge}");
    }

    #[test]
    fn contradictions_are_told_all_at_once() {
        let wrong = GpuNeed {
            count: 2,
            models: vec![" - ".to_owned()],
            share_milli: Some(0),
            share_memory_gib: Some(0),
            min_memory_gib: u64::MAX,
        };
        assert_eq!(wrong.problems().len(), 6, "{:#?}", wrong.problems());
        assert_eq!(GpuNeed { count: 0, ..GpuNeed::default() }.problems().len(), 1);
        assert_eq!(GpuNeed::default().problems(), Vec::<String>::new());
    }
}
