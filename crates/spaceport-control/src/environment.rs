//! The environment of an app: what the hosted service injects, then the owner's settings.

use std::collections::BTreeMap;

use spaceport_core::gpu::Attach;
use spaceport_core::gpu::device::WHOLE_MILLI;
use spaceport_core::space::{Release, Space};
use spaceport_core::{HardwareFlavor, Sdk};
use spaceport_runtime::Grant;
use spaceport_store::vault::{CannotOpen, Vault};

use crate::config::ControlConfig;

/// Device memory that goes with a share of a device, in bytes.
const SHARE_OF_MEMORY: &str = "SPACEPORT_GPU_MEMORY_BYTES";

/// Every variable of an app. Hub: "Built-in environment variables" of the Spaces overview.
///
/// # Errors
/// When a secret cannot be opened with this installation's key.
pub(crate) fn of_app(
    config: &ControlConfig,
    space: &Space,
    release: &Release,
    hardware: &HardwareFlavor,
    grant: Option<&Grant>,
    vault: &Vault,
) -> Result<BTreeMap<String, String>, CannotOpen> {
    let mut env = BTreeMap::new();
    let mut set = |name: &str, value: String| env.insert(name.to_owned(), value);
    set("SYSTEM", "spaces".to_owned());
    set("SPACE_ID", space.name.to_string());
    set("SPACE_HOST", config.space_host(space.subdomain.as_str()));
    set("SPACE_AUTHOR_NAME", space.name.owner().to_owned());
    set("SPACE_REPO_NAME", space.name.name().to_owned());
    set("SPACE_TITLE", release.config.title.clone().unwrap_or_else(|| space.name.name().to_owned()));
    set("SPACE_CREATOR_USER_ID", space.creator.to_string());
    set("ACCELERATOR", hardware.gpu.as_ref().map_or_else(|| "none".to_owned(), |_| release.hardware.to_string()));
    set("CPU_CORES", hardware.cpu_millicores.div_ceil(1000).to_string());
    set("MEMORY", memory(hardware.memory_bytes));
    if release.config.sdk != Sdk::Docker {
        set("PORT", release.config.app_port.to_string());
        set("PYTHONUNBUFFERED", "1".to_owned());
    }
    for device in grant.map(Grant::devices).unwrap_or_default() {
        if device.milli < WHOLE_MILLI {
            // Nothing divides the device: an app that keeps to it gets along with the others on it.
            set(SHARE_OF_MEMORY, device.memory_bytes.to_string());
        }
        if device.attach == Attach::Nvidia && release.config.sdk != Sdk::Docker {
            // Images of CUDA choose for themselves; without a choice only computing works, and no video.
            set("NVIDIA_DRIVER_CAPABILITIES", "all".to_owned());
        }
    }
    // Gradio listens on loopback otherwise, also in a Docker Space.
    set("GRADIO_SERVER_NAME", "0.0.0.0".to_owned());
    set("GRADIO_SERVER_PORT", release.config.app_port.to_string());
    set("GRADIO_ANALYTICS_ENABLED", "False".to_owned());
    set("GRADIO_SSR_MODE", "False".to_owned());
    if let Some(endpoint) = &config.app_hf_endpoint {
        set("HF_ENDPOINT", endpoint.clone());
    }
    for (name, value) in &release.variables {
        set(name, value.clone());
    }
    // A secret wins over a variable of the same name.
    for (name, sealed) in &release.sealed_secrets {
        let value = vault.open(space.id, name, sealed)?;
        set(name, value);
    }
    Ok(env)
}

/// `16Gi`; `1536Mi` where it is not whole.
fn memory(bytes: u64) -> String {
    if bytes.is_multiple_of(1 << 30) { format!("{}Gi", bytes >> 30) } else { format!("{}Mi", bytes >> 20) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn memory_is_in_gi_when_it_is_whole() {
        for (mib, text) in [(16 << 10, "16Gi"), (1 << 10, "1Gi"), (1536, "1536Mi"), (96, "96Mi")] {
            assert_eq!(super::memory(mib << 20), text);
        }
    }
}
