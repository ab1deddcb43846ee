//! What a commit request says: a header, and one operation per line.
//! Hub: `POST /api/{kind}/{id}/commit/{rev}`, media type `application/x-ndjson`.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use base64::Engine as _;
use bytes::Bytes;
use futures::StreamExt;
use serde::Deserialize;

use spaceport_git::FileContent;

use crate::error::{ApiError, clip};
use crate::files::commit::lines::{Line, Lines, MARKER};
use crate::files::commit::spool::{BASE64, Long, Spool};
use crate::files::large::Taken;

/// Largest body.
const MAX_BODY_BYTES: u64 = 8 << 30;
/// Most operations of one commit.
const MAX_OPERATIONS: usize = 25_000;
/// Longest title and longest rest of a message.
const MAX_SUMMARY: usize = 4096;
const MAX_DESCRIPTION: usize = 64 << 10;
/// A client that sends nothing for so long is gone.
const IDLE: Duration = Duration::from_secs(60);
/// After a refusal, so much is still read and dropped: a client that is cut off while it sends
/// never sees the answer.
const DRAINED_BYTES: usize = 1 << 30;
const DRAINED_FOR: Duration = Duration::from_secs(60);

/// A commit as it was asked for.
#[derive(Debug)]
pub(super) struct Wish {
    /// The title of the message.
    pub summary: String,
    /// The rest of the message.
    pub description: String,
    /// Where the caller believes the branch to be.
    pub parent: Option<String>,
    /// In this order.
    pub changes: Vec<Change>,
}

/// One change.
#[derive(Debug)]
pub(super) enum Change {
    /// Adds or replaces a file.
    Put { path: String, content: FileContent },
    /// Adds or replaces a large file that was uploaded before.
    PutLarge(Taken),
    /// Removes a file, or a folder.
    DeleteFile { path: String },
    /// Removes a folder.
    DeleteFolder { path: String },
}

#[derive(Deserialize)]
#[serde(tag = "key", content = "value", rename_all = "camelCase")]
enum Entry {
    Header(Header),
    File(File),
    LfsFile(LfsFile),
    DeletedFile(Deleted),
    DeletedFolder(Deleted),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    #[serde(default)]
    summary: Option<String>,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    parent_commit: Option<String>,
}

#[derive(Deserialize)]
struct File {
    path: String,
    content: String,
    #[serde(default)]
    encoding: Option<String>,
}

#[derive(Deserialize)]
struct LfsFile {
    path: String,
    #[serde(default)]
    algo: Option<String>,
    oid: String,
    #[serde(default)]
    size: Option<u64>,
}

#[derive(Deserialize)]
struct Deleted {
    path: String,
}

/// Reads a body to its end.
///
/// # Errors
/// 400 with the number of the line that is wrong.
pub(super) async fn read(body: Body, spool: &Spool) -> Result<Wish, ApiError> {
    let mut pieces = body.into_data_stream();
    let read = read_all(&mut pieces, spool).await;
    if read.is_err() {
        drain(pieces).await;
    }
    read
}

async fn read_all(pieces: &mut BodyDataStream, spool: &Spool) -> Result<Wish, ApiError> {
    let mut lines = Lines::new(spool);
    let mut reader = Reader::default();
    let mut total: u64 = 0;
    loop {
        let piece = tokio::time::timeout(IDLE, pieces.next()).await;
        let mut piece: Bytes = match piece.map_err(|_| ApiError::body_timeout(IDLE.as_secs()))? {
            Some(Ok(piece)) => piece,
            Some(Err(_)) => return Err(ApiError::bad_request("The request body ended before it was complete")),
            None => break,
        };
        total = total.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        if total > MAX_BODY_BYTES {
            return Err(ApiError::too_large(usize::try_from(MAX_BODY_BYTES).unwrap_or(usize::MAX)));
        }
        while !piece.is_empty() {
            let (line, taken) = lines.take(&piece).await?;
            drop(piece.split_to(taken));
            if let Some(line) = line {
                reader.add(line)?;
            }
        }
    }
    if let Some(line) = lines.finish()? {
        reader.add(line)?;
    }
    reader
        .wish
        .ok_or_else(|| ApiError::bad_request("The commit is empty: its first line must be {\"key\": \"header\", …}"))
}

#[derive(Default)]
struct Reader {
    number: usize,
    wish: Option<Wish>,
}

impl Reader {
    fn add(&mut self, Line { json, long }: Line) -> Result<(), ApiError> {
        self.number += 1;
        if json.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        let number = self.number;
        let wrong = |what: &str| ApiError::bad_request(format!("Line {number} of the commit: {what}"));
        let entry: Entry = serde_json::from_slice(&json).map_err(|error| wrong(&error.to_string()))?;
        if long.is_some() && !matches!(&entry, Entry::File(file) if file.content == MARKER) {
            return Err(wrong("only the content of a file may be so long"));
        }
        let Some(wish) = &mut self.wish else {
            let Entry::Header(header) = entry else { return Err(wrong("the first line must be the header")) };
            self.wish = Some(header.into_wish().map_err(|what| wrong(&what))?);
            return Ok(());
        };
        if wish.changes.len() == MAX_OPERATIONS {
            return Err(wrong(&format!("a commit may have {MAX_OPERATIONS} operations; make several commits")));
        }
        wish.changes.push(match entry {
            Entry::Header(_) => return Err(wrong("there is a second header")),
            Entry::File(file) => file.into_change(long).map_err(|what| wrong(&what))?,
            Entry::LfsFile(LfsFile { path, algo, oid, size }) => {
                if algo.as_deref().is_some_and(|algo| algo != "sha256") {
                    return Err(wrong("'algo' must be sha256"));
                }
                Change::PutLarge(Taken { path, sha256: oid, size })
            }
            Entry::DeletedFile(Deleted { path }) => Change::DeleteFile { path },
            Entry::DeletedFolder(Deleted { path }) => Change::DeleteFolder { path },
        });
        Ok(())
    }
}

impl Header {
    fn into_wish(self) -> Result<Wish, String> {
        let Self { summary, description, parent_commit } = self;
        let (summary, description) = (summary.unwrap_or_default(), description.unwrap_or_default());
        if summary.trim().is_empty() {
            return Err("'summary' must not be empty".to_owned());
        }
        if summary.len() > MAX_SUMMARY || description.len() > MAX_DESCRIPTION {
            return Err(format!(
                "'summary' may have {MAX_SUMMARY} bytes and 'description' {MAX_DESCRIPTION}; write the rest into a file"
            ));
        }
        let parent = parent_commit.filter(|parent| !parent.is_empty());
        if parent.as_ref().is_some_and(|parent| parent.len() > 40 || !parent.bytes().all(|b| b.is_ascii_hexdigit())) {
            return Err("'parentCommit' must be the id of a commit".to_owned());
        }
        Ok(Wish { summary, description, parent, changes: Vec::new() })
    }
}

impl File {
    fn into_change(self, long: Option<Long>) -> Result<Change, String> {
        let Self { path, content, encoding } = self;
        let not_base64 = |path: &str| format!("the content of {:?} is not base64", clip(path));
        let content = match (encoding.as_deref(), long) {
            (Some("base64"), Some(Long::Decoded(file))) => FileContent::Spooled(file),
            (Some("base64"), Some(Long::NotBase64)) => return Err(not_base64(&path)),
            (Some("base64"), None) => {
                FileContent::Bytes(BASE64.decode(&content).map_err(|_| not_base64(&path))?.into())
            }
            (None | Some("utf-8" | "utf8" | "text"), None) => FileContent::Bytes(content.into()),
            (None | Some("utf-8" | "utf8" | "text"), Some(_)) => {
                return Err(format!("the content of {:?} is so long that it must be sent as base64", clip(&path)));
            }
            (Some(other), _) => {
                return Err(format!("'encoding' cannot be {:?}; it must be base64 or utf-8", clip(other)));
            }
        };
        Ok(Change::Put { path, content })
    }
}

async fn drain(mut pieces: BodyDataStream) {
    let mut left = DRAINED_BYTES;
    let rest = async {
        while let Some(Ok(piece)) = pieces.next().await {
            left = left.saturating_sub(piece.len());
            if left == 0 {
                return;
            }
        }
    };
    // However it ends, the refusal is answered.
    let _ = tokio::time::timeout(DRAINED_FOR, rest).await;
}
