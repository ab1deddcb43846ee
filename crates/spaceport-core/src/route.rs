//! The route table: what the proxy serves, as one immutable value.
//!
//! Control makes it, the proxy reads it, and a copy lies on disk so that a restart serves before
//! the database or the engine is up. It holds hashes of tokens, never tokens.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::account::{Permission, Scopes};
use crate::{AccountId, Diagnosis, RepoName, SpaceId, SpaceStage, Timestamp};

/// All routes of one moment. A newer table has a higher version; an older one never replaces it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct RouteTable {
    /// Grows with every change.
    pub version: u64,
    /// By host name in lower case, without port.
    pub hosts: HashMap<String, Arc<Route>>,
    /// SHA-256 of every valid token, in lower-case hex, with what it opens.
    pub tokens: Arc<HashMap<String, Pass>>,
}

/// What a token opens at the proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pass {
    /// The account it speaks for.
    pub account: AccountId,
    /// Worth nothing from then on; `None` is never.
    pub until: Option<Timestamp>,
    /// What a fine-grained token is for; `None` is all the account may see.
    pub scopes: Option<Scopes>,
}

impl Pass {
    /// Whether it opens a route.
    #[must_use]
    pub fn opens(&self, route: &Route, now: Timestamp) -> bool {
        let may = |scopes: &Scopes| scopes.allow(Permission::ReadContent, route.owner, Some(route.space.into()));
        match &route.access {
            Access::Public => true,
            Access::Members(members) => {
                members.contains(&self.account)
                    && self.until.is_none_or(|until| now < until)
                    && self.scopes.as_ref().is_none_or(may)
            }
        }
    }
}

/// Where requests for one host go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// The Space.
    pub space: SpaceId,
    /// The account it belongs to.
    pub owner: AccountId,
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
    /// Holders of a token of one of these accounts.
    Members(HashSet<AccountId>),
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
    /// A Space was used. Sent about once per second and Space, and dropped when control is slow:
    /// the next one follows.
    Activity {
        /// The Space.
        space: SpaceId,
        /// When.
        at: Timestamp,
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

    #[test]
    fn a_pass_opens_what_its_token_may_read_until_it_expires() {
        let at = Timestamp::from_millis;
        let account = |number| AccountId::new(at(1), number);
        let (space, now) = (SpaceId::new(at(1), 1), at(1000));
        let route = |access| Route {
            space,
            owner: account(9),
            name: "lab/demo".parse().expect("a name"),
            title: String::new(),
            hub_page: String::new(),
            access,
            target: Target::Page(Standing { stage: SpaceStage::Stopped, since: now, diagnosis: None }),
            response_headers: Vec::new(),
        };
        let private = route(Access::Members(HashSet::from([account(3)])));
        let pass = |number, until: Option<i64>, scopes: Option<Vec<Scope>>| Pass {
            account: account(number),
            until: until.map(at),
            scopes: scopes.map(|scoped| Scopes { global: Vec::new(), scoped }),
        };
        let reads = |scope: fn(AccountId, SpaceId) -> Scope| Some(vec![scope(account(9), space)]);
        for (pass, opens) in [
            (pass(3, None, None), true),
            (pass(4, None, None), false),
            (pass(3, Some(1001), None), true),
            (pass(3, Some(1000), None), false),
            (pass(3, None, Some(Vec::new())), false),
            (pass(3, None, reads(|_, space| Scope::repo(space.into(), vec![Permission::ReadContent]))), true),
            (pass(3, None, reads(|owner, _| Scope::account(owner, vec![Permission::Write]))), true),
            (pass(3, None, reads(|owner, _| Scope::account(owner, vec![Permission::Discuss]))), false),
            (pass(4, None, reads(|_, space| Scope::repo(space.into(), vec![Permission::Write]))), false),
        ] {
            assert_eq!(pass.opens(&private, now), opens, "{pass:?}");
            assert!(pass.opens(&route(Access::Public), now));
        }
    }
}
