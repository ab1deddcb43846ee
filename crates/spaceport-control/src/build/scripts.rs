//! What build steps run, as text for the shell.

use spaceport_core::Sdk;
use spaceport_core::config::{Preload, SpaceConfig};

use super::environment::{Inputs, VENV};

/// Installs Debian packages, as root.
pub(super) fn install_packages(packages: &[String]) -> String {
    // HTTP mirrors stall now and then; apt's own retries are cheaper than a failed build.
    format!(
        "export DEBIAN_FRONTEND=noninteractive\napt-get -o Acquire::Retries=3 update -qq\n\
         apt-get -o Acquire::Retries=3 install -y -qq --no-install-recommends {}\nrm -rf /var/lib/apt/lists/*\n",
        packages.join(" ")
    )
}

/// Makes an environment from nothing, in the order of the hosted service: `pre-requirements.txt`
/// first, then everything else at once.
pub(super) fn install(config: &SpaceConfig, inputs: &Inputs, site_packages: &[String]) -> String {
    let mut script = format!(
        "set -e\nuv venv --quiet --seed --python \"$(command -v python3)\" {VENV}\nexport VIRTUAL_ENV={VENV} PATH={VENV}/bin:$PATH\n"
    );
    if inputs.pre_requirements.is_some() {
        script.push_str("uv pip install --compile-bytecode -r pre-requirements.txt\n");
    }
    add_install(&mut script, "", config, inputs, site_packages);
    script
}

/// Turns the packages of an earlier environment into those that are asked for now: resolved as if
/// nothing was installed, and exactly these. What `uv venv --seed` brings belongs to them.
pub(super) fn change(config: &SpaceConfig, inputs: &Inputs, site_packages: &[String]) -> String {
    let mut script = format!(
        "set -e\nexport VIRTUAL_ENV={VENV} PATH={VENV}/bin:$PATH\n\
         seeds=$(python -c 'import sys; print(\"pip\" if sys.version_info >= (3, 12) else \"pip setuptools wheel\")')\n"
    );
    add_install(&mut script, "--upgrade --exact $seeds ", config, inputs, site_packages);
    script
}

/// The SDK is installed at the version that the front matter pins, whatever the requirements say.
fn add_install(script: &mut String, how: &str, config: &SpaceConfig, inputs: &Inputs, site_packages: &[String]) {
    let (package, extra) = match config.sdk {
        Sdk::Streamlit => ("streamlit", ""),
        _ => ("gradio", "[oauth,mcp]"),
    };
    let mut arguments: Vec<String> = site_packages.iter().map(|package| quoted(package)).collect();
    match &config.sdk_version {
        Some(version) => {
            let pinned = quoted(&format!("{package}{extra}=={version}"));
            script.push_str(&format!("echo {pinned} > /tmp/sdk-version.txt\n"));
            arguments.push(pinned);
            arguments.push("--overrides /tmp/sdk-version.txt".to_owned());
        }
        None => arguments.push(quoted(&format!("{package}{extra}"))),
    }
    if inputs.requirements.is_some() {
        arguments.push("-r requirements.txt".to_owned());
    }
    script.push_str(&format!("uv pip install --compile-bytecode {how}{}\n", arguments.join(" ")));
    // The code comes as a layer of its own; what was needed to install must not stay below it.
    script.push_str("find . -mindepth 1 -delete\nrm -rf /tmp/sdk-version.txt /tmp/uv\n");
}

/// Downloads what `preload_from_hub` names.
pub(super) fn preload(preloads: &[&Preload]) -> String {
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

/// For the shell, as one word.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shell_words_are_quoted() {
        assert_eq!(quoted("a'b; rm -rf /"), "'a'\\''b; rm -rf /'");
    }
}
