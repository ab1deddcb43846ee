//! `[oidc]`: sign-in through an OpenID Connect provider.

use anyhow::Context;
use serde::{Deserialize, Serialize};
use spaceport_api::{Admission, GroupRole, Oidc, OidcConfig};
use spaceport_core::account::OrgRole;
use url::{Host, Url};

use crate::config::Secret;

/// How people sign in elsewhere; without `issuer` nobody does.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct OidcSettings {
    /// The provider, exactly as its discovery document calls it.
    pub issuer: Option<String>,
    /// What this hub is registered as there.
    pub client_id: String,
    /// Its secret; better in `SPACEPORT_OIDC_CLIENT_SECRET`. A public client has none.
    pub client_secret: Option<Secret>,
    /// What the button says.
    pub label: String,
    /// What is asked for, besides `openid`.
    pub scopes: Vec<String>,
    /// Whether somebody who comes for the first time gets an account.
    pub create_accounts: bool,
    /// Only people with a verified address in one of these domains (or in `allowed_groups`).
    pub allowed_domains: Vec<String>,
    /// Only people in one of these groups (or `allowed_domains`).
    pub allowed_groups: Vec<String>,
    /// The claim that new accounts are named after.
    pub name_claim: String,
    /// The claim with the groups; `realm_access.roles` looks into an object.
    pub groups_claim: String,
    /// Its members are site admins, and nobody else who signs in this way.
    pub admin_group: Option<String>,
    /// Which groups are members of which organizations.
    pub organizations: Vec<Mapping>,
}

/// `[[oidc.organizations]]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    /// What the provider calls the group.
    pub group: String,
    /// The organization's name.
    pub organization: String,
    /// `read`, `contributor`, `write` or `admin`.
    pub role: OrgRole,
}

impl Default for OidcSettings {
    fn default() -> Self {
        Self {
            issuer: None,
            client_id: String::new(),
            client_secret: None,
            label: "Sign in with single sign-on".to_owned(),
            scopes: ["profile", "email"].map(str::to_owned).to_vec(),
            create_accounts: true,
            allowed_domains: Vec::new(),
            allowed_groups: Vec::new(),
            name_claim: "preferred_username".to_owned(),
            groups_claim: "groups".to_owned(),
            admin_group: None,
            organizations: Vec::new(),
        }
    }
}

impl OidcSettings {
    /// Every mistake in it.
    pub fn check(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let Some(issuer) = &self.issuer else {
            if !self.client_id.is_empty() || self.client_secret.is_some() {
                problems.push("[oidc] has a client and no issuer: the address of the provider".to_owned());
            }
            return problems;
        };
        if !is_address(issuer) {
            problems.push(format!(
                "oidc.issuer {issuer:?} is not an https address without query (http is for loopback alone)"
            ));
        }
        if self.client_id.is_empty() {
            problems.push("oidc.client_id is what this hub is registered as at the provider; it is empty".to_owned());
        }
        if self.label.trim().is_empty() || self.label.chars().count() > 60 {
            problems.push("oidc.label must have 1 to 60 characters".to_owned());
        }
        for domain in &self.allowed_domains {
            if domain.is_empty() || domain.contains(['@', '*', '/', ' ']) {
                problems.push(format!("oidc.allowed_domains: {domain:?} is not a domain such as lab.example"));
            }
        }
        for (name, claim) in [("name_claim", &self.name_claim), ("groups_claim", &self.groups_claim)] {
            if claim.is_empty() {
                problems.push(format!("oidc.{name} is empty"));
            }
        }
        problems
    }

    /// The provider, where there is one.
    pub fn provider(&self, ca_bundle: Option<Vec<u8>>) -> anyhow::Result<Option<Oidc>> {
        let Some(issuer) = self.issuer.clone() else { return Ok(None) };
        let mut scopes = vec!["openid".to_owned()];
        scopes.extend(self.scopes.iter().filter(|scope| *scope != "openid").cloned());
        let organizations = self.organizations.iter().cloned();
        let mapped = organizations.map(|Mapping { group, organization, role }| GroupRole { group, organization, role });
        let config = OidcConfig {
            issuer,
            client_id: self.client_id.clone(),
            client_secret: self.client_secret.as_ref().map(|secret| secret.expose().to_owned()),
            label: self.label.clone(),
            scopes,
            create_accounts: self.create_accounts,
            admission: Admission { domains: self.allowed_domains.clone(), groups: self.allowed_groups.clone() },
            name_claim: self.name_claim.clone(),
            groups_claim: self.groups_claim.clone(),
            admin_group: self.admin_group.clone(),
            organizations: mapped.collect(),
            ca_bundle,
        };
        Oidc::new(config).map(Some).context("[oidc] cannot be used")
    }
}

/// OpenID Connect Discovery 1.0 §3: https, without query and fragment.
fn is_address(issuer: &str) -> bool {
    let Ok(url) = Url::parse(issuer) else { return false };
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    let scheme = url.scheme() == "https" || (url.scheme() == "http" && loopback);
    scheme && url.query().is_none() && url.fragment().is_none() && url.username().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(toml: &str) -> Vec<String> {
        toml::from_str::<OidcSettings>(toml).unwrap().check()
    }

    #[test]
    fn mistakes_are_told() {
        assert_eq!(problems(""), Vec::<String>::new());
        let good = "issuer = \"https://login.lab.example/realms/lab\"\nclient_id = \"spaceport\"";
        assert_eq!(problems(good), Vec::<String>::new());
        assert_eq!(problems("client_id = \"spaceport\"").len(), 1);
        for issuer in ["http://login.lab.example", "login.lab.example", "https://a/?b", "https://a/#b", "https://u@a/"]
        {
            assert_eq!(problems(&format!("issuer = {issuer:?}\nclient_id = \"spaceport\"")).len(), 1, "{issuer}");
        }
        for issuer in ["http://localhost:9000", "http://127.0.0.1:9000/x", "http://[::1]:9000"] {
            assert_eq!(problems(&format!("issuer = {issuer:?}\nclient_id = \"spaceport\"")).len(), 0, "{issuer}");
        }
        let all = "issuer = \"x\"\nlabel = \"\"\nallowed_domains = [\"@lab.example\"]\nname_claim = \"\"";
        assert_eq!(problems(all).len(), 5);
        let role = "[[organizations]]\ngroup = \"a\"\norganization = \"b\"\nrole = \"owner\"";
        let error = toml::from_str::<OidcSettings>(role).unwrap_err().to_string();
        assert!(error.contains("contributor"), "{error}");
    }

    #[test]
    fn the_secret_is_not_printed() {
        let settings: OidcSettings = toml::from_str("client_secret = \"hunter2hunter2\"").unwrap();
        assert!(!format!("{settings:?}").contains("hunter2"));
    }
}
