use super::*;
use spaceport_core::gpu::{Faults, LeasedDevice};
use spaceport_core::{ClaimId, LeaseId};
use spaceport_runtime::fake::FakeRuntime;

use crate::clock::Clock;
use crate::logs::LogStore;

fn now() -> Timestamp {
    Timestamp::from_millis(1_767_323_045_678)
}

fn reading(id: &str, index: u32) -> Reading {
    Reading {
        id: DeviceId(id.to_owned()),
        index,
        model: "NVIDIA L4".to_owned(),
        memory_bytes: 24_000,
        slice_of: None,
        attach: Attach::Nvidia,
        usage: DeviceUsage { utilization_percent: Some(7), ..DeviceUsage::default() },
        faults: Faults::default(),
    }
}

fn host() -> EngineHost {
    EngineHost { name: "box".to_owned(), cpus: 8, memory_bytes: 64_000 }
}

fn capacity() -> Capacity {
    Capacity { cpu_factor_milli: 4000, memory_factor_milli: 500, cpu_flavors: false }
}

fn health(known: &Known, id: &str) -> DeviceHealth {
    known.nodes[0].devices.iter().find(|device| device.id.0 == id).unwrap().health.clone()
}

#[test]
fn a_machine_gives_out_what_its_factors_say() {
    let known = Books::new(Vec::new()).known(&host(), None, &capacity());
    let [node] = &known.nodes[..] else { panic!("{known:?}") };
    assert_eq!((node.name.0.as_str(), node.cpu_millicores, node.memory_bytes), ("box", 32_000, 32_000));
    let named = Books::new(Vec::new()).known(&host(), Some(&NodeName("gpu-1".to_owned())), &capacity());
    assert_eq!(named.nodes[0].name.0, "gpu-1");
}

#[test]
fn the_configuration_says_what_a_device_is_and_the_driver_how_it_is() {
    let mut books = Books::new(vec!["the driver", "the configuration"]);
    let mut broken = reading("GPU-a", 0);
    broken.faults.xids = vec![48];
    books.take(0, Ok(vec![broken, reading("GPU-b", 1)]), now());
    let configured = |id: &str, index| Reading {
        model: "Our card".to_owned(),
        attach: Attach::Cdi { name: "vendor.example/gpu=0".to_owned() },
        usage: DeviceUsage::default(),
        ..reading(id, index)
    };
    books.take(1, Ok(vec![configured("GPU-a", 0), configured("other", 1)]), now());
    let known = books.known(&host(), None, &capacity());
    let devices: Vec<_> = known.nodes[0]
        .devices
        .iter()
        .map(|device| (device.id.0.as_str(), device.index, device.model.as_str()))
        .collect();
    assert_eq!(devices, [("GPU-a", 0, "Our card"), ("GPU-b", 1, "NVIDIA L4"), ("other", 3, "Our card")]);
    assert!(matches!(health(&known, "GPU-a"), DeviceHealth::Drained { .. }));
    let id = DeviceId("GPU-a".to_owned());
    assert!(matches!(known.attachable[&id].attach, Attach::Cdi { .. }));
    assert_eq!(known.usage[&id].utilization_percent, Some(7));
}

#[test]
fn a_source_that_fails_drains_its_own_devices_only() {
    let mut books = Books::new(vec!["the driver", "the configuration"]);
    books.take(0, Ok(vec![reading("GPU-a", 0)]), now());
    books.take(1, Ok(vec![reading("other", 0)]), now());
    books.take(0, Err("it was unloaded".to_owned()), now());
    let known = books.known(&host(), None, &capacity());
    let reason = "the driver does not answer: it was unloaded".to_owned();
    assert_eq!(known.silent, std::slice::from_ref(&reason));
    assert_eq!(health(&known, "GPU-a"), DeviceHealth::Drained { reason });
    assert_eq!(health(&known, "other"), DeviceHealth::Healthy);
    books.take(0, Ok(vec![reading("GPU-a", 0)]), now());
    assert!(books.known(&host(), None, &capacity()).silent.is_empty());
}

#[test]
fn only_a_device_that_is_here_can_be_granted() {
    let mut books = Books::new(vec!["the driver"]);
    books.take(0, Ok(vec![reading("GPU-a", 0)]), now());
    let inventory = Inventory::default();
    let lease = |node: &str, device: &str| Lease {
        id: LeaseId::new(now(), 1),
        claim: ClaimId::new(now(), 2),
        node: NodeName(node.to_owned()),
        devices: vec![LeasedDevice { device: DeviceId(device.to_owned()), milli: 500 }],
        started_at: now(),
        ends_by: None,
    };
    assert!(inventory.grant(&lease("box", "GPU-a")).is_err(), "nothing is known yet");
    inventory.set(books.known(&host(), None, &capacity()));
    assert_eq!(inventory.grant(&lease("box", "GPU-a")).unwrap().devices()[0].memory_bytes, 12_000);
    assert!(inventory.grant(&lease("box", "GPU-b")).is_err());
    assert!(inventory.grant(&lease("elsewhere", "GPU-a")).is_err());
}

/// Gives the answers a test sends it, and waits for them as a driver that hangs would.
struct Scripted(std::sync::mpsc::Receiver<Result<Vec<Reading>, String>>);

impl DeviceSource for Scripted {
    fn name(&self) -> &'static str {
        "the script"
    }

    fn read(&mut self) -> Result<Vec<Reading>, String> {
        self.0.recv().map_err(|_| "the test is over".to_owned())?
    }
}

#[tokio::test]
async fn devices_are_known_soon_after_their_source_tells_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::system();
    let control = ControlHandle::new(clock.clone(), LogStore::new(folder.path().to_owned(), clock.clone()));
    let engine = Arc::new(Engine::new(Arc::new(FakeRuntime::new(now)), clock));
    let (tell, script) = std::sync::mpsc::channel();
    let stop = CancellationToken::new();
    let config = Arc::new(ControlConfig { node: Some(NodeName("here".to_owned())), ..crate::config::tests::config() });
    let sources: Vec<Box<dyn DeviceSource>> = vec![Box::new(Scripted(script))];
    let running = run(sources, Arc::clone(&engine), config, control.clone(), stop.clone());
    let watching = engine.watch(control.clone(), stop.clone());
    let story = async {
        let mut known = control.inventory().subscribe();
        // The source hangs, and what is known of the machine is known all the same.
        known.wait_for(|known| known.nodes.iter().any(|node| node.devices.is_empty())).await.unwrap();
        let mut broken = reading("GPU-a", 0);
        broken.faults.xids = vec![79];
        tell.send(Ok(vec![broken])).unwrap();
        let lost = |known: &Arc<Known>| {
            let devices = known.nodes.iter().flat_map(|node| &node.devices);
            devices.clone().any(|device| matches!(device.health, DeviceHealth::Lost { .. }))
        };
        known.wait_for(lost).await.unwrap();
        control.inventory().forgive(&DeviceId("GPU-a".to_owned()));
        tell.send(Ok(vec![reading("GPU-a", 0)])).unwrap();
        known.wait_for(|known| !lost(known)).await.unwrap();
        stop.cancel();
    };
    let all = async { tokio::join!(running, watching, story) };
    tokio::time::timeout(Duration::from_secs(60), all).await.expect("it took too long");
}
