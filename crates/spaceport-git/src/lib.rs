//! Bare repositories and git smart HTTP for Spaceport.
//!
//! The `git` binary does the protocol and the object store: it is the reference implementation of
//! both, and it costs no package. This crate decides what it may do (clean environment, limits,
//! policy as hooks), feeds it streams, and reports what moved. It names no HTTP framework: bodies
//! come in and go out as streams of bytes, so that handlers stay thin.
//!
//! A repository is found by its id only. No text of a user becomes a path on disk or
//! an option of a command.

mod command;
mod error;
mod export;
mod gzip;
mod hooks;
mod import;
mod initial;
mod lfs;
mod read;
mod repositories;
mod rpc;
mod serve;
mod size;
mod tree;

pub use error::{GitError, SourceProblem};
pub use export::{ArchiveOptions, SourceLimits, SourceSummary};
pub use gzip::BodyEncoding;
pub use initial::{Author, InitialCommit, InitialFile};
pub use lfs::is_lfs_pointer;
pub use read::{CommitInfo, MAX_FILES};
pub use repositories::{Limits, Repositories};
pub use rpc::Output;
pub use serve::{Push, PushMessages, PushReport, RefChange, Request, Service};
pub use tree::{EntryKind, TreeEntry};
