//! Caches grow until somebody cuts them: the engine's of Dockerfiles, and the owners' of downloads.

use std::collections::HashSet;

use spaceport_core::AccountId;
use spaceport_runtime::RuntimeError;

use crate::build::{CACHE_VOLUME, SITE_CACHE_VOLUME};
use crate::engine::chain;
use crate::spaces::{Parts, WorkError};

/// Cuts every cache down to its limit; the number of those that were too large or without an owner.
pub(super) async fn cut(parts: &Parts) -> Result<usize, WorkError> {
    let builder = &parts.config.builder;
    let freed = parts.engine.runtime.prune_build_cache(builder.build_cache_bytes).await;
    let mut cut = usize::from(known(freed, "the builder's cache cannot be cut") > 0);
    // Listed before the owners are read: a volume that is made meanwhile is not in the list.
    let volumes = parts.engine.runtime.list_volumes().await?;
    let owners = owners(parts).await?;
    let sizes = known(parts.engine.runtime.volume_sizes().await, "the download caches cannot be measured");
    for volume in volumes {
        let Some(owner) = volume.name.strip_prefix(CACHE_VOLUME) else { continue };
        let is_known =
            volume.name == SITE_CACHE_VOLUME || owner.parse().is_ok_and(|owner: AccountId| owners.contains(&owner));
        let is_large = sizes.get(&volume.name).is_some_and(|bytes| *bytes > builder.download_cache_bytes);
        // As a whole, since only the programs that fill it know its parts. One that a build uses stays
        // until next time.
        if (!is_known || is_large) && parts.engine.runtime.remove_volume(&volume.name).await? {
            tracing::info!(volume.name = volume.name, "removed the download cache {}", volume.name);
            cut += 1;
        }
    }
    Ok(cut)
}

/// What an engine said; one that cannot say so is no reason to remove nothing else.
fn known<T: Default>(said: Result<T, RuntimeError>, what: &str) -> T {
    said.unwrap_or_else(|error| {
        let text = chain(&error);
        tracing::warn!(error = text, "{what}: {text}");
        T::default()
    })
}

/// Accounts with a Space; nobody else builds.
async fn owners(parts: &Parts) -> Result<HashSet<AccountId>, WorkError> {
    let mut owners = HashSet::new();
    for id in parts.store.space_ids().await? {
        owners.extend(parts.store.space_by_id(id).await?.map(|space| space.owner));
    }
    Ok(owners)
}
