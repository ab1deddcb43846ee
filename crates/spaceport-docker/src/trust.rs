//! Certificate authorities of the site, trusted inside containers.
//!
//! A bundle file is put into the container and the programs people use are pointed to it by
//! environment variables. Those variables *replace* a program's own authorities, so the file
//! holds the host's public ones as well. A bind mount would be simpler, but its path is one of
//! the engine's host, which this process need not share. Unpacking a file costs a tenth of a
//! second, so images made here keep the bundle and say so by a label.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use bollard::Docker;
use bollard::models::ImageConfig;
use bytes::Bytes;
use spaceport_runtime::RuntimeError;

use crate::archive::{Entry, small, upload};
use crate::client::engine_error;
use crate::labels;

/// In a directory every container has; the engine itself writes there.
const DIRECTORY: &str = "/etc";
const FILE: &str = "spaceport-ca.pem";
/// The full path.
pub(crate) const PATH: &str = "/etc/spaceport-ca.pem";
/// Read by: OpenSSL and everything on it, pip, requests, curl, Node.js, git, cargo, uv (which
/// reads `SSL_CERT_FILE`), the AWS SDKs.
const VARIABLES: [&str; 7] = [
    "SSL_CERT_FILE",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "GIT_SSL_CAINFO",
    "AWS_CA_BUNDLE",
];
/// Where distributions keep the public authorities.
const SYSTEM_BUNDLES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// The bundle, ready to upload.
#[derive(Debug)]
pub(crate) struct Trust {
    pem: String,
    archive: Bytes,
    fingerprint: String,
}

impl Trust {
    pub(crate) fn read(path: &Path) -> Result<Self, RuntimeError> {
        let operation = || format!("read the certificate bundle {}", path.display());
        let own = std::fs::read_to_string(path).map_err(|error| engine_error(operation(), error))?;
        let system = SYSTEM_BUNDLES.iter().find_map(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
        let pem = merge(&[&own, &system]);
        if certificates(&own).next().is_none() {
            return Err(engine_error(operation(), "it holds no PEM certificate"));
        }
        let archive = small(&[Entry::File { path: FILE, content: pem.as_bytes(), mode: 0o644 }])?;
        let fingerprint = blake3::hash(pem.as_bytes()).to_hex()[..32].to_owned();
        Ok(Self { pem, archive, fingerprint })
    }

    /// The bundle as PEM text.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// Environment that points programs to the bundle, as `NAME=value`, without the names that
    /// are set already.
    pub(crate) fn environment(&self, is_set: impl Fn(&str) -> bool) -> impl Iterator<Item = (String, String)> {
        VARIABLES.into_iter().filter(move |name| !is_set(name)).map(|name| (name.to_owned(), PATH.to_owned()))
    }

    /// The label of images that have this bundle.
    pub(crate) fn label(&self) -> (String, String) {
        (labels::TRUST.to_owned(), self.fingerprint.clone())
    }

    /// Whether an image with these labels has this bundle already.
    fn is_in(&self, labels: Option<&HashMap<String, String>>) -> bool {
        labels.and_then(|all| all.get(labels::TRUST)) == Some(&self.fingerprint)
    }

    /// Puts the bundle into a container of an image without it, before it runs.
    pub(crate) async fn install(
        &self,
        docker: &Docker,
        container: &str,
        image: &ImageConfig,
    ) -> Result<(), RuntimeError> {
        if self.is_in(image.labels.as_ref()) {
            return Ok(());
        }
        upload(docker, container, DIRECTORY, self.archive.clone()).await
    }
}

/// The certificates of several bundles, each once, in order.
fn merge(bundles: &[&str]) -> String {
    let mut seen = BTreeSet::new();
    let mut merged = String::new();
    for certificate in bundles.iter().flat_map(|bundle| certificates(bundle)) {
        if seen.insert(certificate) {
            merged.push_str(certificate);
            merged.push('\n');
        }
    }
    merged
}

fn certificates(bundle: &str) -> impl Iterator<Item = &str> {
    bundle.split_inclusive(END).filter_map(|part| part.find(BEGIN).map(|at| &part[at..])).filter(|c| c.ends_with(END))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merges_bundles_without_doubles_and_comments() {
        let (a, b) = (format!("{BEGIN}\nAA\n{END}"), format!("{BEGIN}\nBB\n{END}"));
        let merged = merge(&[&format!("# site\n{a}\n"), &format!("{a}\n# other\n{b}\n{BEGIN} cut off")]);
        assert_eq!(merged, format!("{a}\n{b}\n"));
    }
}
