//! A site with two devices and some people: alice administers `lab`, carol is a member, bob a stranger, root the
//! site's admin.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use spaceport_control::Known;
use spaceport_core::gpu::{
    Claim, Device, DeviceHealth, DeviceId, DeviceUsage, Lease, LeaseEnd, LeasedDevice, Node, NodeName, Priority,
    QuotaPath, Shape, Wait,
};
use spaceport_core::space::Space;
use spaceport_core::{FlavorName, Timestamp};
use spaceport_store::{NewLease, StoredClaim, StoredLease};
use spaceport_testkit::{Answer, Person, TestApp, databases};

pub struct Stage {
    pub app: TestApp,
    pub root: Person,
    pub alice: Person,
    pub bob: Person,
    pub carol: Person,
}

pub fn device(number: u32) -> Device {
    Device {
        id: DeviceId(format!("GPU-{number}")),
        index: number,
        model: "NVIDIA L4".to_owned(),
        memory_bytes: 24 << 30,
        slice_of: None,
        health: DeviceHealth::Healthy,
    }
}

pub fn node(devices: Vec<Device>) -> Node {
    let name = NodeName("box".to_owned());
    Node { name, cpu_millicores: 64_000, memory_bytes: 256 << 30, devices, cordoned: false }
}

/// Why a claim waits.
pub fn wait(position: u32, because: Value) -> Wait {
    let start = json!({"expected": 5000, "from_50": 4000, "until_50": 6000, "from_90": 3000, "until_90": 9000});
    let wait = json!({"position": position, "because": [because], "freed_by": null, "start": start});
    serde_json::from_value(wait).unwrap()
}

/// All devices are in use.
pub fn none_free() -> Value {
    json!({"constraint": "no_device_free", "devices": 1, "milli": 1000, "suitable": 2, "most": 0})
}

impl Stage {
    /// One on each database.
    pub async fn everywhere() -> Vec<Self> {
        let mut all = Vec::new();
        for database in databases().await {
            all.push(Self::set(TestApp::on(database).await).await);
        }
        all
    }

    async fn set(app: TestApp) -> Self {
        let (root, alice) = (app.admin("root").await, app.person("alice").await);
        let (bob, carol) = (app.person("bob").await, app.person("carol").await);
        let made = app.post("/api/organizations", Some(&alice.write), &json!({"name": "lab"})).await;
        assert_eq!(made.status, 200, "{}", made.text);
        let path = "/api/organizations/lab/members/carol";
        let added = app.call("PUT", path, Some(&alice.write), &json!({"role": "write"})).await;
        assert_eq!(added.status, 200, "{}", added.text);
        let stage = Self { app, root, alice, bob, carol };
        stage.set_devices(vec![device(0), device(1)]).await;
        stage
    }

    pub async fn set_devices(&self, devices: Vec<Device>) {
        let nodes = vec![node(devices)];
        let now = self.now();
        self.app.store.inventory_seen(&nodes, now).await.unwrap();
        let busy =
            DeviceUsage { utilization_percent: Some(42), memory_used_bytes: Some(1 << 30), ..Default::default() };
        let usage = BTreeMap::from([(DeviceId("GPU-0".to_owned()), busy)]);
        let known = Known { nodes, usage, attachable: BTreeMap::new(), read_at: Some(now), silent: Vec::new() };
        self.app.control.inventory().set(known);
    }

    pub fn now(&self) -> Timestamp {
        self.app.control.clock().now()
    }

    pub async fn get(&self, path: &str, person: &Person) -> Value {
        let answer = self.app.get(path, Some(&person.read)).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        answer.json
    }

    pub async fn post(&self, path: &str, person: &Person, body: &Value) -> Answer {
        self.app.post(path, Some(&person.write), body).await
    }

    /// A Space wants a device.
    pub async fn claim(&self, space: &Space, account: &str) -> StoredClaim {
        let claim = Claim {
            id: self.app.control.clock().claim_id(),
            space: space.id,
            account: QuotaPath(account.to_owned()),
            flavor: FlavorName("l4x1".to_owned()),
            shape: Shape {
                cpu_millicores: 1000,
                memory_bytes: 1 << 30,
                devices: 1,
                milli: 1000,
                models: vec!["NVIDIA L4".to_owned()],
                min_device_memory_bytes: 0,
            },
            priority: Priority::Normal,
            submitted_at: self.now(),
            limit_ms: None,
        };
        assert!(self.app.store.claim_add(&claim).await.unwrap());
        self.app.store.claim_of(space.id).await.unwrap().unwrap()
    }

    /// A Space wants a device, and the scheduler says why it waits.
    pub async fn waits(&self, space: &Space, account: &str, wait: &Wait) -> StoredClaim {
        let claim = self.claim(space, account).await;
        assert!(self.app.store.claim_decide(claim.claim.id, claim.generation, wait, self.now()).await.unwrap());
        self.app.store.claim_of(space.id).await.unwrap().unwrap()
    }

    /// A Space has a device.
    pub async fn holds(&self, space: &Space, account: &str, number: u32) -> StoredLease {
        self.claim(space, account).await;
        self.takes(space, number).await
    }

    /// A Space that wants a device gets it.
    pub async fn takes(&self, space: &Space, number: u32) -> StoredLease {
        let claim = self.app.store.claim_of(space.id).await.unwrap().unwrap();
        let lease = Lease {
            id: self.app.control.clock().lease_id(),
            claim: claim.claim.id,
            node: NodeName("box".to_owned()),
            devices: vec![LeasedDevice { device: DeviceId(format!("GPU-{number}")), milli: 1000 }],
            started_at: self.now(),
            ends_by: None,
        };
        let node = self.app.store.nodes_known().await.unwrap().remove(0).generation;
        let name = space.name.to_string();
        let weights = BTreeMap::new();
        let new = NewLease { lease: &lease, claim: &claim, space_name: &name, node, weights: &weights };
        assert!(self.app.store.lease_take(&new).await.unwrap());
        self.app.store.lease_of(space.id).await.unwrap().unwrap()
    }

    /// Its time is over.
    pub async fn ends(&self, lease: &StoredLease, why: LeaseEnd) {
        let lease = self.app.store.lease_by_id(lease.lease.id).await.unwrap().unwrap();
        assert!(self.app.store.lease_end(&lease, why, self.now()).await.unwrap());
    }

    /// What the audit says that was done to something.
    pub async fn audited(&self, action: &str, subject: &str) -> Value {
        let rows = self.get("/api/admin/audit", &self.root_writer()).await;
        let is_it = |row: &&Value| row["action"] == action && row["subject"] == subject;
        let found = rows.as_array().unwrap().iter().find(is_it);
        found.unwrap_or_else(|| panic!("no {action} of {subject}: {rows}"))["detail"].clone()
    }

    /// The audit is for tokens that hold nothing back.
    fn root_writer(&self) -> Person {
        Person { read: self.root.write.clone(), ..self.root.clone() }
    }
}
