//! Mistakes in the front matter of `README.md`.

use spaceport_e2e::Files;

use super::{Mistake, Told, mistakes};

/// A mistake in a README.
const fn readme(did: &'static str, files: fn(&str) -> Files, message: &'static str, remedy: &'static str) -> Mistake {
    let told = Told::Stage { stage: "CONFIG_ERROR", reason: "config_invalid", message, remedy };
    Mistake { did, files, site: "", told }
}

/// A front matter that is otherwise right.
fn front(lines: &str) -> Files {
    Files::readme(lines).file("index.html", "<h1>Hello</h1>")
}

mistakes! {
    no_readme: readme("No README.md", |_| Files::new().file("app.py", "print(1)\n"), "README.md, line 1, column 1: the repository has no README.md, and so nothing says which SDK to use.", "Push a README.md that begins with the lines `---`, `sdk: gradio` (or streamlit, docker, static), `---`.");
    no_front_matter: readme("A README.md without front matter", |_| Files::new().file("README.md", "# Hello\n"), "README.md, line 1, column 1: README.md has no front matter, and so nothing says which SDK to use.", "Push a README.md that begins with the lines `---`, `sdk: gradio` (or streamlit, docker, static), `---`.");
    unclosed_front_matter: readme("The closing `---` is missing",
        |_| Files::new().file("README.md", "---\nsdk: static\n# Hello\n"), "README.md, line 1, column 1: the front matter is not closed: there is no second `---` line.", "Correct line 1 of README.md and push again.");
    bad_yaml: readme("YAML that cannot be read", |_| front("title: [one, two\nsdk: static"), "README.md, line 3, column 4: the front matter is not valid YAML: illegal placement of ':' indicator.", "Correct line 3 of README.md and push again.");
    tab_in_yaml: readme("A tab as indentation", |_| front("sdk: static\ncustom_headers:\n\tcross-origin-opener-policy: same-origin"), "README.md, line 4, column 2: the front matter is not valid YAML: tabs disallowed within this context (block indentation).", "Correct line 4 of README.md and push again.");
    binary_readme: readme("A README.md that is not text", |_| Files::new().file("README.md", [0xff, 0xfe, 0, 1, 2, 0x80]), "README.md, line 1, column 1: README.md is UTF-16 text; save it as UTF-8.", "Push a README.md that begins with the lines `---`, `sdk: gradio` (or streamlit, docker, static), `---`.");
    no_sdk: readme("No `sdk`", |_| front("title: Hello"), "README.md, line 1, column 1: `sdk` is missing.", "Change sdk in line 1 of README.md; allowed: gradio, streamlit, docker, static.");
    unknown_sdk: readme("An unknown `sdk`", |_| front("sdk: flask"), "README.md, line 2, column 6: `sdk`: `flask` is not allowed.", "Change sdk in line 2 of README.md; allowed: gradio, streamlit, docker, static.");
    wrong_color: readme("A colour that does not exist", |_| front("sdk: static\ncolorFrom: mauve"), "README.md, line 3, column 12: `colorFrom`: `mauve` is not allowed.", "Change colorFrom in line 3 of README.md; allowed: red, yellow, green, blue, indigo, purple, pink, gray.");
    python_3_1: readme("`python_version: 3.1`, from 3.10", |_| front("sdk: gradio\npython_version: 3.1"), "README.md, line 3, column 17: `python_version`: `3.1` is not a Python version that can be had; is `\"3.10\"` meant?", "Change python_version in line 3 of README.md; allowed: 3.8 to 3.15, as `3.x` or `3.x.y`.");
    wrong_sdk_version: readme("An `sdk_version` that is a range", |_| front("sdk: gradio\nsdk_version: \">=5\""), "README.md, line 3, column 14: `sdk_version`: `>=5` is not a version.", "Change sdk_version in line 3 of README.md; allowed: a version such as 5.49.1.");
    absurd_timeout: readme("An absurd `startup_duration_timeout`",
        |_| front("sdk: docker\nstartup_duration_timeout: 900h"), "README.md, line 3, column 27: `startup_duration_timeout`: `900h` is longer than 24 hours.", "Change startup_duration_timeout in line 3 of README.md; allowed: a duration such as 30m, 1h or 1h30m, at most 24h.");
    port_out_of_range: readme("`app_port` out of range", |_| front("sdk: docker\napp_port: 78600"), "README.md, line 3, column 11: `app_port`: `78600` is not a number from 1 to 65535.", "Change app_port in line 3 of README.md; allowed: 1 to 65535.");
    wrong_header: readme("A header that may not be set",
        |_| front("sdk: static\ncustom_headers:\n  x-frame-options: DENY"), "README.md, line 4, column 3: `custom_headers`: `x-frame-options` is not allowed.", "Change custom_headers in line 4 of README.md; allowed: cross-origin-embedder-policy, cross-origin-opener-policy, cross-origin-resource-policy.");
    app_file_outside: readme("An `app_file` outside of the repository",
        |_| front("sdk: gradio\napp_file: ../app.py"), "README.md, line 3, column 11: `app_file`: `../app.py` is not a plain path: it has the part `..`.", "Change app_file in line 3 of README.md; allowed: a path relative to the repository's root, without `..`.");
    two_mistakes: readme("Two mistakes at once: both are told",
        |_| front("sdk: static\ncolorTo: mauve\npinned: maybe"), "README.md, line 3, column 10: `colorTo`: `mauve` is not allowed (1 more below).", "Change colorTo in line 3 of README.md; allowed: red, yellow, green, blue, indigo, purple, pink, gray.");
    oauth: Mistake {
        did: "`hf_oauth: true`: apps cannot offer sign-in with the Hub yet",
        files: |_| front("sdk: static\nhf_oauth: true"),
        site: "",
        told: Told::Log { message: "Warning: hf_oauth is ignored: sign-in with the Hub is not offered to apps yet" },
    };
}
