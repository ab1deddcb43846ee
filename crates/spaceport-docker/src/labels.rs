//! The labels by which everything of an installation is found again after a restart.

use std::collections::HashMap;

/// Which installation a container, image, volume or network belongs to.
pub(crate) const INSTALLATION: &str = "spaceport.installation";
/// The Space of an app container.
pub(crate) const SPACE: &str = "spaceport.space";
/// The release of an app container.
pub(crate) const RELEASE: &str = "spaceport.release";
/// The instance of an app container.
pub(crate) const INSTANCE: &str = "spaceport.instance";
/// The port an app is expected on: with the container's address, where the node reaches it.
pub(crate) const PORT: &str = "spaceport.port";
/// The lease an app container was started with.
pub(crate) const LEASE: &str = "spaceport.lease";
/// The devices of that lease, with how much of each.
pub(crate) const DEVICES: &str = "spaceport.devices";
/// What a container is for: [`ROLE_APP`] or [`ROLE_BUILD`].
pub(crate) const ROLE: &str = "spaceport.role";
/// Which process made a build container; one of another process is a leftover.
pub(crate) const PROCESS: &str = "spaceport.process";
/// Which bundle of certificates an image has; see `trust`.
pub(crate) const TRUST: &str = "spaceport.trust";
/// An app's container.
pub(crate) const ROLE_APP: &str = "app";
/// A container that lives as long as one call.
pub(crate) const ROLE_BUILD: &str = "build";

/// A `filters` parameter that asks for labels with these values.
pub(crate) fn filter(pairs: &[(&str, &str)]) -> HashMap<String, Vec<String>> {
    let labels = pairs.iter().map(|(key, value)| format!("{key}={value}")).collect();
    HashMap::from([("label".to_owned(), labels)])
}
