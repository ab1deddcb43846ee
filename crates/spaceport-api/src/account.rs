//! The caller's own account: who it is, its tokens, its password, its sessions, its repositories.

pub mod password;
pub mod repositories;
pub mod revoke;
pub mod scopes;
pub mod sessions;
pub mod tokens;
pub mod whoami;
