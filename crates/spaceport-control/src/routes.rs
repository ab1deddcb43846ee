//! The route table: one entry per Space, published whole, kept on disk.
//!
//! Reconcilers set the entry of their Space; the table goes to the proxy by a `watch`. The file
//! is written behind it (temporary file, then rename), so that a restart serves before the
//! database or the engine is up.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use spaceport_core::route::{Access, People, Route, RouteTable, Standing, Target, TokenHolder};
use spaceport_core::space::{Space, Visibility};
use spaceport_core::ticket::TicketKey;
use spaceport_core::{SpaceId, Timestamp};
use spaceport_store::{Store, StoreError};
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

use crate::config::ControlConfig;
use crate::engine::chain;
use crate::handle::{ControlHandle, TaskStatus};

/// Changes that come together are written together.
const WRITE_AFTER: Duration = Duration::from_millis(50);
/// Tokens are read again this often, whether or not somebody said that they changed.
const TOKENS_AFTER: Duration = Duration::from_secs(30);

/// The table and what it is made from.
#[derive(Debug)]
pub struct Routes {
    file: PathBuf,
    table: watch::Sender<Arc<RouteTable>>,
    /// The version that is on disk.
    saved: Mutex<u64>,
    /// Held from reading where Spaces were to setting it: what was read first must not be set last.
    former: Mutex<()>,
}

impl Routes {
    /// Starts with the table a former process left; an unreadable one is an empty one, since the
    /// reconcilers make it anew. `key` signs the tickets that the proxy opens.
    #[must_use]
    pub fn load(file: PathBuf, key: TicketKey) -> Self {
        let mut table = read(&file);
        let saved = table.version;
        if table.key.as_ref() != Some(&key) {
            table.key = Some(key);
            table.version += 1;
        }
        Self { file, table: watch::Sender::new(Arc::new(table)), saved: Mutex::new(saved), former: Mutex::default() }
    }

    /// For the proxy.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<RouteTable>> {
        self.table.subscribe()
    }

    /// The current table.
    #[must_use]
    pub fn current(&self) -> Arc<RouteTable> {
        Arc::clone(&self.table.borrow())
    }

    /// Sets the route of a host, the only one of its Space; nothing is published when it is there
    /// already.
    pub(crate) fn set(&self, host: &str, route: Route) {
        self.table.send_if_modified(|table| {
            let other = |at: &String, of: &Arc<Route>| at != host && of.space == route.space;
            let is_only = !table.hosts.iter().any(|(at, of)| other(at, of));
            if is_only && table.hosts.get(host).is_some_and(|now| **now == route) {
                return false;
            }
            let mut next = RouteTable::clone(table);
            next.version += 1;
            next.hosts.retain(|at, of| !other(at, of));
            next.hosts.insert(host.to_owned(), Arc::new(route));
            *table = Arc::new(next);
            true
        });
    }

    /// Removes what belongs to a Space, or to no Space of `known`.
    pub(crate) fn retain(&self, keep: impl Fn(SpaceId) -> bool) {
        self.table.send_if_modified(|table| {
            if table.hosts.values().all(|route| keep(route.space)) {
                return false;
            }
            let mut next = RouteTable::clone(table);
            next.version += 1;
            next.hosts.retain(|_, route| keep(route.space));
            *table = Arc::new(next);
            true
        });
    }

    /// Whether a Space has a route at another host: it moved, or goes away.
    pub(crate) fn is_elsewhere(&self, host: &str, space: SpaceId) -> bool {
        self.table.borrow().hosts.iter().any(|(at, of)| at != host && of.space == space)
    }

    /// Reads where Spaces were before they moved.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn refresh_former(&self, store: &Store) -> Result<(), StoreError> {
        let _turn = self.former.lock().await;
        let labels = store.former_labels().await?;
        let labels: HashMap<_, _> =
            labels.into_iter().map(|(label, now)| (label.to_string(), now.to_string())).collect();
        self.table.send_if_modified(|table| {
            if *table.former_labels == labels {
                return false;
            }
            let mut next = RouteTable::clone(table);
            next.version += 1;
            next.former_labels = Arc::new(labels);
            *table = Arc::new(next);
            true
        });
        Ok(())
    }

    fn set_callers(&self, tokens: HashMap<String, TokenHolder>, people: People) {
        self.table.send_if_modified(|table| {
            if *table.tokens == tokens && *table.people == people {
                return false;
            }
            let mut next = RouteTable::clone(table);
            next.version += 1;
            next.tokens = Arc::new(tokens);
            next.people = Arc::new(people);
            *table = Arc::new(next);
            true
        });
    }

    /// Reads who is who, and who was where, once: the proxy must know its callers before the first request.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn refresh(&self, store: &Store, now: Timestamp) -> Result<(), StoreError> {
        self.set_callers(store.token_holders(now).await?, people(store).await?);
        self.refresh_former(store).await
    }

    /// Keeps tokens and file up to date until told to stop; the last table is on disk when it
    /// returns.
    pub async fn run(&self, store: Store, control: ControlHandle, stop: CancellationToken) {
        let mut changes = self.table.subscribe();
        let mut tokens = tokio::time::interval(TOKENS_AFTER);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = tokens.tick() => self.refresh_reported(&store, &control).await,
                () = control.routes_woken() => self.refresh_reported(&store, &control).await,
                changed = changes.changed() => {
                    if changed.is_err() { break }
                    tokio::time::sleep(WRITE_AFTER).await;
                    changes.mark_unchanged();
                    self.save().await;
                }
            }
        }
        self.save().await;
    }

    async fn refresh_reported(&self, store: &Store, control: &ControlHandle) {
        let began = Instant::now();
        let result = self.refresh(store, control.clock().now()).await;
        let message = match &result {
            Ok(()) => format!("{} hosts", self.table.borrow().hosts.len()),
            Err(error) => chain(error),
        };
        let duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let at = control.clock().now();
        control.report("routes", TaskStatus { ok: result.is_ok(), message, at, duration_ms });
    }

    /// Writes the current table, unless it is on disk already. To be called before anything is
    /// ended that a former table names: after a crash the proxy serves by the one on disk, and the
    /// address of a container that is gone may be that of another Space's.
    pub(crate) async fn save(&self) {
        let mut saved = self.saved.lock().await;
        let table = self.current();
        if *saved == table.version {
            return;
        }
        let (file, version) = (self.file.clone(), table.version);
        match tokio::task::spawn_blocking(move || write(&file, &table)).await {
            Ok(Ok(())) => *saved = version,
            // A full disk must not keep anything from being stopped.
            Ok(Err(error)) => tracing::error!(error = %error, "the route table could not be written: {error}"),
            Err(error) => tracing::error!(error = %error, "the route table was not written: {error}"),
        }
    }
}

/// Who may reach a Space's app.
pub(crate) fn access(space: &Space) -> Access {
    match space.visibility {
        Visibility::Public | Visibility::Protected => Access::Public,
        Visibility::Private => Access::Private { owner: space.owner },
    }
}

async fn people(store: &Store) -> Result<People, StoreError> {
    let mut people = People::default();
    for account in store.accounts().await? {
        people.accounts.insert(account.id);
        if account.is_admin {
            people.admins.insert(account.id);
        }
    }
    for (org, user) in store.member_ids().await? {
        people.members.entry(org).or_default().insert(user);
    }
    Ok(people)
}

fn read(file: &Path) -> RouteTable {
    match std::fs::read(file) {
        Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
            tracing::warn!(error = %error, "the route table on disk is unreadable and is made anew: {error}");
            RouteTable::default()
        }),
        Err(_) => RouteTable::default(),
    }
}

fn write(file: &Path, table: &RouteTable) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let temporary = file.with_extension("json.new");
    // It names private Spaces and holds the key of the tickets: for the owner's eyes only.
    let mut to = std::fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&temporary)?;
    std::io::Write::write_all(&mut to, &serde_json::to_vec(table)?)?;
    to.sync_all()?;
    std::fs::rename(&temporary, file)
}

/// The route of a Space with this target.
pub(crate) fn route(
    config: &ControlConfig,
    space: &Space,
    release: Option<&spaceport_core::space::Release>,
    access: Access,
    target: Target,
) -> Route {
    let mut response_headers = Vec::new();
    let mut title = space.name.name().to_owned();
    if let Some(release) = release {
        response_headers
            .extend(release.config.custom_headers.iter().map(|(name, value)| (name.clone(), value.clone())));
        if release.config.disable_embedding {
            let value = format!("frame-ancestors {}", config.hub_url);
            response_headers.push(("content-security-policy".to_owned(), value));
        }
        if let Some(text) = &release.config.title {
            title.clone_from(text);
        }
    }
    Route {
        space: space.id,
        name: space.name.clone(),
        title,
        hub_page: config.space_page(&space.name),
        access,
        target,
        response_headers,
    }
}

/// What visitors are told: without the evidence, which is for the owner.
pub(crate) fn standing(
    stage: spaceport_core::SpaceStage,
    diagnosis: Option<&spaceport_core::Diagnosis>,
    now: Timestamp,
) -> Standing {
    let diagnosis = diagnosis.cloned().map(|mut diagnosis| {
        diagnosis.evidence.clear();
        diagnosis
    });
    let since = diagnosis.as_ref().map_or(now, |diagnosis| diagnosis.since);
    Standing { stage, since, diagnosis }
}
