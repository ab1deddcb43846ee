//! The files of a commit as values, and what makes a path or a link safe.

use spaceport_core::CommitSha;

use crate::SourceProblem;

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
    pub oid: CommitSha,
}

/// Reads one record of `git ls-tree -l -z`: `mode type oid size<TAB>path`.
pub(crate) fn parse_entry(record: &[u8]) -> Option<TreeEntry> {
    let tab = record.iter().position(|byte| *byte == b'\t')?;
    let meta = std::str::from_utf8(&record[..tab]).ok()?;
    let path = String::from_utf8_lossy(&record[tab + 1..]).into_owned();
    let mut words = meta.split_ascii_whitespace();
    let (mode, _type, oid, size) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let kind = match mode {
        "160000" => EntryKind::Submodule,
        "120000" => EntryKind::Link,
        "100755" => EntryKind::File { executable: true },
        _ => EntryKind::File { executable: false },
    };
    Some(TreeEntry { path, kind, bytes: size.parse().unwrap_or(0), oid: oid.parse().ok()? })
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
    fn entries_are_read() {
        let record = b"100755 blob 0123456789abcdef0123456789abcdef01234567      12\ta\tb";
        let entry = parse_entry(record).unwrap();
        assert_eq!((entry.path.as_str(), entry.bytes), ("a\tb", 12));
        assert_eq!(entry.kind, EntryKind::File { executable: true });
        assert_eq!(parse_entry(b"garbage"), None);
    }
}
