//! Mistakes in the front matter of `README.md`.

use spaceport_e2e::Files;

use super::{Mistake, Told, mistakes};

/// A mistake in a README.
const fn readme(did: &'static str, files: fn(&str) -> Files, message: &'static str) -> Mistake {
    let told = Told::Stage {
        stage: "CONFIG_ERROR",
        reason: "config_invalid",
        message,
        remedy: "Correct README.md and push again.",
    };
    Mistake { did, files, site: "", told }
}

/// A front matter that is otherwise right.
fn front(lines: &str) -> Files {
    Files::readme(lines).file("index.html", "<h1>Hello</h1>")
}

mistakes! {
    no_readme: readme("No README.md", |_| Files::new().file("app.py", "print(1)\n"), "…");
    no_front_matter: readme("A README.md without front matter", |_| Files::new().file("README.md", "# Hello\n"), "…");
    unclosed_front_matter: readme("The closing `---` is missing",
        |_| Files::new().file("README.md", "---\nsdk: static\n# Hello\n"), "…");
    bad_yaml: readme("YAML that cannot be read", |_| front("title: [one, two\nsdk: static"), "…");
    tab_in_yaml: readme("A tab as indentation", |_| front("sdk: static\ncustom_headers:\n\tcross-origin-opener-policy: same-origin"), "…");
    binary_readme: readme("A README.md that is not text", |_| Files::new().file("README.md", [0xff, 0xfe, 0, 1, 2, 0x80]), "…");
    no_sdk: readme("No `sdk`", |_| front("title: Hello"), "…");
    unknown_sdk: readme("An unknown `sdk`", |_| front("sdk: flask"), "…");
    wrong_color: readme("A colour that does not exist", |_| front("sdk: static\ncolorFrom: mauve"), "…");
    python_3_1: readme("`python_version: 3.1`, from 3.10", |_| front("sdk: gradio\npython_version: 3.1"), "…");
    wrong_sdk_version: readme("An `sdk_version` that is a range", |_| front("sdk: gradio\nsdk_version: \">=5\""), "…");
    absurd_timeout: readme("An absurd `startup_duration_timeout`",
        |_| front("sdk: docker\nstartup_duration_timeout: 900h"), "…");
    port_out_of_range: readme("`app_port` out of range", |_| front("sdk: docker\napp_port: 78600"), "…");
    wrong_header: readme("A header that may not be set",
        |_| front("sdk: static\ncustom_headers:\n  x-frame-options: DENY"), "…");
    app_file_outside: readme("An `app_file` outside of the repository",
        |_| front("sdk: gradio\napp_file: ../app.py"), "…");
    two_mistakes: readme("Two mistakes at once: both are told",
        |_| front("sdk: static\ncolorTo: mauve\npinned: maybe"), "…");
}
