//! The files of a commit as values, and what makes a path or a link safe.

use crate::{ObjectId, SourceProblem};

/// What an entry of a tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A file.
    File {
        /// Whether it may be executed.
        executable: bool,
    },
    /// A symbolic link; its content is its target.
    Link,
    /// The commit of another repository. Its files are not here.
    Submodule,
}

/// One file of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeEntry {
    /// Relative to the root, with `/` between the parts. Names that are not UTF-8 are shown with
    /// replacement characters.
    pub path: String,
    /// What it is.
    pub kind: EntryKind,
    /// Its size; 0 for submodules.
    pub bytes: u64,
    /// The id of its content.
    pub oid: ObjectId,
}

/// Whether a path from a tree may be created below a folder. Pushes are checked by git; this is the
/// second lock on the same door.
pub(crate) fn check_path(path: &str) -> Result<(), SourceProblem> {
    let bad = |part: &str| matches!(part, "" | "." | "..") || part.eq_ignore_ascii_case(".git");
    if path.len() > 4096 || path.contains('\0') || path.split('/').any(bad) {
        return Err(SourceProblem::UnsafePath(path.chars().take(200).collect()));
    }
    Ok(())
}

/// The longest path of a commit that is made here, its longest part, in bytes, and the most parts.
const MAX_PATH: usize = 4096;
const MAX_PART: usize = 255;
const MAX_PARTS: usize = 128;

/// Why a path cannot be in a commit that is made here. Stricter than what is read: whatever some file system
/// takes for `.git` is refused, and so are backslashes, which Windows takes for `/`, and control characters. Names
/// that Windows merely cannot have (`CON`, `a:b`, `what?.txt`, `x.`) are accepted as git and the Hub do: data sets
/// have such names, and all that fails is a checkout there.
///
/// # Errors
/// What is wrong with it, in words that follow "because".
pub fn check_new_path(path: &str) -> Result<(), &'static str> {
    if path.is_empty() {
        return Err("it is empty");
    }
    if path.starts_with('/') {
        return Err("it must be relative to the root of the repository");
    }
    if path.len() > MAX_PATH || path.split('/').count() > MAX_PARTS || path.split('/').any(|part| part.len() > MAX_PART)
    {
        return Err("it is too long");
    }
    if path.contains(|c: char| c.is_control()) {
        return Err("it has control characters");
    }
    if path.contains('\\') {
        return Err("it has a backslash; folders are separated by `/`");
    }
    for part in path.split('/') {
        match part {
            "" => return Err("a part of it is empty"),
            "." | ".." => return Err("`.` and `..` cannot be parts of it"),
            part if is_git_folder(part) => return Err("`.git` cannot be part of it"),
            _ => {}
        }
    }
    Ok(())
}

/// Whether some file system takes a name for `.git`. git: `is_hfs_dotgit`, `is_ntfs_dotgit`.
fn is_git_folder(name: &str) -> bool {
    // HFS+ leaves these out when it compares names.
    let left_out = |c: &char| matches!(*c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}');
    let plain: String = name.chars().filter(|c| !left_out(c)).collect::<String>().to_ascii_lowercase();
    // NTFS drops what stands behind `:`, and dots and spaces at the end; `git~1` is the short form.
    let plain = plain.split(':').next().unwrap_or_default().trim_end_matches(['.', ' ']);
    matches!(plain, ".git" | "git~1")
}

/// Whether a symbolic link stays inside the repository, wherever other links lead.
///
/// `..` may only stand at the beginning of the target: there it climbs real folders, which can be
/// counted. Behind a name it could climb from wherever a link of that name leads.
pub(crate) fn check_link(path: &str, target: &str) -> Result<(), SourceProblem> {
    let refuse = |why| {
        let (path, target) = (path.chars().take(200).collect(), target.chars().take(200).collect());
        Err(SourceProblem::UnsafeLink { path, target, why })
    };
    if target.starts_with('/') {
        return refuse("leads to an absolute path");
    }
    if target.is_empty() || target.len() > 4096 || target.contains('\0') {
        return refuse("has no usable target");
    }
    let parts = || target.split('/').filter(|part| !matches!(*part, "" | "."));
    let climbs = parts().take_while(|part| *part == "..").count();
    if climbs > path.matches('/').count() {
        return refuse("leads out of the repository");
    }
    if parts().skip(climbs).any(|part| part == "..") {
        return refuse("has `..` behind a name, which may lead out of the repository");
    }
    if parts().any(|part| part.eq_ignore_ascii_case(".git")) {
        return refuse("leads to git's own files");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_inside() {
        for (path, target) in [("a", "b"), ("a/b", "../c"), ("a/b/c", "../../d/e"), ("a", "./b/./c"), ("a/b", "..")] {
            assert_eq!(check_link(path, target), Ok(()), "{path} -> {target}");
        }
        for (path, target) in [
            ("a", "/etc/passwd"),
            ("a", ".."),
            ("a/b", "../../c"),
            ("a", "b/../c"),
            ("a", ".git/config"),
            ("a", ""),
            ("a/b", "./.././../x"),
        ] {
            assert!(check_link(path, target).is_err(), "{path} -> {target}");
        }
    }

    #[test]
    fn paths_that_are_not_plain_are_refused() {
        for path in ["", "/a", "a//b", "a/../b", ".git/config", "x/.GIT", "a\0b", "a/"] {
            assert!(check_path(path).is_err(), "{path}");
        }
        assert!(check_path("a/b c/ü.txt").is_ok());
    }

    #[test]
    fn paths_of_commits_are_plain() {
        for path in [
            "a",
            "a/b c/ü.txt",
            ".gitignore",
            ".github/x",
            "git~2",
            "..a",
            "a..",
            "CON",
            "aux.txt",
            "a:b",
            "what?.txt",
            "x ",
            &"d/".repeat(99)[..197],
        ] {
            assert_eq!(check_new_path(path), Ok(()), "{path}");
        }
        let long = "x".repeat(256);
        for path in [
            "",
            "/a",
            "a/",
            "a//b",
            ".",
            "a/./b",
            "../a",
            "a/..",
            ".git",
            "a/.GIT/config",
            ".git ",
            ".git.",
            ".git::$DATA",
            "GIT~1/x",
            ".g\u{200c}it/config",
            "a\\b",
            "a\0b",
            "a\nb",
            "a\u{7f}",
            &long,
            &"d/".repeat(3000),
            &"d/".repeat(200)[..399],
        ] {
            assert!(check_new_path(path).is_err(), "{path:?}");
        }
    }
}
