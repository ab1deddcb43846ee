//! Who may do what with a repository: one pure decision for API, git and proxy.

use crate::account::{Account, OrgRole, Permission, Session, Token, TokenRole};
use crate::space::Visibility;
use crate::{AccountId, RepoId};

/// What somebody was recognised by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// An access token.
    Token(Token),
    /// A browser in which the account signed in: it may what the account may.
    Session(Session),
}

impl Credential {
    /// What it may do, as the role of a token.
    #[must_use]
    pub fn role(&self) -> TokenRole {
        match self {
            Self::Token(token) => token.role,
            Self::Session(_) => TokenRole::Write,
        }
    }
}

/// Somebody who was recognised: the account, by what, and where it is a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Viewer {
    /// The account.
    pub account: Account,
    /// Token or session.
    pub credential: Credential,
    /// Its organizations.
    pub orgs: Vec<(AccountId, OrgRole)>,
}

impl Viewer {
    /// The role in an organization, or full rights in one's own namespace.
    #[must_use]
    pub fn role_in(&self, owner: AccountId) -> Option<OrgRole> {
        if self.account.id == owner {
            return Some(OrgRole::Admin);
        }
        self.orgs.iter().find(|(org, _)| *org == owner).map(|(_, role)| *role)
    }

    /// Whether the token carries a permission for a namespace, and for one repository in it.
    #[must_use]
    pub fn token_allows(&self, permission: Permission, owner: AccountId, repo: Option<RepoId>) -> bool {
        match &self.credential {
            Credential::Session(_) => true,
            Credential::Token(token) => match token.role {
                TokenRole::Read => permission == Permission::ReadContent,
                TokenRole::Write => true,
                TokenRole::FineGrained => token.scopes.allow(permission, owner, repo),
            },
        }
    }

    /// Whether it acts as a site admin: the account is one, and the credential holds nothing back.
    #[must_use]
    pub fn acts_as_admin(&self) -> bool {
        self.account.is_admin && self.credential.role() == TokenRole::Write
    }

    /// Whether the account may manage an organization's members and settings.
    #[must_use]
    pub fn is_admin_of(&self, org: AccountId) -> bool {
        self.account.is_admin || self.role_in(org) == Some(OrgRole::Admin)
    }

    /// The same, through this credential.
    #[must_use]
    pub fn may_manage(&self, org: AccountId) -> bool {
        self.is_admin_of(org) && self.token_allows(Permission::ManageOrg, org, None)
    }

    /// Whether repositories may be made in a namespace.
    #[must_use]
    pub fn may_create_in(&self, owner: AccountId) -> bool {
        let member = self.account.is_admin || self.role_in(owner).is_some_and(|role| role >= OrgRole::Contributor);
        member && self.token_allows(Permission::Write, owner, None)
    }
}

/// What the decision needs to know of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject {
    /// Identity.
    pub repo: RepoId,
    /// The account it belongs to.
    pub owner: AccountId,
    /// Who created it.
    pub creator: AccountId,
    /// Who may see it.
    pub visibility: Visibility,
}

/// What a caller may do with a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights {
    /// See that it exists; of a Space, its runtime and its app.
    pub see: bool,
    /// Read its files.
    pub code: bool,
    /// Open discussions, comment, like.
    pub discuss: bool,
    /// Change it, read its logs and its evidence.
    pub write: bool,
    /// Delete it, move it, change who may see it.
    pub own: bool,
    /// The account could change it; this token may not.
    pub token_lacks_write: bool,
}

impl Rights {
    /// The decision.
    #[must_use]
    pub fn of(subject: Subject, viewer: Option<&Viewer>) -> Self {
        let public = Self {
            see: subject.visibility != Visibility::Private,
            code: subject.visibility == Visibility::Public,
            discuss: false,
            write: false,
            own: false,
            token_lacks_write: false,
        };
        let Some(viewer) = viewer else { return public };
        let allows = |permission: Permission| viewer.token_allows(permission, subject.owner, Some(subject.repo));
        let role = if viewer.account.is_admin { Some(OrgRole::Admin) } else { viewer.role_in(subject.owner) };
        let reads = role.is_some() && allows(Permission::ReadContent);
        let mine = viewer.account.id == subject.creator;
        let may_write = match role {
            Some(OrgRole::Admin | OrgRole::Write) => true,
            Some(OrgRole::Contributor) => mine,
            Some(OrgRole::Read) | None => false,
        };
        let may_own = role == Some(OrgRole::Admin) || (role == Some(OrgRole::Contributor) && mine);
        let code = reads || public.code;
        let write = may_write && allows(Permission::Write);
        Self {
            see: reads || write || public.see,
            code: code || write,
            discuss: code && allows(Permission::Discuss),
            write,
            own: may_own && write,
            token_lacks_write: may_write && !write,
        }
    }
}

/// What an account may read of a repository, whatever token it uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reads {
    /// See that it exists; of a Space, its runtime and its app.
    pub see: bool,
    /// Read its files.
    pub code: bool,
}

impl Reads {
    /// The decision; `orgs` are the organizations of the account.
    #[must_use]
    pub fn of(subject: Subject, account: &Account, orgs: &[(AccountId, OrgRole)]) -> Self {
        let member = account.id == subject.owner || orgs.iter().any(|(org, _)| *org == subject.owner);
        let inside = member || account.is_admin;
        Self {
            see: inside || subject.visibility != Visibility::Private,
            code: inside || subject.visibility == Visibility::Public,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::{AccountKind, Scope, Scopes};
    use crate::{Timestamp, TokenId};

    fn account(number: u128) -> AccountId {
        AccountId::new(Timestamp::from_millis(1), number)
    }

    fn repo(number: u128) -> RepoId {
        RepoId::new(Timestamp::from_millis(1), number)
    }

    fn viewer(number: u128, role: TokenRole) -> Viewer {
        let at = Timestamp::from_millis(1);
        Viewer {
            account: Account {
                id: account(number),
                name: "x".to_owned(),
                kind: AccountKind::User,
                full_name: String::new(),
                email: None,
                is_admin: false,
                created_at: at,
            },
            credential: Credential::Token(Token {
                id: TokenId::new(at, number),
                account: account(number),
                name: "t".to_owned(),
                role,
                scopes: Scopes::default(),
                hint: String::new(),
                created_at: at,
                expires_at: None,
                last_used_at: None,
            }),
            orgs: Vec::new(),
        }
    }

    fn fine_grained(number: u128, scoped: Vec<Scope>) -> Viewer {
        let mut viewer = viewer(number, TokenRole::FineGrained);
        if let Credential::Token(token) = &mut viewer.credential {
            token.scopes.scoped = scoped;
        }
        viewer
    }

    fn subject(visibility: Visibility) -> Subject {
        Subject { repo: repo(1), owner: account(9), creator: account(2), visibility }
    }

    #[test]
    fn strangers_see_what_is_public() {
        let of = |visibility| Rights::of(subject(visibility), None);
        assert!(of(Visibility::Public).code && of(Visibility::Protected).see);
        assert!(!of(Visibility::Protected).code && !of(Visibility::Private).see);
        let signed_in = Rights::of(subject(Visibility::Public), Some(&viewer(7, TokenRole::Write)));
        assert!(signed_in.discuss && !signed_in.write && !signed_in.token_lacks_write);
    }

    #[test]
    fn roles_of_an_organization() {
        let with = |number, role| {
            let mut viewer = viewer(number, TokenRole::Write);
            viewer.orgs.push((account(9), role));
            Rights::of(subject(Visibility::Private), Some(&viewer))
        };
        let reader = with(3, OrgRole::Read);
        assert!(reader.code && !reader.write);
        let stranger = with(3, OrgRole::Contributor);
        assert!(stranger.code && !stranger.write);
        let creator = with(2, OrgRole::Contributor);
        assert!(creator.write && creator.own);
        let writer = with(3, OrgRole::Write);
        assert!(writer.write && !writer.own);
        assert!(with(3, OrgRole::Admin).own);
    }

    #[test]
    fn an_account_reads_what_its_widest_token_reads() {
        for visibility in [Visibility::Public, Visibility::Protected, Visibility::Private] {
            for (number, orgs) in [(3, vec![]), (3, vec![(account(9), OrgRole::Read)]), (9, vec![])] {
                let mut viewer = viewer(number, TokenRole::Write);
                viewer.orgs = orgs;
                let rights = Rights::of(subject(visibility), Some(&viewer));
                let reads = Reads::of(subject(visibility), &viewer.account, &viewer.orgs);
                assert_eq!(reads, Reads { see: rights.see, code: rights.code }, "{visibility} as {number}");
            }
        }
    }

    #[test]
    fn a_token_takes_rights_away_and_never_adds_any() {
        let reader = viewer(9, TokenRole::Read);
        let rights = Rights::of(subject(Visibility::Private), Some(&reader));
        assert!(rights.code && !rights.write && rights.token_lacks_write && !rights.discuss);
        let rights = Rights::of(subject(Visibility::Private), Some(&fine_grained(9, Vec::new())));
        assert!(!rights.see && !rights.code, "a token without scopes shows nothing private");
        let scopes =
            || vec![Scope::repo(repo(1), vec![Permission::Write]), Scope::account(account(8), vec![Permission::Write])];
        let writer = fine_grained(9, scopes());
        assert!(Rights::of(subject(Visibility::Private), Some(&writer)).write);
        let other = Subject { repo: repo(2), ..subject(Visibility::Private) };
        assert!(!Rights::of(other, Some(&writer)).see);
        assert!(!writer.may_create_in(account(9)), "a scope for one repository makes none");
        assert!(!Rights::of(subject(Visibility::Private), Some(&fine_grained(5, scopes()))).see);
    }

    #[test]
    fn admins_manage_an_organization_when_their_token_may() {
        let with = |mut viewer: Viewer, role| {
            viewer.orgs.push((account(9), role));
            viewer.may_manage(account(9))
        };
        assert!(with(viewer(3, TokenRole::Write), OrgRole::Admin));
        assert!(!with(viewer(3, TokenRole::Read), OrgRole::Admin));
        assert!(!with(viewer(3, TokenRole::Write), OrgRole::Write));
        let scope = |org| vec![Scope::account(account(org), vec![Permission::ManageOrg])];
        assert!(with(fine_grained(3, scope(9)), OrgRole::Admin));
        assert!(!with(fine_grained(3, scope(8)), OrgRole::Admin));
        assert!(!with(fine_grained(3, scope(9)), OrgRole::Write));
    }
}
