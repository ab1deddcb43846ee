//! Tickets for private Spaces: what a page of the hub, or gradio's JavaScript client, puts into the
//! address of an app.

use axum::Json;
use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;

use spaceport_core::ticket::{Audience, LINK_LIFETIME};

use crate::access::ReadSpace;
use crate::error::{ApiError, ErrorBody};
use crate::state::ApiState;
use crate::views::SpacePath;

/// A ticket.
#[derive(Debug, Serialize, ToSchema)]
pub struct JwtView {
    /// For the parameter `__sign` of the app's addresses; good for an hour.
    pub token: String,
}

/// A ticket to a Space's app
///
/// Opens the app in a browser, which cannot send a token: `{host}/?__sign={token}`. It is good for
/// this Space, and for as long as its account may see it.
#[utoipa::path(get, path = "/api/spaces/{owner}/{name}/jwt", tag = "spaces", params(SpacePath),
    responses((status = 200, body = JwtView), (status = 401, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn get_jwt(State(state): State<ApiState>, read: ReadSpace) -> Result<impl IntoResponse, ApiError> {
    let user = read.caller.into_user()?;
    let now = state.control.clock().now();
    let token = state.tickets.seal(Audience::Space(read.space.id), user.account().id, now, LINK_LIFETIME);
    Ok(([(CACHE_CONTROL, "no-store")], Json(JwtView { token })))
}
