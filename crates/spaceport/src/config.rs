//! Configuration: `spaceport.toml` and `SPACEPORT_*`, read once. The defaults are right for one
//! machine with Docker and a registry.

mod builder;
mod capacity;
mod gpu;
mod hardware;
mod objects;
mod oidc;
#[cfg(test)]
mod reference;
mod secret;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use spaceport_core::{Catalog, FlavorName, HardwareFlavor};
use spaceport_proxy::IpNet;
use tracing_subscriber::EnvFilter;
use url::Url;

pub use crate::config::builder::Builder;
pub use crate::config::capacity::Capacity;
pub use crate::config::objects::Objects;
pub use crate::config::oidc::OidcSettings;
pub use crate::config::secret::Secret;

/// Variables of the same prefix that others read: the commands that talk to a server, the compose file, and the
/// checks of this repository.
const OF_OTHERS: [&str; 7] = [
    "SPACEPORT_CONFIG",
    "SPACEPORT_URL",
    "SPACEPORT_TOKEN",
    "SPACEPORT_IMAGE",
    "SPACEPORT_CHECK_PORT",
    "SPACEPORT_SEEDS",
    "SPACEPORT_CRASHES",
];
/// Beginnings of such names.
const OF_CHECKS: [&str; 3] = ["SPACEPORT_E2E_", "SPACEPORT_TEST_", "SPACEPORT_XTASK_"];

/// Everything the server is told.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where to listen; port 0 picks a free one.
    pub listen: SocketAddr,
    /// The hub's address as people reach it; default: the listen address on localhost.
    pub hub_url: Option<String>,
    /// Spaces are `{subdomain}.{spaces_domain}`; default: the hub's host.
    pub spaces_domain: Option<String>,
    /// Everything lies here.
    pub data_dir: PathBuf,
    /// Default: SQLite in the data directory.
    pub database_url: Option<Secret>,
    /// Sets the admin's token instead of making one.
    pub admin_token: Option<Secret>,
    /// Trusted additionally in builds and containers.
    pub ca_bundle: Option<PathBuf>,
    /// `HF_ENDPOINT` of apps; by default they use the public hub. When it is this hub's address, apps may
    /// open connections to its port on this machine.
    pub app_hf_endpoint: Option<String>,
    /// Requests in flight on a replaced container may take so many seconds.
    pub drain_s: u64,
    /// Flavors beside and over the Hub's, as written.
    pub hardware: toml::Table,
    /// Flavors that are not offered.
    pub hidden_hardware: BTreeSet<FlavorName>,
    /// Accelerators, as written.
    pub gpu: toml::Table,
    /// How much of the machine is given out.
    pub capacity: Capacity,
    /// What the tables above say, once they are checked.
    #[serde(skip)]
    pub machine: Machine,
    /// Builds.
    pub builder: Builder,
    /// The engine.
    pub docker: Docker,
    /// The proxy.
    pub proxy: Proxy,
    /// Repositories.
    pub git: Git,
    /// Webhooks.
    pub webhooks: Webhooks,
    /// Sign-in elsewhere.
    pub oidc: OidcSettings,
    /// Large files.
    pub objects: Objects,
    /// Logs of the server itself.
    pub log: Log,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            hub_url: None,
            spaces_domain: None,
            data_dir: PathBuf::from("spaceport-data"),
            database_url: None,
            admin_token: None,
            ca_bundle: None,
            app_hf_endpoint: None,
            drain_s: 30,
            hardware: toml::Table::new(),
            hidden_hardware: BTreeSet::new(),
            gpu: toml::Table::new(),
            capacity: Capacity::default(),
            machine: Machine::default(),
            builder: Builder::default(),
            docker: Docker::default(),
            proxy: Proxy::default(),
            git: Git::default(),
            webhooks: Webhooks::default(),
            oidc: OidcSettings::default(),
            objects: Objects::default(),
            log: Log::default(),
        }
    }
}

/// The tables that are checked as a whole, read.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    /// `[hardware.NAME]`.
    pub flavors: BTreeMap<FlavorName, HardwareFlavor>,
    /// `[gpu]`.
    pub gpu: gpu::Gpu,
}

/// `[docker]`: the engine.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Docker {
    /// Socket path or URL; default: `DOCKER_HOST`, else `/var/run/docker.sock`.
    pub socket: Option<String>,
    /// Tells installations on one engine apart; default: made once, kept in the data directory.
    pub installation: Option<String>,
    /// The apps' network, made when missing; installations on one engine have different ones, since each has one packet
    /// filter. Default: `spaceport`.
    pub network: Option<String>,
    /// Address range of the apps' network.
    pub subnet: Option<String>,
    /// Resolvers of the containers.
    pub dns: Vec<IpAddr>,
    /// Networks containers must not reach, besides private and link-local ones.
    pub blocked_networks: Vec<String>,
    /// Private networks they may reach all the same.
    pub allowed_networks: Vec<String>,
    /// Image used to set the packet filter when the server is not root on the engine's host;
    /// default: the default Python's base image.
    pub helper_image: Option<String>,
    /// Run apps and builds even if the packet filter that keeps them from the node cannot be set.
    pub allow_unfiltered: bool,
}

/// `[proxy]`: the data plane.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Proxy {
    /// Threads; 0 is one per core.
    pub threads: usize,
    /// Peers (address ranges) whose `X-Forwarded-*` are believed.
    pub trusted_forwarders: Vec<String>,
    /// Seconds a request waits for an app that starts.
    pub hold_s: u64,
    /// Seconds an app may take to begin its answer.
    pub response_s: u64,
}

impl Proxy {
    /// The peers that are believed, and what is wrong with those that are written.
    pub fn forwarders(&self) -> (Vec<IpNet>, Vec<String>) {
        let (mut ranges, mut problems) = (Vec::new(), Vec::new());
        for text in &self.trusted_forwarders {
            match text.parse() {
                Ok(range) => ranges.push(range),
                Err(_) => problems
                    .push(format!("proxy.trusted_forwarders: {text:?} is not an address range such as 10.0.0.0/8")),
            }
        }
        (ranges, problems)
    }
}

impl Default for Proxy {
    fn default() -> Self {
        let trusted_forwarders = vec!["127.0.0.0/8".to_owned(), "::1/128".to_owned()];
        Self { threads: 0, trusted_forwarders, hold_s: 60, response_s: 20 * 60 }
    }
}

/// `[git]`: limits of a push.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Git {
    /// One push may bring so many MiB.
    pub max_push_mib: u64,
    /// One file may have so many MiB.
    pub max_file_mib: u64,
}

impl Default for Git {
    fn default() -> Self {
        Self { max_push_mib: 5 << 10, max_file_mib: 10 }
    }
}

/// `[webhooks]`: who may be told what happens.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Webhooks {
    /// Also receivers on this machine and in private networks: any user of the hub can then send requests
    /// there, so only where all users are trusted.
    pub allow_private: bool,
}

/// `[log]`: what the server itself prints.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// As in `RUST_LOG`: `info`, `spaceport_control=debug,info`.
    pub filter: String,
    /// JSON lines instead of text.
    pub json: bool,
}

impl Log {
    /// What is printed.
    pub fn filter(&self) -> anyhow::Result<EnvFilter> {
        EnvFilter::try_new(&self.filter).with_context(|| format!("log.filter {:?} is wrong", self.filter))
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { filter: "info".to_owned(), json: false }
    }
}

impl Config {
    /// Reads file and environment; every mistake is told at once.
    pub fn load(path: Option<&Path>) -> anyhow::Result<Self> {
        let default = Path::new("spaceport.toml");
        let mut config = match path.or_else(|| default.exists().then_some(default)) {
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("could not read the configuration {}", path.display()))?;
                toml::from_str(&text).with_context(|| format!("the configuration {} is wrong", path.display()))?
            }
            None => Self::default(),
        };
        let mut problems = config.apply_environment(&variable, &names());
        problems.extend(config.check());
        if !problems.is_empty() {
            bail!("the configuration is wrong:\n  - {}", problems.join("\n  - "));
        }
        Ok(config)
    }

    /// The whole configuration as a file that says the same, but for secrets.
    ///
    /// # Errors
    /// When a value cannot be written so.
    pub fn to_toml(&self) -> anyhow::Result<String> {
        let mut shown = self.clone();
        // Of a free port nothing is known before it is taken.
        if self.listen.port() != 0 {
            let hub = self.hub_url(self.listen);
            shown.spaces_domain = Some(self.spaces_domain(&hub));
            shown.hub_url = Some(hub);
        }
        toml::to_string_pretty(&shown).context("the configuration could not be written as TOML")
    }

    /// `variable` gives a value, `names` are those of all that are set.
    fn apply_environment(
        &mut self,
        variable: &dyn Fn(&str) -> Option<String>,
        names: &BTreeSet<String>,
    ) -> Vec<String> {
        let mut problems = Vec::new();
        let asked = RefCell::new(BTreeSet::new());
        let variable = |name: &'static str| {
            asked.borrow_mut().insert(name);
            variable(name)
        };
        if let Some(text) = variable("SPACEPORT_LISTEN") {
            match text.parse() {
                Ok(listen) => self.listen = listen,
                Err(_) => {
                    problems.push(format!("SPACEPORT_LISTEN={text:?} is not ADDRESS:PORT, such as 127.0.0.1:8080"))
                }
            }
        }
        let set = |to: &mut Option<String>, name: &'static str| *to = variable(name).or(to.take());
        set(&mut self.hub_url, "SPACEPORT_HUB_URL");
        set(&mut self.spaces_domain, "SPACEPORT_SPACES_DOMAIN");
        set(&mut self.app_hf_endpoint, "SPACEPORT_APP_HF_ENDPOINT");
        set(&mut self.docker.socket, "DOCKER_HOST");
        if let Some(text) = variable("SPACEPORT_DATA_DIR") {
            self.data_dir = PathBuf::from(text);
        }
        if let Some(text) = variable("SPACEPORT_CA_BUNDLE") {
            self.ca_bundle = Some(PathBuf::from(text));
        }
        if let Some(text) = variable("SPACEPORT_DATABASE_URL") {
            self.database_url = Some(Secret::from(text));
        }
        if let Some(text) = variable("SPACEPORT_ADMIN_TOKEN") {
            self.admin_token = Some(Secret::from(text));
        }
        if let Some(text) = variable("SPACEPORT_OIDC_CLIENT_SECRET") {
            self.oidc.client_secret = Some(Secret::from(text));
        }
        set(&mut self.oidc.issuer, "SPACEPORT_OIDC_ISSUER");
        if let Some(text) = variable("SPACEPORT_OIDC_CLIENT_ID") {
            self.oidc.client_id = text;
        }
        if let Some(text) = variable("SPACEPORT_OIDC_LABEL") {
            self.oidc.label = text;
        }
        if let Some(text) = variable("SPACEPORT_LOG") {
            self.log.filter = text;
        }
        problems.extend(unknown(names, &asked.into_inner()));
        problems
    }

    fn check(&mut self) -> Vec<String> {
        let mut problems = Vec::new();
        if let Some(url) = &mut self.hub_url {
            while url.ends_with('/') {
                url.pop();
            }
            match Url::parse(url) {
                Ok(parsed) if matches!(parsed.scheme(), "http" | "https") && parsed.path() == "/" => {}
                _ => problems
                    .push(format!("hub_url {url:?} is not http(s)://HOST[:PORT]; the hub is served at the root")),
            }
        }
        if let Some(domain) = &self.spaces_domain
            && (domain.contains('/') || domain.contains("://") || domain.is_empty())
        {
            problems.push(format!("spaces_domain {domain:?} is not HOST[:PORT]"));
        }
        problems.extend(self.check_ca_bundle().err().map(|error| format!("{error:#}")));
        if let Some(url) = &self.database_url
            && let Err(error) = spaceport_store::check_url(url.expose())
        {
            problems.push(format!("database_url: {:#}", anyhow::Error::from(error)));
        }
        problems.extend(self.proxy.forwarders().1);
        problems.extend(self.log.filter().err().map(|error| format!("{error:#}")));
        if let Some(token) = &self.admin_token
            && token.expose().len() < 16
        {
            problems.push("the admin token has fewer than 16 characters and could be guessed".to_owned());
        }
        if let Some(network) = &self.docker.network
            && !is_own_network(network)
        {
            problems.push(format!("docker.network {network:?} is not a name for a network of Spaceport's own"));
        }
        let Docker { blocked_networks, allowed_networks, subnet, .. } = &self.docker;
        for (name, networks) in [("blocked_networks", blocked_networks), ("allowed_networks", allowed_networks)] {
            let wrong = networks.iter().filter(|network| !spaceport_docker::is_network(network));
            problems.extend(
                wrong.map(|network| format!("docker.{name}: {network:?} is not an IPv4 network such as 10.1.0.0/16")),
            );
        }
        if let Some(subnet) = subnet
            && subnet.parse::<IpNet>().is_err()
        {
            problems.push(format!("docker.subnet {subnet:?} is not an address range such as 172.30.0.0/16"));
        }
        let (flavors, wrong) = hardware::read(&self.hardware);
        problems.extend(wrong);
        problems.extend(hardware::check_hidden(&self.hidden_hardware, &flavors));
        let (gpu, wrong) = gpu::read(&self.gpu);
        problems.extend(wrong);
        problems.extend(self.capacity.problems());
        self.machine = Machine { flavors, gpu };
        problems.extend(self.oidc.check());
        if self.builder.concurrency == 0 || self.builder.minutes == 0 || self.builder.memory_gib == 0 {
            problems.push("builder.concurrency, builder.minutes and builder.memory_gib must not be 0".to_owned());
        }
        if self.objects.max_file_gib == 0 || self.objects.multipart_above_mib == 0 {
            problems.push("objects.max_file_gib and objects.multipart_above_mib must not be 0".to_owned());
        }
        let Objects { max_file_gib, keep_free_gib, multipart_above_mib, .. } = self.objects;
        if [max_file_gib, keep_free_gib, multipart_above_mib, self.objects.keep_unused_hours]
            .iter()
            .chain([&self.objects.keep_unused_chunks_days])
            .any(|value| *value > 1 << 20)
        {
            problems.push("a value of [objects] is larger than 1048576".to_owned());
        }
        if self.objects.keep_unused_hours == 0 {
            problems.push(
                "objects.keep_unused_hours must not be 0: files come before the commit that names them".to_owned(),
            );
        }
        if self.builder.python_image.is_empty() && self.builder.python_images.is_empty() {
            problems.push("builder.python_image or builder.python_images must name an image".to_owned());
        }
        problems
    }

    /// The certificates that are trusted additionally.
    pub fn ca_bundle(&self) -> anyhow::Result<Option<Vec<u8>>> {
        let read = |bundle: &PathBuf| {
            std::fs::read(bundle).with_context(|| format!("ca_bundle {} cannot be read", bundle.display()))
        };
        self.ca_bundle.as_ref().map(read).transpose()
    }

    /// Whether calls of the server itself can trust them.
    fn check_ca_bundle(&self) -> anyhow::Result<()> {
        let Some(bundle) = self.ca_bundle()? else { return Ok(()) };
        let certificates = reqwest::Certificate::from_pem_bundle(&bundle).context("ca_bundle is not in PEM")?;
        anyhow::ensure!(!certificates.is_empty(), "ca_bundle has no certificate; it is a file in PEM");
        // A library for TLS must be chosen before; one that is chosen already does as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().tls_certs_merge(certificates).build();
        client.map(|_| ()).context("ca_bundle has a certificate that cannot be used")
    }

    /// What of this machine apps may reach: the hub, if they are told to use it.
    pub fn open_to_apps(&self, hub_url: &str) -> Vec<(String, u16)> {
        let origin = |url: &str| {
            let url = Url::parse(url).ok()?;
            Some((url.host_str()?.to_owned(), url.port_or_known_default()?))
        };
        let hub = origin(hub_url);
        let endpoint = self.app_hf_endpoint.as_deref().and_then(origin);
        hub.filter(|hub| endpoint.as_ref() == Some(hub)).into_iter().collect()
    }

    /// The flavors, the Hub's included.
    pub fn flavors(&self) -> Catalog {
        Catalog::new(self.machine.flavors.clone(), self.hidden_hardware.clone())
    }

    /// Whether the engine runs on this machine, so that its devices and files are ours to look at.
    pub fn engine_is_here(&self) -> bool {
        self.docker.socket.as_deref().is_none_or(|socket| socket.starts_with('/') || socket.starts_with("unix:"))
    }

    /// The hub's address, known once the listener is.
    pub fn hub_url(&self, listening: SocketAddr) -> String {
        self.hub_url.clone().unwrap_or_else(|| format!("http://localhost:{}", listening.port()))
    }

    /// The domain of the Spaces, with its port.
    pub fn spaces_domain(&self, hub_url: &str) -> String {
        self.spaces_domain
            .clone()
            .unwrap_or_else(|| hub_url.split_once("://").map_or(hub_url, |(_, host)| host).to_owned())
    }

    /// The control plane's part.
    pub fn control(&self, hub_url: &str, spaces_domain: &str) -> spaceport_control::ControlConfig {
        let builder = self.builder.clone();
        spaceport_control::ControlConfig {
            hub_url: hub_url.to_owned(),
            spaces_domain: spaces_domain.to_owned(),
            data_dir: self.data_dir.clone(),
            hardware: self.flavors(),
            node: self.machine.gpu.node.clone(),
            capacity: self.capacity.control(),
            gpu: self.machine.gpu.policy.clone(),
            drain: Duration::from_secs(self.drain_s),
            app_hf_endpoint: self.app_hf_endpoint.clone(),
            allow_unfiltered: self.docker.allow_unfiltered,
            builder: spaceport_control::BuilderConfig {
                concurrency: builder.concurrency,
                limits: spaceport_control::config::build_limits(
                    builder.cpus,
                    builder.memory_gib,
                    builder.disk_gib,
                    Duration::from_secs(builder.minutes * 60),
                ),
                python_image: Some(builder.python_image).filter(|image| !image.is_empty()),
                python_images: builder.python_images,
                default_python: builder.default_python,
                node_image: builder.node_image,
                apt_packages: builder.apt_packages,
                python_packages: builder.python_packages,
                preload_endpoint: builder.preload_endpoint,
                max_source_bytes: builder.source_gib << 30,
                max_source_files: builder.source_files,
                min_disk_bytes: builder.free_disk_gib << 30,
                min_memory_bytes: builder.free_memory_mib << 20,
                build_cache_bytes: builder.build_cache_gib << 30,
                download_cache_bytes: builder.download_cache_gib << 30,
                engine_may_fetch: builder.engine_may_fetch,
            },
        }
    }

    /// The image that may act on the host to set the packet filter.
    pub fn helper_image(&self) -> Option<String> {
        self.docker.helper_image.clone().or_else(|| {
            let python = &self.builder.default_python;
            let image = self.builder.python_images.get(python).cloned();
            image.or_else(|| {
                Some(self.builder.python_image.replace("{version}", python)).filter(|image| !image.is_empty())
            })
        })
    }
}

/// Whether the engine takes it as a name, and not as one of its own networks or a container's.
fn is_own_network(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
        && !["bridge", "host", "none", "default"].contains(&name)
}

/// Names that look like settings and are none.
fn unknown(names: &BTreeSet<String>, settings: &BTreeSet<&'static str>) -> Option<String> {
    let is_unknown = |name: &&String| {
        name.starts_with("SPACEPORT_")
            && !settings.contains(name.as_str())
            && !OF_OTHERS.contains(&name.as_str())
            && !OF_CHECKS.iter().any(|of| name.starts_with(of))
    };
    let unknown: Vec<&str> = names.iter().filter(is_unknown).map(String::as_str).collect();
    if unknown.is_empty() {
        return None;
    }
    let settings: Vec<&str> = settings.iter().copied().filter(|name| name.starts_with("SPACEPORT_")).collect();
    let unknown = unknown.join(", ");
    Some(format!(
        "the environment has {unknown}, which mean nothing; there are SPACEPORT_CONFIG, {}",
        settings.join(", ")
    ))
}

/// The names of all environment variables that are set.
fn names() -> BTreeSet<String> {
    let set = std::env::vars_os().filter(|(_, value)| !value.is_empty());
    set.filter_map(|(name, _)| name.into_string().ok()).collect()
}

/// An environment variable; an empty one counts as not set, since compose files set them so.
fn variable(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    let value = std::env::var(name).ok();
    value.filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_wins_and_all_mistakes_are_told() {
        let mut config: Config = toml::from_str("listen = \"127.0.0.1:1\"\nhub_url = \"http://a/\"").unwrap();
        let problems = config.apply_environment(
            &|name| match name {
                "SPACEPORT_LISTEN" => Some("nonsense".to_owned()),
                "SPACEPORT_HUB_URL" => Some("ftp://x".to_owned()),
                "SPACEPORT_ADMIN_TOKEN" => Some("short".to_owned()),
                _ => None,
            },
            &BTreeSet::new(),
        );
        assert_eq!(problems.len(), 1);
        assert_eq!(config.check().len(), 2);
    }

    #[test]
    fn a_mistyped_variable_is_told() {
        let told = |names: &[&str]| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            Config::default().apply_environment(&|_| None, &names)
        };
        let known =
            ["PATH", "SPACEPORT_LOG", "SPACEPORT_CONFIG", "SPACEPORT_TOKEN", "SPACEPORT_E2E_BIN", "DOCKER_HOST"];
        assert_eq!(told(&known), Vec::<String>::new());
        let [problem] = &told(&["SPACEPORT_LISEN", "SPACEPORT_LISTEN"])[..] else { panic!("one problem") };
        assert!(problem.contains("has SPACEPORT_LISEN, which") && problem.contains("SPACEPORT_LISTEN, "), "{problem}");
    }

    #[test]
    fn what_would_end_a_start_is_told_before() {
        let folder = tempfile::tempdir().unwrap();
        let bundle = folder.path().join("ca.pem");
        std::fs::write(&bundle, "nothing").unwrap();
        let bundle = format!("ca_bundle = {:?}", bundle.display().to_string());
        for (text, expected) in [
            (
                "database_url = \"mysql://user:hunter2@host/x\"",
                "database_url: could not open the database mysql://…@host/x",
            ),
            ("database_url = \"postgres://host:port/x\"", "database_url"),
            ("ca_bundle = \"/nowhere/ca.pem\"", "ca_bundle /nowhere/ca.pem cannot be read"),
            (bundle.as_str(), "ca_bundle has no certificate"),
            ("[proxy]\ntrusted_forwarders = [\"10.0.0.1\"]", "proxy.trusted_forwarders: \"10.0.0.1\""),
            ("[log]\nfilter = \"spaceport=loud\"", "log.filter \"spaceport=loud\" is wrong"),
            ("[docker]\nblocked_networks = [\"10.0.0.0/99\"]", "docker.blocked_networks: \"10.0.0.0/99\""),
            ("[docker]\nsubnet = \"ten\"", "docker.subnet \"ten\""),
        ] {
            let mut config: Config = toml::from_str(text).unwrap();
            let problems = config.check();
            assert!(matches!(&problems[..], [one] if one.contains(expected)), "{text}: {problems:?}");
        }
    }

    #[test]
    fn the_apps_network_is_none_of_the_engines() {
        for (name, problems) in [("staging-2", 0), ("host", 1), ("bridge", 1), ("container:x", 1), ("", 1)] {
            let mut config: Config = toml::from_str(&format!("[docker]\nnetwork = {name:?}")).unwrap();
            assert_eq!(config.check().len(), problems, "{name:?}");
        }
    }

    #[test]
    fn apps_reach_the_hub_if_it_is_theirs() {
        let open = |endpoint: Option<&str>, hub: &str| {
            Config { app_hf_endpoint: endpoint.map(str::to_owned), ..Config::default() }.open_to_apps(hub)
        };
        let name = "https://hub.example.com";
        assert_eq!(open(Some(name), name), [("hub.example.com".to_owned(), 443)]);
        assert_eq!(open(Some("http://172.17.0.1:8080/"), "http://172.17.0.1:8080"), [("172.17.0.1".to_owned(), 8080)]);
        for other in [None, Some("https://huggingface.co"), Some("https://hub.example.com:8443"), Some("nonsense")] {
            assert!(open(other, name).is_empty(), "{other:?}");
        }
    }

    #[test]
    fn unknown_keys_are_refused_and_secrets_are_not_printed() {
        assert!(toml::from_str::<Config>("lisen = \"127.0.0.1:1\"").is_err());
        let config: Config = toml::from_str("admin_token = \"hf_0123456789abcdef\"").unwrap();
        assert!(!format!("{config:?}").contains("0123456789"));
    }

    #[test]
    fn factors_that_make_no_sense_are_refused() {
        let mut config: Config = toml::from_str("[capacity]\ncpu_factor = nan\nmemory_factor = -1.0\n").unwrap();
        assert_eq!(config.check().len(), 2);
        let mut config: Config = toml::from_str("[capacity]\ncpu_factor = 2.5\n").unwrap();
        assert_eq!(config.check(), Vec::<String>::new());
        let capacity = config.capacity.control();
        assert_eq!((capacity.cpu_factor_milli, capacity.memory_factor_milli), (2500, 1000));
    }

    #[test]
    fn what_is_printed_says_the_same() {
        let text = "data_dir = \"/srv\"\nadmin_token = \"hf_0123456789abcdef\"\n[docker]\ndns = [\"192.0.2.1\"]\n\
            [oidc]\nclient_secret = \"hunter2hunter2\"\n\
            [[oidc.organizations]]\ngroup = \"a\"\norganization = \"b\"\nrole = \"write\"\n[hardware.large]\ncpu_millicores = 8000";
        let config: Config = toml::from_str(text).unwrap();
        let printed = config.to_toml().unwrap();
        for secret in ["0123456789", "hunter2"] {
            assert!(!printed.contains(secret), "{printed}");
        }
        assert!(printed.contains("admin_token = \"(set)\""), "{printed}");
        assert!(!printed.contains("database_url"), "what is not set is not there: {printed}");
        let read: Config = toml::from_str(&printed).unwrap();
        assert_eq!(read.hub_url.as_deref(), Some("http://localhost:8080"));
        assert_eq!(read.to_toml().unwrap(), printed);
        assert_eq!((read.hardware, read.gpu), (config.hardware, config.gpu));
    }

    #[test]
    fn the_defaults_serve_one_machine() {
        let mut config = Config::default();
        assert_eq!(config.check(), Vec::<String>::new());
        let hub = config.hub_url(config.listen);
        assert_eq!(hub, "http://localhost:8080");
        assert_eq!(config.spaces_domain(&hub), "localhost:8080");
    }
}
