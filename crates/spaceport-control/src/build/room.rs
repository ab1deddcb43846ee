//! Room on the engine's host: a build that fills the disk or the memory takes the apps with it.
//!
//! Steps have limits of their own; this is for what has none (the download caches, a Dockerfile's
//! steps where they cannot be limited) and for disks that are nearly full before anything begins.

use std::time::Duration;

use spaceport_core::Reason;

use super::Stop;
use super::context::Context;
use crate::engine::chain;
use crate::garbage;
use crate::spaces::Parts;

/// How often the host is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
const FREE_DISK: &str = "The administrator must free space on the container engine's disk (docker system df shows what \
                         takes it: images of Spaces nobody needs, buckets, other people's images); then restart the Space.";

/// Fails when there is too little disk to begin with, after trying to free some.
pub(super) async fn need(parts: &Parts, context: &Context) -> Result<(), Stop> {
    if low_disk(parts).await.is_none() {
        return Ok(());
    }
    context.phase("room", "Freeing space on the engine's disk").await;
    if let Err(error) = garbage::make_room(parts).await {
        let text = chain(&error);
        tracing::warn!(error = text, "space could not be freed: {text}");
    }
    match low_disk(parts).await {
        Some(free) => {
            let message = format!(
                "The engine's disk has {} left; a build begins when there are {}.",
                size(free),
                size(parts.config.builder.min_disk_bytes)
            );
            Err(context.failed(Reason::DiskFull, &message, FREE_DISK))
        }
        None => Ok(()),
    }
}

/// Ends when the host runs out of disk, or of memory if that is asked for.
pub(super) async fn exhausted(parts: &Parts, context: &Context, memory_too: bool) -> Stop {
    loop {
        parts.control.clock().sleep(LOOK_EVERY).await;
        // An engine that does not answer is noticed by whoever waits for it.
        let Ok(room) = parts.engine.runtime.room().await else { continue };
        let builder = &parts.config.builder;
        if let Some(free) = room.disk_bytes.filter(|free| *free < builder.min_disk_bytes) {
            let message = format!("The build was ended since the engine's disk has only {} left.", size(free));
            return context.failed(Reason::DiskFull, &message, FREE_DISK);
        }
        if let Some(free) = room.memory_bytes.filter(|free| memory_too && *free < builder.min_memory_bytes) {
            let message =
                format!("The build was ended since the engine's host has only {} of memory left.", size(free));
            let remedy = "Use less memory in the Dockerfile's steps (fewer parallel jobs, for example), or try again when \
                          less runs on this site.";
            return context.failed(Reason::OutOfMemory, &message, remedy);
        }
    }
}

/// Ends when the disk of the data directory, where archives wait for the engine, has no more room than uploads need.
pub(super) async fn archives(parts: &Parts, context: &Context) -> Stop {
    loop {
        // A disk that cannot be asked says so to whoever writes to it.
        if matches!(parts.objects.has_room(), Ok(false)) {
            let remedy =
                "The administrator must free space on the disk of Spaceport's data directory; then restart the Space.";
            let message = "The disk of Spaceport's data directory is nearly full, so the models could not be copied.";
            return context.failed(Reason::DiskFull, message, remedy);
        }
        parts.control.clock().sleep(LOOK_EVERY).await;
    }
}

async fn low_disk(parts: &Parts) -> Option<u64> {
    let room = parts.engine.runtime.room().await.ok()?;
    room.disk_bytes.filter(|free| *free < parts.config.builder.min_disk_bytes)
}

/// `3.2 GiB`, `120 MiB`.
pub(super) fn size(bytes: u64) -> String {
    if bytes < 1 << 30 {
        return format!("{} MiB", bytes >> 20);
    }
    let tenths = bytes.saturating_mul(10) >> 30;
    format!("{}.{} GiB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_in_units_of_people() {
        assert_eq!(size(120 << 20), "120 MiB");
        assert_eq!(size((3 << 30) + (1 << 29)), "3.5 GiB");
    }
}
