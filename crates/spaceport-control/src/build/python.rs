//! `gradio` and `streamlit` Spaces: an environment image, shared by everything with the same
//! inputs, and a thin code layer.
//!
//! Dependencies are installed by `uv` in a locked-down container with a download cache, bytecode
//! is compiled, and the result is committed: one hash of the inputs is one image. A push that
//! changes only code finds the image and adds a layer. A full `docker build` per push was
//! measured and costs 7 to 24 s; this path costs under a second.
//!
//! The cache and the environments belong to one owner: installing a package runs its code, so
//! what one owner's build leaves must not reach another's.

use std::collections::BTreeMap;

use spaceport_core::config::SpaceConfig;
use spaceport_core::space::Artifact;
use spaceport_core::{ImageDigest, Reason, Sdk};
use spaceport_runtime::{ImageSettings, Keep, Layer, RuntimeError};

use super::context::{Context, step};
use super::dockerfile::{labels, tag};
use super::environment::{self, Inputs};
use super::requirements::names_local_files;
use super::scripts::install_packages;
use super::{Builds, CACHE_VOLUME, Stop};

/// Raised when this file or `environment` makes another image from the same inputs.
pub(super) const BUILDER_VERSION: u32 = 1;
/// Where the download cache is mounted.
pub(super) const CACHE: &str = "/cache";
/// Home of the user every Space runs as.
pub(super) const HOME: &str = "/home/user";
/// Where the code lies.
pub(super) const APP: &str = "/home/user/app";
/// A dependency file may have so many bytes.
const MAX_FILE: u64 = 1 << 20;

pub(super) async fn build(builds: &Builds, context: &Context, config: &SpaceConfig) -> Result<Artifact, Stop> {
    context.phase("source", "Reading the commit").await;
    // Each is a process of its own that mostly waits.
    let (inputs, (source, _)) = tokio::try_join!(read_inputs(context), context.archive(1000))?;
    context.phase("base", "Preparing the base image").await;
    let python = python_image(builds, context, config)?;
    let base = base_image(builds, context, &python).await?;
    let platform = platform_image(builds, context, &base, true).await?;
    let environment = environment::image(builds, context, config, &inputs, &platform, &source).await?;
    context.phase("layer", "Adding the code").await;
    let layer = Layer {
        image: environment,
        path: APP.to_owned(),
        archive: source,
        settings: ImageSettings {
            tag: tag(context),
            labels: labels(context, "release"),
            command: Some(command(config)),
            user: Some("1000".to_owned()),
            working_dir: Some(APP.to_owned()),
            ..ImageSettings::default()
        },
    };
    let digest = builds.parts.engine.runtime.add_layer(layer).await?;
    Ok(Artifact::Image { digest })
}

/// How the app is started.
fn command(config: &SpaceConfig) -> Vec<String> {
    let file = config.app_file();
    match config.sdk {
        Sdk::Streamlit => {
            let mut command = vec!["streamlit".to_owned(), "run".to_owned(), file.to_owned()];
            // Cross-site protection needs a cookie that browsers withhold inside the hub's
            // iframe; the hosted service disables it for the same reason.
            let options = format!(
                "--server.port={} --server.address=0.0.0.0 --server.headless=true --server.enableCORS=false \
                 --server.enableXsrfProtection=false --server.fileWatcherType=none --browser.gatherUsageStats=false",
                config.app_port
            );
            command.extend(options.split_whitespace().map(str::to_owned));
            command
        }
        _ => vec!["python".to_owned(), file.to_owned()],
    }
}

async fn read_inputs(context: &Context) -> Result<Inputs, Stop> {
    let (packages, pre_requirements, requirements) = tokio::try_join!(
        context.text_file("packages.txt", MAX_FILE),
        context.text_file("pre-requirements.txt", MAX_FILE),
        context.text_file("requirements.txt", MAX_FILE),
    )?;
    let packages = packages.unwrap_or_default();
    let mut names = Vec::new();
    for (number, line) in packages.lines().enumerate() {
        for name in line.split('#').next().unwrap_or_default().split_whitespace() {
            // Debian policy §5.6.1, with an optional version or architecture.
            let valid =
                name.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.:=~_".contains(&b)) && !name.starts_with('-');
            if !valid {
                return Err(context.failed(
                    Reason::PackageFailed,
                    &format!("packages.txt, line {}: {name:?} is not the name of a Debian package.", number + 1),
                    "Write names of packages, separated by spaces or lines.",
                ));
            }
            names.push(name.to_owned());
        }
    }
    let local = [&pre_requirements, &requirements].into_iter().flatten().any(|text| names_local_files(text));
    Ok(Inputs { packages: names, pre_requirements, requirements, local })
}

/// The base image of the Space's Python version.
fn python_image(builds: &Builds, context: &Context, config: &SpaceConfig) -> Result<String, Stop> {
    let builder = &builds.parts.config.builder;
    let version = config.python_version.as_deref().unwrap_or(&builder.default_python);
    let minor = version.splitn(3, '.').take(2).collect::<Vec<_>>().join(".");
    if let Some(image) = builder.python_images.get(version) {
        return Ok(image.clone());
    }
    // The minor version alone: every patch release would be an image of its own, and one that gets no
    // security fixes any more.
    let named = builder.python_images.get(&minor).cloned();
    let image = named.or_else(|| builder.python_image.as_ref().map(|image| image.replace("{version}", &minor)));
    if image.is_some() && minor != version {
        context.say(&format!(
            "Warning: python_version {version}: the app gets this site's release of Python {minor}, whatever its last number"
        ));
    }
    image.ok_or_else(|| {
        let offered = builder.python_images.keys().cloned().collect::<Vec<_>>().join(", ");
        context.failed(
            Reason::BaseImageUnavailable,
            &format!("Python {version} is not available on this site."),
            &format!("Set python_version in README.md to one of: {offered}."),
        )
    })
}

/// A base image, local or pulled.
pub(super) async fn base_image(builds: &Builds, context: &Context, reference: &str) -> Result<ImageDigest, Stop> {
    let runtime = &builds.parts.engine.runtime;
    if let Some(digest) = runtime.find_image(reference).await? {
        return Ok(digest);
    }
    let lock = builds.making(reference);
    let _making = lock.lock().await;
    context.say(&format!("Pulling {reference}"));
    match runtime.pull_image(reference, context.sink(), context.cancel.clone()).await {
        Err(error @ RuntimeError::ImageMissing { .. }) => Err(context.failed(
            Reason::BaseImageUnavailable,
            &format!("The base image {reference} could not be pulled: {}.", crate::engine::chain(&error)),
            "Choose a python_version that exists, or ask the administrator whether this site reaches the registry.",
        )),
        other => Ok(other?),
    }
}

/// The site's own base: uid 1000, the app's folder, the site's Debian packages and, for Python,
/// `uv`.
pub(super) async fn platform_image(
    builds: &Builds,
    context: &Context,
    base: &ImageDigest,
    python: bool,
) -> Result<ImageDigest, Stop> {
    let packages: &[String] = if python { &builds.parts.config.builder.apt_packages } else { &[] };
    let inputs = ["platform", &BUILDER_VERSION.to_string(), base.as_str(), &packages.join(" "), &python.to_string()];
    let key = builds.parts.vault.name(&inputs);
    let name = format!("spaceport/platform:{}", &key[..32]);
    let runtime = &builds.parts.engine.runtime;
    let lock = builds.making(&name);
    let _making = lock.lock().await;
    if let Some(digest) = runtime.find_image(&name).await? {
        return Ok(digest);
    }
    context.phase("platform", "Preparing the platform image (once per base image)").await;
    let mut script = String::from("set -e\n");
    if !packages.is_empty() {
        script.push_str(&install_packages(packages));
    }
    script.push_str(
        "getent passwd 1000 >/dev/null || useradd --create-home --uid 1000 --home-dir /home/user user\n\
         mkdir -p /home/user/app\nchown -R 1000:1000 /home/user\n",
    );
    if python {
        script
            .push_str("python3 -m pip --version >/dev/null || { echo 'error: the base image has no pip'; exit 1; }\n");
        script.push_str("PIP_BREAK_SYSTEM_PACKAGES=1 PIP_ROOT_USER_ACTION=ignore python3 -m pip install --no-cache-dir --quiet uv\n");
    }
    let settings = ImageSettings {
        tag: name,
        labels: BTreeMap::from([("spaceport.kind".to_owned(), "platform".to_owned())]),
        env: BTreeMap::from([("HOME".to_owned(), HOME.to_owned())]),
        entrypoint: Some(Vec::new()),
        ..ImageSettings::default()
    };
    let made = context
        .step(
            step(context, base, "0", script, Keep::Image(settings)),
            "preparing the platform image",
            Reason::PackageFailed,
        )
        .await?;
    made.ok_or_else(|| Stop::Again("the platform image was not kept".to_owned()))
}

/// The download cache of one owner.
pub(super) fn cache_volume(context: &Context) -> String {
    format!("{CACHE_VOLUME}{}", context.space.owner)
}
