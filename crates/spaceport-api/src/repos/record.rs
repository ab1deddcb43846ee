//! What a moved `main` means, whoever moved it: a push, a commit over HTTP, a merge.

use serde_json::{Value, json};

use spaceport_core::space::Space;
use spaceport_core::{CommitSha, Repo, RepoKind};

use crate::audit;
use crate::caller::User;
use crate::error::ApiError;
use crate::spaces::settled;
use crate::state::ApiState;

/// Records where `main` points to now, indexes its README, and has a Space build it. `moved_to` is
/// what the caller knows, for a repository whose `main` is gone again.
///
/// # Errors
/// When git or the database fails; the next record, or the indexer, makes up for it.
pub(crate) async fn record_head(
    state: &ApiState,
    repo: &Repo,
    user: &User,
    moved_to: &CommitSha,
    action: &str,
) -> Result<CommitSha, ApiError> {
    // What main points to now, and not what this change made it: two changes may end in any order,
    // and one may move it between the look and the record.
    let changes = state.control.changes();
    let (head, space) = loop {
        let head = state.repositories.head(repo.id, "main").await?.unwrap_or_else(|| moved_to.clone());
        let space = write(state, repo, &head).await?;
        if state.repositories.head(repo.id, "main").await?.is_none_or(|now| now == head) {
            break (head, space);
        }
    };
    if let Err(error) = spaceport_control::index::index(&state.store, &state.repositories, repo, &head).await {
        // The indexer finds it by the database and tries again.
        tracing::warn!(repo = %repo.path(), %error, "the card of a commit could not be read");
    }
    state.control.activate_webhooks();
    let detail: Value = json!({"head": head});
    audit::record(state, user, action, &repo.path(), detail).await?;
    if let Some(space) = space {
        state.control.activate(space.id);
        if space.desired.head != repo.head {
            // Whoever waits for the app after a push must not be told the stage of the commit before.
            let (stage, diagnosis) = (space.stage, space.diagnosis.clone());
            settled(state, space, changes, |now| now.stage != stage || now.diagnosis != diagnosis).await?;
        }
    }
    Ok(head)
}

async fn write(state: &ApiState, repo: &Repo, head: &CommitSha) -> Result<Option<Space>, ApiError> {
    let now = state.control.clock().now();
    if repo.kind == RepoKind::Space {
        return Ok(state.store.space_change(repo.id.into(), now, |desired| desired.head = Some(head.clone())).await?);
    }
    state.store.repo_set_head(repo.id, head, now).await?;
    Ok(None)
}
