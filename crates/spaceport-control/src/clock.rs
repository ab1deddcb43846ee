//! The clock and the source of ids: parameters, so that tests can state exact times.
//!
//! Waiting belongs to the clock: a back-off of five minutes is a fact of its time, not of the
//! system's. What guards a call that leaves the process (a probe, a git command) is measured in
//! real time and does not ask the clock.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use spaceport_core::{
    BuildId, ClaimId, DeliveryId, InstanceId, LeaseId, NoticeId, ReleaseId, ReservationId, SessionId, SpaceId,
    Timestamp, TokenId, WebhookId,
};

/// Tells the time and makes identifiers.
#[derive(Clone)]
pub struct Clock {
    now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    sleep: Arc<dyn Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync>,
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}

impl Clock {
    /// The system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self::from_fn(|| {
            #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
            let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
        })
    }

    /// Any other clock; it waits in real time.
    #[must_use]
    pub fn from_fn(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self::with_sleep(now, |time| Box::pin(tokio::time::sleep(time)))
    }

    /// A clock with its own way to wait.
    #[must_use]
    pub fn with_sleep(
        now: impl Fn() -> Timestamp + Send + Sync + 'static,
        sleep: impl Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync + 'static,
    ) -> Self {
        Self { now: Arc::new(now), sleep: Arc::new(sleep) }
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.now)()
    }

    /// Returns after this time.
    pub async fn sleep(&self, time: Duration) {
        (self.sleep)(time).await;
    }

    /// A new identifier.
    #[must_use]
    pub fn space_id(&self) -> SpaceId {
        SpaceId::new(self.now(), random())
    }

    /// A new identifier.
    #[must_use]
    pub fn build_id(&self) -> BuildId {
        BuildId::new(self.now(), random())
    }

    /// A new identifier.
    #[must_use]
    pub fn release_id(&self) -> ReleaseId {
        ReleaseId::new(self.now(), random())
    }

    /// A new identifier.
    #[must_use]
    pub fn instance_id(&self) -> InstanceId {
        InstanceId::new(self.now(), random())
    }

    /// A new identifier.
    #[must_use]
    pub fn claim_id(&self) -> ClaimId {
        ClaimId::new(self.now(), random())
    }

    /// A new identifier.
    #[must_use]
    pub fn lease_id(&self) -> LeaseId {
        LeaseId::new(self.now(), random())
    }

    /// A new identifier.
    #[must_use]
    pub fn notice_id(&self) -> NoticeId {
        NoticeId::new(self.now(), random())
    }

    /// A new identifier.
    #[must_use]
    pub fn reservation_id(&self) -> ReservationId {
        ReservationId::new(self.now(), random())
    }

    /// A new identifier.
    #[must_use]
    pub fn token_id(&self) -> TokenId {
        TokenId::new(self.now(), random())
    }

    /// A new identifier.
    #[must_use]
    pub fn webhook_id(&self) -> WebhookId {
        WebhookId::new(self.now(), random())
    }

    /// A new identifier.
    #[must_use]
    pub fn delivery_id(&self) -> DeliveryId {
        DeliveryId::new(self.now(), random())
    }

    /// A new identifier.
    #[must_use]
    pub fn session_id(&self) -> SessionId {
        SessionId::new(self.now(), random())
    }

    /// A new identifier of an account.
    #[must_use]
    pub fn account_id(&self) -> spaceport_core::AccountId {
        spaceport_core::AccountId::new(self.now(), random())
    }
}

/// 128 random bits.
pub(crate) fn random() -> u128 {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).expect("the operating system has random numbers");
    u128::from_le_bytes(bytes)
}
