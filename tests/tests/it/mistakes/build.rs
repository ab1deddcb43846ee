//! Mistakes that show in the build.

use spaceport_e2e::Files;
use spaceport_e2e::files::dockerfile;

use super::{Mistake, Told, mistakes};

const fn fails(
    did: &'static str,
    files: fn(&str) -> Files,
    reason: &'static str,
    message: &'static str,
    remedy: &'static str,
) -> Mistake {
    Mistake { did, files, site: "", told: Told::Stage { stage: "BUILD_ERROR", reason, message, remedy } }
}

fn docker(text: impl Into<Vec<u8>>) -> Files {
    Files::readme("sdk: docker").file("Dockerfile", text)
}

fn python(front: &str) -> Files {
    Files::readme(&format!("sdk: gradio\n{front}")).file("app.py", "import gradio\n")
}

fn site(command: &str) -> Files {
    Files::readme(&format!("sdk: static\napp_file: dist/index.html\napp_build_command: {command}"))
}

mistakes! {
    step_fails: fails("A step of the Dockerfile fails", |base| docker(dockerfile(base, "RUN python3 train.py")), "build_step_failed", "…", "…");
    dockerfile_syntax: fails("A typing error in the Dockerfile", |base| docker(format!("FORM {base}\n")), "build_step_failed", "…", "…");
    dockerfile_empty: fails("An empty Dockerfile", |_| docker("# nothing yet\n"), "build_step_failed", "…", "…");
    copy_missing: fails("COPY of a file that is not there", |base| docker(format!("FROM {base}\nCOPY model.bin /\n")), "build_step_failed", "…", "…");
    unknown_image: fails("A FROM image that cannot be pulled", |_| docker("FROM registry.invalid/team/app:1\n"), "base_image_unavailable", "…", "…");
    unknown_package: fails("A misspelt package in requirements.txt",
        |_| python("").file("requirements.txt", "spaceport-no-such-package-7d1f\n"), "dependency_failed", "…", "…");
    unreadable_requirement: fails("A line in requirements.txt that is none",
        |_| python("").file("requirements.txt", "numpy=1.26\n"), "dependency_failed", "…", "…");
    binary_requirements: fails("A requirements.txt in UTF-16",
        |_| python("").file("requirements.txt", [0xff, 0xfe, b'n', 0, b'u', 0, b'm', 0]), "dependency_failed", "…", "…");
    unknown_sdk_version: fails("An `sdk_version` that was never released", |_| python("sdk_version: 99.0.0"), "dependency_failed", "…", "…");
    unknown_debian_package: fails("A misspelt package in packages.txt",
        |_| python("").file("packages.txt", "libspaceport-no-such-package\n"), "package_failed", "…", "…");
    hostile_packages: fails("A line in packages.txt that is a command",
        |_| python("").file("packages.txt", "ffmpeg\ncurl; rm -rf /\n"), "package_failed", "…", "…");
    python_not_here: Mistake {
        did: "A `python_version` this site does not offer",
        files: |_| python("python_version: 3.9"),
        site: "[builder]\npython_image = \"\"\n[builder.python_images]\n\"3.11\" = \"{BASE}\"",
        told: Told::Stage { stage: "BUILD_ERROR", reason: "base_image_unavailable", message: "…", remedy: "…" },
    };
    build_command_fails: fails("`app_build_command` fails", |_| site("python3 build.py"), "build_step_failed", "…", "…");
    no_entry_file: fails("`app_build_command` makes no entry file", |_| site("mkdir dist"), "build_step_failed", "…", "…");
}
