//! Devices and machines that admins take out of service, and put back.

use axum::Json;
use axum::extract::{Path, State};
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use spaceport_core::gpu::{DeviceId, NodeName};
use spaceport_store::Mark;

use crate::audit;
use crate::caller::{Admin, User};
use crate::error::{ApiError, ErrorBody, clip};
use crate::extract::JsonBody;
use crate::gpu::devices::{DeviceView, Look, NodeView};
use crate::state::ApiState;

/// Longest reason.
const MAX_REASON: usize = 500;

/// Why nothing new is wanted there.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = GpuOutOfService)]
pub struct OutOfService {
    /// In words, for whoever asks.
    #[serde(default)]
    pub reason: String,
}

/// Take a device out of service
///
/// Nothing new is placed on it; what runs may finish.
#[utoipa::path(post, path = "/api/gpu/devices/{device}/drain", tag = "gpu", request_body = OutOfService,
    params(("device" = String, Path, description = "Its id")),
    responses((status = 200, body = DeviceView), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn drain_device(
    State(state): State<ApiState>,
    Admin(user): Admin,
    Path(device): Path<String>,
    JsonBody(body): JsonBody<OutOfService>,
) -> Result<Json<DeviceView>, ApiError> {
    let mark = mark(&state, &user, &body)?;
    let id = DeviceId(device);
    if !state.store.device_drain(&id, Some(&mark)).await? {
        return Err(no_device(&id));
    }
    audit::record(&state, &user, "device.drain", &id.0, json!({"reason": mark.reason})).await?;
    device_after(&state, user, &id).await
}

/// Put a device back into service
///
/// Errors that its driver told are forgotten as well; what is still wrong drains it again with the next look.
#[utoipa::path(post, path = "/api/gpu/devices/{device}/undrain", tag = "gpu",
    params(("device" = String, Path, description = "Its id")),
    responses((status = 200, body = DeviceView), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn undrain_device(
    State(state): State<ApiState>,
    Admin(user): Admin,
    Path(device): Path<String>,
) -> Result<Json<DeviceView>, ApiError> {
    let id = DeviceId(device);
    if !state.store.device_drain(&id, None).await? {
        return Err(no_device(&id));
    }
    state.control.inventory().forgive(&id);
    audit::record(&state, &user, "device.undrain", &id.0, json!({})).await?;
    device_after(&state, user, &id).await
}

/// Take a machine out of service
///
/// Nothing new is placed on it; what runs may finish.
#[utoipa::path(post, path = "/api/gpu/nodes/{node}/cordon", tag = "gpu", request_body = OutOfService,
    params(("node" = String, Path, description = "Its name")),
    responses((status = 200, body = NodeView), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn cordon_node(
    State(state): State<ApiState>,
    Admin(user): Admin,
    Path(node): Path<String>,
    JsonBody(body): JsonBody<OutOfService>,
) -> Result<Json<NodeView>, ApiError> {
    let mark = mark(&state, &user, &body)?;
    set_cordon(&state, &user, NodeName(node), Some(mark)).await
}

/// Put a machine back into service
#[utoipa::path(post, path = "/api/gpu/nodes/{node}/uncordon", tag = "gpu",
    params(("node" = String, Path, description = "Its name")),
    responses((status = 200, body = NodeView), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn uncordon_node(
    State(state): State<ApiState>,
    Admin(user): Admin,
    Path(node): Path<String>,
) -> Result<Json<NodeView>, ApiError> {
    set_cordon(&state, &user, NodeName(node), None).await
}

async fn set_cordon(
    state: &ApiState,
    user: &User,
    node: NodeName,
    mark: Option<Mark>,
) -> Result<Json<NodeView>, ApiError> {
    let missing = || ApiError::not_found(format!("There is no machine {:?}", clip(&node.0)));
    if !state.store.node_cordon(&node, mark.as_ref()).await? {
        return Err(missing());
    }
    let (action, detail) = match &mark {
        Some(mark) => ("node.cordon", json!({"reason": mark.reason})),
        None => ("node.uncordon", json!({})),
    };
    audit::record(state, user, action, &node.0, detail).await?;
    state.control.activate_hardware();
    let nodes = state.store.nodes_known().await?;
    let found = nodes.iter().find(|found| found.name == node).ok_or_else(missing)?;
    Ok(Json(NodeView::of(found, &state.control.inventory().known())))
}

async fn device_after(state: &ApiState, user: User, id: &DeviceId) -> Result<Json<DeviceView>, ApiError> {
    state.control.activate_hardware();
    let device = Look::new(state, user).await?.device(id).await?;
    device.map(Json).ok_or_else(|| no_device(id))
}

fn mark(state: &ApiState, user: &User, body: &OutOfService) -> Result<Mark, ApiError> {
    let reason = body.reason.trim();
    if reason.chars().count() > MAX_REASON {
        return Err(ApiError::bad_request(format!("The reason may have {MAX_REASON} characters at most")));
    }
    let by = user.account().name.clone();
    let reason = if reason.is_empty() { format!("{by} took it out of service") } else { reason.to_owned() };
    Ok(Mark { reason, by, at: state.control.clock().now() })
}

fn no_device(id: &DeviceId) -> ApiError {
    ApiError::not_found(format!("There is no device {:?}; GET /api/gpu/devices lists them", clip(&id.0)))
}
