//! The route table: what the proxy serves, as one immutable value.
//!
//! Control makes it, the proxy reads it, and a copy lies on disk so that a restart serves before
//! the database or the engine is up. It holds hashes of tokens, never tokens; the key of the tickets
//! makes it a secret all the same.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::account::{Permission, Scopes};
use crate::ticket::TicketKey;
use crate::{AccountId, Diagnosis, RepoName, SpaceId, SpaceStage, Timestamp};

/// All routes of one moment. A newer table has a higher version; an older one never replaces it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct RouteTable {
    /// Grows with every change.
    pub version: u64,
    /// By host name in lower case, without port.
    pub hosts: HashMap<String, Arc<Route>>,
    /// Host labels that Spaces had before they moved, with those they have now. A host of a Space goes first.
    #[serde(default)]
    pub former_labels: Arc<HashMap<String, String>>,
    /// Every valid token, by its SHA-256 in lower-case hex.
    pub tokens: Arc<HashMap<String, TokenHolder>>,
    /// Who may see what is private. Apart from the routes, so that whoever loses a right loses it
    /// everywhere with the next table.
    pub people: Arc<People>,
    /// What tickets are signed with; without it there are none.
    pub key: Option<TicketKey>,
}

impl RouteTable {
    /// The host, without port, that a Space has now which was at `host` before it moved.
    #[must_use]
    pub fn moved_to(&self, host: &str, spaces_domain: &str) -> Option<String> {
        let (label, _) = host.split_once('.')?;
        let now = self.former_labels.get(label)?;
        (self::host(label, spaces_domain) == host).then(|| self::host(now, spaces_domain))
    }

    /// Whether the holder of a token may reach a route.
    #[must_use]
    pub fn lets_in(&self, route: &Route, token: &TokenHolder, now: Timestamp) -> bool {
        match route.access {
            Access::Public => true,
            Access::Private { owner } => {
                let scopes = token.scopes.as_ref();
                token.until.is_none_or(|until| now < until)
                    && scopes
                        .is_none_or(|scopes| scopes.allow(Permission::ReadContent, owner, Some(route.space.into())))
                    && self.people.may_see(owner, token.account)
            }
        }
    }

    /// Whether an account may reach a route.
    #[must_use]
    pub fn lets_in_account(&self, route: &Route, account: AccountId) -> bool {
        match route.access {
            Access::Public => true,
            Access::Private { owner } => self.people.may_see(owner, account),
        }
    }
}

/// Whom a token speaks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenHolder {
    /// The account.
    pub account: AccountId,
    /// Worth nothing from then on; `None` is never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// What a fine-grained token is limited to; `None` sees what the account sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Scopes>,
}

/// Who may see what is private.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct People {
    /// Every account that is not disabled.
    pub accounts: HashSet<AccountId>,
    /// Site admins.
    pub admins: HashSet<AccountId>,
    /// The members of each organization.
    pub members: HashMap<AccountId, HashSet<AccountId>>,
}

impl People {
    /// Whether an account may see what is private to an owner.
    #[must_use]
    pub fn may_see(&self, owner: AccountId, account: AccountId) -> bool {
        let related = account == owner
            || self.admins.contains(&account)
            || self.members.get(&owner).is_some_and(|members| members.contains(&account));
        related && self.accounts.contains(&account)
    }
}

/// Where requests for one host go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// The Space.
    pub space: SpaceId,
    /// Its `owner/name`, for pages and logs.
    pub name: RepoName,
    /// The title its pages show.
    pub title: String,
    /// The Space's page on the hub, absolute.
    pub hub_page: String,
    /// Who may reach it.
    pub access: Access,
    /// What answers.
    pub target: Target,
    /// Response headers the front matter asks for (`custom_headers`, `disable_embedding`).
    pub response_headers: Vec<(String, String)>,
}

/// Who may reach a route. Everyone else gets the same 404 as for an unknown host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// Anyone.
    Public,
    /// Those who may see what is private to this owner: see [`People`].
    Private {
        /// The account the Space belongs to.
        owner: AccountId,
    },
}

/// What answers requests of a route.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Target {
    /// An app in a container.
    Upstream {
        /// Changes with every container: connections to the previous one are drained, not reused.
        instance: String,
        /// The app's address as the node reaches it.
        address: SocketAddr,
    },
    /// A directory of files, immutable: a new release has a new directory.
    Files {
        /// The folder that is served.
        root: PathBuf,
        /// File for `/` and for folders, `index.html`.
        index: String,
        /// Names and values for `window.huggingface.variables`.
        variables: BTreeMap<String, String>,
    },
    /// Nothing serves yet, but the app is on its way: hold the request for a moment, then show
    /// the state page.
    Hold(Standing),
    /// Nothing serves: show the state page at once.
    Page(Standing),
}

/// What the state page tells a visitor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// The stage.
    pub stage: SpaceStage,
    /// When it was entered.
    pub since: Timestamp,
    /// What is going on or wrong. Its evidence is for the owner and is not shown to visitors.
    pub diagnosis: Option<Diagnosis>,
}

/// The key of a Space's route: its host in lower case, without port.
#[must_use]
pub fn host(subdomain: &str, spaces_domain: &str) -> String {
    let domain = spaces_domain.rsplit_once(':').map_or(spaces_domain, |(host, _)| host);
    format!("{subdomain}.{domain}").to_ascii_lowercase()
}

/// What the proxy tells control: observations, never requests to do something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProxyEvent {
    /// A Space was used, or is: what is in flight or held counts. Sent about once per second and Space, and dropped
    /// when control is slow: the next one follows.
    Activity {
        /// The Space.
        space: SpaceId,
        /// When.
        at: Timestamp,
    },
    /// Browsers opened pages of a Space: told about once per second, and never twice.
    Visited {
        /// The Space.
        space: SpaceId,
        /// How many.
        pages: u32,
    },
    /// An instance that left the table has no request, body or upgraded connection in flight any
    /// more. An instance that was published and withdrawn within an instant may never be reported,
    /// and one may be reported twice, so whoever stops it also has a deadline.
    Drained {
        /// The `instance` of the target that left.
        instance: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Scope;

    fn account(number: u128) -> AccountId {
        AccountId::new(Timestamp::from_millis(0), number)
    }

    #[test]
    fn a_former_host_leads_to_the_one_of_today() {
        let former = HashMap::from([("alice-old".to_owned(), "alice-new".to_owned())]);
        let table = RouteTable { former_labels: Arc::new(former), ..RouteTable::default() };
        let moved = |host| table.moved_to(host, "Spaces.example:8080");
        assert_eq!(moved("alice-old.spaces.example").as_deref(), Some("alice-new.spaces.example"));
        for other in ["alice-new.spaces.example", "alice-old.example", "alice-old", "alice-old.spaces.example.evil"] {
            assert_eq!(moved(other), None, "{other}");
        }
    }

    #[test]
    fn what_is_private_is_seen_by_its_owner_members_and_admins() {
        let [owner, org, member, admin, stranger, gone] = [1, 2, 3, 4, 5, 6].map(account);
        let people = People {
            accounts: HashSet::from([owner, org, member, admin, stranger]),
            admins: HashSet::from([admin]),
            members: HashMap::from([(org, HashSet::from([member, gone]))]),
        };
        for (of, who, may) in [
            (owner, owner, true),
            (owner, admin, true),
            (owner, member, false),
            (org, member, true),
            (org, admin, true),
            (org, owner, false),
            (org, stranger, false),
            (org, gone, false),
            (gone, gone, false),
        ] {
            assert_eq!(people.may_see(of, who), may, "{who} sees what is {of}'s");
        }
    }

    #[test]
    fn a_fine_grained_token_sees_what_it_names() {
        let (owner, other) = (account(1), account(2));
        let space = SpaceId::new(Timestamp::from_millis(0), 9);
        let table = RouteTable {
            people: Arc::new(People { accounts: HashSet::from([owner, other]), ..People::default() }),
            ..RouteTable::default()
        };
        let standing = Standing { stage: SpaceStage::Paused, since: Timestamp::from_millis(0), diagnosis: None };
        let mut route = Route {
            space,
            name: "alice/demo".parse().unwrap(),
            title: String::new(),
            hub_page: String::new(),
            access: Access::Private { owner },
            target: Target::Page(standing),
            response_headers: Vec::new(),
        };
        let token =
            |account, scoped| TokenHolder { account, until: None, scopes: Some(Scopes { global: Vec::new(), scoped }) };
        let named = vec![Scope::repo(space.into(), vec![Permission::ReadContent])];
        let now = Timestamp::from_millis(1000);
        let until = |millis: Option<i64>| TokenHolder {
            account: owner,
            until: millis.map(Timestamp::from_millis),
            scopes: None,
        };
        assert!(table.lets_in(&route, &until(None), now) && table.lets_in(&route, &until(Some(1001)), now));
        assert!(!table.lets_in(&route, &until(Some(1000)), now), "it expired");
        assert!(table.lets_in(&route, &token(owner, named.clone()), now));
        assert!(!table.lets_in(&route, &token(owner, Vec::new()), now));
        assert!(!table.lets_in(&route, &token(other, named), now), "a scope adds no right");
        route.access = Access::Public;
        assert!(table.lets_in(&route, &token(other, Vec::new()), now));
    }
}
