//! A container engine on a machine that has only Rust.
//!
//! An engine that answers is used as it is. Otherwise Debian's packages are installed, and where
//! no service manager starts `dockerd`, it is started here, with a log and a pid file under
//! `target/docker`. Base images come from the registry; where none is reachable, one is made from
//! the Debian mirror, which every machine that can install packages can reach.
//! Nothing is asked, everything that is done is said, and what is there is left alone.

mod api;
mod base;
mod group;
mod install;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};

/// Python of Spaces that name none, as the Hub has it.
const DEFAULT_PYTHON: &str = "3.10";
/// The registry's image of that version.
const REGISTRY_IMAGE: &str = "docker.io/library/python:3.10";

/// `cargo xtask docker`
#[derive(clap::Args)]
pub struct Options {
    /// End the dockerd that this command started.
    #[arg(long)]
    stop: bool,
}

/// What the configuration of a local Spaceport needs to know.
#[derive(Debug, Clone)]
pub struct Engine {
    /// `DOCKER_HOST`, when it is set.
    pub host: Option<String>,
    /// Image by Python version, when the registry's are not used.
    pub python_images: BTreeMap<String, String>,
    /// Python of Spaces that name none.
    pub default_python: String,
    /// Image with Node.js, when the registry's is not used.
    pub node_image: Option<String>,
    /// A base image that is on the engine: what tests start from and the packet filter's helper.
    pub base_image: String,
    /// The certificates this machine needs for the network, when it says so.
    pub ca_bundle: Option<PathBuf>,
}

/// The command line's entry.
pub fn run(options: &Options) -> Result<()> {
    if options.stop {
        return install::stop();
    }
    let engine = ensure()?;
    let Engine { host, python_images, default_python, node_image, base_image, ca_bundle } = engine;
    println!("The engine is ready at {}.", host.as_deref().unwrap_or("/var/run/docker.sock"));
    println!("Base image: {base_image}; Python of Spaces that name none: {default_python}.");
    for (version, image) in &python_images {
        println!("Python {version}: {image}, since the registry is not used.");
    }
    if let Some(node) = &node_image {
        println!("Node.js: {node}.");
    }
    if let Some(bundle) = &ca_bundle {
        println!("Certificates of this machine: {}.", bundle.display());
    }
    Ok(())
}

/// Makes an engine and base images available; quick when they are.
pub fn ensure() -> Result<Engine> {
    let host = setting("DOCKER_HOST");
    let api = api::Api::new(host.as_deref())?;
    let ready = match api.ping() {
        Err(error) if !api::is_denied(&error) => install::start(&api, host.as_deref()),
        answered => answered,
    };
    match ready {
        Err(error) if api::is_denied(&error) => group::join(error)?,
        ready => ready.context("no container engine could be made available")?,
    }
    let ca_bundle = setting("SSL_CERT_FILE").map(PathBuf::from).filter(|path| path.is_file());
    let uses_registry = !api.has_image(base::PYTHON.name)? && base::pull(&api, REGISTRY_IMAGE)?;
    if uses_registry {
        return Ok(Engine {
            host,
            python_images: BTreeMap::new(),
            default_python: DEFAULT_PYTHON.to_owned(),
            node_image: None,
            base_image: REGISTRY_IMAGE.to_owned(),
            ca_bundle,
        });
    }
    base::make(&api, &base::PYTHON, ca_bundle.as_deref())?;
    base::make(&api, &base::NODE, ca_bundle.as_deref())?;
    Ok(Engine {
        host,
        python_images: BTreeMap::from([(base::PYTHON_VERSION.to_owned(), base::PYTHON.name.to_owned())]),
        default_python: base::PYTHON_VERSION.to_owned(),
        node_image: Some(base::NODE.name.to_owned()),
        base_image: base::PYTHON.name.to_owned(),
        ca_bundle,
    })
}

fn setting(name: &str) -> Option<String> {
    #[expect(
        clippy::disallowed_methods,
        reason = "a chore follows the developer's environment, it has no configuration"
    )]
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
