//! Accounts in lists and beside what they did.

use std::collections::HashMap;

use serde::Serialize;
use utoipa::ToSchema;

use spaceport_core::AccountId;
use spaceport_core::account::{Account, AccountKind};

use crate::avatar::avatar_url;
use crate::state::Site;

/// An account in a list. Hub: the name is under `user`.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ListedAccount)]
pub struct AccountView {
    /// Never changes.
    #[serde(rename = "_id")]
    pub internal_id: String,
    /// The account's name.
    pub user: String,
    /// For people.
    pub fullname: String,
    /// Its picture.
    pub avatar_url: String,
    /// True for a user, as this server sells nothing; false for an organization.
    pub is_pro: bool,
    /// `user` or `org`.
    #[serde(rename = "type")]
    pub kind: String,
}

impl AccountView {
    /// Of an account.
    #[must_use]
    pub fn of(account: &Account, site: &Site) -> Self {
        Self {
            internal_id: account.id.to_string(),
            user: account.name.clone(),
            fullname: account.full_name.clone(),
            avatar_url: avatar_url(site, &account.name),
            is_pro: account.kind == AccountKind::User,
            kind: account.kind.as_str().to_owned(),
        }
    }
}

/// Who did something. Hub: the name is under `name` here.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Author)]
pub struct AuthorView {
    /// Never changes.
    #[serde(rename = "_id")]
    pub internal_id: String,
    /// The account's name.
    pub name: String,
    /// For people.
    pub fullname: String,
    /// Its picture.
    pub avatar_url: String,
    /// `user` or `org`.
    #[serde(rename = "type")]
    pub kind: String,
}

/// Accounts that did something, by id. One that was deleted is not among them.
#[derive(Debug, Default)]
pub struct Authors(HashMap<AccountId, AuthorView>);

impl Authors {
    /// Of accounts.
    #[must_use]
    pub fn of(accounts: Vec<Account>, site: &Site) -> Self {
        let view = |account: Account| {
            let view = AuthorView {
                internal_id: account.id.to_string(),
                avatar_url: avatar_url(site, &account.name),
                name: account.name,
                fullname: account.full_name,
                kind: account.kind.as_str().to_owned(),
            };
            (account.id, view)
        };
        Self(accounts.into_iter().map(view).collect())
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, id: AccountId) -> Option<AuthorView> {
        self.0.get(&id).cloned()
    }
}
