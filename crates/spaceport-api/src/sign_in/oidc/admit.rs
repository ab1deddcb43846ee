//! What becomes of somebody the provider knows: whether they may sign in, what their account is
//! called, where they are a member, and whether they administer the site.
//!
//! An identity is issuer and subject. A name or an address never opens an account that is there:
//! those can change hands at the provider, and whoever may choose them there would choose well.

use serde_json::{Map, Value, json};

use spaceport_core::account::{Account, AccountKind, OrgRole};
use spaceport_core::name::check_account;
use spaceport_store::{AdminChange, Identity, MemberChange, StoreError};

use crate::audit;
use crate::sign_in::oidc::token::Claims;
use crate::sign_in::oidc::{Admission, OidcConfig, Problem};
use crate::state::ApiState;

/// Longest name for people, and address.
const MAX_TEXT: usize = 200;

/// Whether a claim that matters here is missing, so that the provider must be asked for more.
pub(crate) fn wants_more(config: &OidcConfig, claims: &Map<String, Value>) -> bool {
    let Admission { domains, groups } = &config.admission;
    let by_group = !groups.is_empty() || config.admin_group.is_some() || !config.organizations.is_empty();
    !claims.contains_key(&config.name_claim)
        || (!domains.is_empty() && !claims.contains_key("email"))
        || (by_group && found(claims, &config.groups_claim).is_none())
}

/// The account of somebody who comes back from the provider, as it is after this.
///
/// # Errors
/// When there is none for them.
pub(crate) async fn admit(
    state: &ApiState,
    config: &OidcConfig,
    claims: &Claims,
    origin: &str,
) -> Result<Account, Problem> {
    check_admission(config, claims)?;
    let identity = identity(config, claims);
    let mut account = match state.store.identity_account(&identity).await? {
        Some(id) => {
            let account = state.store.account_by_id(id).await?;
            account.ok_or_else(|| Problem::Disabled(claims.subject.clone()))?
        }
        None if config.create_accounts => create(state, config, claims, &identity, origin).await?,
        None => return Err(Problem::NoAccount(claims.subject.clone())),
    };
    follow_groups(state, config, claims, &mut account, origin).await?;
    Ok(account)
}

/// Gives an account that is there one more way to sign in.
///
/// # Errors
/// When the identity is another account's.
pub(crate) async fn connect(
    state: &ApiState,
    config: &OidcConfig,
    claims: &Claims,
    account: &Account,
    origin: &str,
) -> Result<(), Problem> {
    check_admission(config, claims)?;
    let identity = identity(config, claims);
    match state.store.identity_account(&identity).await? {
        Some(owner) if owner == account.id => return Ok(()),
        Some(_) => return Err(Problem::Connected(claims.subject.clone())),
        None => {}
    }
    match state.store.identity_add(account.id, &identity, state.control.clock().now()).await {
        // Somebody else was quicker.
        Err(StoreError::Exists(_)) => return Err(Problem::Connected(claims.subject.clone())),
        other => other?,
    }
    let detail = json!({"issuer": identity.issuer, "subject": identity.subject});
    audit::record_by(state, &account.name, origin, "identity.add", &account.name, detail).await?;
    Ok(())
}

fn identity(config: &OidcConfig, claims: &Claims) -> Identity {
    Identity { issuer: config.issuer.clone(), subject: claims.subject.clone() }
}

fn check_admission(config: &OidcConfig, claims: &Claims) -> Result<(), Problem> {
    let Admission { domains, groups } = &config.admission;
    let by_domain = verified_domain(&claims.all)
        .is_some_and(|domain| domains.iter().any(|allowed| allowed.eq_ignore_ascii_case(domain)));
    let by_group = self::groups(config, claims).iter().any(|group| groups.iter().any(|allowed| allowed == group));
    if by_domain || by_group || (domains.is_empty() && groups.is_empty()) {
        return Ok(());
    }
    Err(Problem::NotAdmitted(claims.subject.clone()))
}

/// What follows the last `@` of an address the provider has verified.
fn verified_domain(claims: &Map<String, Value>) -> Option<&str> {
    // Some providers write truth as a text.
    let verified = claims.get("email_verified").is_some_and(|value| *value == json!(true) || *value == "true");
    let email = claims.get("email").and_then(Value::as_str).filter(|_| verified)?;
    email.rsplit_once('@').map(|(_, domain)| domain).filter(|domain| !domain.is_empty())
}

/// The groups of somebody: a list of names, or one name.
fn groups<'a>(config: &OidcConfig, claims: &'a Claims) -> Vec<&'a str> {
    match found(&claims.all, &config.groups_claim) {
        Some(Value::Array(groups)) => groups.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(group)) => vec![group],
        _ => Vec::new(),
    }
}

/// A claim by its name, or by the way to it through objects: `realm_access.roles`.
fn found<'a>(claims: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(path) {
        return Some(value);
    }
    let (first, rest) = path.split_once('.')?;
    found(claims.get(first)?.as_object()?, rest)
}

async fn create(
    state: &ApiState,
    config: &OidcConfig,
    claims: &Claims,
    identity: &Identity,
    origin: &str,
) -> Result<Account, Problem> {
    let claim = |name: &str| claims.all.get(name).and_then(Value::as_str);
    let of_claim = claim(&config.name_claim).and_then(account_name);
    let name = of_claim.ok_or_else(|| Problem::NoName(claims.subject.clone()))?;
    let plain = |text: &&str| !text.is_empty() && text.len() <= MAX_TEXT && !text.chars().any(char::is_control);
    let clock = state.control.clock();
    let account = Account {
        id: clock.account_id(),
        full_name: claim("name").filter(plain).unwrap_or(&name).to_owned(),
        kind: AccountKind::User,
        email: claim("email").filter(plain).map(str::to_owned),
        is_admin: false,
        created_at: clock.now(),
        name,
    };
    match state.store.account_create_with(&account, identity).await {
        Err(StoreError::Exists(_)) => {
            // The same person in two windows has an account now.
            return match state.store.identity_account(identity).await? {
                Some(id) => {
                    state.store.account_by_id(id).await?.ok_or_else(|| Problem::Disabled(claims.subject.clone()))
                }
                None => Err(Problem::NameTaken(account.name)),
            };
        }
        other => other?,
    }
    let detail = json!({"isAdmin": false, "issuer": identity.issuer, "subject": identity.subject});
    audit::record_by(state, &account.name, origin, "user.create", &account.name, detail).await?;
    Ok(account)
}

/// What an account is called after a name at the provider: what precedes an `@`, with `-` for what no
/// name can have.
fn account_name(claim: &str) -> Option<String> {
    let local = claim.split('@').next().unwrap_or("");
    let mut name = String::new();
    for c in local.trim().chars() {
        let c = if c.is_ascii_alphanumeric() || matches!(c, '_' | '.') { c } else { '-' };
        if !(matches!(c, '-' | '.') && name.ends_with(['-', '.'])) {
            name.push(c);
        }
    }
    let name = name.trim_matches(['-', '.']).to_owned();
    check_account(&name).is_ok().then_some(name)
}

/// Memberships and administration as the provider's groups say. Organizations that no group is mapped
/// to, and their members, are nobody's business but their own.
async fn follow_groups(
    state: &ApiState,
    config: &OidcConfig,
    claims: &Claims,
    account: &mut Account,
    origin: &str,
) -> Result<(), Problem> {
    let groups = groups(config, claims);
    if let Some(group) = &config.admin_group {
        let is_admin = groups.contains(&group.as_str());
        if is_admin != account.is_admin {
            match state.store.account_set_admin(account.id, is_admin).await? {
                AdminChange::Done => {
                    account.is_admin = is_admin;
                    state.control.activate_routes();
                    let detail = json!({"isAdmin": is_admin, "group": group});
                    audit::record_by(state, "oidc", origin, "user.admin", &account.name, detail).await?;
                }
                AdminChange::LastAdmin => {
                    tracing::warn!(user = account.name, "the site's last admin is not in {group:?} and stays one");
                }
            }
        }
    }
    let roles = state.store.roles_of(account.id).await?;
    let mut organizations: Vec<&str> = config.organizations.iter().map(|map| map.organization.as_str()).collect();
    organizations.sort_unstable();
    organizations.dedup();
    for name in organizations {
        let known = state.store.account_by_name(name).await?.filter(|org| org.kind == AccountKind::Org);
        let Some(org) = known else {
            tracing::warn!("[[oidc.organizations]] names the organization {name:?}, which does not exist; make it");
            continue;
        };
        let mapped = config.organizations.iter().filter(|map| map.organization == name);
        let role: Option<OrgRole> = mapped.filter(|map| groups.contains(&map.group.as_str())).map(|map| map.role).max();
        let has = roles.iter().find(|(id, _)| *id == org.id).map(|(_, role)| *role);
        if role == has {
            continue;
        }
        let change = match role {
            Some(role) => state.store.member_set(org.id, account.id, role, state.control.clock().now()).await?,
            None => state.store.member_remove(org.id, account.id).await?,
        };
        match change {
            MemberChange::Done | MemberChange::NoMember => {
                state.control.activate_routes();
                let (action, detail) = match role {
                    Some(role) => ("member.set", json!({"user": account.name, "role": role})),
                    None => ("member.remove", json!({"user": account.name})),
                };
                audit::record_by(state, "oidc", origin, action, &org.name, detail).await?;
            }
            MemberChange::LastAdmin => {
                tracing::warn!(user = account.name, "{name}'s last admin is not in its groups any more and stays one");
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_provider_become_names_of_accounts() {
        for (claim, name) in [
            ("maya", Some("maya")),
            ("Maya.Lind@example.com", Some("Maya.Lind")),
            ("LAB\\maya", Some("LAB-maya")),
            ("maya lind", Some("maya-lind")),
            ("maya--lind..x", Some("maya-lind.x")),
            ("-.maya.-", Some("maya")),
            ("Jörg", Some("J-rg")),
            ("maya.git", None),
            ("api", None),
            ("@example.com", None),
            ("李", None),
            ("", None),
        ] {
            assert_eq!(account_name(claim).as_deref(), name, "{claim}");
        }
    }

    #[test]
    fn only_a_verified_address_has_a_domain() {
        for (claims, domain) in [
            (json!({"email": "a@lab.example", "email_verified": true}), Some("lab.example")),
            (json!({"email": "a@lab.example", "email_verified": "true"}), Some("lab.example")),
            (json!({"email": "a@evil.example@lab.example", "email_verified": true}), Some("lab.example")),
            (json!({"email": "a@lab.example", "email_verified": false}), None),
            (json!({"email": "a@lab.example", "email_verified": 1}), None),
            (json!({"email": "a@lab.example"}), None),
            (json!({"email": "lab.example", "email_verified": true}), None),
        ] {
            assert_eq!(verified_domain(claims.as_object().unwrap()), domain, "{claims}");
        }
    }

    #[test]
    fn a_claim_may_lie_in_objects() {
        let claims = json!({"realm_access": {"roles": ["a"]}, "x.y": "b", "z": {"x.y": 1}});
        let claims = claims.as_object().unwrap();
        assert_eq!(found(claims, "realm_access.roles"), Some(&json!(["a"])));
        assert_eq!(found(claims, "x.y"), Some(&json!("b")));
        assert_eq!(found(claims, "z.x.y"), Some(&json!(1)));
        assert_eq!(found(claims, "realm_access.none"), None);
        assert_eq!(found(claims, "none.roles"), None);
    }
}
