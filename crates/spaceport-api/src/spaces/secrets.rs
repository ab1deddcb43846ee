//! Secrets: written, named, never shown again.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use spaceport_store::Secret;

use crate::access::WriteSpace;
use crate::audit;
use crate::error::{ApiError, ErrorBody};
use crate::extract::JsonBody;
use crate::spaces::setting::{NewSetting, SettingKey, check_count, check_name};
use crate::state::ApiState;
use crate::views::SpacePath;

/// What is shown of a secret.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretView {
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Last change.
    pub updated_at: String,
}

/// The names of a Space's secrets
#[utoipa::path(get, path = "/api/spaces/{owner}/{name}/secrets", tag = "settings", params(SpacePath),
    responses((status = 200, body = BTreeMap<String, SecretView>), (status = 403, body = ErrorBody)))]
pub async fn list_secrets(
    State(state): State<ApiState>,
    to: WriteSpace,
) -> Result<Json<BTreeMap<String, SecretView>>, ApiError> {
    let view =
        |secret: Secret| SecretView { description: secret.description, updated_at: secret.updated_at.to_rfc3339() };
    let secrets = state.store.secrets(to.space.id).await?;
    Ok(Json(secrets.into_iter().map(|(name, secret)| (name, view(secret))).collect()))
}

/// Set a secret
///
/// Adds it or replaces it; the Space is started anew with it.
#[utoipa::path(post, path = "/api/spaces/{owner}/{name}/secrets", tag = "settings", params(SpacePath),
    request_body = NewSetting, responses((status = 200, body = Object), (status = 400, body = ErrorBody)))]
pub async fn set_secret(
    State(state): State<ApiState>,
    to: WriteSpace,
    JsonBody(body): JsonBody<NewSetting>,
) -> Result<Json<Value>, ApiError> {
    body.check()?;
    let known = state.store.secrets(to.space.id).await?;
    if !known.contains_key(&body.key) {
        check_count("secrets", known.len() + 1)?;
    }
    let sealed = state.vault.seal(to.space.id, &body.key, &body.value);
    let secret = Secret { sealed, description: body.description(), updated_at: state.control.clock().now() };
    state.store.secret_set(to.space.id, &body.key, &secret).await?;
    state.control.activate(to.space.id);
    audit::record(&state, &to.user, "secret.set", &to.space.name.to_string(), json!({"key": body.key})).await?;
    Ok(Json(json!({})))
}

/// Delete a secret
///
/// One that is not there is not an error.
#[utoipa::path(delete, path = "/api/spaces/{owner}/{name}/secrets", tag = "settings", params(SpacePath),
    request_body = SettingKey, responses((status = 200, body = Object), (status = 400, body = ErrorBody)))]
pub async fn delete_secret(
    State(state): State<ApiState>,
    to: WriteSpace,
    JsonBody(body): JsonBody<SettingKey>,
) -> Result<Json<Value>, ApiError> {
    check_name(&body.key)?;
    state.store.secret_delete(to.space.id, &body.key).await?;
    state.control.activate(to.space.id);
    audit::record(&state, &to.user, "secret.delete", &to.space.name.to_string(), json!({"key": body.key})).await?;
    Ok(Json(json!({})))
}
