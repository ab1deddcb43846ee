//! Where devices are known from: a driver, or the configuration.

use spaceport_core::gpu::Reading;

/// Somebody who knows devices of this machine. Two are in use: NVIDIA's driver and the configuration.
///
/// Calls may block for as long as a broken driver likes, so they are made on a thread of their own.
pub trait DeviceSource: Send + 'static {
    /// What it is, for messages: `the NVIDIA driver`.
    fn name(&self) -> &'static str;

    /// All its devices, now. No driver at all is no device and no error.
    ///
    /// # Errors
    /// When it does not answer, and why: what it told before may still be right.
    fn read(&mut self) -> Result<Vec<Reading>, String>;
}
