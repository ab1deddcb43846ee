//! Key by key: the tree to a [`SpaceConfig`].

use std::collections::BTreeMap;

use super::block::Block;
use super::read::{Fields, unknown};
use super::values;
use super::yaml::{Node, Value};
use crate::Sdk;
use crate::config::{ConfigError, DEFAULT_APP_PORT, DEFAULT_STARTUP_TIMEOUT, SpaceConfig};

const COLORS: [&str; 8] = ["red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"];
const SDKS: &str = "gradio, streamlit, docker, static";
const DEFAULT_OAUTH_MINUTES: u32 = 480;
const MAX_OAUTH_MINUTES: u32 = 43_200;

/// Hub: the scopes a Space may ask for; `openid` and `profile` are always granted.
const OAUTH_SCOPES: [&str; 18] = [
    "openid",
    "profile",
    "email",
    "read-billing",
    "read-memberships",
    "read-repos",
    "gated-repos",
    "contribute-repos",
    "write-repos",
    "manage-repos",
    "read-collections",
    "write-collections",
    "inference-api",
    "read-endpoints",
    "write-endpoints",
    "jobs",
    "webhooks",
    "write-discussions",
];

/// The headers a Space may set, with their values.
/// Specification: HTML Standard §7.1.3–7.1.4, Fetch Standard §3.7.
const HEADERS: [(&str, &[&str]); 3] = [
    ("cross-origin-embedder-policy", &["unsafe-none", "require-corp", "credentialless"]),
    (
        "cross-origin-opener-policy",
        &["unsafe-none", "same-origin", "same-origin-allow-popups", "noopener-allow-popups"],
    ),
    ("cross-origin-resource-policy", &["same-site", "same-origin", "cross-origin"]),
];

pub(super) fn space_config(block: &Block<'_>, root: &Node) -> Result<SpaceConfig, Vec<ConfigError>> {
    let pairs = match &root.value {
        Value::Map(pairs) => pairs.as_slice(),
        Value::Null => &[],
        other => {
            let message = format!("the front matter is {}, not keys with values", other.kind());
            return Err(vec![root.place.error("", message, "lines of the form `key: value`")]);
        }
    };
    let mut fields = Fields::new(pairs);
    let sdk = sdk(block, &mut fields);
    let config = read(&mut fields, sdk.unwrap_or(Sdk::Gradio));
    let mut errors = fields.errors;
    if errors.is_empty() {
        return Ok(config);
    }
    errors.sort_by_key(|error| (error.line, error.column));
    Err(errors)
}

fn sdk(block: &Block<'_>, fields: &mut Fields<'_>) -> Option<Sdk> {
    if fields.node("sdk").is_some() {
        return fields.parsed("sdk", SDKS, |text| text.parse().map_err(|_| unknown(text)));
    }
    let (message, place) = match fields.key_place(|key| key.eq_ignore_ascii_case("sdk")) {
        Some(("sdk", place)) => ("`sdk` has no value".to_owned(), place),
        Some((other, place)) => (format!("`sdk` is missing: `{other}` is another key, since case counts"), place),
        None => ("`sdk` is missing".to_owned(), block.opening()),
    };
    fields.refuse(place, "sdk", message, SDKS);
    None
}

fn read(fields: &mut Fields<'_>, sdk: Sdk) -> SpaceConfig {
    let owned = |text: super::read::Text<'_>| text.text.to_owned();
    SpaceConfig {
        title: fields.text("title").map(owned),
        emoji: fields.parsed("emoji", "one emoji", values::emoji),
        color_from: fields.one_of("colorFrom", &COLORS),
        color_to: fields.one_of("colorTo", &COLORS),
        sdk,
        sdk_version: fields.parsed("sdk_version", "a version such as 5.49.1", values::sdk_version),
        python_version: fields.parsed("python_version", values::PYTHON_FORM, values::python_version),
        app_file: fields.parsed("app_file", values::PATH_FORM, values::relative_path),
        app_build_command: fields.parsed("app_build_command", "one shell command", values::command),
        app_port: fields.parsed("app_port", "1 to 65535", values::port).unwrap_or(DEFAULT_APP_PORT),
        base_path: fields
            .parsed("base_path", "a path that starts with one `/`", values::base_path)
            .unwrap_or_else(|| "/".to_owned()),
        full_width: fields.flag("fullWidth").unwrap_or(true),
        header: fields.one_of("header", &["mini", "default"]).unwrap_or_else(|| "default".to_owned()),
        short_description: fields.text("short_description").map(owned),
        models: fields.list("models", values::ID_FORM, values::repo_id).unwrap_or_default(),
        datasets: fields.list("datasets", values::ID_FORM, values::repo_id).unwrap_or_default(),
        tags: fields.list("tags", "a list of words", values::any).unwrap_or_default(),
        thumbnail: fields.parsed("thumbnail", "an http(s) URL or a path in the repository", values::thumbnail),
        pinned: fields.flag("pinned").unwrap_or(false),
        license: fields.list("license", "an identifier such as apache-2.0", values::any).map(|ids| ids.join(", ")),
        suggested_hardware: fields.text("suggested_hardware").map(owned),
        suggested_storage: fields.text("suggested_storage").map(owned),
        startup_timeout: fields
            .parsed("startup_duration_timeout", values::TIMEOUT_FORM, values::startup_timeout)
            .unwrap_or(DEFAULT_STARTUP_TIMEOUT),
        preload_from_hub: fields.list("preload_from_hub", values::PRELOAD_FORM, values::preload).unwrap_or_default(),
        custom_headers: custom_headers(fields),
        disable_embedding: fields.flag("disable_embedding").unwrap_or(false),
        hf_oauth: fields.flag("hf_oauth").unwrap_or(false),
        hf_oauth_scopes: oauth_scopes(fields),
        hf_oauth_expiration_minutes: fields
            .parsed("hf_oauth_expiration_minutes", "1 to 43200", |text| values::number(text, 1, MAX_OAUTH_MINUTES))
            .unwrap_or(DEFAULT_OAUTH_MINUTES),
        hf_oauth_authorized_org: fields
            .list("hf_oauth_authorized_org", "names of organizations", values::account)
            .unwrap_or_default(),
    }
}

fn oauth_scopes(fields: &mut Fields<'_>) -> Vec<String> {
    let known = |text: &str| match OAUTH_SCOPES.contains(&text) {
        true => Ok(text.to_owned()),
        false => Err(unknown(text)),
    };
    let scopes = fields.list("hf_oauth_scopes", &OAUTH_SCOPES[2..].join(", "), known).unwrap_or_default();
    scopes.into_iter().filter(|scope| !matches!(scope.as_str(), "openid" | "profile")).collect()
}

fn custom_headers(fields: &mut Fields<'_>) -> BTreeMap<String, String> {
    const KEY: &str = "custom_headers";
    let mut headers = BTreeMap::new();
    let names = HEADERS.map(|(name, _)| name).join(", ");
    let pairs = match fields.node(KEY).map(|node| (&node.value, node.place)) {
        None => return headers,
        Some((Value::Map(pairs), _)) => pairs,
        Some((other, place)) => {
            let message = format!("`{KEY}` is {}; header names with values are expected", other.kind());
            fields.refuse(place, KEY, message, &names);
            return headers;
        }
    };
    for (name, value) in pairs {
        let Some(found) = fields.scalar(KEY, name, &names) else { continue };
        let lower = found.text.to_ascii_lowercase();
        let Some((_, allowed)) = HEADERS.iter().find(|(header, _)| *header == lower) else {
            fields.refuse(found.place, KEY, format!("`{KEY}`: {}", unknown(found.text)), &names);
            continue;
        };
        let words = allowed.join(", ");
        let Some(setting) = fields.scalar(KEY, value, &words) else { continue };
        if allowed.contains(&setting.text) {
            headers.insert(lower, setting.text.to_owned());
        } else {
            fields.refuse(setting.place, KEY, format!("`{lower}`: {}", unknown(setting.text)), &words);
        }
    }
    headers
}
