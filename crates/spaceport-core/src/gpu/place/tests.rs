use proptest::prelude::*;

use super::*;
use crate::gpu::{Device, DeviceHealth, DeviceId, Lease, LeasedDevice, Node, NodeName};
use crate::{ClaimId, LeaseId, Timestamp};

const GIB: u64 = 1 << 30;

fn node(name: &str, cores: u64, devices: u32, model: &str) -> Node {
    let device = |index| Device {
        id: DeviceId(format!("{name}/{index}")),
        index,
        model: model.to_owned(),
        memory_bytes: 40 * GIB,
        slice_of: None,
        health: DeviceHealth::Healthy,
    };
    Node {
        name: NodeName(name.to_owned()),
        cpu_millicores: cores * 1000,
        memory_bytes: 512 * GIB,
        devices: (0..devices).map(device).collect(),
        cordoned: false,
    }
}

fn shape(cores: u64, devices: u32, milli: u32) -> Shape {
    Shape {
        cpu_millicores: cores * 1000,
        memory_bytes: GIB,
        devices,
        milli,
        models: Vec::new(),
        min_device_memory_bytes: 0,
    }
}

fn workload(shapes: &[(Shape, u64)]) -> Workload {
    let mut workload = Workload::default();
    for (shape, times) in shapes {
        workload.see_many(shape, *times);
    }
    workload
}

/// Finds and takes; the node's name.
fn place(placer: &mut Placer, cluster: &mut Cluster, shape: &Shape) -> String {
    let placement = placer.find(cluster, shape).unwrap();
    cluster.take(shape, &placement);
    cluster.node_name(&placement).0.clone()
}

#[test]
fn a_claim_without_a_device_stays_off_the_cpu_that_devices_need() {
    let cluster = Cluster::new(&[node("tight", 32, 4, "A100"), node("roomy", 128, 2, "A100")]);
    let mut placer = Placer::new(workload(&[(shape(8, 1, 1000), 10), (shape(8, 0, 0), 1)]));
    let placement = placer.find(&cluster, &shape(8, 0, 0)).unwrap();
    assert_eq!(cluster.node_name(&placement).0, "roomy");
}

#[test]
fn claims_go_where_their_share_of_cpu_is() {
    let mut cluster = Cluster::new(&[node("tight", 32, 4, "A100"), node("roomy", 64, 4, "A100")]);
    let mut placer = Placer::new(workload(&[(shape(16, 1, 1000), 1), (shape(8, 1, 1000), 1)]));
    for _ in 0..4 {
        assert_eq!(place(&mut placer, &mut cluster, &shape(16, 1, 1000)), "roomy");
        assert_eq!(place(&mut placer, &mut cluster, &shape(8, 1, 1000)), "tight");
    }
    assert_eq!(placer.find(&cluster, &shape(1, 1, 1)), None);
}

#[test]
fn a_part_goes_into_the_hole_it_fits() {
    let mut cluster = Cluster::new(&[node("one", 64, 2, "A100"), node("two", 64, 2, "A100")]);
    let (large, small) = (shape(1, 1, 600), shape(1, 1, 400));
    let mut placer = Placer::new(workload(&[(large.clone(), 1), (small.clone(), 1), (shape(1, 1, 1000), 1)]));
    let first = place(&mut placer, &mut cluster, &large);
    assert_eq!(place(&mut placer, &mut cluster, &small), first);
    let whole = cluster.nodes().len() * 2 - 1;
    let free =
        |cluster: &Cluster| (0..2).flat_map(|at| cluster.devices(at)).filter(|one| one.free_milli == 1000).count();
    assert_eq!(free(&cluster), whole, "both parts share one device");
}

#[test]
fn the_last_room_for_a_large_claim_is_kept() {
    let mut cluster = Cluster::new(&[node("one", 64, 4, "A100"), node("two", 64, 4, "A100")]);
    let (one, four) = (shape(4, 1, 1000), shape(16, 4, 1000));
    let mut placer = Placer::new(workload(&[(one.clone(), 10), (four.clone(), 2)]));
    for _ in 0..4 {
        place(&mut placer, &mut cluster, &one);
    }
    assert!(placer.find(&cluster, &four).is_some());
}

#[test]
fn nothing_new_on_what_is_cordoned_drained_lost_or_sliced() {
    let mut nodes = vec![node("cordoned", 64, 1, "A100"), node("bad", 64, 3, "A100")];
    nodes[0].cordoned = true;
    nodes[1].devices[0].health = DeviceHealth::Drained { reason: "XID 79".to_owned() };
    nodes[1].devices[1].health = DeviceHealth::Lost { reason: "gone".to_owned() };
    let mut slice = nodes[1].devices[2].clone();
    slice.slice_of = Some(slice.id.clone());
    slice.id = DeviceId("MIG-1".to_owned());
    slice.index = 3;
    slice.model = "A100 1g.5gb".to_owned();
    nodes[1].devices.push(slice);
    let cluster = Cluster::new(&nodes);
    let placement = Placer::default().find(&cluster, &shape(1, 1, 1000)).unwrap();
    let leased = cluster.leased_devices(&shape(1, 1, 1000), &placement);
    assert_eq!(leased, [LeasedDevice { device: DeviceId("MIG-1".to_owned()), milli: 1000 }]);
    assert_eq!(Placer::default().find(&cluster, &shape(1, 2, 1000)), None);
}

#[test]
fn models_and_device_memory_are_heeded() {
    let mut large = node("large", 64, 1, "H100");
    large.devices[0].memory_bytes = 80 * GIB;
    let cluster = Cluster::new(&[node("small", 64, 1, "A100"), large]);
    let mut placer = Placer::default();
    let mut on = |shape: &Shape| placer.find(&cluster, shape).map(|place| cluster.node_name(&place).0.clone());
    let models = |models: &[&str]| Shape {
        models: models.iter().map(|model| (*model).to_owned()).collect(),
        ..shape(1, 1, 500)
    };
    assert_eq!(on(&models(&["A100", "T4"])).as_deref(), Some("small"));
    assert_eq!(on(&models(&["T4"])), None);
    assert_eq!(on(&Shape { min_device_memory_bytes: 41 * GIB, ..shape(1, 1, 500) }).as_deref(), Some("large"));
}

#[test]
fn a_lease_is_found_again_without_the_devices_that_are_gone() {
    let nodes = [node("one", 64, 2, "A100")];
    let cluster = Cluster::new(&nodes);
    let device = |id: &str| LeasedDevice { device: DeviceId(id.to_owned()), milli: 1000 };
    let at = Timestamp::from_millis(0);
    let mut lease = Lease {
        id: LeaseId::new(at, 1),
        claim: ClaimId::new(at, 1),
        node: NodeName("one".to_owned()),
        devices: vec![device("one/1"), device("gone")],
        started_at: at,
        ends_by: None,
    };
    assert_eq!(cluster.locate(&lease), Some(Placement { node: 0, devices: vec![1] }));
    lease.node = NodeName("gone".to_owned());
    assert_eq!(cluster.locate(&lease), None);
}

/// Cores, GiB, devices (model, large, health), cordoned.
type MadeNode = (u64, u64, Vec<(usize, bool, u32)>, bool);

const MODELS: [&str; 3] = ["A100", "H100", "T4"];

fn any_shape() -> impl Strategy<Value = Shape> {
    let devices = prop_oneof![
        Just((0, 0)),
        (Just(1), prop::sample::select(vec![110, 250, 470, 500, 810, 1000])),
        (2..5_u32, Just(1000))
    ];
    (0..40_u64, 0..200_u64, devices, prop::sample::subsequence(MODELS.to_vec(), 0..3), prop::bool::weighted(0.1))
        .prop_map(|(cores, memory, (devices, milli), models, large)| Shape {
            cpu_millicores: cores * 500,
            memory_bytes: memory * GIB,
            devices,
            milli,
            models: models.into_iter().map(str::to_owned).collect(),
            min_device_memory_bytes: if large { 60 * GIB } else { 0 },
        })
}

fn any_nodes() -> impl Strategy<Value = Vec<Node>> {
    let device = (0..3_usize, prop::bool::ANY, 0..10_u32);
    let one = (1..100_u64, 16..600_u64, prop::collection::vec(device, 0..8), prop::bool::weighted(0.1));
    prop::collection::vec(one, 1..8).prop_map(|nodes| {
        let node = |(number, (cores, memory, devices, cordoned)): (usize, MadeNode)| {
            let mut made = node(&format!("node-{number}"), cores, 0, "");
            made.memory_bytes = memory * GIB;
            made.cordoned = cordoned;
            for (index, (model, large, health)) in (0..).zip(devices) {
                made.devices.push(Device {
                    id: DeviceId(format!("node-{number}/{index}")),
                    index,
                    model: MODELS[model].to_owned(),
                    memory_bytes: if large { 80 * GIB } else { 40 * GIB },
                    slice_of: None,
                    health: match health {
                        0 => DeviceHealth::Drained { reason: "test".to_owned() },
                        1 => DeviceHealth::Lost { reason: "test".to_owned() },
                        _ => DeviceHealth::Healthy,
                    },
                });
            }
            made
        };
        nodes.into_iter().enumerate().map(node).collect()
    })
}

/// Claims that come, and for some the number of an earlier one that goes first.
fn any_story() -> impl Strategy<Value = Vec<(Shape, Option<prop::sample::Index>)>> {
    let shapes = prop::collection::vec(any_shape(), 1..6);
    let steps = prop::collection::vec(
        (any::<prop::sample::Index>(), prop::option::weighted(0.3, any::<prop::sample::Index>())),
        1..60,
    );
    (shapes, steps).prop_map(|(shapes, steps)| {
        steps.into_iter().map(|(shape, leaves)| (shape.get(&shapes).clone(), leaves)).collect()
    })
}

/// Plays a story; calls `each` before every claim.
fn play(
    cluster: &mut Cluster,
    placer: &mut Placer,
    story: &[(Shape, Option<prop::sample::Index>)],
    mut each: impl FnMut(&Cluster, &Shape, Option<&Placement>),
) -> Vec<(Shape, Placement)> {
    let mut held = Vec::new();
    for (shape, leaves) in story {
        if let Some(leaves) = leaves
            && !held.is_empty()
        {
            let (shape, placement): (Shape, Placement) = held.swap_remove(leaves.index(held.len()));
            cluster.give_back(&shape, &placement);
        }
        let found = placer.find(cluster, shape);
        each(cluster, shape, found.as_ref());
        if let Some(placement) = found {
            cluster.take(shape, &placement);
            held.push((shape.clone(), placement));
        }
    }
    held
}

fn learned(story: &[(Shape, Option<prop::sample::Index>)]) -> Workload {
    let mut workload = Workload::default();
    for (shape, _) in story.iter().step_by(2) {
        workload.see(shape);
    }
    workload
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn what_fits_is_placed_where_it_fits_and_capacity_is_never_exceeded(nodes in any_nodes(), story in any_story()) {
        let mut cluster = Cluster::new(&nodes);
        let mut placer = Placer::new(learned(&story));
        play(&mut cluster, &mut placer, &story, |cluster, shape, found| {
            assert_eq!(found.is_some(), cluster.fits(shape));
            let Some(place) = found else { return };
            assert_eq!(place.devices.len(), shape.devices as usize);
            assert!(place.devices.is_sorted_by(|a, b| a < b));
            let kinds = cluster.suitable_kinds(shape);
            assert!(cluster.fits_on(place.node, shape, &kinds));
            for device in &place.devices {
                let device = &cluster.devices(place.node)[*device as usize];
                assert!(device.open && kinds[device.kind as usize]);
            }
        });
        for (at, state) in (0..).zip(cluster.nodes()) {
            assert!(state.cpu_millicores >= 0 && state.memory_bytes >= 0);
            assert!(cluster.devices(at).iter().all(|device| (0..=1000).contains(&device.free_milli)));
        }
    }

    #[test]
    fn giving_back_restores_everything(nodes in any_nodes(), story in any_story()) {
        let empty = Cluster::new(&nodes);
        let mut cluster = empty.clone();
        let held = play(&mut cluster, &mut Placer::new(learned(&story)), &story, |_, _, _| {});
        for (shape, placement) in held.iter().rev() {
            cluster.give_back(shape, placement);
        }
        assert_eq!(cluster.nodes(), empty.nodes());
        assert_eq!(cluster.fingerprint(), empty.fingerprint());
        for node in 0..u32::try_from(nodes.len()).unwrap() {
            assert_eq!(cluster.devices(node), empty.devices(node));
        }
    }

    #[test]
    fn the_order_of_nodes_and_devices_changes_no_answer(
        (nodes, shuffled) in any_nodes().prop_flat_map(|nodes| (Just(nodes.clone()), Just(nodes).prop_shuffle())),
        story in any_story(),
    ) {
        let answers = |nodes: &[Node]| {
            let mut answers = Vec::new();
            let mut cluster = Cluster::new(nodes);
            play(&mut cluster, &mut Placer::new(learned(&story)), &story, |cluster, shape, found| {
                answers.push(found.map(|one| (cluster.node_name(one).clone(), cluster.leased_devices(shape, one))));
            });
            answers
        };
        let mut shuffled = shuffled;
        for node in &mut shuffled {
            node.devices.reverse();
        }
        assert_eq!(answers(&nodes), answers(&shuffled));
    }
}

proptest! {
    // Learning anew for every claim takes its time.
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn what_is_remembered_changes_no_answer(nodes in any_nodes(), story in any_story()) {
        let workload = learned(&story);
        let mut cluster = Cluster::new(&nodes);
        play(&mut cluster, &mut Placer::new(workload.clone()), &story, |cluster, shape, found| {
            assert_eq!(Placer::new(workload.clone()).find(cluster, shape).as_ref(), found);
        });
    }
}
