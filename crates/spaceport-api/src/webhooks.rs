//! Webhooks: who is told what happens to what. The deliveries themselves are control's.

pub mod deliveries;
pub mod settings;
