//! What only site admins do; every change leaves a row in the audit.

pub mod sign_in;
pub mod site;
pub mod tokens;
pub mod users;
