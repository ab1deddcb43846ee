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
    step_fails: fails("A step of the Dockerfile fails", |base| docker(dockerfile(base, "RUN python3 train.py")), "build_step_failed", "The Dockerfile failed: [5/5] RUN python3 train.py: exit code 2: python3: can't open file '/app/train.py': [Errno 2] No such file or directory.", "Read the build log from the failing step on, correct the Dockerfile and push.");
    dockerfile_syntax: fails("A typing error in the Dockerfile", |base| docker(format!("FORM {base}\n")), "build_step_failed", "The Dockerfile failed: dockerfile parse error …unknown instruction: FORM…", "Read the build log from the failing step on, correct the Dockerfile and push.");
    dockerfile_empty: fails("An empty Dockerfile", |_| docker("# nothing yet\n"), "build_step_failed", "The Dockerfile failed: …file with no instructions…", "Read the build log from the failing step on, correct the Dockerfile and push.");
    copy_missing: fails("COPY of a file that is not there", |base| docker(format!("FROM {base}\nCOPY model.bin /\n")), "build_step_failed", "The Dockerfile failed: [2/2] COPY model.bin /: …\"/model.bin\"…not found…", "Read the build log from the failing step on, correct the Dockerfile and push.");
    unknown_image: fails("A FROM image that cannot be pulled", |_| docker("FROM registry.invalid/team/app:1\n"), "base_image_unavailable", "The Dockerfile failed: …registry.invalid/team/app:1: failed to do request: …", "Check the image named in FROM; this site must be able to pull it.");
    unknown_package: fails("A misspelt package in requirements.txt",
        |_| python("").file("requirements.txt", "spaceport-no-such-package-7d1f\n"), "dependency_failed", "Failed while installing Python packages: error: No solution found when resolving dependencies: Because spaceport-no-such-package-7d1f was not found in the package registry and you require spaceport-no-such-package-7d1f, we can conclude that your requirements are unsatisfiable.", "Correct the named requirement (name, version, Python version) and push.");
    unreadable_requirement: fails("A line in requirements.txt that is none",
        |_| python("").file("requirements.txt", "numpy=1.26\n"), "dependency_failed", "Failed while installing Python packages: error: Couldn't parse requirement in `requirements.txt` at position 0: no such comparison operator \"=\", must be one of ~= == != <= >= < > ===.", "Correct the named requirement (name, version, Python version) and push.");
    binary_requirements: fails("A requirements.txt in UTF-16",
        |_| python("").file("requirements.txt", [0xff, 0xfe, b'n', 0, b'u', 0, b'm', 0]), "dependency_failed", "requirements.txt is not a UTF-8 text file.", "Save it as UTF-8 text and push again.");
    unknown_sdk_version: fails("An `sdk_version` that was never released", |_| python("sdk_version: 99.0.0"), "dependency_failed", "Failed while installing Python packages: error: No solution found when resolving dependencies: Because there is no version of gradio…==99.0.0 and you require gradio…==99.0.0, we can conclude that your requirements are unsatisfiable.", "Correct the named requirement (name, version, Python version) and push.");
    unknown_debian_package: fails("A misspelt package in packages.txt",
        |_| python("").file("packages.txt", "libspaceport-no-such-package\n"), "package_failed", "Failed while installing packages.txt: E: Unable to locate package libspaceport-no-such-package.", "Correct the package's name in packages.txt; it must exist in the base image's Debian release.");
    hostile_packages: fails("A line in packages.txt that is a command",
        |_| python("").file("packages.txt", "ffmpeg\ncurl; rm -rf /\n"), "package_failed", "packages.txt, line 2: \"curl;\" is not the name of a Debian package.", "Write names of packages, separated by spaces or lines.");
    engine_fetches: fails("`ADD` of an address in a Dockerfile",
        |base| docker(format!("FROM {base}\nADD http://127.0.0.1:9/x /x\n")), "build_step_failed", "The Dockerfile lets the engine itself fetch something, which is on the node's own network, and this site does not allow that: line 2: ADD http://127.0.0.1:9/x.", "Fetch it in a step instead: RUN curl -fsSLo FILE ADDRESS, or git clone. Administrators: engine_may_fetch in [builder] allows it.");
    python_not_here: Mistake {
        did: "A `python_version` this site does not offer",
        files: |_| python("python_version: 3.9"),
        site: "[builder]\npython_image = \"\"\n[builder.python_images]\n\"3.11\" = \"{BASE}\"",
        told: Told::Stage { stage: "BUILD_ERROR", reason: "base_image_unavailable", message: "Python 3.9 is not available on this site.", remedy: "Set python_version in README.md to one of: 3.11." },
    };
    build_command_fails: fails("`app_build_command` fails", |_| site("python3 build.py"), "build_step_failed", "Failed while running app_build_command: python3: can't open file '/home/user/app/build.py': [Errno 2] No such file or directory.", "Read the build log from the failing step on, correct it and push.");
    no_entry_file: fails("`app_build_command` makes no entry file", |_| site("mkdir dist"), "build_step_failed", "Failed while running app_build_command: The build command made no dist/index.html.", "Read the build log from the failing step on, correct it and push.");
    nearly_full_disk: Mistake {
        did: "None: the engine's disk is nearly full",
        files: |base| docker(dockerfile(base, "CMD [\"true\"]")),
        site: "[builder]\nfree_disk_gib = 1000000",
        told: Told::Stage { stage: "BUILD_ERROR", reason: "disk_full", message: "The engine's disk has … left; a build begins when there are 1000000.0 GiB.", remedy: "The administrator must free space on the container engine's disk (…); then restart the Space." },
    };
    writes_too_much: Mistake {
        did: "`app_build_command` writes more than this site's 1 GiB",
        files: |_| site("mkdir dist && touch dist/index.html && head -c 1200M /dev/zero >large"),
        site: "[builder]\ndisk_gib = 1",
        told: Told::Stage { stage: "BUILD_ERROR", reason: "disk_full", message: "The build wrote more than its limit of 1 GiB while running app_build_command.", remedy: "Install less, or download large files when the app starts." },
    };
    never_ends: Mistake {
        did: "A step that never ends",
        files: |base| docker(dockerfile(base, "RUN echo waiting && sleep 100000")),
        site: "[builder]\nminutes = 1",
        told: Told::Stage { stage: "BUILD_ERROR", reason: "build_timeout", message: "The build did not end within its limit of 1 min.", remedy: "Look for the step that hangs or is slow at the end of the build log." },
    };
}
