//! The Hub's flavors, with its names and sizes. Hub: <https://huggingface.co/docs/hub/spaces-gpus>
//!
//! Not among them is `zero-a10g`, a device per call, which is another thing than a flavor.

use super::{FlavorName, HardwareFlavor, default_pids, default_shm};
use crate::gpu::GpuNeed;

/// Name, name for people, vCPU, GiB of memory, GB of disk, and which devices: models, GiB of each, count.
type Preset = (&'static str, &'static str, u32, u64, u64, Option<(&'static [&'static str], u64, u32)>);

const T4: &[&str] = &["T4"];
const L4: &[&str] = &["L4"];
const L40S: &[&str] = &["L40S"];
/// The A10 is the card one can buy; the A10G is a cloud's own.
const A10G: &[&str] = &["A10G", "A10"];
const A100: &[&str] = &["A100"];
const RTX: &[&str] = &["RTX PRO 6000"];

const PRESETS: [Preset; 20] = [
    ("cpu-basic", "CPU basic", 2, 16, 50, None),
    ("cpu-upgrade", "CPU upgrade", 8, 32, 50, None),
    ("t4-small", "Nvidia T4 - small", 4, 15, 50, Some((T4, 16, 1))),
    ("t4-medium", "Nvidia T4 - medium", 8, 30, 100, Some((T4, 16, 1))),
    ("l4x1", "1x Nvidia L4", 8, 30, 400, Some((L4, 24, 1))),
    ("l4x4", "4x Nvidia L4", 48, 186, 3200, Some((L4, 24, 4))),
    ("l40sx1", "1x Nvidia L40S", 8, 62, 380, Some((L40S, 48, 1))),
    ("l40sx4", "4x Nvidia L40S", 48, 382, 3200, Some((L40S, 48, 4))),
    ("l40sx8", "8x Nvidia L40S", 192, 1534, 6500, Some((L40S, 48, 8))),
    ("a10g-small", "Nvidia A10G - small", 4, 15, 110, Some((A10G, 24, 1))),
    ("a10g-large", "Nvidia A10G - large", 12, 46, 200, Some((A10G, 24, 1))),
    ("a10g-largex2", "2x Nvidia A10G - large", 24, 92, 1000, Some((A10G, 24, 2))),
    ("a10g-largex4", "4x Nvidia A10G - large", 48, 184, 2000, Some((A10G, 24, 4))),
    ("a100-large", "Nvidia A100 - large", 12, 142, 1000, Some((A100, 80, 1))),
    ("a100x4", "4x Nvidia A100", 48, 568, 4000, Some((A100, 80, 4))),
    ("a100x8", "8x Nvidia A100", 96, 1136, 8000, Some((A100, 80, 8))),
    ("rtx-pro-6000", "Nvidia RTX PRO 6000", 23, 256, 1000, Some((RTX, 96, 1))),
    ("rtx-pro-6000x2", "2x Nvidia RTX PRO 6000", 46, 512, 2000, Some((RTX, 96, 2))),
    ("rtx-pro-6000x4", "4x Nvidia RTX PRO 6000", 92, 1024, 4000, Some((RTX, 96, 4))),
    ("rtx-pro-6000x8", "8x Nvidia RTX PRO 6000", 184, 2048, 8000, Some((RTX, 96, 8))),
];

/// All of them, in the Hub's order.
pub(super) fn presets() -> impl Iterator<Item = (FlavorName, HardwareFlavor)> {
    PRESETS.into_iter().map(|(name, pretty, cores, gib, disk_gb, devices)| {
        let gpu = devices.map(|(models, min_memory_gib, count)| GpuNeed {
            count,
            models: models.iter().map(|&model| model.to_owned()).collect(),
            min_memory_gib,
            ..GpuNeed::default()
        });
        let flavor = HardwareFlavor {
            pretty_name: pretty.to_owned(),
            cpu_millicores: cores * 1000,
            memory_bytes: gib << 30,
            pids: default_pids(),
            // Processes that work on one model hand tensors over in it, more of them with more devices.
            shm_bytes: devices.map_or(default_shm(), |(_, _, count)| u64::from(count) << 32),
            disk_bytes: disk_gb * 1_000_000_000,
            gpu,
        };
        (FlavorName(name.to_owned()), flavor)
    })
}
