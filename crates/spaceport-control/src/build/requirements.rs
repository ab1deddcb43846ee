//! What can be read from a requirements file without installing it.
//! Format: <https://pip.pypa.io/en/stable/reference/requirements-file-format/>

/// Options that say where packages come from and which of them are taken.
const SOURCES: [&str; 11] = [
    "-i",
    "--index-url",
    "--extra-index-url",
    "--no-index",
    "-f",
    "--find-links",
    "--pre",
    "--prefer-binary",
    "--no-binary",
    "--only-binary",
    "--trusted-host",
];
/// Endings of files that can be installed.
const ARCHIVES: [&str; 5] = [".whl", ".zip", ".tar.gz", ".tar.bz2", ".tgz"];

/// Whether a requirements file refers to files beside it.
pub(super) fn names_local_files(text: &str) -> bool {
    lines(text).any(|line| {
        let what = line.split(';').next().unwrap_or_default().trim();
        let is_archive = ARCHIVES.iter().any(|end| what.to_ascii_lowercase().ends_with(end));
        ["-e", "-r", "-c", "--editable", "--requirement", "--constraint", ".", "/"]
            .iter()
            .any(|start| line.starts_with(start))
            || line.contains("file:")
            || !what.contains("://") && (what.contains('/') || is_archive)
    })
}

/// The lines that say where packages come from, when every other line is nothing but the name of a
/// package with its versions. `None` for anything else: URLs, files, hashes, continued lines.
///
/// Of two such files with the same sources, the packages of one can be turned into the packages of
/// the other by installing what is missing and removing what is too much.
pub(super) fn sources_if_plain(text: &str) -> Option<Vec<&str>> {
    let mut sources = Vec::new();
    if names_local_files(text) {
        return None;
    }
    for line in lines(text) {
        if line.starts_with('-') {
            let option = line.split([' ', '=', '\t']).next().unwrap_or_default();
            if !SOURCES.contains(&option) || line.ends_with('\\') {
                return None;
            }
            sources.push(line);
        } else if !is_plain(line) {
            return None;
        }
    }
    Some(sources)
}

/// `name`, `name[extra] >= 1, != 1.5 ; python_version < "3.12"`.
/// Grammar: <https://packaging.python.org/en/latest/specifications/dependency-specifiers/>
fn is_plain(line: &str) -> bool {
    let (what, marker) = line.split_once(';').unwrap_or((line, ""));
    let byte_is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-[], <>=!~*+()\t".contains(&byte);
    what.starts_with(|first: char| first.is_ascii_alphanumeric())
        && what.bytes().all(byte_is_plain)
        && !marker.contains(" --")
        && !what.contains(" -")
        && !marker.ends_with('\\')
}

/// Without comments and empty lines.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(|line| {
            let comment = if line.trim_start().starts_with('#') { Some(0) } else { line.find(" #") };
            line[..comment.unwrap_or(line.len())].trim()
        })
        .filter(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_requirements_are_recognised() {
        for local in [
            "-e .",
            "-r more.txt",
            "./pkg",
            "pkg @ file:///x",
            "dist/a-1.0-py3-none-any.whl",
            "a-1.0-py3-none-any.whl ; python_version > '3'",
            "vendor/a-1.0.tar.gz",
            "vendor/a",
            "--find-links wheels/",
            "--requirement=x",
        ] {
            assert!(names_local_files(&format!("numpy\n{local}\n")), "{local}");
        }
        for remote in [
            "numpy>=1",
            "torch --index-url https://x",
            "git+https://x/y.git",
            "https://x/a-1-py3-none-any.whl",
            "a # see docs/a.md",
            "--find-links https://x/wheels.html",
        ] {
            assert!(!names_local_files(remote), "{remote}");
        }
    }

    #[test]
    fn only_names_and_versions_are_plain() {
        for plain in [
            "",
            "# nothing\n\n",
            "numpy",
            "numpy  # arrays",
            "numpy>=1,!=1.5",
            "uvicorn[standard] ~= 0.30",
            "gradio==5.*",
            "tomli ; python_version < \"3.11\"",
            "torch==2.6.0+cpu",
        ] {
            assert_eq!(sources_if_plain(plain), Some(vec![]), "{plain}");
        }
        let cpu = "--extra-index-url https://download.pytorch.org/whl/cpu";
        assert_eq!(sources_if_plain(&format!("{cpu} # small\ntorch\n")), Some(vec![cpu]));
        for other in [
            "git+https://x/y.git",
            "a @ https://x/a.whl",
            "https://x/a.whl",
            "-r more.txt",
            "-e .",
            "a==1 --hash=sha256:0",
            "a==1 \\\n  --hash=sha256:0",
            "a==1 ; python_version > '3' --hash=sha256:0",
            "--require-hashes\na==1",
            "./a",
            "${NAME}",
            "a-1.0-py3-none-any.whl",
        ] {
            assert_eq!(sources_if_plain(&format!("numpy\n{other}\n")), None, "{other}");
        }
    }
}
