//! Base images: from the registry, or made from the Debian mirror.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::api::Api;
use super::install;

/// Debian's release and its Python.
const SUITE: &str = "bookworm";
pub const PYTHON_VERSION: &str = "3.11";

/// Where the host's certificates are put in an image made here.
const BUNDLE: &str = "etc/ssl/certs/spaceport-host-ca.pem";

/// An image made of Debian packages.
pub struct Base {
    pub name: &'static str,
    packages: &'static str,
}

pub const PYTHON: Base =
    Base { name: "spaceport-base:py3.11", packages: "python3,python3-venv,python3-pip,ca-certificates" };
pub const NODE: Base = Base { name: "spaceport-base:node", packages: "nodejs,npm,ca-certificates" };

/// Whether the registry's image is on the engine, fetched if need be.
pub fn pull(api: &Api, image: &str) -> Result<bool> {
    if api.has_image(image)? {
        return Ok(true);
    }
    println!("Asking the registry for {image} …");
    if !api.registry_has(image) {
        println!("The registry cannot be reached from the engine.");
        return Ok(false);
    }
    println!("Pulling {image} …");
    let (repository, tag) = image.rsplit_once(':').context("an image has a tag")?;
    api.pull(repository, tag)?;
    Ok(true)
}

/// Makes the image unless it is there.
pub fn make(api: &Api, base: &Base, ca_bundle: Option<&Path>) -> Result<()> {
    let Base { name, packages } = base;
    if api.has_image(name)? {
        return Ok(());
    }
    println!("Making {name} from Debian {SUITE} (about a minute): no registry is needed for it …");
    let begun = Instant::now();
    if !install::has("mmdebstrap") {
        install::packages(
            // The keys of Debian's archive are not there on Ubuntu.
            &["mmdebstrap", "debian-archive-keyring", "ca-certificates"],
            "install mmdebstrap by hand, or let the engine reach a registry",
        )?;
    }
    let folder = install::folder()?;
    let tar = folder.join("base.tar");
    // As root, as which it needs nothing else of the machine.
    let mut command = install::as_root("mmdebstrap")?;
    command
        .args(["--quiet", "--variant=minbase", &format!("--include={packages}")])
        .arg("--aptopt=APT::Install-Recommends \"false\"")
        .arg("--dpkgopt=path-exclude=/usr/share/doc/*")
        .arg("--dpkgopt=path-exclude=/usr/share/locale/*")
        .arg("--dpkgopt=path-exclude=/usr/share/man/*");
    let mut changes = vec!["CMD [\"/bin/sh\"]".to_owned()];
    if let Some(bundle) = ca_bundle {
        // A machine behind an inspecting proxy: without its certificates no program in a
        // container could fetch anything, and a Dockerfile's RUN has no other way to them.
        command.arg(format!("--customize-hook=copy-in {} /etc/ssl/certs", renamed(bundle, &folder)?.display()));
        for variable in [
            "SSL_CERT_FILE",
            "PIP_CERT",
            "REQUESTS_CA_BUNDLE",
            "CURL_CA_BUNDLE",
            "NODE_EXTRA_CA_CERTS",
            "GIT_SSL_CAINFO",
        ] {
            changes.push(format!("ENV {variable}=/{BUNDLE}"));
        }
    }
    command.arg(SUITE).arg(&tar).stdin(Stdio::null());
    let status = command.status().context("run mmdebstrap")?;
    if !status.success() {
        bail!("mmdebstrap could not make {name}; its messages above say why (is the Debian mirror reachable?)");
    }
    let (repository, tag) = name.rsplit_once(':').context("an image has a tag")?;
    let file = File::open(&tar).with_context(|| format!("read {}", tar.display()))?;
    api.import(&file, repository, tag, &changes)?;
    let megabytes = file.metadata()?.len() >> 20;
    std::fs::remove_file(&tar).with_context(|| format!("remove {}", tar.display()))?;
    println!("Made {name}: {megabytes} MB in {} s.", begun.elapsed().as_secs());
    Ok(())
}

/// A copy of the bundle under the name it has in the image.
fn renamed(bundle: &Path, folder: &Path) -> Result<std::path::PathBuf> {
    let name = Path::new(BUNDLE).file_name().context("the bundle has a name")?;
    let copy = folder.join(name);
    std::fs::copy(bundle, &copy).with_context(|| format!("copy {}", bundle.display()))?;
    Ok(copy)
}
