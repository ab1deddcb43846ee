//! Devices that are kept for a place at some time.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use spaceport_core::gpu::Reservation;
use spaceport_core::{ReservationId, Timestamp};
use spaceport_store::StoredReservation;

use crate::audit;
use crate::caller::{Admin, User};
use crate::error::{ApiError, ErrorBody, clip};
use crate::extract::JsonBody;
use crate::gpu::Sight;
use crate::gpu::places::{self, named};
use crate::state::ApiState;

/// Longest reservation: who needs devices for longer needs a quota.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);
/// Longest note.
const MAX_NOTE: usize = 500;

/// A reservation.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = GpuReservation)]
pub struct ReservationView {
    /// Identity.
    pub id: String,
    /// For whom: everybody below it.
    pub place: String,
    /// How many whole devices.
    pub devices: u32,
    /// Models that will do; empty: any.
    pub models: Vec<String>,
    /// From.
    pub from: String,
    /// Until.
    pub until: String,
    /// What for.
    pub note: String,
    /// Who made it.
    pub created_by: String,
    /// `planned`, `running`, or `released`: nobody came, and it was given up.
    pub state: &'static str,
}

impl ReservationView {
    fn of(stored: &StoredReservation, now: Timestamp) -> Self {
        let Reservation { id, place, devices, models, from, until, released } = &stored.reservation;
        Self {
            id: id.to_string(),
            place: places::name(place),
            devices: *devices,
            models: models.clone(),
            from: from.to_rfc3339(),
            until: until.to_rfc3339(),
            note: stored.note.clone(),
            created_by: stored.created_by.clone(),
            state: match (released, now < *from) {
                (true, _) => "released",
                (false, true) => "planned",
                (false, false) => "running",
            },
        }
    }
}

/// A reservation to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = NewGpuReservation)]
pub struct NewReservation {
    /// `@site`, `~USER`, `ORGANIZATION` or `ORGANIZATION/USER`.
    pub place: String,
    /// How many whole devices.
    pub devices: i64,
    /// Models that will do, as `GET /api/gpu/devices` spells them; empty: any.
    #[serde(default)]
    pub models: Vec<String>,
    /// RFC 3339; now when absent.
    #[serde(default)]
    pub from: Option<String>,
    /// RFC 3339.
    pub until: String,
    /// What for.
    #[serde(default)]
    pub note: String,
}

/// Reservations that are not over
///
/// Those of the places that the caller sees the quota of.
#[utoipa::path(get, path = "/api/gpu/reservations", tag = "gpu",
    responses((status = 200, body = [ReservationView]), (status = 401, body = ErrorBody)))]
pub async fn list_reservations(
    State(state): State<ApiState>,
    user: User,
) -> Result<Json<Vec<ReservationView>>, ApiError> {
    let now = state.control.clock().now();
    let sight = Sight::of(&state, &user.into()).await?;
    let all = state.store.reservations(now).await?;
    let seen = all.iter().filter(|stored| sight.sees_quota(&stored.reservation.place));
    Ok(Json(seen.map(|stored| ReservationView::of(stored, now)).collect()))
}

/// Reserve devices
///
/// They are drained in time, kept while somebody may come, and given up when nobody does.
#[utoipa::path(post, path = "/api/gpu/reservations", tag = "gpu", request_body = NewReservation,
    responses((status = 200, body = ReservationView), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub async fn create_reservation(
    State(state): State<ApiState>,
    Admin(user): Admin,
    JsonBody(body): JsonBody<NewReservation>,
) -> Result<Json<ReservationView>, ApiError> {
    let now = state.control.clock().now();
    let place = named(&state, &body.place).await?;
    let (from, until) = times(&body, now)?;
    let mut models = body.models;
    models.sort();
    models.dedup();
    let devices = check_devices(&state, body.devices, &models)?;
    let note = body.note.trim().to_owned();
    if note.chars().count() > MAX_NOTE {
        return Err(ApiError::bad_request(format!("The note may have {MAX_NOTE} characters at most")));
    }
    let id = state.control.clock().reservation_id();
    let stored = StoredReservation {
        reservation: Reservation { id, place, devices, models, from, until, released: false },
        note,
        created_by: user.account().name.clone(),
        created_at: now,
        released_at: None,
        canceled_at: None,
    };
    state.store.reservation_add(&stored).await?;
    state.control.activate_hardware();
    let view = ReservationView::of(&stored, now);
    audit::record(&state, &user, "reservation.create", &view.place, json!(view)).await?;
    Ok(Json(view))
}

/// End a reservation
///
/// What it kept is free at once; what runs on it runs on.
#[utoipa::path(delete, path = "/api/gpu/reservations/{reservation}", tag = "gpu",
    params(("reservation" = String, Path, description = "Its id")),
    responses((status = 200, body = Object), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn end_reservation(
    State(state): State<ApiState>,
    Admin(user): Admin,
    Path(reservation): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let missing = || ApiError::not_found(format!("There is no reservation {:?}", clip(&reservation)));
    let id: ReservationId = reservation.parse().map_err(|_| missing())?;
    let now = state.control.clock().now();
    let stored = state.store.reservation_by_id(id).await?.ok_or_else(missing)?;
    if stored.reservation.until <= now || !state.store.reservation_cancel(id, now).await? {
        return Err(missing());
    }
    state.control.activate_hardware();
    let view = ReservationView::of(&stored, now);
    audit::record(&state, &user, "reservation.end", &view.place, json!(view)).await?;
    Ok(Json(json!({})))
}

fn times(body: &NewReservation, now: Timestamp) -> Result<(Timestamp, Timestamp), ApiError> {
    let read = |key: &str, text: &str| {
        text.parse::<Timestamp>().map_err(|error| ApiError::bad_request(format!("'{key}': {error}")))
    };
    // One that begins in the past begins now: nobody could come before.
    let from = body.from.as_deref().map_or(Ok(now), |from| read("from", from))?.max(now);
    let until = read("until", &body.until)?;
    if until <= now {
        return Err(ApiError::bad_request(format!("'until' ({until}) is over")));
    }
    if from >= until {
        return Err(ApiError::bad_request(format!("'from' ({from}) must lie before 'until' ({until})")));
    }
    if until.since(from) > LONGEST {
        return Err(ApiError::bad_request("A reservation may last a year at most; for longer there are quotas"));
    }
    Ok((from, until))
}

/// So many devices of these models must be there, in service or not.
fn check_devices(state: &ApiState, wanted: i64, models: &[String]) -> Result<u32, ApiError> {
    let known = state.control.inventory().known();
    let suits = |model: &String| models.is_empty() || models.contains(model);
    let there = known.nodes.iter().flat_map(|node| &node.devices).filter(|device| suits(&device.model)).count();
    let devices = u32::try_from(wanted).ok().filter(|devices| *devices > 0);
    let Some(devices) = devices else {
        return Err(ApiError::bad_request(format!("'devices' must be 1 or more, not {wanted}")));
    };
    if usize::try_from(devices).is_ok_and(|devices| devices > there) {
        return Err(ApiError::bad_request(format!("{devices} such devices are wanted, and this site has {there}")));
    }
    Ok(devices)
}
