//! What somebody may see of the use of hardware.

use std::collections::HashMap;

use spaceport_core::SpaceId;
use spaceport_core::access::Viewer;
use spaceport_core::account::{OrgRole, Permission, TokenRole};
use spaceport_core::gpu::QuotaPath;

use crate::access::rights;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::state::ApiState;

/// The places of the quota tree that are somebody's own, and those somebody administers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sight {
    /// A site admin.
    all: bool,
    /// `~alice`, `lab/alice`.
    own: Vec<QuotaPath>,
    /// `lab`, for an admin of it.
    managed: Vec<QuotaPath>,
}

impl Sight {
    /// Of a caller; a token that may not read something does not see its use.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn of(state: &ApiState, caller: &Caller) -> Result<Self, ApiError> {
        let Some(viewer) = &caller.viewer else { return Ok(Self::default()) };
        let name = &viewer.account.name;
        let mut sight = Self { all: sees_all(viewer), ..Self::default() };
        if viewer.token_allows(Permission::ReadContent, viewer.account.id, None) {
            sight.own.push(QuotaPath::of_space(name, false, name));
        }
        for (org, role) in state.store.orgs_of(viewer.account.id).await? {
            if !viewer.token_allows(Permission::ReadContent, org.id, None) {
                continue;
            }
            sight.own.push(QuotaPath::of_space(&org.name, true, name));
            if role == OrgRole::Admin {
                sight.managed.push(QuotaPath(org.name));
            }
        }
        Ok(sight)
    }

    /// Whether it sees who used what at a place.
    pub(crate) fn sees_use(&self, place: &QuotaPath) -> bool {
        self.all || self.own.contains(place) || self.managed.iter().any(|managed| place.is_within(managed))
    }
}

impl Sight {
    /// Whether it sees what a place may have: also what stands above its own.
    pub(crate) fn sees_quota(&self, place: &QuotaPath) -> bool {
        let is_above = |own: &QuotaPath| !place.0.is_empty() && own.is_within(place);
        self.sees_use(place) || self.own.iter().any(is_above)
    }

    /// The places that are the caller's own, or administered by it.
    pub(crate) fn own(&self) -> impl Iterator<Item = &QuotaPath> {
        self.own.iter().chain(&self.managed)
    }
}

fn sees_all(viewer: &Viewer) -> bool {
    viewer.account.is_admin && viewer.credential.role() != TokenRole::FineGrained
}

/// What somebody sees, with the names that were looked up.
pub(crate) struct Eyes<'a> {
    state: &'a ApiState,
    caller: Caller,
    pub(crate) sight: Sight,
    names: HashMap<SpaceId, Option<String>>,
}

impl<'a> Eyes<'a> {
    /// Of a caller.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn of(state: &'a ApiState, caller: Caller) -> Result<Self, ApiError> {
        let sight = Sight::of(state, &caller).await?;
        Ok(Self { state, caller, sight, names: HashMap::new() })
    }

    /// What a Space is called; `None` for one the caller may not see, and for one that is gone.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn space(&mut self, id: SpaceId) -> Result<Option<String>, ApiError> {
        if let Some(known) = self.names.get(&id) {
            return Ok(known.clone());
        }
        let repo = self.state.store.repo_by_id(id.into()).await?;
        let name = repo.filter(|repo| rights(repo, &self.caller).see).map(|repo| repo.name.to_string());
        self.names.insert(id, name.clone());
        Ok(name)
    }

    /// Space and account, each as far as the caller may see it.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn whose(
        &mut self,
        space: SpaceId,
        account: &QuotaPath,
    ) -> Result<(Option<String>, Option<String>), ApiError> {
        let name = self.space(space).await?;
        let shown = name.is_some() || self.sight.sees_use(account);
        Ok((name, shown.then(|| account.0.clone())))
    }

    /// Whether the caller may know the numbers of an account.
    pub(crate) fn sees_use(&self, account: &QuotaPath) -> bool {
        self.sight.sees_use(account)
    }
}
