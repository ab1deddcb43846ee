//! Reservations: devices kept for an account at some time.

use futures::TryFutureExt;
use sqlx::FromRow;

use spaceport_core::gpu::{QuotaPath, Reservation};
use spaceport_core::{ReservationId, Timestamp};

use crate::rows::{json, text, to_json};
use crate::{Store, StoreError, run};

/// A reservation as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredReservation {
    /// What was promised to whom.
    pub reservation: Reservation,
    /// What for, in words.
    pub note: String,
    /// Who made it: the account's name.
    pub created_by: String,
    /// Made.
    pub created_at: Timestamp,
    /// Nobody came, and it was given up.
    pub released_at: Option<Timestamp>,
    /// Somebody took it back.
    pub canceled_at: Option<Timestamp>,
}

#[derive(FromRow)]
struct ReservationRow {
    id: String,
    place: String,
    devices: i64,
    models: String,
    from_at: i64,
    until_at: i64,
    note: String,
    created_by: String,
    created_at: i64,
    released_at: Option<i64>,
    canceled_at: Option<i64>,
}

impl ReservationRow {
    fn into_reservation(self) -> Result<StoredReservation, StoreError> {
        Ok(StoredReservation {
            reservation: Reservation {
                id: text("reservations.id", &self.id)?,
                place: QuotaPath(self.place),
                devices: u32::try_from(self.devices).unwrap_or_default(),
                models: json("reservations.models", &self.models)?,
                from: Timestamp::from_millis(self.from_at),
                until: Timestamp::from_millis(self.until_at),
                released: self.released_at.is_some(),
            },
            note: self.note,
            created_by: self.created_by,
            created_at: Timestamp::from_millis(self.created_at),
            released_at: self.released_at.map(Timestamp::from_millis),
            canceled_at: self.canceled_at.map(Timestamp::from_millis),
        })
    }
}

const RESERVATION_ADD: &str = "INSERT INTO reservations (id, place, devices, models, from_at, until_at, note, created_by, \
     created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
const RESERVATIONS: &str =
    "SELECT * FROM reservations WHERE canceled_at IS NULL AND until_at > $1 ORDER BY from_at, id";
const RESERVATION_BY_ID: &str = "SELECT * FROM reservations WHERE id = $1";
const RESERVATION_RELEASE: &str =
    "UPDATE reservations SET released_at = $1 WHERE id = $2 AND released_at IS NULL AND canceled_at IS NULL";
const RESERVATION_CANCEL: &str = "UPDATE reservations SET canceled_at = $1 WHERE id = $2 AND canceled_at IS NULL";

impl Store {
    /// Adds a reservation.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn reservation_add(&self, new: &StoredReservation) -> Result<(), StoreError> {
        let Reservation { id, place, devices, models, from, until, .. } = &new.reservation;
        run!(self, "reservation_add", db => sqlx::query(RESERVATION_ADD)
            .bind(id.to_string())
            .bind(&place.0)
            .bind(i64::from(*devices))
            .bind(to_json(models))
            .bind(from.as_millis())
            .bind(until.as_millis())
            .bind(&new.note)
            .bind(&new.created_by)
            .bind(new.created_at.as_millis())
            .execute(db).map_ok(crate::unit))
    }

    /// Those that are not over at a time, by their beginning; released ones, too.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn reservations(&self, now: Timestamp) -> Result<Vec<StoredReservation>, StoreError> {
        run!(self, "reservations", db => sqlx::query_as::<_, ReservationRow>(RESERVATIONS)
            .bind(now.as_millis()).fetch_all(db))?
        .into_iter()
        .map(ReservationRow::into_reservation)
        .collect()
    }

    /// By id.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn reservation_by_id(&self, id: ReservationId) -> Result<Option<StoredReservation>, StoreError> {
        run!(self, "reservation_by_id", db => sqlx::query_as::<_, ReservationRow>(RESERVATION_BY_ID)
            .bind(id.to_string()).fetch_optional(db))?
        .map(ReservationRow::into_reservation)
        .transpose()
    }

    /// Gives it up because nobody came; `false` when it was over before.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn reservation_release(&self, id: ReservationId, at: Timestamp) -> Result<bool, StoreError> {
        run!(self, "reservation_release", db => sqlx::query(RESERVATION_RELEASE)
            .bind(at.as_millis()).bind(id.to_string()).execute(db).map_ok(crate::Rows::rows))
        .map(|rows| rows == 1)
    }

    /// Takes it back; `false` when that was done before.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn reservation_cancel(&self, id: ReservationId, at: Timestamp) -> Result<bool, StoreError> {
        run!(self, "reservation_cancel", db => sqlx::query(RESERVATION_CANCEL)
            .bind(at.as_millis()).bind(id.to_string()).execute(db).map_ok(crate::Rows::rows))
        .map(|rows| rows == 1)
    }
}
