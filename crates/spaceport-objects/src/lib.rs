//! Large files: one store behind git-lfs, Xet and plain downloads.
//!
//! A file is named by the SHA-256 of its bytes and is kept in one of two forms: as it is, when it
//! came by git-lfs, or as a list of chunks, when it came by Xet. Chunks lie in xorbs, which files
//! share; that is where deduplication on disk comes from, and why a Xet file is never put together
//! on disk. Readers do not see the difference.
//!
//! The store knows content, not rights: which repository holds which file is recorded in the
//! database, and that decides who may read it. One right is decided here, since it concerns the
//! inside of files: a new file may be made only of xorbs that its sender has uploaded, so that
//! knowing a hash never gives content. Whatever is stored was checked against its name first.
//!
//! The crate names no HTTP framework and no database. Its Xet parsers are its own: the Hub's
//! crate `xet-core-structures` brings 35 packages on Linux (a clock, a logger, system statistics,
//! start-up code) and reads with `unsafe`, for formats of a few hundred lines.

mod config;
mod error;
mod folder;
mod hash;
mod incoming;
mod multipart;
mod read;
mod store;
mod sweep;
#[cfg(test)]
mod tests;
mod xet;

pub use config::ObjectsConfig;
pub use error::ObjectError;
pub use hash::XetHash;
pub use multipart::Multipart;
pub use read::{ByteStream, Object, ObjectReader};
pub use spaceport_core::{InvalidHash, Sha256};
pub use store::{ObjectInfo, ObjectStore};
pub use sweep::Swept;
pub use xet::{
    MAX_SHARD_BYTES, MAX_XORB_BYTES, Progress, ReceivedShard, Reconstruction, RegisteredFile, Term, XorbSpan, XorbSpans,
};
