//! Bare repositories and git smart HTTP for Spaceport.
//!
//! The `git` binary does the protocol, and packs and sweeps: it is the reference implementation. This crate
//! decides what it may do (clean environment, limits, policy as hooks), feeds it streams, and reports what
//! moved. Files are read and commits are made in this process, with libgit2, since a process per request would cost
//! more than the answer. It names no HTTP framework: bodies
//! come in and go out as streams of bytes, so that handlers stay thin.
//!
//! A repository is found by its id only. No text of a user becomes a path on disk or
//! an option of a command.

mod command;
mod commit;
mod compare;
mod content;
mod duplicate;
mod error;
mod export;
mod files;
mod gate;
mod gzip;
mod history;
mod hooks;
mod import;
mod initial;
mod introduced;
mod lfs;
mod listing;
mod merge;
mod objects;
mod opened;
mod overlay;
mod readers;
mod references;
mod repositories;
mod revision;
mod rewrite;
mod rpc;
mod rules;
mod serve;
mod size;
mod tracking;
mod tree;
mod turns;

pub use commit::{CommitOutcome, CommitSpec, Operation};
pub use compare::{ChangeStatus, ChangedFile, Comparison};
pub use content::{Blob, Content};
pub use error::{GitError, SourceProblem};
pub use export::{ArchiveOptions, LargeFiles, SourceLimits, SourceSummary};
pub use files::MAX_FILES;
pub use gate::{LfsCheck, PushAccess, PushPolicy};
pub use gzip::BodyEncoding;
pub use history::CommitInfo;
pub use initial::{Author, InitialCommit, InitialFile};
pub use introduced::LfsFile;
pub use lfs::{LfsObject, is_lfs_pointer};
pub use listing::{Entry, Found, LfsPointer, Listing, NodeKind, Page};
pub use merge::{MergeOutcome, Mergeability};
pub use objects::FileContent;
pub use opened::{InvalidObjectId, ObjectId};
pub use references::{RefCreated, RefDeleted, TagMessage};
pub use repositories::{Limits, Repositories};
pub use revision::{Ref, Revision, RevisionKind};
pub use rpc::Output;
pub use rules::PathRules;
pub use serve::{Push, PushMessages, PushReport, RefChange, Request, Service};
pub use tree::{EntryKind, TreeEntry, check_new_path};
