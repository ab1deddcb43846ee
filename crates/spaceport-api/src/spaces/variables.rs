//! Variables: public settings of a Space. Every change answers the whole map, as the Hub does.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use spaceport_core::SpaceId;
use spaceport_store::Variable;

use crate::access::WriteSpace;
use crate::audit;
use crate::error::{ApiError, ErrorBody};
use crate::extract::JsonBody;
use crate::spaces::setting::{NewSetting, SettingKey, check_count, check_name};
use crate::state::ApiState;
use crate::views::SpacePath;

/// A variable.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VariableView {
    /// Its value.
    pub value: String,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Last change.
    pub updated_at: String,
}

/// All variables by name.
type Variables = BTreeMap<String, VariableView>;

/// The variables of a Space
#[utoipa::path(get, path = "/api/spaces/{owner}/{name}/variables", tag = "settings", params(SpacePath),
    responses((status = 200, body = BTreeMap<String, VariableView>), (status = 403, body = ErrorBody)))]
pub async fn list_variables(State(state): State<ApiState>, to: WriteSpace) -> Result<Json<Variables>, ApiError> {
    all(&state, to.space.id).await
}

/// Set a variable
///
/// Adds it or replaces it; the Space is started anew with it. Whoever duplicates the Space gets its variables, and
/// never its secrets.
#[utoipa::path(post, path = "/api/spaces/{owner}/{name}/variables", tag = "settings", params(SpacePath),
    request_body = NewSetting,
    responses((status = 200, body = BTreeMap<String, VariableView>), (status = 400, body = ErrorBody)))]
pub async fn set_variable(
    State(state): State<ApiState>,
    to: WriteSpace,
    JsonBody(body): JsonBody<NewSetting>,
) -> Result<Json<Variables>, ApiError> {
    body.check()?;
    let known = state.store.variables(to.space.id).await?;
    if !known.contains_key(&body.key) {
        check_count("variables", known.len() + 1)?;
    }
    let description = body.description();
    let variable = Variable { value: body.value, description, updated_at: state.control.clock().now() };
    state.store.variable_set(to.space.id, &body.key, &variable).await?;
    state.control.activate(to.space.id);
    audit::record(&state, &to.user, "variable.set", &to.space.name.to_string(), json!({"key": body.key})).await?;
    all(&state, to.space.id).await
}

/// Delete a variable
///
/// One that is not there is not an error.
#[utoipa::path(delete, path = "/api/spaces/{owner}/{name}/variables", tag = "settings", params(SpacePath),
    request_body = SettingKey,
    responses((status = 200, body = BTreeMap<String, VariableView>), (status = 400, body = ErrorBody)))]
pub async fn delete_variable(
    State(state): State<ApiState>,
    to: WriteSpace,
    JsonBody(body): JsonBody<SettingKey>,
) -> Result<Json<Variables>, ApiError> {
    check_name(&body.key)?;
    state.store.variable_delete(to.space.id, &body.key).await?;
    state.control.activate(to.space.id);
    audit::record(&state, &to.user, "variable.delete", &to.space.name.to_string(), json!({"key": body.key})).await?;
    all(&state, to.space.id).await
}

async fn all(state: &ApiState, space: SpaceId) -> Result<Json<Variables>, ApiError> {
    let view = |variable: Variable| VariableView {
        value: variable.value,
        description: variable.description,
        updated_at: variable.updated_at.to_rfc3339(),
    };
    let variables = state.store.variables(space).await?;
    Ok(Json(variables.into_iter().map(|(name, variable)| (name, view(variable))).collect()))
}
