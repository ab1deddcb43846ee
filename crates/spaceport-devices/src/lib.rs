//! The two sources of devices: NVIDIA's driver, and the configuration.
//!
//! The only crate that names `nvml-wrapper`. The driver's library is looked for at run time: on a machine
//! without it there are no devices and there is no error. What a reading means (healthy, drained, lost) is
//! decided in the core, where it is tested without a driver.

mod configured;
mod nvml;

pub use configured::{ConfiguredDevice, ConfiguredDevices};
pub use nvml::NvidiaDriver;
