//! Accelerators over HTTP: what there is, who waits, who may have how much, who used it.
//!
//! Everybody who is signed in sees how full the site is and how long the queue is, since fairness nobody can see
//! is none. What a Space is called, and whose it is, is only for those who may see the Space.

pub mod devices;
mod effect;
mod eyes;
pub mod forecasts;
pub mod marks;
pub mod metrics;
mod places;
pub mod queue;
pub mod quota_change;
mod quota_view;
pub mod quotas;
pub mod refunds;
pub mod reservations;
pub mod usage;
pub mod waiting;

pub(crate) use eyes::{Eyes, Sight};
