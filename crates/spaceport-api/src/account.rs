//! The caller's own account: who it is, and its tokens.

pub mod tokens;
pub mod whoami;
