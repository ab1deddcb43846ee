//! Environment images: everything an app is made of but its code.
//!
//! One keyed hash of the inputs is one image: nobody else can compute its name and build `FROM` what
//! another owner's installation left. When no image has the hash, but one of the same *family*
//! exists (all inputs the same but the packages that are asked for), it is where the installation
//! starts: `uv` resolves anew, installs what is missing and removes what is too much. The result
//! has the same files as one made from scratch (checked file by file) and takes two seconds
//! instead of twenty, since bytecode is compiled and layers are written for what changed alone.
//! Only plain requirements are done so; whatever else a requirements file can say depends on more
//! than names and versions.
//!
//! The first environment of a family starts from the *SDK image* if there is one: the SDK and what
//! the site adds to it, and nothing that a Space asked for, so that owners can share it. It is made
//! when a second family needs it, with a download cache that no owner's build can reach. Where it cannot be made,
//! environments are made from scratch: a Space may work without what fails there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use spaceport_core::config::SpaceConfig;
use spaceport_core::{ImageDigest, Reason};
use spaceport_runtime::{ImageSettings, Keep, OwnImage};

use super::context::{Context, step};
use super::python::{APP, BUILDER_VERSION, CACHE, HOME, cache_volume};
use super::requirements::sources_if_plain;
use super::{Builds, SITE_CACHE_VOLUME, Stop, preload, scripts};

/// The virtual environment; writable to the app, since apps that install at run time must work.
pub(super) const VENV: &str = "/home/user/.venv";
/// Names the family of an environment.
const FAMILY: &str = "spaceport.family";
/// How many environments are below one.
const GROWN: &str = "spaceport.grown";
/// Whose build made it.
const SPACE: &str = "spaceport.space";
/// So many environments are stacked. Each keeps what the next removes, and engines stack about a
/// hundred layers in all.
const MAX_GROWN: u32 = 8;

/// What an environment is made from.
#[derive(Default)]
pub(super) struct Inputs {
    /// Names of `packages.txt`.
    pub(super) packages: Vec<String>,
    /// The file's text.
    pub(super) pre_requirements: Option<String>,
    /// The file's text.
    pub(super) requirements: Option<String>,
    /// The requirements name files of the repository, so they are installed with all of it.
    pub(super) local: bool,
}

/// What everything here is about.
struct Making<'a> {
    builds: &'a Builds,
    context: &'a Context,
    config: &'a SpaceConfig,
    inputs: &'a Inputs,
}

/// Finds or makes the environment of a build, preloads included.
pub(super) async fn image(
    builds: &Builds,
    context: &Context,
    config: &SpaceConfig,
    inputs: &Inputs,
    platform: &ImageDigest,
    source: &Path,
) -> Result<ImageDigest, Stop> {
    let making = Making { builds, context, config, inputs };
    let key = making.key(platform);
    let environment = making.found_or_made(&key, async |name| making.install(name, platform, source).await).await?;
    if config.preload_from_hub.is_empty() {
        return Ok(environment);
    }
    let found = preload::find(builds, context, &config.preload_from_hub).await?;
    let endpoint = &builds.parts.config.builder.preload_endpoint;
    let key = builds.parts.vault.name(&["preload", environment.as_str(), &format!("{found:?}"), endpoint]);
    making
        .found_or_made(&key, async |name| {
            let settings = environment_settings(name, environment_labels());
            preload::add(builds, context, &environment, &found, &settings).await
        })
        .await
}

impl Making<'_> {
    /// The hash of all inputs.
    fn key(&self, platform: &ImageDigest) -> String {
        let Inputs { packages, pre_requirements, requirements, local } = self.inputs;
        let site = &self.builds.parts.config.builder;
        let text = |file: &Option<String>| file.clone().unwrap_or_default();
        let parts = [
            "environment".to_owned(),
            BUILDER_VERSION.to_string(),
            self.context.space.owner.to_string(),
            platform.to_string(),
            self.config.sdk.to_string(),
            self.config.sdk_version.clone().unwrap_or_default(),
            site.python_packages.join(" "),
            packages.join(" "),
            text(pre_requirements),
            text(requirements),
            if *local { self.context.build.sha.to_string() } else { String::new() },
        ];
        self.builds.parts.vault.name(&parts.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// The hash of what must be the same in an environment to start from; `None` when this one is
    /// made from scratch.
    fn family(&self, platform: &ImageDigest) -> Option<String> {
        let Inputs { packages, pre_requirements, requirements, local: _ } = self.inputs;
        // What is installed first decides which versions the rest finds.
        if pre_requirements.is_some() {
            return None;
        }
        let sources = sources_if_plain(requirements.as_deref().unwrap_or_default())?;
        let site = &self.builds.parts.config.builder;
        Some(self.builds.parts.vault.name(&[
            "family",
            &BUILDER_VERSION.to_string(),
            &self.context.space.owner.to_string(),
            platform.as_str(),
            &self.config.sdk.to_string(),
            self.config.sdk_version.as_deref().unwrap_or_default(),
            &site.python_packages.join(" "),
            &packages.join(" "),
            &sources.join("\n"),
        ]))
    }

    /// The image with this key; it is made once, however many builds want it.
    async fn found_or_made(
        &self,
        key: &str,
        make: impl AsyncFnOnce(&str) -> Result<ImageDigest, Stop>,
    ) -> Result<ImageDigest, Stop> {
        let name = image_name(key);
        let lock = self.builds.making(&name);
        let _making = lock.lock().await;
        // A factory reboot uses no earlier environment, and leaves one that later builds find.
        if !self.context.build.no_cache
            && let Some(digest) = self.builds.parts.engine.runtime.find_image(&name).await?
        {
            self.context.say(&format!("Using the environment {} (nothing it is made from changed)", &key[..12]));
            return Ok(digest);
        }
        make(&name).await
    }

    /// Makes the environment, from one of its family if there is one.
    async fn install(&self, name: &str, platform: &ImageDigest, source: &Path) -> Result<ImageDigest, Stop> {
        let family = self.family(platform);
        let mut labels = environment_labels();
        if let Some(family) = &family {
            labels.insert(FAMILY.to_owned(), family.clone());
            labels.insert(SPACE.to_owned(), self.context.space.id.to_string());
        }
        let earlier = match &family {
            Some(family) if !self.context.build.no_cache => self.earlier(family).await?,
            _ => None,
        };
        let site_packages = &self.builds.parts.config.builder.python_packages;
        let earlier = match earlier {
            Some(image) => {
                labels.insert(GROWN.to_owned(), (grown(&image) + 1).to_string());
                Some((image.digest, "an earlier environment"))
            }
            None if self.starts_from_sdk(family.as_ref()) => {
                let sdk = self.sdk_image(platform).await?;
                if let Some(image) = &sdk
                    && self.inputs.requirements.is_none()
                {
                    return Ok(image.clone());
                }
                sdk.map(|image| (image, "the environment of the SDK alone"))
            }
            None => None,
        };
        let (base, script) = match earlier {
            Some((image, what)) => {
                self.context.phase("dependencies", "Installing Python packages").await;
                self.context.say(&format!("Starting from {what}; only what changed is installed and removed"));
                (image, scripts::change(self.config, self.inputs, site_packages))
            }
            None => {
                let base = self.debian_packages(platform).await?;
                self.context.phase("dependencies", "Installing Python packages").await;
                (base, scripts::install(self.config, self.inputs, site_packages))
            }
        };
        let input = if self.inputs.local { source.to_owned() } else { self.requirement_files()? };
        let keep = environment_settings(name, labels);
        self.installed(&base, script, Some(input), cache_volume(self.context), keep).await
    }

    /// Whether the first environment of a family is made from the SDK's: not by a factory reboot, not
    /// when packages may come from elsewhere, and not on Debian packages of its own, which lie below.
    fn starts_from_sdk(&self, family: Option<&String>) -> bool {
        let requirements = self.inputs.requirements.as_deref().unwrap_or_default();
        family.is_some()
            && !self.context.build.no_cache
            && self.inputs.packages.is_empty()
            && sources_if_plain(requirements).is_some_and(|sources| sources.is_empty())
    }

    /// The environment of the SDK and the site's packages, the same for every owner. The first who needs
    /// it is not made to wait for it.
    async fn sdk_image(&self, platform: &ImageDigest) -> Result<Option<ImageDigest>, Stop> {
        let site_packages = &self.builds.parts.config.builder.python_packages;
        let sdk = self.config.sdk.to_string();
        let version = self.config.sdk_version.as_deref().unwrap_or_default();
        let number = BUILDER_VERSION.to_string();
        let site = site_packages.join(" ");
        let key = self.builds.parts.vault.name(&["sdk", &number, platform.as_str(), &sdk, version, &site]);
        if self.builds.parts.engine.runtime.find_image(&image_name(&key)).await?.is_none()
            && self.builds.is_first_to_need(&key)
        {
            return Ok(None);
        }
        let made = self.found_or_made(&key, async |name| {
            // Looked at here, since others may have tried while this build waited for its turn.
            if let Some(why) = self.builds.sdk_failure(&key) {
                return Err(Stop::Failed(Box::new(why)));
            }
            self.context.phase("sdk", &format!("Installing {sdk} {version} (once per version)")).await;
            let script = scripts::install(self.config, &Inputs::default(), site_packages);
            let keep = environment_settings(name, environment_labels());
            let made = self.installed(platform, script, None, SITE_CACHE_VOLUME.to_owned(), keep).await;
            // A limit or a disk that is full is this build's, and says nothing of the next one.
            if let Err(Stop::Failed(why)) = &made
                && why.reason == Reason::DependencyFailed
            {
                self.builds.sdk_failed(&key, why);
            }
            made
        });
        match made.await {
            Err(Stop::Failed(why)) => {
                self.context.say(&format!("The environment of the SDK alone cannot be had: {}", why.message));
                self.context.say("Installing everything from scratch instead");
                Ok(None)
            }
            made => made.map(Some),
        }
    }

    /// Runs an installation and keeps what it makes.
    async fn installed(
        &self,
        base: &ImageDigest,
        script: String,
        input: Option<PathBuf>,
        cache: String,
        settings: ImageSettings,
    ) -> Result<ImageDigest, Stop> {
        let mut install = step(self.context, base, "1000", script, Keep::Image(settings));
        install.working_dir = APP.to_owned();
        install.input = input.map(|archive| (APP.to_owned(), archive));
        install.cache = Some((cache, CACHE.to_owned()));
        let env = [
            ("HOME", HOME),
            ("UV_CACHE_DIR", "/cache/uv"),
            ("UV_LINK_MODE", "copy"),
            ("UV_PYTHON_DOWNLOADS", "never"),
            ("UV_NO_PROGRESS", "1"),
            ("UV_CONCURRENT_INSTALLS", "4"),
            // As pip does: of several indexes the best version counts, not the first index that has any.
            ("UV_INDEX_STRATEGY", "unsafe-best-match"),
        ];
        install.env.extend(env.map(|(name, value)| (name.to_owned(), value.to_owned())));
        if self.context.build.no_cache {
            install.cache = None;
            install.env.insert("UV_CACHE_DIR".to_owned(), "/tmp/uv".to_owned());
        }
        let made = self.context.step(install, "installing Python packages", Reason::DependencyFailed).await?;
        made.ok_or_else(|| Stop::Again("the environment was not kept".to_owned()))
    }

    /// The newest environment of a family, this Space's own before others; `None` when so many are
    /// below it that it is time to begin anew.
    async fn earlier(&self, family: &str) -> Result<Option<OwnImage>, Stop> {
        let space = self.context.space.id.to_string();
        let images = self.builds.parts.engine.runtime.list_images().await?;
        let newest = images
            .into_iter()
            .filter(|image| image.labels.get(FAMILY).is_some_and(|of| of == family))
            .max_by_key(|image| (image.labels.get(SPACE) == Some(&space), image.created_at));
        Ok(newest.filter(|image| grown(image) < MAX_GROWN))
    }

    /// The platform image, with the packages of `packages.txt` if there are any.
    async fn debian_packages(&self, platform: &ImageDigest) -> Result<ImageDigest, Stop> {
        let packages = &self.inputs.packages;
        if packages.is_empty() {
            return Ok(platform.clone());
        }
        let text = format!("Installing {} Debian packages from packages.txt", packages.len());
        self.context.phase("packages", &text).await;
        let script = format!("set -e\n{}", scripts::install_packages(packages));
        let settings = ImageSettings { labels: environment_labels(), ..ImageSettings::default() };
        let step = step(self.context, platform, "0", script, Keep::Image(settings));
        let made = self.context.step(step, "installing packages.txt", Reason::PackageFailed).await?;
        made.ok_or_else(|| Stop::Again("an image was not kept".to_owned()))
    }

    /// An archive with the requirement files alone.
    fn requirement_files(&self) -> Result<PathBuf, Stop> {
        let to = self.context.folder.join("requirements.tar");
        let mut archive = tar::Builder::new(std::fs::File::create(&to)?);
        let Inputs { pre_requirements, requirements, .. } = self.inputs;
        for (name, text) in [("pre-requirements.txt", pre_requirements), ("requirements.txt", requirements)] {
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
}

/// What the image with a key is called.
fn image_name(key: &str) -> String {
    format!("spaceport/env:{}", &key[..32])
}

fn grown(image: &OwnImage) -> u32 {
    image.labels.get(GROWN).and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn environment_labels() -> BTreeMap<String, String> {
    BTreeMap::from([("spaceport.kind".to_owned(), "environment".to_owned())])
}

fn environment_settings(name: &str, labels: BTreeMap<String, String>) -> ImageSettings {
    let path = format!("{VENV}/bin:{HOME}/.local/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    ImageSettings {
        tag: name.to_owned(),
        labels,
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
