//! The hooks of a push: where git asks what it may do and tells what it did.
//!
//! A hook runs at the only moment that matters: after the objects are there and before a ref moves, inside git's
//! own transaction. `pre-receive` decides nothing itself. It hands the list of refs to the server, which waits for it,
//! and passes the answer on; see [`crate::gate`]. Hooks are written when the server starts, so that they fit its
//! version.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use crate::GitError;

/// The folder through which the hook asks.
pub(crate) const GATE: &str = "SPACEPORT_GATE";
/// What to print after `main` moved.
pub(crate) const ON_MAIN: &str = "SPACEPORT_ON_MAIN";
/// What to print after other refs moved only.
pub(crate) const ON_OTHER: &str = "SPACEPORT_ON_OTHER";
/// The file to which moved refs are written.
pub(crate) const REPORT: &str = "SPACEPORT_REPORT";

/// In the folder of the gate: what is pushed.
pub(crate) const PUSHED: &str = "pushed";
/// A pipe: the question.
pub(crate) const ASK: &str = "ask";
/// A pipe: the answer.
pub(crate) const ANSWER: &str = "answer";
/// What the user is told.
pub(crate) const MESSAGES: &str = "messages";
/// The answer that lets a push through.
pub(crate) const ACCEPTED: &str = "accepted";

const PRE_RECEIVE: &str = r#"#!/bin/sh
# Asks the server whether a push is accepted. Standard error reaches the user.
gate=$SPACEPORT_GATE
{ printf '%s\n' "$GIT_QUARANTINE_PATH" && cat; } >"$gate/pushed" || exit 1
# Should the server die at this moment, nobody answers.
limit=
command -v timeout >/dev/null && limit="timeout 1200"
answer=$($limit sh -c 'echo asked >"$1/ask" && read -r answer <"$1/answer" && echo "$answer"' ask "$gate")
[ ! -s "$gate/messages" ] || cat "$gate/messages" >&2
[ "$answer" = accepted ]
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
        place(&folder.join(name), text, 0o755).map_err(GitError::io("write the hooks"))?;
    }
    Ok(())
}

/// Writes a file in one step. A new file and a rename: another server may be running the hook at this moment, and a
/// file that is open for writing cannot be executed.
pub(crate) fn place(path: &Path, text: &str, mode: u32) -> std::io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    drop(file);
    fs::rename(&temporary, path)
}
