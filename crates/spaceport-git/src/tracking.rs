//! Makes `.gitattributes` name the large files of a commit. Without it git-lfs takes their pointers for
//! the files, and a clone has no content. Hub: the same.

use std::path::Path;

use git2::{AttrCheckFlags, Index, ObjectType, Oid, Repository};

use crate::GitError;
use crate::objects::{FileContent, NewObject};
use crate::opened::{failed, optional};
use crate::overlay::Overlay;
use crate::rules::{MAX_RULES, index_attributes};
use crate::tree::check_path;

const OPERATION: &str = "track large files";
const ATTRIBUTES: &str = ".gitattributes";

/// The tree with lines for those of these large files that it does not track; what must be stored for
/// it comes to `objects`. The tree itself is stored.
pub(crate) fn track(
    opened: &Repository,
    tree: Oid,
    large: &[String],
    objects: &mut Vec<NewObject>,
) -> Result<Oid, GitError> {
    let error = failed(OPERATION);
    let lines: String = untracked(opened, tree, large).map_err(error)?.into_iter().filter_map(line).collect();
    let Some(mut text) = attributes(opened, tree).map_err(error)?.filter(|_| !lines.is_empty()) else {
        return Ok(tree);
    };
    if !text.is_empty() && !text.ends_with(b"\n") {
        text.push(b'\n');
    }
    text.extend_from_slice(lines.as_bytes());
    let blob = NewObject::blob(FileContent::Bytes(text.into()))?;
    let mut overlay = Overlay::new(opened, Some(tree));
    if overlay.put(ATTRIBUTES, blob.oid).map_err(error)?.is_err() {
        return Ok(tree);
    }
    let (tree, made) = overlay.finish().map_err(error)?;
    objects.extend(made);
    objects.push(blob);
    Ok(tree)
}

fn untracked<'a>(opened: &Repository, tree: Oid, large: &'a [String]) -> Result<Vec<&'a str>, git2::Error> {
    let root = opened.find_tree(tree)?;
    let mut index = Index::new()?;
    opened.set_index(&mut index)?;
    index_attributes(opened, &root, large, &mut index)?;
    let flags = AttrCheckFlags::INDEX_ONLY | AttrCheckFlags::NO_SYSTEM;
    let mut untracked = Vec::new();
    for path in large.iter().filter(|path| check_path(path).is_ok()) {
        if opened.get_attr_bytes(Path::new(path), "filter", flags)? != Some(b"lfs") {
            untracked.push(path.as_str());
        }
    }
    Ok(untracked)
}

/// The text of the root's attributes; `None` when it cannot be added to.
fn attributes(opened: &Repository, tree: Oid) -> Result<Option<Vec<u8>>, git2::Error> {
    let root = opened.find_tree(tree)?;
    let Some(item) = optional(root.get_path(Path::new(ATTRIBUTES)))? else { return Ok(Some(Vec::new())) };
    let odb = opened.odb()?;
    if item.kind() != Some(ObjectType::Blob) || odb.read_header(item.id())?.0 > MAX_RULES {
        return Ok(None);
    }
    Ok(Some(odb.read(item.id())?.data().to_vec()))
}

/// A line for exactly this path. git: `gitattributes(5)`, patterns as in `gitignore(5)`.
fn line(path: &str) -> Option<String> {
    if path.chars().any(char::is_control) {
        return None;
    }
    let mut pattern = "/".to_owned();
    for character in path.chars() {
        match character {
            // A pattern ends at a space, whatever stands before it. git-lfs writes the same.
            ' ' => pattern.push_str("[[:space:]]"),
            '*' | '?' | '[' | ']' | '\\' => pattern.extend(['\\', character]),
            other => pattern.push(other),
        }
    }
    Some(format!("{pattern} filter=lfs diff=lfs merge=lfs -text\n"))
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn a_line_is_for_one_path() {
        let attributes = "filter=lfs diff=lfs merge=lfs -text\n";
        for (path, pattern) in [
            ("model.bin", "/model.bin"),
            ("a b/c*.bin", "/a[[:space:]]b/c\\*.bin"),
            ("[x]\\?", "/\\[x\\]\\\\\\?"),
            ("#ü!", "/#ü!"),
        ] {
            assert_eq!(line(path), Some(format!("{pattern} {attributes}")), "{path}");
        }
        assert_eq!(line("a\tb"), None);
    }
}
