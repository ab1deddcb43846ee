//! Removes large files that no repository has, and chunks that no file needs.
//!
//! A file's use is recorded in three steps: it is uploaded, its repository gets a row, a commit
//! marks the row. Whoever takes a step notes it at the file first, so a pass that reads the rows
//! before the step spares the file by its time. A row that no commit follows is an upload that was
//! given up; it goes first, and its file with the pass after its time of grace.

use std::time::{Duration, Instant};

use spaceport_objects::{ObjectError, ObjectStore, Swept};
use spaceport_store::{Store, StoreError};
use tokio_util::sync::CancellationToken;

use crate::ControlHandle;
use crate::engine::chain;
use crate::handle::TaskStatus;

/// Between two passes; one reads the record of every file.
const PERIOD: Duration = Duration::from_secs(6 * 60 * 60);
/// The first pass comes when the server is through with its start.
const AFTER_START: Duration = Duration::from_secs(10 * 60);

/// A pass failed.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// Which files are used is not known, so none was removed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The disk failed.
    #[error(transparent)]
    Objects(#[from] ObjectError),
}

/// Runs until told to stop.
pub async fn run(objects: ObjectStore, store: Store, control: ControlHandle, stop: CancellationToken) {
    let mut wait = AFTER_START;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = control.clock().sleep(wait) => {}
        }
        wait = PERIOD;
        let began = Instant::now();
        let result = pass(&objects, &store, &control).await;
        let message = match &result {
            Ok(swept) => told(swept),
            Err(error) => {
                let text = chain(error);
                tracing::warn!(error = text, "large files could not be swept: {text}");
                text
            }
        };
        let duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let at = control.clock().now();
        control.report("large files", TaskStatus { ok: result.is_ok(), message, at, duration_ms });
    }
}

/// Removes what nothing needs.
///
/// # Errors
/// When database or disk fail.
pub async fn pass(objects: &ObjectStore, store: &Store, control: &ControlHandle) -> Result<Swept, SweepError> {
    let now = control.clock().now();
    store.object_uploads_forget(now - objects.config().keep_unused).await?;
    let live = store.objects_live().await?;
    Ok(objects.sweep(live, now).await?)
}

fn told(swept: &Swept) -> String {
    let Swept { files_removed, xorbs_removed, uploads_removed, bytes_removed, bytes_kept } = swept;
    format!(
        "{files_removed} files, {xorbs_removed} xorbs and {uploads_removed} unfinished uploads removed, {} MiB; {} MiB kept",
        bytes_removed >> 20,
        bytes_kept >> 20
    )
}
