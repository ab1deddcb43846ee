//! Accelerators as admins, owners and everybody else see them, on every database that is there.

mod devices;
mod queue;
mod quotas;
mod reservations;
mod stage;
mod usage;
