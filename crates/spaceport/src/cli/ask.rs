//! Questions before what cannot be undone.

use std::io::IsTerminal;

use super::error::{CliError, Kind};

/// Asks a person to type the name of what goes; a script must say `--yes`.
pub(super) fn confirm(name: &str, what: &str) -> Result<(), CliError> {
    if !std::io::stdin().is_terminal() {
        return Err(CliError::new(Kind::Usage, format!("deleting {name} needs --yes when nobody can be asked")));
    }
    eprint!("Delete {name} {what}? Type its name: ");
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    if read.is_ok() && answer.trim() == name {
        return Ok(());
    }
    Err(CliError::failed("nothing was deleted"))
}
