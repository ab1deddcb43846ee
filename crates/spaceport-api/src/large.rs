//! Large files: git-lfs, Xet, and the downloads of both.
//!
//! `spaceport-objects` keeps the bytes, the database says which repository has which file, and this
//! module joins the two: a file is given out only through a repository that has it, to somebody who
//! may read that repository. Clients of git-lfs and Xet send the hub's token only to the hub's own
//! API, so what they upload to and download from is named by signed addresses and tokens; see
//! [`claims`].

pub(crate) mod batch;
pub(crate) mod cas;
mod claims;
pub(crate) mod content;
pub(crate) mod files;
pub(crate) mod forget;
pub(crate) mod holdings;
pub(crate) mod reconstruction;
pub(crate) mod tokens;
pub(crate) mod transfer;

pub use claims::ClaimKey;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};

use spaceport_core::AccountId;
use spaceport_git::PushAccess;
use spaceport_objects::ObjectStore;

use crate::access::ReadRepo;
use crate::community::pushable_pulls;
use crate::error::ApiError;
use crate::state::ApiState;

/// A body may pause so long before it is given up.
const IDLE: Duration = Duration::from_secs(120);

/// What the handlers of large files share.
#[derive(Clone)]
pub struct LargeFiles {
    /// The bytes.
    pub objects: ObjectStore,
    /// Signs addresses and tokens.
    pub key: Arc<ClaimKey>,
    /// Files above this size are uploaded in parts by clients that can, in bytes.
    pub multipart_above: u64,
}

/// What files are brought for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum UploadFor<'a> {
    /// A pull request that is not open yet.
    Proposal,
    /// A commit or a push to this revision.
    Revision(&'a str),
}

/// The same with the account, if the caller may bring files to the repository: writers may, for a proposal everybody
/// who may make one, and for a pull request its author.
///
/// # Errors
/// 401 when anonymous, 403 with the missing right otherwise.
async fn may_upload(state: &ApiState, read: ReadRepo, what: UploadFor<'_>) -> Result<(ReadRepo, AccountId), ApiError> {
    if let Some(account) = read.caller.account().filter(|_| read.rights.discuss && !read.rights.write) {
        let account = account.id;
        let allowed = match what {
            UploadFor::Proposal => true,
            UploadFor::Revision(name) => {
                let user = read.caller.clone().into_user()?;
                let own = pushable_pulls(state, &read.repo, &user).await?;
                matches!(own, Some(PushAccess::Only(refs)) if refs.iter().any(|own| own == name))
            }
        };
        if allowed {
            return Ok((read, account));
        }
    }
    let to = read.into_write()?;
    let account = to.user.account().id;
    Ok((ReadRepo { repo: to.repo, caller: to.user.into(), rights: to.rights }, account))
}

/// The body of an upload as a stream that ends when nothing comes for a while.
fn upload(body: Body) -> impl Stream<Item = Result<Bytes, axum::BoxError>> + Send + 'static {
    let pieces = Box::pin(body.into_data_stream());
    stream::unfold(Some(pieces), |pieces| async {
        let mut pieces = pieces?;
        match tokio::time::timeout(IDLE, pieces.next()).await {
            Ok(Some(Ok(piece))) => Some((Ok(piece), Some(pieces))),
            Ok(Some(Err(error))) => Some((Err(error.into()), None)),
            Ok(None) => None,
            Err(_) => Some((Err("nothing arrived for two minutes".into()), None)),
        }
    })
}
