//! Nodes and devices that were ever there, and what admins said about them.

use futures::TryFutureExt;
use serde::{Deserialize, Serialize};
use sqlx::FromRow;

use spaceport_core::gpu::{DeviceId, Node, NodeName};
use spaceport_core::{Generation, Timestamp};

use crate::rows::{json_opt, to_json};
use crate::{Store, StoreError, run, run_tx};

/// An admin wants nothing new there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Why, in words.
    pub reason: String,
    /// Who said so: the account's name.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownNode {
    /// Identity.
    pub name: NodeName,
    /// What a lease on it is taken against.
    pub generation: Generation,
    /// First there.
    pub first_seen_at: Timestamp,
    /// Gone since.
    pub lost_at: Option<Timestamp>,
    /// Nothing new on it.
    pub cordon: Option<Mark>,
}

/// A device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownDevice {
    /// Identity.
    pub id: DeviceId,
    /// Where it was last.
    pub node: NodeName,
    /// Its number there.
    pub index: u32,
    /// What it is.
    pub model: String,
    /// Its memory in bytes.
    pub memory_bytes: u64,
    /// For a slice: of which device.
    pub slice_of: Option<DeviceId>,
    /// First there.
    pub first_seen_at: Timestamp,
    /// Gone since.
    pub lost_at: Option<Timestamp>,
    /// Nothing new on it.
    pub drain: Option<Mark>,
    /// What live leases have of it, in thousandths.
    pub leased_milli: u32,
}

#[derive(FromRow)]
struct NodeRow {
    name: String,
    generation: i64,
    first_seen_at: i64,
    lost_at: Option<i64>,
    cordon: Option<String>,
}

impl NodeRow {
    fn into_node(self) -> Result<KnownNode, StoreError> {
        Ok(KnownNode {
            name: NodeName(self.name),
            generation: Generation(self.generation),
            first_seen_at: Timestamp::from_millis(self.first_seen_at),
            lost_at: self.lost_at.map(Timestamp::from_millis),
            cordon: json_opt("nodes.cordon", self.cordon.as_ref())?,
        })
    }
}

#[derive(FromRow)]
struct DeviceRow {
    id: String,
    node: String,
    number: i64,
    model: String,
    memory_bytes: i64,
    slice_of: Option<String>,
    first_seen_at: i64,
    lost_at: Option<i64>,
    drain: Option<String>,
    leased_milli: i64,
}

impl DeviceRow {
    fn into_device(self) -> Result<KnownDevice, StoreError> {
        Ok(KnownDevice {
            id: DeviceId(self.id),
            node: NodeName(self.node),
            index: u32::try_from(self.number).unwrap_or_default(),
            model: self.model,
            memory_bytes: self.memory_bytes.unsigned_abs(),
            slice_of: self.slice_of.map(DeviceId),
            first_seen_at: Timestamp::from_millis(self.first_seen_at),
            lost_at: self.lost_at.map(Timestamp::from_millis),
            drain: json_opt("devices.drain", self.drain.as_ref())?,
            leased_milli: u32::try_from(self.leased_milli).unwrap_or_default(),
        })
    }
}

const NODES: &str = "SELECT * FROM nodes ORDER BY name";
const DEVICES: &str = "SELECT * FROM devices ORDER BY node, number, id";
const NODE_SEEN: &str = "INSERT INTO nodes (name, generation, first_seen_at) VALUES ($1, 1, $2) \
     ON CONFLICT (name) DO UPDATE SET lost_at = NULL, generation = nodes.generation + 1";
const DEVICE_SEEN: &str = "INSERT INTO devices (id, node, number, model, memory_bytes, slice_of, first_seen_at, \
     leased_milli) VALUES ($1, $2, $3, $4, $5, $6, $7, 0) ON CONFLICT (id) DO UPDATE SET node = excluded.node, \
     number = excluded.number, model = excluded.model, memory_bytes = excluded.memory_bytes, \
     slice_of = excluded.slice_of, lost_at = NULL";
const NODE_LOST: &str =
    "UPDATE nodes SET lost_at = $1, generation = generation + 1 WHERE name = $2 AND lost_at IS NULL";
const DEVICE_LOST: &str = "UPDATE devices SET lost_at = $1 WHERE id = $2 AND lost_at IS NULL";
const DEVICE_DRAIN: &str = "UPDATE devices SET drain = $1 WHERE id = $2";
const NODE_CORDON: &str = "UPDATE nodes SET cordon = $1, generation = generation + 1 WHERE name = $2";
const NODE_RAISE: &str = "UPDATE nodes SET generation = generation + 1 \
     WHERE name IN (SELECT node FROM devices WHERE id = $1)";

impl Store {
    /// Every node that was ever there, by name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn nodes_known(&self) -> Result<Vec<KnownNode>, StoreError> {
        run!(self, "nodes_known", db => sqlx::query_as::<_, NodeRow>(NODES).fetch_all(db))?
            .into_iter()
            .map(NodeRow::into_node)
            .collect()
    }

    /// Every device that was ever there, by node and number.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn devices_known(&self) -> Result<Vec<KnownDevice>, StoreError> {
        run!(self, "devices_known", db => sqlx::query_as::<_, DeviceRow>(DEVICES).fetch_all(db))?
            .into_iter()
            .map(DeviceRow::into_device)
            .collect()
    }

    /// Records what there is now: nodes and devices that are not among these are gone. What is the same as
    /// before is not written.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn inventory_seen(&self, nodes: &[Node], at: Timestamp) -> Result<(), StoreError> {
        let (known_nodes, known) = (self.nodes_known().await?, self.devices_known().await?);
        let is_known = |node: &Node, index: usize| {
            let device = &node.devices[index];
            known.iter().any(|known| {
                known.id == device.id
                    && known.node == node.name
                    && known.index == device.index
                    && known.model == device.model
                    && known.memory_bytes == device.memory_bytes
                    && known.slice_of == device.slice_of
                    && known.lost_at.is_none()
            })
        };
        let mut tx = None;
        for node in nodes {
            let new: Vec<_> = (0..node.devices.len()).filter(|index| !is_known(node, *index)).collect();
            let is_there = known_nodes.iter().any(|known| known.name == node.name && known.lost_at.is_none());
            if is_there && new.is_empty() {
                continue;
            }
            if tx.is_none() {
                tx = Some(self.begin().await?);
            }
            let Some(tx) = &mut tx else { continue };
            run_tx!(tx, "node_seen", db => sqlx::query(NODE_SEEN)
                .bind(&node.name.0).bind(at.as_millis()).execute(db).map_ok(crate::unit))?;
            for index in new {
                let device = &node.devices[index];
                run_tx!(tx, "device_seen", db => sqlx::query(DEVICE_SEEN)
                    .bind(&device.id.0)
                    .bind(&node.name.0)
                    .bind(i64::from(device.index))
                    .bind(&device.model)
                    .bind(i64::try_from(device.memory_bytes).unwrap_or(i64::MAX))
                    .bind(device.slice_of.as_ref().map(|id| &id.0))
                    .bind(at.as_millis())
                    .execute(db).map_ok(crate::unit))?;
            }
        }
        let gone_nodes = known_nodes
            .iter()
            .filter(|known| known.lost_at.is_none() && !nodes.iter().any(|node| node.name == known.name));
        for node in gone_nodes {
            if tx.is_none() {
                tx = Some(self.begin().await?);
            }
            let Some(tx) = &mut tx else { continue };
            run_tx!(tx, "node_lost", db => sqlx::query(NODE_LOST)
                .bind(at.as_millis()).bind(&node.name.0).execute(db).map_ok(crate::unit))?;
        }
        let is_there = |id: &DeviceId| nodes.iter().flat_map(|node| &node.devices).any(|device| device.id == *id);
        for device in known.iter().filter(|known| known.lost_at.is_none() && !is_there(&known.id)) {
            if tx.is_none() {
                tx = Some(self.begin().await?);
            }
            let Some(tx) = &mut tx else { continue };
            run_tx!(tx, "device_lost", db => sqlx::query(DEVICE_LOST)
                .bind(at.as_millis()).bind(&device.id.0).execute(db).map_ok(crate::unit))?;
            run_tx!(tx, "node_raise", db => sqlx::query(NODE_RAISE)
                .bind(&device.id.0).execute(db).map_ok(crate::unit))?;
        }
        match tx {
            Some(tx) => tx.commit().await,
            None => Ok(()),
        }
    }

    /// Says that nothing new is placed on a device, or that it may be again; `false` when it was never there.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn device_drain(&self, id: &DeviceId, drain: Option<&Mark>) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let rows = run_tx!(&mut tx, "device_drain", db => sqlx::query(DEVICE_DRAIN)
            .bind(drain.map(to_json)).bind(&id.0).execute(db).map_ok(crate::Rows::rows))?;
        run_tx!(&mut tx, "node_raise", db => sqlx::query(NODE_RAISE)
            .bind(&id.0).execute(db).map_ok(crate::unit))?;
        tx.commit().await?;
        Ok(rows == 1)
    }

    /// Says that nothing new is placed on a node, or that it may be again; `false` when it was never there.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn node_cordon(&self, name: &NodeName, cordon: Option<&Mark>) -> Result<bool, StoreError> {
        run!(self, "node_cordon", db => sqlx::query(NODE_CORDON)
            .bind(cordon.map(to_json)).bind(&name.0).execute(db).map_ok(crate::Rows::rows))
        .map(|rows| rows == 1)
    }
}
