//! NVIDIA's driver, through its management library.
//! <https://docs.nvidia.com/deploy/nvml-api/>
//!
//! What the driver cannot tell of a device is left out, and what it says about one that fails is passed on;
//! nothing here decides. A device in slices is not given out itself, its slices are.

use std::collections::BTreeMap;

use nvml_wrapper::bitmasks::event::EventTypes;
use nvml_wrapper::enum_wrappers::device::{EccCounter, MemoryError, TemperatureSensor};
use nvml_wrapper::enums::device::{SampleValue, UsedGpuMemory};
use nvml_wrapper::enums::event::XidError;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::event::EventSet;
use nvml_wrapper::structs::device::FieldId;
use nvml_wrapper::sys_exports::field_id::{NVML_FI_DEV_REMAPPED_FAILURE, NVML_FI_DEV_REMAPPED_PENDING};
use nvml_wrapper::{Device, Nvml};
use spaceport_core::gpu::{Attach, DeviceId, DeviceProcess, DeviceUsage, Faults, Reading};
use spaceport_runtime::DeviceSource;

/// Events taken at one look at most; a device that floods us with errors has told enough.
const MOST_EVENTS: usize = 256;
/// The shortest time the library can wait for an event.
const AT_ONCE_MS: u32 = 1;
/// `nvmlDeviceGetMigMode` says so.
const MIG_ON: u32 = 1;
/// How many looks a missing driver is not asked again: loading its library is work.
const REST: u32 = 20;

/// What helps where the library is there and the driver is not.
const REMEDY: &str = "Load the driver and let Spaceport use /dev/nvidiactl and its like (docs/gpu.md, NVIDIA); without such \
                      devices, [gpu] nvidia = false.";

/// The driver of this machine. It is looked for with the first look, and again when it was not there.
#[derive(Debug)]
pub struct NvidiaDriver {
    attach: fn(&str) -> Attach,
    /// Lives as long as the process: event sets borrow it.
    library: Option<&'static Nvml>,
    events: Option<EventSet<'static>>,
    /// Why it does not answer, although it did once or its library is here.
    failed: Option<String>,
    rest: u32,
}

fn by_name(id: &str) -> Attach {
    Attach::Cdi { name: format!("nvidia.com/gpu={id}") }
}

fn by_request(_: &str) -> Attach {
    Attach::Nvidia
}

impl NvidiaDriver {
    /// Its devices are attached by NVIDIA's own request, or by CDI under the names that
    /// `nvidia-ctk cdi generate` gives them by their ids.
    #[must_use]
    pub fn new(by_cdi: bool) -> Self {
        let attach: fn(&str) -> Attach = if by_cdi { by_name } else { by_request };
        Self { attach, library: None, events: None, failed: None, rest: 0 }
    }

    fn library(&mut self) -> Result<Option<&'static Nvml>, String> {
        if let Some(library) = self.library {
            return Ok(Some(library));
        }
        // One that should be there is missed; one that never was is not.
        let missing = self.failed.clone().map_or(Ok(None), Err);
        if self.rest > 0 {
            self.rest -= 1;
            return missing;
        }
        self.rest = REST;
        match Nvml::init() {
            Ok(library) => {
                self.failed = None;
                // At most one for each time the driver comes: it is never unloaded, so what was told of it stays.
                let library: &'static Nvml = Box::leak(Box::new(library));
                self.library = Some(library);
                Ok(Some(library))
            }
            // No driver: no devices.
            Err(NvmlError::LibloadingError(_) | NvmlError::LibraryNotFound) => missing,
            // A service that cannot see the device nodes is told the same as one without a driver.
            Err(error) => {
                let why = format!("its library is here and says: {error}. {REMEDY}");
                self.failed = Some(why.clone());
                Err(why)
            }
        }
    }

    /// Error codes since the last look, by device.
    fn codes(&mut self, library: &'static Nvml, devices: &[(u32, Device<'static>)]) -> BTreeMap<DeviceId, Vec<u64>> {
        let mut codes: BTreeMap<DeviceId, Vec<u64>> = BTreeMap::new();
        let set = match self.events.take() {
            Some(set) => Some(set),
            None => listen(library, devices),
        };
        let Some(set) = set else { return codes };
        for _ in 0..MOST_EVENTS {
            let Ok(event) = set.wait(AT_ONCE_MS) else { break };
            let code = match event.event_data {
                Some(XidError::Value(code)) => code,
                Some(XidError::Unknown) | None => continue,
            };
            if let Ok(uuid) = event.device.uuid() {
                codes.entry(DeviceId(uuid)).or_default().push(code);
            }
        }
        self.events = Some(set);
        codes
    }
}

/// Asks to be told of errors. A device that cannot tell of them is watched by its counters alone.
fn listen(library: &'static Nvml, devices: &[(u32, Device<'static>)]) -> Option<EventSet<'static>> {
    let mut set = library.create_event_set().ok()?;
    for (_, device) in devices {
        // One that cannot takes the set with it.
        set = match device.register_events(EventTypes::CRITICAL_XID_ERROR, set) {
            Ok(set) => set,
            Err(_) => library.create_event_set().ok()?,
        };
    }
    Some(set)
}

impl DeviceSource for NvidiaDriver {
    fn name(&self) -> &'static str {
        "the NVIDIA driver"
    }

    fn read(&mut self) -> Result<Vec<Reading>, String> {
        let Some(library) = self.library()? else { return Ok(Vec::new()) };
        let count = match library.device_count() {
            Ok(count) => count,
            Err(error) => {
                // It was unloaded or replaced. The library of the new one has to be opened anew.
                self.library = None;
                self.events = None;
                self.failed = Some(error.to_string());
                return Err(error.to_string());
            }
        };
        let mut readings = Vec::new();
        let handles: Vec<(u32, Device<'static>)> =
            (0..count).filter_map(|index| Some((index, library.device_by_index(index).ok()?))).collect();
        let codes = self.codes(library, &handles);
        for (index, device) in &handles {
            // A device that cannot even say who it is, is missing: the watch over them notices.
            let Ok(uuid) = device.uuid() else { continue };
            let id = DeviceId(uuid);
            let xids = codes.get(&id).cloned().unwrap_or_default();
            let faults = faults(device, xids);
            let is_sliced = device.mig_mode().is_ok_and(|mode| mode.current == MIG_ON);
            if is_sliced {
                readings.extend(slices(device, *index, &id, &faults, self.attach));
            } else if let Some(reading) = reading(device, *index, id, None, faults, self.attach) {
                readings.push(reading);
            }
        }
        Ok(readings)
    }
}

fn slices(
    device: &Device<'static>,
    index: u32,
    parent: &DeviceId,
    faults: &Faults,
    attach: fn(&str) -> Attach,
) -> Vec<Reading> {
    let most = device.mig_device_count().unwrap_or_default();
    let slice = |number| {
        let slice = device.mig_device_by_index(number).ok()?;
        let id = DeviceId(slice.uuid().ok()?);
        reading(&slice, index, id, Some(parent.clone()), faults.clone(), attach)
    };
    (0..most).filter_map(slice).collect()
}

fn reading(
    device: &Device<'static>,
    index: u32,
    id: DeviceId,
    slice_of: Option<DeviceId>,
    mut faults: Faults,
    attach: fn(&str) -> Attach,
) -> Option<Reading> {
    let memory = device.memory_info();
    if let Err(NvmlError::GpuLost) = memory {
        faults.lost = Some("the driver says it fell off the bus or cannot be reached".to_owned());
    }
    let memory = memory.ok();
    // One that is lost from the beginning has neither name nor size, and nothing can be placed on it.
    let model = device.name().ok().or_else(|| faults.lost.is_some().then(|| "unknown".to_owned()))?;
    Some(Reading {
        attach: attach(&id.0),
        id,
        index,
        model,
        memory_bytes: memory.as_ref().map_or(0, |memory| memory.total),
        slice_of,
        usage: DeviceUsage {
            utilization_percent: device.utilization_rates().ok().map(|rates| rates.gpu),
            memory_used_bytes: memory.map(|memory| memory.used),
            temperature_celsius: device.temperature(TemperatureSensor::Gpu).ok(),
            power_mw: device.power_usage().ok(),
            processes: processes(device),
        },
        faults,
    })
}

fn processes(device: &Device<'static>) -> Vec<DeviceProcess> {
    let compute = device.running_compute_processes().unwrap_or_default();
    let graphics = device.running_graphics_processes().unwrap_or_default();
    let mut all: BTreeMap<u32, Option<u64>> = BTreeMap::new();
    for process in compute.into_iter().chain(graphics) {
        let bytes = match process.used_gpu_memory {
            UsedGpuMemory::Used(bytes) => Some(bytes),
            UsedGpuMemory::Unavailable => None,
        };
        let known = all.entry(process.pid).or_default();
        *known = (*known).max(bytes);
    }
    all.into_iter().map(|(pid, memory_bytes)| DeviceProcess { pid, memory_bytes }).collect()
}

fn faults(device: &Device<'static>, xids: Vec<u64>) -> Faults {
    let errors = device.total_ecc_errors(MemoryError::Uncorrected, EccCounter::Volatile);
    let pages = device.are_pages_pending_retired().unwrap_or_default();
    Faults {
        lost: None,
        needs_reset: matches!(errors, Err(NvmlError::ResetRequired)),
        uncorrected_errors: errors.unwrap_or_default(),
        repair_pending: pages || field(device, NVML_FI_DEV_REMAPPED_PENDING),
        repair_failed: field(device, NVML_FI_DEV_REMAPPED_FAILURE),
        xids,
    }
}

/// Whether a field of a device is set; one it has not is not.
fn field(device: &Device<'static>, id: u32) -> bool {
    let values = device.field_values_for(&[FieldId(id)]).unwrap_or_default();
    let value = values.into_iter().next().and_then(|sample| sample.ok()?.value.ok());
    match value {
        Some(SampleValue::U32(value)) => value > 0,
        Some(SampleValue::U64(value)) => value > 0,
        Some(SampleValue::I64(value)) => value > 0,
        Some(SampleValue::F64(value)) => value > 0.0,
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_a_driver_has_no_devices_and_no_error() {
        let mut driver = NvidiaDriver::new(false);
        let first = driver.read();
        if driver.library.is_some() {
            eprintln!("skipped: this machine has an NVIDIA driver");
            return;
        }
        // A library without a driver is told of each time, and what is not there at all is not.
        assert_eq!(first.clone().unwrap_or_default(), Vec::new());
        assert_eq!(driver.read(), first);
    }

    #[test]
    fn devices_are_attached_as_configured() {
        assert_eq!((NvidiaDriver::new(false).attach)("GPU-a"), Attach::Nvidia);
        let name = "nvidia.com/gpu=GPU-a".to_owned();
        assert_eq!((NvidiaDriver::new(true).attach)("GPU-a"), Attach::Cdi { name });
    }
}
