//! The reconciler of webhooks: what happened becomes deliveries, and deliveries are tried until they are
//! taken or given up.
//!
//! Both are rows, so a crash loses nothing: an event is turned into deliveries in one transaction, and a
//! delivery is taken for an attempt by a change of its row, which also says when it is tried again if nobody
//! tells how the attempt ended. Receivers may therefore get a delivery twice; its id tells. One webhook is
//! told one thing after the other, so that a slow receiver holds up nobody else and sees things in order.

mod payload;
mod send;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use spaceport_core::access::Reads;
use spaceport_core::webhook::{Delivery, DeliveryState, Domain, HookEvent, Webhook, retry_after};
use spaceport_core::{AccountId, WebhookId};
use spaceport_store::vault::Vault;
use spaceport_store::{AttemptEnd, Store, StoreError};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::engine::chain;
use crate::handle::{ControlHandle, TaskStatus};

pub use send::{CannotSend, WebhookConfig};
use send::{Refused, Sender};

/// Everything is looked at this often, whatever was signalled.
const TICK: Duration = Duration::from_secs(5);
/// Events turned into deliveries at once.
const EVENTS: i64 = 100;
/// Attempts at once.
const WORKERS: usize = 16;
/// An attempt nobody tells the end of is made again after this time: longer than one may take.
const LOST: Duration = Duration::from_secs(60);
/// Deliveries are kept so long.
const KEPT: Duration = Duration::from_secs(14 * 24 * 60 * 60);
/// Old ones are removed this often.
const SWEEP: Duration = Duration::from_secs(60 * 60);

/// The reconciler.
#[derive(Debug, Clone)]
pub struct Webhooks {
    store: Store,
    control: ControlHandle,
    vault: Vault,
    /// The hub's own address, for links in what is sent.
    hub_url: Arc<str>,
    sender: Sender,
    /// Webhooks that are told something at this moment.
    busy: Arc<Mutex<HashSet<WebhookId>>>,
    permits: Arc<Semaphore>,
}

impl Webhooks {
    /// A reconciler that does nothing until it runs.
    ///
    /// # Errors
    /// When the certificates it shall trust make no sense.
    pub fn new(
        store: Store,
        control: ControlHandle,
        vault: Vault,
        hub_url: &str,
        config: &WebhookConfig,
    ) -> Result<Self, CannotSend> {
        Ok(Self {
            store,
            control,
            vault,
            hub_url: hub_url.into(),
            sender: Sender::new(config)?,
            busy: Arc::default(),
            permits: Arc::new(Semaphore::new(WORKERS)),
        })
    }

    /// Runs until told to stop. Attempts under way are finished, or made again by the next process.
    pub async fn run(&self, stop: CancellationToken) {
        let tracker = TaskTracker::new();
        let mut swept: Option<Instant> = None;
        while !stop.is_cancelled() {
            let began = Instant::now();
            if swept.is_none_or(|at| at.elapsed() > SWEEP) {
                swept = Some(began);
                self.sweep().await;
            }
            let result = self.pass(&tracker, &stop).await;
            let message = match &result {
                Ok(message) => message.clone(),
                Err(error) => chain(error),
            };
            let duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            let at = self.control.clock().now();
            self.control.report("webhooks", TaskStatus { ok: result.is_ok(), message, at, duration_ms });
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.control.clock().sleep(TICK) => {}
                () = self.control.webhooks_woken() => {}
            }
        }
        tracker.close();
        tracker.wait().await;
    }

    async fn sweep(&self) {
        match self.store.deliveries_forget(self.control.clock().now() - KEPT).await {
            Ok(0) => {}
            Ok(count) => tracing::info!("forgot {count} old deliveries of webhooks"),
            Err(error) => tracing::warn!(error = chain(&error), "old deliveries of webhooks could not be removed"),
        }
    }

    async fn pass(&self, tracker: &TaskTracker, stop: &CancellationToken) -> Result<String, StoreError> {
        let mut made = 0;
        loop {
            let events = self.store.hook_events(EVENTS).await?;
            for event in &events {
                made += self.tell(event).await?;
            }
            if i64::try_from(events.len()).is_ok_and(|count| count < EVENTS) || stop.is_cancelled() {
                break;
            }
        }
        let due = self.store.webhooks_due(self.control.clock().now()).await?;
        for webhook in &due {
            self.spawn(*webhook, tracker, stop);
        }
        Ok(format!("{made} new deliveries, {} webhooks to be told", due.len()))
    }

    /// Turns an event into deliveries; says how many.
    async fn tell(&self, event: &HookEvent) -> Result<usize, StoreError> {
        let domain = event.change.domain();
        let now = self.control.clock().now();
        let mut deliveries = Vec::new();
        for webhook in self.store.webhooks_watching(event.repo.id, event.repo.owner).await? {
            if !webhook.domains.contains(&domain) {
                continue;
            }
            let Some(reads) = self.reads(webhook.owner, event).await? else { continue };
            if !may_know(domain, reads) {
                continue;
            }
            deliveries.push(Delivery {
                id: self.control.clock().delivery_id(),
                webhook: webhook.id,
                event: event.id,
                repo: event.repo.id,
                domain,
                body: payload::of(event, webhook.id, reads.code, &self.hub_url).to_string(),
                state: DeliveryState::Pending,
                attempts: 0,
                next_at: now,
                created_at: now,
                ended_at: None,
                status: None,
                error: None,
                replay_of: None,
            });
        }
        let told = self.store.hook_event_done(event.id, &deliveries).await?;
        Ok(if told { deliveries.len() } else { 0 })
    }

    /// What the owner of a webhook may read of a repository: of the one that is there now, or of the one that
    /// was. `None` when the account is gone.
    async fn reads(&self, owner: AccountId, event: &HookEvent) -> Result<Option<Reads>, StoreError> {
        let Some(account) = self.store.account_by_id(owner).await? else { return Ok(None) };
        let orgs = self.store.roles_of(owner).await?;
        let then = Reads::of(event.repo.subject(), &account, &orgs);
        let Some(now) = self.reads_now(owner, event.repo.id).await? else { return Ok(Some(then)) };
        Ok(Some(Reads { see: then.see && now.see, code: then.code && now.code }))
    }

    /// What an account may read of a repository now; `None` when one of them is gone.
    async fn reads_now(&self, owner: AccountId, repo: spaceport_core::RepoId) -> Result<Option<Reads>, StoreError> {
        let Some(account) = self.store.account_by_id(owner).await? else { return Ok(None) };
        let Some(repo) = self.store.repo_by_id(repo).await? else { return Ok(None) };
        let subject = spaceport_core::access::Subject {
            repo: repo.id,
            owner: repo.owner,
            creator: repo.creator,
            visibility: repo.visibility,
        };
        Ok(Some(Reads::of(subject, &account, &self.store.roles_of(owner).await?)))
    }

    fn spawn(&self, webhook: WebhookId, tracker: &TaskTracker, stop: &CancellationToken) {
        if !self.busy.lock().unwrap_or_else(PoisonError::into_inner).insert(webhook) {
            return;
        }
        let (this, stop) = (self.clone(), stop.clone());
        tracker.spawn(async move {
            let result = match this.permits.acquire().await {
                Ok(_permit) => this.work(webhook, &stop).await,
                Err(_) => Ok(()),
            };
            if let Err(error) = result {
                tracing::error!(webhook.id = %webhook, error = chain(&error), "a webhook could not be told");
            }
            this.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&webhook);
            // What came meanwhile is looked at by the next pass.
            this.control.activate_webhooks();
        });
    }

    /// Sends what is due to one webhook, the oldest first.
    async fn work(&self, id: WebhookId, stop: &CancellationToken) -> Result<(), StoreError> {
        while !stop.is_cancelled() {
            let Some(webhook) = self.store.webhook(id).await? else { return Ok(()) };
            let now = self.control.clock().now();
            let Some(delivery) = self.store.delivery_due(id, now).await? else { return Ok(()) };
            if !self.store.delivery_claim(&delivery, now + LOST).await? {
                continue;
            }
            let attempts = delivery.attempts + 1;
            let outcome = self.attempt(&webhook, &delivery).await?;
            let at = self.control.clock().now();
            let end = end(outcome, attempts, at);
            if end.state == DeliveryState::Dead {
                tracing::info!(
                    webhook.id = %id, delivery.id = %delivery.id,
                    "gave up a delivery to a webhook: {}", end.error.as_deref().unwrap_or("no reason"),
                );
            }
            self.store.delivery_end(delivery.id, attempts, &end).await?;
        }
        Ok(())
    }

    async fn attempt(&self, webhook: &Webhook, delivery: &Delivery) -> Result<Result<u16, Refused>, StoreError> {
        if webhook.disabled {
            return Ok(Err(Refused::for_good("the webhook is disabled")));
        }
        if self.store.account_by_id(webhook.owner).await?.is_none() {
            return Ok(Err(Refused::for_good("the account of the webhook is gone")));
        }
        // A repository that is gone is told of by those who could read it then.
        if let Some(reads) = self.reads_now(webhook.owner, delivery.repo).await?
            && !may_know(delivery.domain, reads)
        {
            return Ok(Err(Refused::for_good("the owner of the webhook may no longer read the repository")));
        }
        let secret = match &webhook.sealed_secret {
            Some(sealed) => match self.vault.open_webhook(webhook.id, sealed) {
                Ok(secret) => Some(secret),
                Err(_) => return Ok(Err(Refused::for_good("its secret cannot be read; set it anew"))),
            },
            None => None,
        };
        Ok(self.sender.send(&webhook.url, secret.as_deref(), delivery).await)
    }
}

/// Whether somebody who may read so much is told of this kind of thing.
const fn may_know(domain: Domain, reads: Reads) -> bool {
    match domain {
        Domain::Repo | Domain::Discussion | Domain::Build => reads.code,
        // Whoever sees a Space sees how it is.
        Domain::Runtime => reads.see,
    }
}

/// What an attempt means for its delivery.
fn end(outcome: Result<u16, Refused>, attempts: i64, at: spaceport_core::Timestamp) -> AttemptEnd {
    let (status, error, retry) = match outcome {
        Ok(status) => {
            let status = Some(i64::from(status));
            return AttemptEnd { state: DeliveryState::Delivered, next_at: at, status, error: None, at };
        }
        Err(Refused { status, why, for_good }) => {
            (status.map(i64::from), Some(why), retry_after(attempts).filter(|_| !for_good))
        }
    };
    match retry {
        Some(wait) => AttemptEnd { state: DeliveryState::Pending, next_at: at + wait, status, error, at },
        None => AttemptEnd { state: DeliveryState::Dead, next_at: at, status, error, at },
    }
}
