//! Configuration: `spaceport.toml` and `SPACEPORT_*`, read once. The defaults are right for one
//! machine with Docker and a registry.

mod oidc;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Deserialize;
use spaceport_core::{FlavorName, HardwareFlavor};
use spaceport_objects::ObjectsConfig;
use url::Url;

pub use crate::config::oidc::OidcSettings;

/// Seconds.
const HOUR: u64 = 60 * 60;

/// Everything the server is told.
#[derive(Debug, Clone, Deserialize)]
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
    /// Flavors; none means the presets `cpu-basic` and `cpu-upgrade`.
    pub hardware: BTreeMap<FlavorName, HardwareFlavor>,
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
            hardware: BTreeMap::new(),
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

/// A value that is never printed.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The value.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(set)")
    }
}

/// `[builder]`: how apps are built.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Builder {
    /// Builds at once.
    pub concurrency: usize,
    /// CPU of one build, in cores.
    pub cpus: u32,
    /// Memory of one build, in GiB.
    pub memory_gib: u64,
    /// What one build may write, in GiB.
    pub disk_gib: u64,
    /// Minutes one build may take.
    pub minutes: u64,
    /// Image of a Python version; `{version}` is replaced. Empty: only `python_images`.
    pub python_image: String,
    /// Images that win, by minor version: `"3.11" = "my/python:3.11"`.
    pub python_images: BTreeMap<String, String>,
    /// Python of Spaces that name none.
    pub default_python: String,
    /// Image with Node.js, for static Spaces with a build command.
    pub node_image: String,
    /// Debian packages in every generated Python image.
    pub apt_packages: Vec<String>,
    /// Python packages in every generated Python image, besides the SDK.
    pub python_packages: Vec<String>,
    /// Where `preload_from_hub` downloads what this hub does not have; empty: from nowhere.
    pub preload_endpoint: String,
    /// A commit may hold so many GiB.
    pub source_gib: u64,
    /// A commit may hold so many files.
    pub source_files: usize,
    /// With fewer GiB left on the engine's disk no build begins.
    pub free_disk_gib: u64,
    /// With fewer MiB of memory left on the engine's host a Dockerfile's build ends.
    pub free_memory_mib: u64,
    /// GiB the engine may keep of Dockerfiles' steps.
    pub build_cache_gib: u64,
    /// GiB of downloads kept for an owner's next builds.
    pub download_cache_gib: u64,
}

impl Default for Builder {
    fn default() -> Self {
        let control = spaceport_control::BuilderConfig::default();
        Self {
            concurrency: control.concurrency,
            cpus: control.limits.cpu_millicores / 1000,
            memory_gib: control.limits.memory_bytes >> 30,
            disk_gib: control.limits.disk_bytes >> 30,
            minutes: control.limits.time.as_secs() / 60,
            python_image: control.python_image.unwrap_or_default(),
            python_images: control.python_images,
            default_python: control.default_python,
            node_image: control.node_image,
            apt_packages: control.apt_packages,
            python_packages: control.python_packages,
            preload_endpoint: control.preload_endpoint,
            source_gib: control.max_source_bytes >> 30,
            source_files: control.max_source_files,
            free_disk_gib: control.min_disk_bytes >> 30,
            free_memory_mib: control.min_memory_bytes >> 20,
            build_cache_gib: control.build_cache_bytes >> 30,
            download_cache_gib: control.download_cache_bytes >> 30,
        }
    }
}

/// `[docker]`: the engine.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Docker {
    /// Socket path or URL; default: `DOCKER_HOST`, else `/var/run/docker.sock`.
    pub socket: Option<String>,
    /// Tells installations on one engine apart; default: made once, kept in the data directory.
    pub installation: Option<String>,
    /// The apps' network, made when missing; installations that shall not share a packet filter have different
    /// ones. Default: `spaceport`.
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

impl Docker {
    /// Whether the engine is on this machine, as far as its address says.
    pub fn is_local(&self) -> bool {
        self.socket.as_deref().is_none_or(|socket| socket.starts_with('/') || socket.starts_with("unix://"))
    }
}

/// `[proxy]`: the data plane.
#[derive(Debug, Clone, Deserialize)]
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

impl Default for Proxy {
    fn default() -> Self {
        let trusted_forwarders = vec!["127.0.0.0/8".to_owned(), "::1/128".to_owned()];
        Self { threads: 0, trusted_forwarders, hold_s: 60, response_s: 20 * 60 }
    }
}

/// `[git]`: limits of a push.
#[derive(Debug, Clone, Deserialize)]
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
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Webhooks {
    /// Also receivers on this machine and in private networks: any user of the hub can then send requests
    /// there, so only where all users are trusted.
    pub allow_private: bool,
}

/// `[objects]`: large files, sent by git-lfs or Xet.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Objects {
    /// One file may have so many GiB.
    pub max_file_gib: u64,
    /// Uploads are refused while the disk has less than so many GiB left.
    pub keep_free_gib: u64,
    /// Clients that can send files above so many MiB in parts.
    pub multipart_above_mib: u64,
    /// Hours a file is kept that was uploaded and no commit names, or that its repositories are gone of.
    pub keep_unused_hours: u64,
    /// Days chunks are kept that no file needs: clients rely on 21 days.
    pub keep_unused_chunks_days: u64,
    /// Answers an upload when it is on the disk, so that no power failure takes it back.
    pub fsync: bool,
}

impl Default for Objects {
    fn default() -> Self {
        let store = ObjectsConfig::default();
        Self {
            max_file_gib: store.max_object_bytes >> 30,
            keep_free_gib: store.keep_free_bytes >> 30,
            multipart_above_mib: 256,
            keep_unused_hours: store.keep_unused.as_secs() / HOUR,
            keep_unused_chunks_days: store.keep_unused_xorbs.as_secs() / (24 * HOUR),
            fsync: store.fsync,
        }
    }
}

impl Objects {
    /// In the units of the store.
    pub fn store(&self) -> ObjectsConfig {
        ObjectsConfig {
            max_object_bytes: self.max_file_gib << 30,
            keep_free_bytes: self.keep_free_gib << 30,
            fsync: self.fsync,
            keep_unused: Duration::from_secs(self.keep_unused_hours * HOUR),
            keep_unused_xorbs: Duration::from_secs(self.keep_unused_chunks_days * 24 * HOUR),
        }
    }
}

/// `[log]`: what the server itself prints.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// As in `RUST_LOG`: `info`, `spaceport_control=debug,info`.
    pub filter: String,
    /// JSON lines instead of text.
    pub json: bool,
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
        let mut problems = config.apply_environment(&variable);
        problems.extend(config.check());
        if !problems.is_empty() {
            bail!("the configuration is wrong:\n  - {}", problems.join("\n  - "));
        }
        Ok(config)
    }

    fn apply_environment(&mut self, variable: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
        let mut problems = Vec::new();
        if let Some(text) = variable("SPACEPORT_LISTEN") {
            match text.parse() {
                Ok(listen) => self.listen = listen,
                Err(_) => {
                    problems.push(format!("SPACEPORT_LISTEN={text:?} is not ADDRESS:PORT, such as 127.0.0.1:8080"))
                }
            }
        }
        let set = |to: &mut Option<String>, name: &str| *to = variable(name).or(to.take());
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
            self.database_url = Some(Secret(text));
        }
        if let Some(text) = variable("SPACEPORT_ADMIN_TOKEN") {
            self.admin_token = Some(Secret(text));
        }
        if let Some(text) = variable("SPACEPORT_OIDC_CLIENT_SECRET") {
            self.oidc.client_secret = Some(Secret(text));
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
        if let Some(bundle) = &self.ca_bundle
            && !bundle.is_file()
        {
            problems.push(format!("ca_bundle {} is not a file", bundle.display()));
        }
        if let Some(token) = &self.admin_token
            && token.expose().len() < 16
        {
            problems.push("the admin token has fewer than 16 characters and could be guessed".to_owned());
        }
        if !self.hardware.is_empty() && !self.hardware.contains_key(&FlavorName::cpu_basic()) {
            problems.push("[hardware] must define cpu-basic, the flavor every Space starts with".to_owned());
        }
        for (name, flavor) in &self.hardware {
            if flavor.memory_bytes < 32 << 20 || flavor.cpu_millicores == 0 || flavor.pids < 16 {
                problems.push(format!("hardware.{name} needs at least 1 millicore, 32 MiB of memory and 16 pids"));
            }
        }
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

    /// The flavors, presets included.
    pub fn flavors(&self) -> BTreeMap<FlavorName, HardwareFlavor> {
        if self.hardware.is_empty() { HardwareFlavor::presets().into_iter().collect() } else { self.hardware.clone() }
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
        let problems = config.apply_environment(&|name| match name {
            "SPACEPORT_LISTEN" => Some("nonsense".to_owned()),
            "SPACEPORT_HUB_URL" => Some("ftp://x".to_owned()),
            "SPACEPORT_ADMIN_TOKEN" => Some("short".to_owned()),
            _ => None,
        });
        assert_eq!(problems.len(), 1);
        assert_eq!(config.check().len(), 2);
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
    fn the_defaults_serve_one_machine() {
        let mut config = Config::default();
        assert_eq!(config.check(), Vec::<String>::new());
        let hub = config.hub_url(config.listen);
        assert_eq!(hub, "http://localhost:8080");
        assert_eq!(config.spaces_domain(&hub), "localhost:8080");
    }
}
