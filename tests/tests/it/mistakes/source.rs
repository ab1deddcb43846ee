//! Mistakes in what is committed.

use spaceport_e2e::Files;

use super::{Mistake, Told, mistakes};

const fn stage(
    did: &'static str,
    files: fn(&str) -> Files,
    stage: &'static str,
    reason: &'static str,
    message: &'static str,
    remedy: &'static str,
) -> Mistake {
    Mistake { did, files, site: "", told: Told::Stage { stage, reason, message, remedy } }
}

fn page() -> Files {
    Files::readme("sdk: static").file("index.html", "<h1>Hello</h1>")
}

fn ten_thousand() -> Files {
    (0..10_000).fold(page(), |files, number| files.file(&format!("data/{}/{number}.txt", number / 500), "x"))
}

const POINTER: &str = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n";

mistakes! {
    no_files: stage("Nothing but a README.md", |_| Files::readme("sdk: gradio"), "NO_APP_FILE", "app_file_missing", "The commit has no app.py.", "Add app.py, or set app_file in README.md to the file that starts your app.");
    wrong_app_file: stage("An `app_file` that is not there", |_| Files::readme("sdk: gradio\napp_file: main.py").file("app.py", "1"),
        "NO_APP_FILE", "app_file_missing", "The commit has no main.py.", "Add main.py, or set app_file in README.md to the file that starts your app.");
    no_index: stage("A static Space without index.html", |_| Files::readme("sdk: static").file("home.html", "hello"),
        "NO_APP_FILE", "app_file_missing", "The commit has no index.html.", "Add index.html, or set app_file in README.md to the file that starts your app.");
    no_dockerfile: stage("A docker Space without a Dockerfile", |_| Files::readme("sdk: docker").file("dockerfile", "FROM x"),
        "NO_APP_FILE", "dockerfile_missing", "The commit has no Dockerfile.", "Add a Dockerfile at the root of the repository.");
    link_out: stage("A symbolic link that leaves the repository", |_| page().link("passwords", "../../../etc/passwd"),
        "BUILD_ERROR", "source_unsafe", "The symbolic link `passwords` -> `../../../etc/passwd` leads out of the repository.", "Replace the link by a copy, or let it point to a file below the repository's root.");
    absolute_link: stage("A symbolic link to an absolute path", |_| page().link("hosts", "/etc/hosts"),
        "BUILD_ERROR", "source_unsafe", "The symbolic link `hosts` -> `/etc/hosts` leads to an absolute path.", "Replace the link by a copy, or let it point to a file below the repository's root.");
    huge_file: Mistake {
        did: "A file over the limit of this site",
        files: |_| page().file("model.bin", (0..3_000_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect::<Vec<u8>>()),
        site: "[git]\nmax_file_mib = 5",
        told: Told::Push { message: "The file model.bin has 12000000 bytes; at most 5242880 are allowed." },
    };
    huge_push: Mistake {
        did: "A push over the limit of this site",
        files: |_| page().file("model.bin", (0..3_000_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect::<Vec<u8>>()),
        site: "[git]\nmax_push_mib = 1",
        told: Told::Push { message: "fatal: pack exceeds maximum allowed size…" },
    };
    too_many_files: Mistake {
        did: "10,000 files where 1,000 are allowed",
        files: |_| ten_thousand(),
        site: "[builder]\nsource_files = 1000",
        told: Told::Stage { stage: "BUILD_ERROR", reason: "source_too_large", message: "The commit has more than 1000 files.", remedy: "Remove generated files such as node_modules or datasets from the commit." },
    };
    many_files: Mistake {
        did: "10,000 files: no mistake",
        files: |_| ten_thousand(),
        site: "",
        told: Told::Log { message: "===== Built in … s =====" },
    };
    lfs_pointer: Mistake {
        did: "A Git LFS pointer whose content was never pushed",
        files: |_| page().file("model.bin", POINTER),
        site: "",
        told: Told::Push { message: "The content of model.bin (4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393) is not on the server." },
    };
    submodule: Mistake {
        did: "A submodule",
        files: |_| page().submodule("library", "4b825dc642cb6eb9a060e54bf8d69288fbee4904"),
        site: "",
        told: Told::Log { message: "Warning: library is a submodule and stays empty; commit its files instead" },
    };
}
