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
use std::path::PathBuf;

use spaceport_core::config::{Preload, SpaceConfig};
use spaceport_core::space::Artifact;
use spaceport_core::{ImageDigest, Reason, Sdk};
use spaceport_runtime::{ImageSettings, Keep, Layer, RuntimeError};

use super::context::{Context, step};
use super::dockerfile::{labels, tag};
use super::{Builds, Stop};

/// Raised when this file makes another image from the same inputs.
const BUILDER_VERSION: u32 = 1;
/// Where the download cache is mounted.
pub(super) const CACHE: &str = "/cache";
/// Home of the user every Space runs as.
const HOME: &str = "/home/user";
/// The virtual environment; writable to the app, since apps that install at run time must work.
const VENV: &str = "/home/user/.venv";
const APP: &str = "/home/user/app";
/// A dependency file may have so many bytes.
const MAX_FILE: u64 = 1 << 20;

/// What an environment is made from.
struct Inputs {
    packages: Vec<String>,
    pre_requirements: Option<String>,
    requirements: Option<String>,
    /// The requirements name files of the repository, so they are installed with all of it.
    local: bool,
}

pub(super) async fn build(builds: &Builds, context: &Context, config: &SpaceConfig) -> Result<Artifact, Stop> {
    context.phase("source", "Reading the commit").await;
    // Each is a process of its own that mostly waits.
    let (inputs, (source, _)) = tokio::try_join!(read_inputs(context), context.archive(1000))?;
    context.phase("base", "Preparing the base image").await;
    let python = python_image(builds, context, config)?;
    let base = base_image(builds, context, &python).await?;
    let platform = platform_image(builds, context, &base, true).await?;
    let environment = environment(builds, context, config, &inputs, &platform, &source).await?;
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
        let name = line.split('#').next().unwrap_or_default().trim();
        if name.is_empty() {
            continue;
        }
        // Debian policy §5.6.1, with an optional version or architecture.
        let valid =
            name.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.:=~_".contains(&b)) && !name.starts_with('-');
        if !valid {
            return Err(context.failed(
                Reason::PackageFailed,
                &format!("packages.txt, line {}: {name:?} is not the name of a Debian package.", number + 1),
                "Write one package name per line.",
            ));
        }
        names.push(name.to_owned());
    }
    let local = [&pre_requirements, &requirements].into_iter().flatten().any(|text| names_local_files(text));
    Ok(Inputs { packages: names, pre_requirements, requirements, local })
}

/// Whether a requirements file refers to files beside it.
fn names_local_files(text: &str) -> bool {
    text.lines().map(str::trim).any(|line| {
        ["-e", "-r", "-c", "--editable", "--requirement", "--constraint", ".", "/"]
            .iter()
            .any(|start| line.starts_with(start))
            || line.contains("file:")
            || line.split(['#', ';']).next().is_some_and(|line| line.trim().ends_with(".whl") && !line.contains("://"))
    })
}

/// The base image of the Space's Python version.
fn python_image(builds: &Builds, context: &Context, config: &SpaceConfig) -> Result<String, Stop> {
    let builder = &builds.parts.config.builder;
    let version = config.python_version.as_deref().unwrap_or(&builder.default_python);
    let minor = version.splitn(3, '.').take(2).collect::<Vec<_>>().join(".");
    if let Some(image) = builder.python_images.get(version).or_else(|| builder.python_images.get(&minor)) {
        return Ok(image.clone());
    }
    builder.python_image.as_ref().map(|image| image.replace("{version}", version)).ok_or_else(|| {
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
    let key = hash(&[&BUILDER_VERSION.to_string(), base.as_str(), &packages.join(" "), &python.to_string()]);
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

fn install_packages(packages: &[String]) -> String {
    // HTTP mirrors stall now and then; apt's own retries are cheaper than a failed build.
    format!(
        "export DEBIAN_FRONTEND=noninteractive\napt-get -o Acquire::Retries=3 update -qq\n\
         apt-get -o Acquire::Retries=3 install -y -qq --no-install-recommends {}\nrm -rf /var/lib/apt/lists/*\n",
        packages.join(" ")
    )
}

async fn environment(
    builds: &Builds,
    context: &Context,
    config: &SpaceConfig,
    inputs: &Inputs,
    platform: &ImageDigest,
    source: &std::path::Path,
) -> Result<ImageDigest, Stop> {
    let site = &builds.parts.config.builder;
    let parts = [
        BUILDER_VERSION.to_string(),
        context.space.owner.to_string(),
        platform.to_string(),
        config.sdk.to_string(),
        config.sdk_version.clone().unwrap_or_default(),
        site.python_packages.join(" "),
        inputs.packages.join(" "),
        inputs.pre_requirements.clone().unwrap_or_default(),
        inputs.requirements.clone().unwrap_or_default(),
        if inputs.local { context.build.sha.to_string() } else { String::new() },
        format!("{:?} {}", config.preload_from_hub, site.preload_endpoint),
    ];
    let key = hash(&parts.iter().map(String::as_str).collect::<Vec<_>>());
    let name = format!("spaceport/env:{}", &key[..32]);
    let runtime = &builds.parts.engine.runtime;
    let lock = builds.making(&name);
    let _making = lock.lock().await;
    // A factory reboot uses no earlier environment, and leaves one that later builds find.
    if !context.build.no_cache
        && let Some(digest) = runtime.find_image(&name).await?
    {
        context.say(&format!("Using the environment {} (nothing it is made from changed)", &key[..12]));
        return Ok(digest);
    }
    let mut image = platform.clone();
    if !inputs.packages.is_empty() {
        context
            .phase("packages", &format!("Installing {} Debian packages from packages.txt", inputs.packages.len()))
            .await;
        let script = format!("set -e\n{}", install_packages(&inputs.packages));
        let settings = ImageSettings { labels: environment_labels(), ..ImageSettings::default() };
        let made = context
            .step(
                step(context, &image, "0", script, Keep::Image(settings)),
                "installing packages.txt",
                Reason::PackageFailed,
            )
            .await?;
        image = made.ok_or_else(|| Stop::Again("an image was not kept".to_owned()))?;
    }
    context.phase("dependencies", "Installing Python packages").await;
    // Found by its name only when it is complete.
    let tag = if config.preload_from_hub.is_empty() { name.as_str() } else { "" };
    let mut install = step(
        context,
        &image,
        "1000",
        install_script(config, inputs, &site.python_packages),
        Keep::Image(environment_settings(tag)),
    );
    install.working_dir = APP.to_owned();
    install.input =
        Some((APP.to_owned(), if inputs.local { source.to_owned() } else { requirement_files(context, inputs)? }));
    install.cache = Some((cache_volume(context), CACHE.to_owned()));
    let env = [
        ("HOME", HOME),
        ("UV_CACHE_DIR", "/cache/uv"),
        ("UV_LINK_MODE", "copy"),
        ("UV_PYTHON_DOWNLOADS", "never"),
        ("UV_NO_PROGRESS", "1"),
        ("UV_CONCURRENT_INSTALLS", "4"),
    ];
    install.env.extend(env.map(|(name, value)| (name.to_owned(), value.to_owned())));
    if context.build.no_cache {
        install.cache = None;
        install.env.insert("UV_CACHE_DIR".to_owned(), "/tmp/uv".to_owned());
    }
    let made = context.step(install, "installing Python packages", Reason::DependencyFailed).await?;
    let mut digest = made.ok_or_else(|| Stop::Again("the environment was not kept".to_owned()))?;
    if !config.preload_from_hub.is_empty() {
        context.phase("preload", "Downloading preload_from_hub").await;
        let script = preload_script(&config.preload_from_hub);
        let mut preload = step(context, &digest, "1000", script, Keep::Image(environment_settings(&name)));
        preload.env.insert("HOME".to_owned(), HOME.to_owned());
        preload.env.insert("HF_ENDPOINT".to_owned(), site.preload_endpoint.clone());
        preload.env.insert("HF_HUB_DISABLE_PROGRESS_BARS".to_owned(), "1".to_owned());
        let made = context.step(preload, "downloading preload_from_hub", Reason::PreloadFailed).await?;
        digest = made.ok_or_else(|| Stop::Again("the environment was not kept".to_owned()))?;
    }
    Ok(digest)
}

fn environment_labels() -> BTreeMap<String, String> {
    BTreeMap::from([("spaceport.kind".to_owned(), "environment".to_owned())])
}

fn environment_settings(name: &str) -> ImageSettings {
    let path = format!("{VENV}/bin:{HOME}/.local/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    ImageSettings {
        tag: name.to_owned(),
        labels: environment_labels(),
        env: BTreeMap::from([
            ("PATH".to_owned(), path),
            ("VIRTUAL_ENV".to_owned(), VENV.to_owned()),
            ("HOME".to_owned(), HOME.to_owned()),
        ]),
        user: Some("1000".to_owned()),
        working_dir: Some(APP.to_owned()),
        ..ImageSettings::default()
    }
}

/// Order of the hosted service: `pre-requirements.txt` first, then everything else at once, with
/// the SDK at the version that the front matter pins, whatever the requirements say.
fn install_script(config: &SpaceConfig, inputs: &Inputs, site_packages: &[String]) -> String {
    let mut script = format!(
        "set -e\nuv venv --quiet --seed --python \"$(command -v python3)\" {VENV}\nexport VIRTUAL_ENV={VENV} PATH={VENV}/bin:$PATH\n"
    );
    if inputs.pre_requirements.is_some() {
        script.push_str("uv pip install --compile-bytecode -r pre-requirements.txt\n");
    }
    let (package, extra) = match config.sdk {
        Sdk::Streamlit => ("streamlit", ""),
        _ => ("gradio", "[oauth,mcp]"),
    };
    let mut arguments: Vec<String> = site_packages.iter().map(|package| quoted(package)).collect();
    match &config.sdk_version {
        Some(version) => {
            script.push_str(&format!(
                "echo {} > /tmp/sdk-version.txt\n",
                quoted(&format!("{package}{extra}=={version}"))
            ));
            arguments.push(quoted(&format!("{package}{extra}=={version}")));
            arguments.push("--overrides /tmp/sdk-version.txt".to_owned());
        }
        None => arguments.push(quoted(&format!("{package}{extra}"))),
    }
    if inputs.requirements.is_some() {
        arguments.push("-r requirements.txt".to_owned());
    }
    script.push_str(&format!("uv pip install --compile-bytecode {}\n", arguments.join(" ")));
    // The code comes as a layer of its own; what was needed to install must not stay below it.
    script.push_str("find . -mindepth 1 -delete\nrm -rf /tmp/sdk-version.txt /tmp/uv\n");
    script
}

fn preload_script(preloads: &[Preload]) -> String {
    let mut script = String::from("set -e\n");
    for preload in preloads {
        script.push_str("hf download ");
        script.push_str(&quoted(&preload.repo));
        for file in &preload.files {
            script.push_str(&format!(" {}", quoted(file)));
        }
        if let Some(revision) = &preload.revision {
            script.push_str(&format!(" --revision {}", quoted(revision)));
        }
        script.push('\n');
    }
    script
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// An archive with the requirement files alone.
fn requirement_files(context: &Context, inputs: &Inputs) -> Result<PathBuf, Stop> {
    let to = context.folder.join("requirements.tar");
    let mut archive = tar::Builder::new(std::fs::File::create(&to)?);
    let files = [("pre-requirements.txt", &inputs.pre_requirements), ("requirements.txt", &inputs.requirements)];
    for (name, text) in files {
        let Some(text) = text else { continue };
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        header.set_uid(1000);
        header.set_gid(1000);
        archive.append_data(&mut header, name, text.as_bytes())?;
    }
    archive.finish()?;
    Ok(to)
}

/// The download cache of one owner.
pub(super) fn cache_volume(context: &Context) -> String {
    format!("spaceport-cache-{}", context.space.owner)
}

/// One hash of several texts; each is preceded by its length, so that no two lists collide.
fn hash(parts: &[&str]) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_requirements_are_recognised() {
        for local in
            ["-e .", "-r more.txt", "./pkg", "pkg @ file:///x", "dist/a-1.0-py3-none-any.whl", "--requirement=x"]
        {
            assert!(names_local_files(&format!("numpy\n{local}\n")), "{local}");
        }
        for remote in
            ["numpy>=1", "torch --index-url https://x", "git+https://x/y.git", "https://x/a-1-py3-none-any.whl"]
        {
            assert!(!names_local_files(remote), "{remote}");
        }
    }

    #[test]
    fn different_inputs_have_different_hashes() {
        assert_ne!(hash(&["ab", "c"]), hash(&["a", "bc"]));
        assert_eq!(hash(&["a"]), hash(&["a"]));
    }

    #[test]
    fn shell_words_are_quoted() {
        assert_eq!(quoted("a'b; rm -rf /"), "'a'\\''b; rm -rf /'");
    }
}
