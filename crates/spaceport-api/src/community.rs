//! What people do around a repository: discussions, pull requests, likes, follows.

pub mod comments;
pub mod discussions;
pub mod follows;
pub mod likes;
pub mod merge;
pub(crate) mod page;
pub(crate) mod pulls;
pub mod status;

pub(crate) use page::Page;
pub(crate) use pulls::{NewPull, open_pull, pushable_pulls, refs_moved, reserve_pull};
