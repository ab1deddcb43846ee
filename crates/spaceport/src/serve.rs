//! `spaceport serve`: wires the parts, runs them, stops them.
//!
//! The proxy listens first, with the route table of the former process: apps are reachable
//! before the database or the engine is.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use spaceport_api::{ApiState, Downloads, GitSlots, LargeFiles, Lifetime, SignIn, Site, Uploads, WeightHeaders};
use spaceport_control::{
    Builds, Clock, ControlConfig, ControlHandle, Engine, Hardware, LogStore, Parts, Routes, Spaces, WebhookConfig,
    Webhooks,
};
use spaceport_core::route::ProxyEvent;
use spaceport_devices::{ConfiguredDevices, NvidiaDriver};
use spaceport_docker::{DockerConfig, DockerRuntime};
use spaceport_git::{Limits, Repositories};
use spaceport_objects::ObjectStore;
use spaceport_proxy::{Hub, Proxy, ProxyConfig, Timeouts};
use spaceport_runtime::DeviceSource;
use spaceport_store::Store;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::config::Config;
use crate::health;
use crate::state::{Admin, DataDir};

/// Observations of the proxy that may wait for control.
const EVENTS: usize = 4096;
/// Everything has so long to end after the first signal.
const SHUTDOWN: Duration = Duration::from_secs(45);
/// What was counted until the end is written within this time.
const LAST_WRITE: Duration = Duration::from_secs(5);
/// The removal of abandoned build containers may take so long.
const CLEAN_UP: Duration = Duration::from_secs(10);

/// Runs the server until it is told to stop.
pub fn run(config: Config) -> anyhow::Result<()> {
    init_log(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("control")
        .build()
        .context("could not start the runtime")?;
    let result = runtime.block_on(serve(config));
    runtime.shutdown_timeout(Duration::from_secs(2));
    result
}

fn init_log(config: &Config) -> anyhow::Result<()> {
    let log = tracing_subscriber::fmt().with_env_filter(config.log.filter()?).with_writer(std::io::stderr);
    let result = if config.log.json {
        log.json().try_init()
    } else {
        let colours = std::io::stderr().is_terminal();
        log.with_target(false).with_ansi(colours).try_init()
    };
    result.map_err(|error| anyhow::anyhow!("could not start logging: {error}"))
}

async fn serve(mut config: Config) -> anyhow::Result<()> {
    let data = DataDir::open(&config.data_dir)?;
    config.data_dir.clone_from(&data.path);
    let clock = Clock::system();
    let tickets = data.tickets()?;
    let routes = Arc::new(Routes::load(data.path.join("routes.json"), tickets.clone()));
    let (soft, hard) = (CancellationToken::new(), CancellationToken::new());
    let tasks = TaskTracker::new();
    watch_signals(soft.clone(), hard.clone())?;

    // The hub answers as soon as its parts are there; until then requests to it wait.
    let (router, hub_ready) = tokio::sync::watch::channel(None::<axum_router::Router>);
    let hub = Hub::new(tokio::runtime::Handle::current(), move |request| {
        let mut ready = hub_ready.clone();
        async move { axum_router::answer(&mut ready, request).await }
    });
    let (events, mut observed) = mpsc::channel(EVENTS);
    let proxy = Proxy::bind(proxy_config(&config), routes.subscribe(), hub, events)?;
    let listening = proxy.local_addr();
    let hub_url = config.hub_url(listening);
    let spaces_domain = config.spaces_domain(&hub_url);
    let proxying = tasks.spawn(proxy.run(soft.clone(), hard.clone()));

    let control_config = Arc::new(config.control(&hub_url, &spaces_domain));
    let control = ControlHandle::new(clock.clone(), LogStore::new(data.path.join("logs"), clock.clone()));
    let observer = control.clone();
    tasks.spawn(async move {
        while let Some(event) = observed.recv().await {
            match event {
                ProxyEvent::Drained { instance } => {
                    if let Ok(instance) = instance.parse() {
                        observer.drained(instance);
                    }
                }
                ProxyEvent::Activity { space, at } => observer.used(space, at),
                ProxyEvent::Visited { space, pages } => observer.visited(space, pages),
            }
        }
    });

    let (parts, runtime) =
        open_parts(&config, &data, Arc::clone(&routes), control.clone(), Arc::clone(&control_config)).await?;
    let admin = data.admin(&parts.store, &clock, &config).await?;
    parts.routes.refresh(&parts.store, clock.now()).await?;
    parts.repositories.sweep().await?;

    let uploads = data.path.join("tmp").join("uploads");
    let uploads = Uploads::open(uploads).context("could not prepare the folder for uploads")?;
    // A second choice of a TLS library is refused and means the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let lifetime = Lifetime { tasks: tasks.clone(), stop: soft.clone() };
    let state = ApiState {
        store: parts.store.clone(),
        control: control.clone(),
        repositories: parts.repositories.clone(),
        large: LargeFiles {
            objects: parts.objects.clone(),
            key: Arc::new(data.claim_key()?),
            multipart_above: config.objects.multipart_above_mib << 20,
        },
        git: GitSlots::default(),
        vault: parts.vault.clone(),
        tickets,
        site: Arc::new(site(&control_config)),
        health: health::probe(&parts, config.engine_is_here()),
        lifetime,
        downloads: Downloads::default(),
        weights: WeightHeaders::default(),
        uploads,
        sign_in: SignIn::with_provider(config.oidc.provider(config.ca_bundle()?)?),
        making: Arc::default(),
        told: Arc::default(),
    };
    router.send_replace(Some(spaceport_api::router(state)));
    start_reconcilers(&tasks, &parts, &soft);
    tasks.spawn(spaceport_control::inventory::run(
        device_sources(&config),
        Arc::clone(&parts.engine),
        Arc::clone(&control_config),
        control.clone(),
        soft.clone(),
    ));
    start_community(&tasks, &parts, &config, &soft)?;
    tracing::info!(
        "Spaceport {} serves {hub_url} (Spaces: http(s)://NAME.{spaces_domain}; database: {}; admin token: {})",
        env!("CARGO_PKG_VERSION"),
        parts.store.engine(),
        admin.token_place,
    );
    if let Admin { account: Some(account), is_new: true, .. } = &admin {
        let link = spaceport_api::sign_in_link(&parts.store, &clock, &hub_url, account).await?;
        let place = match std::io::stdout().is_terminal() {
            true => format!("with this link; it works once, within a day:\n  {}", link.url),
            // A journal or a container's log: whoever has the link may sign in, and these are kept.
            false => {
                let file = data.keep_sign_in_link(&link.url)?;
                format!("with the link in {}; it works once, within a day", file.display())
            }
        };
        println!("Sign in to {hub_url} as {} {place}", account.name);
    }

    let ended = proxying.await.context("the proxy's task failed")?;
    // The proxy ends when it was told to; a proxy that ends by itself brings the process down.
    let told = soft.is_cancelled();
    soft.cancel();
    tasks.close();
    let ended_in_time = tokio::select! {
        () = tasks.wait() => true,
        // The second signal.
        () = hard.cancelled() => false,
        () = tokio::time::sleep(SHUTDOWN) => false,
    };
    if !ended_in_time {
        tracing::warn!("some work did not end in time and is abandoned; the next start takes it up");
    }
    if tokio::time::timeout(CLEAN_UP, runtime.close()).await.is_err() {
        tracing::warn!("containers of abandoned builds are left; the next start removes them");
    }
    // The proxy counted until its end.
    let counted = spaceport_control::visits::write(&parts.store, &parts.control);
    if tokio::time::timeout(LAST_WRITE, counted).await.is_err() {
        tracing::warn!("the last visits could not be counted: the database did not answer");
    }
    parts.store.close().await;
    ended?;
    anyhow::ensure!(told, "the proxy ended by itself");
    tracing::info!("stopped");
    Ok(())
}

async fn open_parts(
    config: &Config,
    data: &DataDir,
    routes: Arc<Routes>,
    control: ControlHandle,
    control_config: Arc<ControlConfig>,
) -> anyhow::Result<(Parts, Arc<DockerRuntime>)> {
    let default_database = format!("sqlite:{}", data.path.join("spaceport.db").display());
    let url = config.database_url.as_ref().map_or(default_database.as_str(), |url| url.expose());
    let store = Store::open(url).await?;
    let limits = Limits {
        max_pack_bytes: config.git.max_push_mib << 20,
        max_file_bytes: config.git.max_file_mib << 20,
        ..Limits::default()
    };
    let repositories = Repositories::new(data.path.join("repos"), limits)?;
    let objects = ObjectStore::open(data.path.join("objects"), config.objects.store())?;
    let installation = match &config.docker.installation {
        Some(name) => name.clone(),
        None => data.installation()?,
    };
    let defaults = DockerConfig::default();
    let runtime = DockerRuntime::connect(DockerConfig {
        socket: config.docker.socket.clone(),
        installation,
        network: config.docker.network.clone().unwrap_or(defaults.network),
        subnet: config.docker.subnet.clone(),
        ca_bundle: config.ca_bundle.clone(),
        dns: config.docker.dns.clone(),
        blocked_networks: config.docker.blocked_networks.clone(),
        allowed_networks: config.docker.allowed_networks.clone(),
        allowed_services: config.open_to_apps(&control_config.hub_url),
        helper_image: config.helper_image(),
        guard_default_bridge: defaults.guard_default_bridge,
    })?;
    let runtime = Arc::new(runtime);
    let engine = Arc::new(Engine::new(runtime.clone(), control.clock().clone()));
    let vault = data.vault()?;
    Ok((Parts { store, repositories, objects, engine, routes, control, vault, config: control_config }, runtime))
}

/// Who knows the devices of the engine's machine.
fn device_sources(config: &Config) -> Vec<Box<dyn DeviceSource>> {
    let gpu = &config.machine.gpu;
    let is_here = config.engine_is_here();
    let mut sources: Vec<Box<dyn DeviceSource>> = Vec::new();
    // The driver here knows nothing of the devices of an engine elsewhere.
    if gpu.nvidia && is_here {
        sources.push(Box::new(NvidiaDriver::new(gpu.by_cdi)));
    }
    if !gpu.devices.is_empty() {
        sources.push(Box::new(ConfiguredDevices::new(gpu.devices.clone(), is_here)));
    }
    sources
}

fn start_reconcilers(tasks: &TaskTracker, parts: &Parts, stop: &CancellationToken) {
    let (spaces, builds) = (Spaces::new(parts.clone()), Builds::new(parts.clone()));
    let hardware = Hardware::new(parts.clone());
    let Parts { store, engine, routes, control, .. } = parts.clone();
    let watched = Arc::clone(&engine);
    let (watching, sampling) = (control.clone(), control.clone());
    let stopping = || stop.clone();
    let token = stopping();
    tasks.spawn(async move { watched.watch(watching, token).await });
    let token = stopping();
    tasks.spawn(async move { spaces.run(token).await });
    let token = stopping();
    tasks.spawn(async move { builds.run(token).await });
    let token = stopping();
    tasks.spawn(async move { hardware.run(token).await });
    let (token, routes_store) = (stopping(), store.clone());
    tasks.spawn(async move { routes.run(routes_store, control, token).await });
    tasks.spawn(spaceport_control::usage::run(engine, store, sampling, stopping()));
    tasks.spawn(spaceport_control::disk::run(Arc::clone(&parts.engine), parts.control.clone(), stopping()));
    tasks.spawn(spaceport_control::garbage::run(parts.clone(), stopping()));
    tasks.spawn(spaceport_control::visits::run(parts.store.clone(), parts.control.clone(), stopping()));
    let (objects, store, control) = (parts.objects.clone(), parts.store.clone(), parts.control.clone());
    tasks.spawn(spaceport_control::large_files::run(objects, store, control, stopping()));
}

/// What follows the people of the hub.
fn start_community(
    tasks: &TaskTracker,
    parts: &Parts,
    config: &Config,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let receivers = WebhookConfig { allow_private: config.webhooks.allow_private, ca_bundle: config.ca_bundle()? };
    let Parts { store, control, vault, .. } = parts.clone();
    let webhooks = Webhooks::new(store.clone(), control.clone(), vault, &parts.config.hub_url, &receivers)?;
    let token = stop.clone();
    tasks.spawn(async move { webhooks.run(token).await });
    tasks.spawn(spaceport_control::community::run(store, control, stop.clone()));
    Ok(())
}

fn site(config: &ControlConfig) -> Site {
    Site {
        hub_url: config.hub_url.clone(),
        spaces_domain: config.spaces_domain.clone(),
        https: config.scheme() == "https",
        hardware: config.hardware.clone(),
    }
}

fn proxy_config(config: &Config) -> ProxyConfig {
    let url = config.hub_url.clone().unwrap_or_else(|| "http://localhost".to_owned());
    let (scheme, host) = url.split_once("://").unwrap_or(("http", "localhost"));
    let defaults = ProxyConfig::default();
    ProxyConfig {
        listen: config.listen,
        threads: if config.proxy.threads == 0 { defaults.threads } else { config.proxy.threads },
        hub_host: host.to_ascii_lowercase(),
        hub_url: config.hub_url.clone(),
        spaces_domain: config.spaces_domain.clone(),
        https: scheme == "https",
        trusted_forwarders: config.proxy.forwarders().0,
        timeouts: Timeouts {
            hold: Duration::from_secs(config.proxy.hold_s),
            response_head: Duration::from_secs(config.proxy.response_s),
            ..Timeouts::default()
        },
        ..defaults
    }
}

/// First signal: stop accepting, finish. Second: stop now.
fn watch_signals(soft: CancellationToken, hard: CancellationToken) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt()).context("could not watch for signals")?;
    let mut terminate = signal(SignalKind::terminate()).context("could not watch for signals")?;
    // Not one of the tasks that are waited for: it watches as long as the process lives.
    #[expect(clippy::disallowed_methods, reason = "nothing waits for the signal watcher")]
    tokio::spawn(async move {
        for token in [soft, hard] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            tracing::info!("stopping; a second signal stops at once");
            token.cancel();
        }
    });
    Ok(())
}

/// Hands requests to the router as soon as there is one.
mod axum_router {
    use super::ServiceExt;
    pub use axum::Router;
    use std::net::SocketAddr;

    use axum::body::Body;
    use axum::extract::ConnectInfo;
    use axum::http::{Request, Response, StatusCode};
    use spaceport_proxy::ClientAddr;

    pub async fn answer<B>(
        ready: &mut tokio::sync::watch::Receiver<Option<Router>>,
        request: Request<B>,
    ) -> Response<Body>
    where
        B: axum::body::HttpBody<Data = axum::body::Bytes> + Send + 'static,
        B::Error: Into<axum::BoxError>,
    {
        let router = match ready.wait_for(Option::is_some).await {
            Ok(router) => router.clone(),
            Err(_) => None,
        };
        let Some(router) = router else {
            let mut response = Response::new(Body::from("the hub is stopping"));
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            return response;
        };
        let mut request = request.map(Body::new);
        if let Some(ClientAddr(peer)) = request.extensions().get() {
            let peer = SocketAddr::new(*peer, 0);
            request.extensions_mut().insert(ConnectInfo(peer));
        }
        match router.oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}
