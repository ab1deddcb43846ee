use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::Sdk;
use crate::config::Preload;

/// Parses `lines` as the front matter of a Space with an SDK on line 2.
fn space(lines: &str) -> Result<SpaceConfig, Vec<ConfigError>> {
    parse(format!("---\nsdk: gradio\n{lines}\n---\n# Title\n").as_bytes())
}

/// The only error of `readme`, as `line:column key: message`.
fn error(readme: &[u8]) -> String {
    let errors = parse(readme).expect_err("an error");
    assert_eq!(errors.len(), 1, "{errors:?}");
    let ConfigError { key, line, column, message, .. } = &errors[0];
    format!("{line}:{column} {key}: {message}")
}

#[test]
fn reads_every_key() {
    let readme = "\u{feff}---\r
title: Hello World\r
emoji: 👩🏽‍🚀\r
colorFrom: red\r
colorTo: gray\r
sdk: gradio\r
sdk_version: 6.0\r
python_version: 3.10\r
app_file: ./src/app.py\r
app_build_command: npm ci && npm run build\r
app_port: 8501\r
base_path: /docs?x=1\r
fullWidth: false\r
header: mini\r
short_description: >-\r
  Two\r
  lines\r
models:\r
- openai-community/gpt2\r
- gpt2\r
datasets: [squad]\r
tags: [mcp-server, 42]\r
thumbnail: https://example.org/a.png\r
pinned: true\r
license: apache-2.0\r
suggested_hardware: cpu-upgrade\r
suggested_storage: small\r
startup_duration_timeout: 1h30m\r
preload_from_hub:\r
  - a/b\r
  - gpt2 config.json,onnx/model.onnx 11c5a3d\r
custom_headers:\r
  Cross-Origin-Embedder-Policy: require-corp\r
  cross-origin-opener-policy: same-origin\r
disable_embedding: True\r
hf_oauth: true\r
hf_oauth_scopes: [openid, email, read-repos]\r
hf_oauth_expiration_minutes: 43200\r
hf_oauth_authorized_org: acme\r
a_key_of_tomorrow: {deep: [1, 2]}\r
---\r
text";
    let config = parse(readme.as_bytes()).unwrap();
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        config,
        SpaceConfig {
            title: text("Hello World"),
            emoji: text("👩🏽‍🚀"),
            color_from: text("red"),
            color_to: text("gray"),
            sdk: Sdk::Gradio,
            sdk_version: text("6.0"),
            python_version: text("3.10"),
            app_file: text("src/app.py"),
            app_build_command: text("npm ci && npm run build"),
            app_port: 8501,
            base_path: "/docs?x=1".to_owned(),
            full_width: false,
            header: "mini".to_owned(),
            short_description: text("Two lines"),
            models: vec!["openai-community/gpt2".to_owned(), "gpt2".to_owned()],
            datasets: vec!["squad".to_owned()],
            tags: vec!["mcp-server".to_owned(), "42".to_owned()],
            thumbnail: text("https://example.org/a.png"),
            pinned: true,
            license: text("apache-2.0"),
            suggested_hardware: text("cpu-upgrade"),
            suggested_storage: text("small"),
            startup_timeout: Duration::from_secs(5400),
            preload_from_hub: vec![
                Preload { repo: "a/b".to_owned(), files: vec![], revision: None },
                Preload {
                    repo: "gpt2".to_owned(),
                    files: vec!["config.json".to_owned(), "onnx/model.onnx".to_owned()],
                    revision: text("11c5a3d"),
                },
            ],
            custom_headers: [
                ("cross-origin-embedder-policy".to_owned(), "require-corp".to_owned()),
                ("cross-origin-opener-policy".to_owned(), "same-origin".to_owned()),
            ]
            .into(),
            disable_embedding: true,
            hf_oauth: true,
            hf_oauth_scopes: vec!["email".to_owned(), "read-repos".to_owned()],
            hf_oauth_expiration_minutes: 43_200,
            hf_oauth_authorized_org: vec!["acme".to_owned()],
        }
    );
}

#[test]
fn fills_in_the_defaults() {
    let config = parse(b"\n---\nsdk: docker\ntitle:\n---").unwrap();
    assert_eq!((config.sdk, config.title, config.app_port), (Sdk::Docker, None, 7860));
    assert_eq!((config.base_path.as_str(), config.header.as_str(), config.full_width), ("/", "default", true));
    assert_eq!((config.startup_timeout, config.hf_oauth_expiration_minutes), (Duration::from_secs(1800), 480));
}

#[test]
fn a_file_without_a_block_says_so() {
    for (readme, expected) in [
        (&b""[..], "1:1 sdk: README.md is empty, and so nothing says which SDK to use"),
        (b"# Title\n---\n", "1:1 sdk: README.md has no front matter, and so nothing says which SDK to use"),
        (b"\x89PNG\r\n\x1a\n\0\0", "1:1 sdk: README.md is a binary file, not text"),
        (b"\xff\xfe-\0-\0", "1:1 : README.md is UTF-16 text; save it as UTF-8"),
        (b"\n\n---\nsdk: gradio\n", "3:1 : the front matter is not closed: there is no second `---` line"),
        (b"---\nsdk: gradio\ntitle: caf\xe9\n---\n", "3:11 : the front matter is not UTF-8 text: byte 0xe9"),
        (b"---\nsdk: gradio\0\n---\n", "2:12 : the front matter holds a NUL character"),
        (b"---\n---\n", "1:1 sdk: `sdk` is missing"),
        (b"---\nSDK: gradio\n---\n", "2:1 sdk: `sdk` is missing: `SDK` is another key, since case counts"),
        (b"---\ntitle: a\nsdk:\n---\n", "3:1 sdk: `sdk` has no value"),
        (b"---\n- sdk\n---\n", "2:1 : the front matter is a list, not keys with values"),
    ] {
        assert_eq!(error(readme), expected);
    }
    assert!(parse(b"---\nsdk: gradio\n---\n\xff\xfe\0 the rest is prose").is_ok());
    assert!(
        error(format!("---\n# {}\nsdk: gradio\n---\n", "x".repeat(MAX_BLOCK_BYTES)).as_bytes()).contains("at most")
    );
}

#[test]
fn malformed_yaml_names_its_place() {
    for (lines, place) in [
        ("title: a: b", "3:9 "),
        ("title: \"a", "3:8 "),
        ("tags: [a", "3:9 "),
        // A tab where the value could go on: the parser points at the value.
        ("\ttitle: a", "2:6 "),
        ("sdk: docker", "3:1 sdk: the key `sdk` is already set on line 2"),
        ("a: 1\n...\nb: 2", "5:1 : the front matter holds more than one YAML document"),
        ("a: *nobody", "3:4 "),
        ("a: &a [*a]", "3:8 : an alias"),
    ] {
        let readme = format!("---\nsdk: gradio\n{lines}\n---\n");
        let error = error(readme.as_bytes());
        assert!(error.starts_with(place), "{lines:?}: {error}");
    }
}

#[test]
fn hostile_yaml_is_refused_quickly() {
    let deep = format!("a: {}{}", "[".repeat(5000), "]".repeat(5000));
    assert!(space(&deep).is_err());
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..20 {
        let alias = format!("*a{}, ", level - 1).repeat(10);
        bomb.push_str(&format!("a{level}: &a{level} [{alias}]\n"));
    }
    let errors = space(&bomb).unwrap_err();
    assert!(errors[0].message.contains("too large"), "{errors:?}");
    let text = format!("a: &a {}\nb: [{}]", "x".repeat(30_000), "*a, ".repeat(2000));
    assert!(space(&text).unwrap_err()[0].message.contains("too large"));
    // As many values on one line as fit, all of them wrong.
    assert_eq!(space(&format!("models: [{}]", "é,".repeat(20_000))).unwrap_err().len(), MAX_ERRORS);
    assert_eq!(space("a: &a [x, y]\ntags: *a").unwrap().tags, ["x", "y"]);
}

#[test]
fn wrong_values_name_the_key_and_what_is_allowed() {
    for (line, place, allowed) in [
        ("emoji: hello", "3:8 emoji: `emoji`: `hello` is more than one emoji", "one emoji"),
        ("emoji: x", "3:8 emoji: `emoji`: `x` is not an emoji", "one emoji"),
        ("colorFrom: orange", "3:12 colorFrom: `colorFrom`: `orange` is not allowed", "red, yellow, green"),
        ("sdk_version: latest; rm", "3:14 sdk_version: `sdk_version`: `latest; rm` is not a version", "5.49.1"),
        ("python_version: 2.7", "3:17 python_version: `python_version`: `2.7` is not", "3.8 to 3.15"),
        ("python_version: 3.1", "3:17 python_version: `python_version`: `3.1` is not", "3.8 to 3.15"),
        ("app_file: ../app.py", "3:11 app_file: `app_file`: `../app.py` is not a plain path", "without `..`"),
        ("app_file: /etc/passwd", "3:11 app_file: `app_file`: `/etc/passwd` is an absolute", "without `..`"),
        ("app_file: [a, b]", "3:11 app_file: `app_file` holds a list", "a path"),
        ("app_port: 0", "3:11 app_port: `app_port`: `0` is not a number from 1 to 65535", "1 to 65535"),
        ("app_port: 0x1F90", "3:11 app_port: `app_port`: `0x1F90` is not", "1 to 65535"),
        ("base_path: //evil.example", "3:12 base_path: `base_path`: `//evil.example` is not", "one `/`"),
        ("header: big", "3:9 header: `header`: `big` is not allowed", "mini, default"),
        ("pinned: yes", "3:9 pinned: `pinned`: `yes` is not allowed", "true, false"),
        ("models:\n- a/b\n- a b", "5:3 models: `models`: `a b` is not a repository id", "owner/name"),
        ("tags: {a: b}", "3:7 tags: `tags` is a map; a list is expected", "words"),
        ("thumbnail: javascript:alert(1)", "3:12 thumbnail: `thumbnail`: `javascript:alert(1)`", "http"),
        (
            "startup_duration_timeout: 20000000000000m",
            "3:27 startup_duration_timeout: `startup_duration_timeout`: `20000000000000m` is longer than 24 hours",
            "at most 24h",
        ),
        ("startup_duration_timeout: soon", "3:27 startup_duration_timeout: ", "at most 24h"),
        ("preload_from_hub: [a/b ../x]", "3:20 preload_from_hub: ", "revision"),
        ("preload_from_hub: [a/b x --upload-pack=sh]", "3:20 preload_from_hub: ", "revision"),
        ("preload_from_hub: [a b c d]", "3:20 preload_from_hub: `preload_from_hub`: `a b c d` has 4", "revision"),
        ("custom_headers: {set-cookie: a}", "3:18 custom_headers: `custom_headers`: `set-cookie`", "cross-origin"),
        (
            "custom_headers:\n  cross-origin-embedder-policy: any",
            "4:33 custom_headers: `cross-origin-embedder-policy`: `any` is not allowed",
            "unsafe-none, require-corp",
        ),
        ("hf_oauth_scopes: [root]", "3:19 hf_oauth_scopes: `hf_oauth_scopes`: `root` is not", "email"),
        ("hf_oauth_expiration_minutes: 43201", "3:30 hf_oauth_expiration_minutes: ", "1 to 43200"),
    ] {
        let readme = format!("---\nsdk: gradio\n{line}\n---\n");
        let error = error(readme.as_bytes());
        assert!(error.starts_with(place), "{line}: {error}");
        let errors = parse(readme.as_bytes()).unwrap_err();
        assert!(errors[0].allowed.contains(allowed), "{line}: {}", errors[0].allowed);
    }
}

#[test]
fn all_mistakes_are_reported_in_the_order_of_the_file() {
    let errors = parse(b"---\npinned: maybe\nsdk: rails\napp_port: x\ncolorTo: mauve\n---\n").unwrap_err();
    let places: Vec<_> = errors.iter().map(|error| (error.line, error.key.as_str())).collect();
    assert_eq!(places, [(2, "pinned"), (3, "sdk"), (4, "app_port"), (5, "colorTo")]);
    assert_eq!(errors[1].allowed, "gradio, streamlit, docker, static");
    assert_eq!(errors[1].to_string(), "README.md, line 3, column 6: `sdk`: `rails` is not allowed");
}

#[test]
fn versions_keep_the_text_of_the_file() {
    for version in ["5", "6.0", "5.49.1", "6.0.0b2", "6.0.0rc1", "5.0.0.dev3", "4.0.post1", "1.0+cu118", "1.40.0-beta1"]
    {
        let config = space(&format!("sdk_version: {version}")).unwrap();
        assert_eq!(config.sdk_version.as_deref(), Some(version));
    }
    for version in ["latest", "5.", ".5", "5..1", "5.x", ">=5", "5 6", "5;x", "1.0+"] {
        assert!(space(&format!("sdk_version: '{version}'")).is_err(), "{version}");
    }
    for version in ["3.8", "3.10", "3.12.4", "'3.13'"] {
        let config = space(&format!("python_version: {version}")).unwrap();
        assert_eq!(config.python_version.as_deref(), Some(version.trim_matches('\'')));
    }
    for version in ["3", "3.7", "3.16", "4.0", "3.10.1.2", "3.010", "3.10-slim", "3.١٠", "python3.10"] {
        assert!(space(&format!("python_version: {version}")).is_err(), "{version}");
    }
}

#[test]
fn emoji_are_single_symbols() {
    for emoji in ["🚀", "❤️", "🇩🇪", "👨‍👩‍👧‍👦", "1️⃣", "©", "🅰"] {
        assert_eq!(space(&format!("emoji: {emoji}")).unwrap().emoji.as_deref(), Some(emoji));
    }
    for text in ["🚀🚀", "é", "7", "🚀 x"] {
        assert!(space(&format!("emoji: {text}")).is_err(), "{text}");
    }
}

fn initial(title: &str) -> InitialReadme {
    InitialReadme {
        title: title.to_owned(),
        emoji: "🚀".to_owned(),
        color_from: "red".to_owned(),
        color_to: "blue".to_owned(),
        sdk: Sdk::Gradio,
        sdk_version: Some("6.0".to_owned()),
        app_file: Some("app.py".to_owned()),
        pinned: false,
    }
}

#[test]
fn the_first_readme_looks_as_on_the_hub() {
    assert_eq!(
        initial("My Demo").to_markdown(),
        "---\ntitle: My Demo\nemoji: 🚀\ncolorFrom: red\ncolorTo: blue\nsdk: gradio\nsdk_version: \"6.0\"\n\
         app_file: app.py\npinned: false\n---\n"
    );
}

fn inside(readme: &[u8], error: &ConfigError) -> bool {
    let text = String::from_utf8_lossy(readme).replace("\r\n", "\n").replace('\r', "\n");
    let lines: Vec<&str> = text.split('\n').collect();
    let line = usize::try_from(error.line).unwrap();
    let column = usize::try_from(error.column).unwrap();
    // A broken character is one column for us; as replacement text it may be several.
    line >= 1 && line <= lines.len() && column >= 1 && column <= lines[line - 1].chars().count() + 1
}

proptest! {
    #[test]
    fn any_bytes_give_an_answer_with_places_in_the_file(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        for readme in [body.clone(), [b"---\n", body.as_slice(), b"\n---\n"].concat()] {
            if let Err(errors) = parse(&readme) {
                prop_assert!(!errors.is_empty());
                for error in errors {
                    prop_assert!(inside(&readme, &error), "{error:?} in {:?}", String::from_utf8_lossy(&readme));
                }
            }
        }
    }

    #[test]
    fn any_yaml_like_text_gives_an_answer_with_places_in_the_file(
        body in "(sdk|title|tags|models|pinned|&a|\\*a|[-:\\[\\]{}?|>!%@'\"#, \n\r\t.]|[a-z0-9]|é|🚀|\u{85}|\u{2028}|\u{feff}){0,60}"
    ) {
        let readme = format!("---\n{body}\n---\n");
        if let Err(errors) = parse(readme.as_bytes()) {
            prop_assert!(!errors.is_empty());
            for error in errors {
                prop_assert!(inside(readme.as_bytes(), &error), "{error:?} in {readme:?}");
            }
        }
    }

    #[test]
    fn what_is_written_is_read_back(title in any::<String>()) {
        let config = parse(initial(&title).to_markdown().as_bytes()).unwrap();
        let expected = title.trim();
        prop_assert_eq!(config.title.unwrap_or_default(), expected);
    }

    #[test]
    fn durations_never_panic(text in any::<String>()) {
        let _ = duration::parse(&text);
    }
}
