//! What handlers share, in parts: each asks for the part it needs.

use std::future::Future;
use std::sync::Arc;

use axum::extract::FromRef;
use futures::future::BoxFuture;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use spaceport_control::ControlHandle;
use spaceport_core::Catalog;
use spaceport_core::ticket::TicketKey;
use spaceport_git::Repositories;
use spaceport_store::Store;
use spaceport_store::vault::Vault;

use crate::error::ApiError;
use crate::files::commit::spool::Uploads;
use crate::files::downloads::Downloads;
use crate::gpu::metrics::Told;
use crate::health::Health;
use crate::large::LargeFiles;
use crate::repos::weights::WeightHeaders;
use crate::sign_in::SignIn;
use crate::slots::GitSlots;

/// Everything the router needs.
#[derive(Clone, FromRef)]
pub struct ApiState {
    /// The database.
    pub store: Store,
    /// Wakes the reconcilers, reads logs and the clock.
    pub control: ControlHandle,
    /// The bare repositories.
    pub repositories: Repositories,
    /// Large files.
    pub large: LargeFiles,
    /// The turns of git processes.
    pub git: GitSlots,
    /// Seals secrets.
    pub vault: Vault,
    /// Signs tickets for private Spaces; the proxy has the same in its route table.
    pub tickets: TicketKey,
    /// What the site is.
    pub site: Arc<Site>,
    /// How the parts of the process are.
    pub health: HealthProbe,
    /// What outlives a request.
    pub lifetime: Lifetime,
    /// Downloads that are not in the database yet.
    pub downloads: Downloads,
    /// What is known of models' weights.
    pub weights: WeightHeaders,
    /// Where uploads wait until they are stored.
    pub uploads: Uploads,
    /// How people sign in.
    pub sign_in: SignIn,
    /// Held by whoever makes or moves a repository that a quota counts.
    pub making: Arc<tokio::sync::Mutex<()>>,
    /// What Prometheus was told.
    pub told: Arc<Told>,
}

/// What the site is: the same for every request.
#[derive(Debug, Clone)]
pub struct Site {
    /// The hub's own address, `https://hub.example`, without a slash at the end.
    pub hub_url: String,
    /// Below it live the Spaces, with the port when it is not the scheme's own.
    pub spaces_domain: String,
    /// Whether Spaces are reached over https.
    pub https: bool,
    /// What a Space may ask for.
    pub hardware: Catalog,
}

impl Site {
    /// Whether browsers reach the hub over https.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.hub_url.starts_with("https://")
    }

    /// The address of a Space's app.
    #[must_use]
    pub fn host(&self, subdomain: &str) -> String {
        let scheme = if self.https { "https" } else { "http" };
        format!("{scheme}://{subdomain}.{}", self.spaces_domain)
    }
}

/// Asks the binary how its parts are: it alone knows engine and proxy.
#[derive(Clone)]
pub struct HealthProbe(Arc<dyn Fn() -> BoxFuture<'static, Health> + Send + Sync>);

impl HealthProbe {
    /// From a function that looks at every part.
    #[must_use]
    pub fn new<F, R>(probe: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Health> + Send + 'static,
    {
        Self(Arc::new(move || Box::pin(probe())))
    }

    pub(crate) async fn look(&self) -> Health {
        (self.0)().await
    }
}

/// Work that must end well although the client went away, and streams that must end although it
/// did not.
#[derive(Debug, Clone, Default)]
pub struct Lifetime {
    /// Waited for at shutdown.
    pub tasks: TaskTracker,
    /// Cancelled at shutdown: streams end.
    pub stop: CancellationToken,
}

impl Lifetime {
    /// Runs to its end even when the request that asked for it is dropped.
    pub(crate) fn detach<F>(&self, work: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tasks.spawn(work)
    }

    /// The same, and waits for it.
    ///
    /// # Errors
    /// As the work itself.
    pub(crate) async fn finish<T>(
        &self,
        work: impl Future<Output = Result<T, ApiError>> + Send + 'static,
    ) -> Result<T, ApiError>
    where
        T: Send + 'static,
    {
        self.detach(work).await.map_err(ApiError::internal)?
    }
}
