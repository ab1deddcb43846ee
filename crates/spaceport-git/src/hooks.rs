//! The policy of a push, as git hooks.
//!
//! Hooks run at the only moment that matters: after the objects are there and before a ref moves,
//! inside git's own transaction. Checking in Rust would need a parser of the pack protocol, or would
//! come after the fact. They are shell, with git as their only tool, and written when the server
//! starts, so that they fit its version.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use crate::GitError;

/// The largest file in bytes.
pub(crate) const MAX_FILE_BYTES: &str = "SPACEPORT_MAX_FILE_BYTES";
/// What to print after `main` moved.
pub(crate) const ON_MAIN: &str = "SPACEPORT_ON_MAIN";
/// What to print after other refs moved only.
pub(crate) const ON_OTHER: &str = "SPACEPORT_ON_OTHER";
/// The file to which moved refs are written.
pub(crate) const REPORT: &str = "SPACEPORT_REPORT";

const PRE_RECEIVE: &str = r#"#!/bin/sh
# Decides whether a push is accepted. Standard error reaches the user.
zero=0000000000000000000000000000000000000000
refused=
new_ids=
while read -r old new ref; do
    case "$ref" in
    refs/heads/main)
        if [ "$new" = "$zero" ]; then
            echo "The branch main cannot be deleted: it is what the Space is made from." >&2
            refused=1
        fi ;;
    refs/heads/* | refs/tags/*) ;;
    *)
        echo "The ref $ref cannot be pushed: only branches (refs/heads/) and tags (refs/tags/) can." >&2
        refused=1 ;;
    esac
    [ "$new" = "$zero" ] || new_ids="$new_ids $new"
done
[ -z "$refused" ] || exit 1
[ -n "$new_ids" ] || exit 0
large=$(
    printf '%s\n' $new_ids |
    git rev-list --objects --stdin --not --all |
    git cat-file --batch-check='%(objecttype) %(objectsize) %(rest)' |
    while read -r type size path; do
        if [ "$type" = blob ] && [ "$size" -gt "$SPACEPORT_MAX_FILE_BYTES" ]; then
            echo "The file $path has $size bytes; at most $SPACEPORT_MAX_FILE_BYTES are allowed."
        fi
    done
)
if [ -n "$large" ]; then
    printf '%s\n' "$large" | head -n 20 >&2
    echo "Remove large files from the pushed commits (git commit --amend, git filter-repo) and push again." >&2
    exit 1
fi
exit 0
"#;

const POST_RECEIVE: &str = r#"#!/bin/sh
# Reports what moved to the server, and where to look to the user.
trap '' HUP PIPE
main=
while read -r old new ref; do
    printf '%s %s %s\n' "$old" "$new" "$ref" >>"$SPACEPORT_REPORT"
    [ "$ref" = refs/heads/main ] && main=1
done
if [ -n "$main" ]; then text=$SPACEPORT_ON_MAIN; else text=$SPACEPORT_ON_OTHER; fi
[ -z "$text" ] || printf '%s\n' "$text" >&2
exit 0
"#;

/// Writes the hooks into `folder`.
pub(crate) fn install(folder: &Path) -> Result<(), GitError> {
    fs::create_dir_all(folder).map_err(GitError::io("create the folder of the hooks"))?;
    for (name, text) in [("pre-receive", PRE_RECEIVE), ("post-receive", POST_RECEIVE)] {
        // A new file and a rename: another server may be running the hook at this moment, and a
        // file that is open for writing cannot be executed.
        let temporary = folder.join(format!(".{name}.{}", std::process::id()));
        let write = || {
            let mut file =
                fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o755).open(&temporary)?;
            file.write_all(text.as_bytes())?;
            file.set_permissions(fs::Permissions::from_mode(0o755))?;
            drop(file);
            fs::rename(&temporary, folder.join(name))
        };
        write().map_err(GitError::io("write the hooks"))?;
    }
    Ok(())
}
