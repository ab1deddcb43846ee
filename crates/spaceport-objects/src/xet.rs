//! Xet: files as lists of chunks that are kept once, in xorbs.

pub(crate) mod chunk;
mod files;
mod known;
pub(crate) mod merkle;
mod reconstruct;
mod register;
pub(crate) mod shard;
pub(crate) mod xorb;
mod xorbs;

pub(crate) use files::FileRecord;
pub(crate) use reconstruct::usable;
pub use reconstruct::{Reconstruction, XorbSpan, XorbSpans};
pub use register::{Progress, ReceivedShard, RegisteredFile};
pub use shard::{MAX_SHARD_BYTES, Term};
pub use xorb::MAX_XORB_BYTES;
pub(crate) use xorb::XorbIndex;
pub(crate) use xorbs::OpenXorb;
