//! How a container gets a device.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How the engine is asked for a device. Which one fits a site depends on what is installed beside the
/// engine, so it is configured and never guessed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attach {
    /// The engine's own request for NVIDIA devices, by the driver's UUID; needs NVIDIA's container toolkit.
    Nvidia,
    /// A device of the Container Device Interface, by its full name.
    /// <https://github.com/cncf-tags/container-device-interface/blob/main/SPEC.md>
    Cdi {
        /// `vendor.example/class=name`.
        name: String,
    },
    /// Device nodes of the host, put into the container as they are.
    Nodes {
        /// Absolute paths, the same inside and outside.
        paths: Vec<String>,
        /// Groups of the host that own them: apps run as a plain user and get them as further groups.
        groups: Vec<u32>,
        /// Environment that tells the vendor's libraries which device is meant.
        env: BTreeMap<String, String>,
    },
}
