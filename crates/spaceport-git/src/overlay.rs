//! The files of a commit with changes on top, in memory.
//!
//! A folder is read when something in it changes, and written once, however many of its files change: ten
//! thousand operations cost about as much as the folders they touch.

use std::collections::BTreeMap;

use git2::{ObjectType, Oid, Repository, Tree};

use crate::objects::NewObject;

pub(crate) const FILE: i32 = 0o100_644;
const EXECUTABLE: i32 = 0o100_755;
const FOLDER: i32 = 0o040_000;

/// What stands in the way of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Clash {
    /// A file is where the path needs a folder; its path.
    File(String),
    /// A folder is where the file would be.
    Folder,
}

/// One tree with changes.
pub(crate) struct Overlay<'r> {
    opened: &'r Repository,
    root: Folder,
}

enum Node {
    /// A file, a link or a submodule.
    Leaf {
        mode: i32,
        oid: Oid,
    },
    Folder(Folder),
}

#[derive(Default)]
struct Folder {
    /// What it was; `None` for a new one.
    original: Option<Oid>,
    /// What is in it, once it was looked into.
    items: Option<BTreeMap<Vec<u8>, Node>>,
    changed: bool,
}

impl<'r> Overlay<'r> {
    /// On top of a tree, or of nothing.
    pub(crate) fn new(opened: &'r Repository, base: Option<Oid>) -> Self {
        Self { opened, root: Folder { original: base, ..Folder::default() } }
    }

    /// Puts a file; the path has been checked. A file that may be executed stays so. Gives whether the content
    /// is new there.
    pub(crate) fn put(&mut self, path: &str, oid: Oid) -> Result<Result<bool, Clash>, git2::Error> {
        let (folders, name) = split(path);
        let mut folder = &mut self.root;
        let mut passed = 0;
        for part in folders {
            passed += part.len() + 1;
            let items = folder.open(self.opened)?;
            let below = items.entry(part.as_bytes().to_vec()).or_insert_with(|| Node::Folder(Folder::default()));
            match below {
                Node::Folder(next) => folder = next,
                Node::Leaf { .. } => return Ok(Err(Clash::File(path[..passed - 1].to_owned()))),
            }
        }
        let mode = match folder.open(self.opened)?.get_mut(name.as_bytes()) {
            None => FILE,
            Some(Node::Leaf { mode, oid: before }) => {
                let kept = if *mode == EXECUTABLE { EXECUTABLE } else { FILE };
                if (*mode, *before) == (kept, oid) {
                    return Ok(Ok(false));
                }
                kept
            }
            Some(Node::Folder(below)) => {
                if !below.is_empty(self.opened)? {
                    return Ok(Err(Clash::Folder));
                }
                FILE
            }
        };
        folder.open(self.opened)?.insert(name.as_bytes().to_vec(), Node::Leaf { mode, oid });
        self.mark(path);
        Ok(Ok(true))
    }

    /// Removes a file or a folder; gives whether there was one.
    pub(crate) fn remove(&mut self, path: &str, only_folder: bool) -> Result<bool, git2::Error> {
        let (folders, name) = split(path);
        let mut folder = &mut self.root;
        for part in folders {
            match folder.open(self.opened)?.get_mut(part.as_bytes()) {
                Some(Node::Folder(next)) => folder = next,
                _ => return Ok(false),
            }
        }
        let opened = self.opened;
        let items = folder.open(opened)?;
        let there = match items.get_mut(name.as_bytes()) {
            None => false,
            Some(Node::Leaf { .. }) => !only_folder,
            Some(Node::Folder(below)) => !below.is_empty(opened)?,
        };
        if there {
            items.remove(name.as_bytes());
            self.mark(path);
        }
        Ok(there)
    }

    /// Notes that the folders on the way to a path have changed.
    fn mark(&mut self, path: &str) {
        let mut folder = &mut self.root;
        folder.changed = true;
        for part in split(path).0 {
            let Some(Node::Folder(next)) = folder.items.as_mut().and_then(|items| items.get_mut(part.as_bytes()))
            else {
                return;
            };
            next.changed = true;
            folder = next;
        }
    }

    /// The id of the root and the folders that have to be written for it. Empty folders vanish.
    pub(crate) fn finish(mut self) -> Result<(Oid, Vec<NewObject>), git2::Error> {
        let mut written = Vec::new();
        let root = match self.root.write(&mut written)? {
            Some(root) => root,
            None => encode(&[], &mut written)?,
        };
        Ok((root, written))
    }
}

fn split(path: &str) -> (impl Iterator<Item = &str>, &str) {
    let (folders, name) = path.rsplit_once('/').map_or((None, path), |(folders, name)| (Some(folders), name));
    (folders.into_iter().flat_map(|folders| folders.split('/')), name)
}

impl Folder {
    fn open(&mut self, opened: &Repository) -> Result<&mut BTreeMap<Vec<u8>, Node>, git2::Error> {
        if self.items.is_none() {
            let items = match self.original {
                Some(original) => read(&opened.find_tree(original)?),
                None => BTreeMap::new(),
            };
            self.items = Some(items);
        }
        Ok(self.items.get_or_insert_default())
    }

    /// Whether no file is left in it. Only what was changed can have become empty.
    fn is_empty(&mut self, opened: &Repository) -> Result<bool, git2::Error> {
        if !self.changed && self.original.is_some() {
            return Ok(false);
        }
        for node in self.open(opened)?.values_mut() {
            match node {
                Node::Leaf { .. } => return Ok(false),
                Node::Folder(below) => {
                    if !below.is_empty(opened)? {
                        return Ok(false);
                    }
                }
            }
        }
        Ok(true)
    }

    /// The id of the folder as it is now; `None` when it is empty.
    fn write(&mut self, written: &mut Vec<NewObject>) -> Result<Option<Oid>, git2::Error> {
        let items = match (&mut self.items, self.original) {
            (Some(items), _) if self.changed => items,
            (_, original) => return Ok(original),
        };
        let mut lines = Vec::with_capacity(items.len());
        for (name, node) in items {
            match node {
                Node::Leaf { mode, oid } => lines.push((name.as_slice(), *mode, *oid)),
                Node::Folder(folder) => {
                    lines.extend(folder.write(written)?.map(|oid| (name.as_slice(), FOLDER, oid)));
                }
            }
        }
        if lines.is_empty() {
            return Ok(None);
        }
        encode(&lines, written).map(Some)
    }
}

fn read(tree: &Tree<'_>) -> BTreeMap<Vec<u8>, Node> {
    let node = |item: &git2::TreeEntry<'_>| match item.kind() {
        Some(ObjectType::Tree) => Node::Folder(Folder { original: Some(item.id()), ..Folder::default() }),
        _ => Node::Leaf { mode: item.filemode(), oid: item.id() },
    };
    tree.iter().map(|item| (item.name_bytes().to_vec(), node(&item))).collect()
}

/// A folder as git stores it. Format: git, `Documentation/gitformat-pack`, "tree"; the order is that of names,
/// a folder's as if it ended in `/`.
fn encode(lines: &[(&[u8], i32, Oid)], written: &mut Vec<NewObject>) -> Result<Oid, git2::Error> {
    let mut lines: Vec<_> = lines.to_vec();
    let key = |line: &(&[u8], i32, Oid)| {
        let mut key = line.0.to_vec();
        if line.1 == FOLDER {
            key.push(b'/');
        }
        key
    };
    lines.sort_by_cached_key(key);
    let mut text = Vec::with_capacity(lines.len() * 48);
    for (name, mode, oid) in lines {
        text.extend_from_slice(format!("{mode:o} ").as_bytes());
        text.extend_from_slice(name);
        text.push(0);
        text.extend_from_slice(oid.as_bytes());
    }
    let object = NewObject::of(ObjectType::Tree, text.into())?;
    let oid = object.oid;
    written.push(object);
    Ok(oid)
}
