//! The forms of single values. Each function takes trimmed text and says what is wrong with it.
//!
//! Versions, paths and ids end up in file names, URLs and arguments of programs, so they are held
//! to the characters their forms need.

use std::time::Duration;

use unicode_segmentation::UnicodeSegmentation;

use super::duration;
use super::read::unknown;
use super::yaml::shorten;
use crate::config::{MAX_STARTUP_TIMEOUT, Preload};
use crate::name;

pub(super) const PYTHON_FORM: &str = "3.8 to 3.15, as `3.x` or `3.x.y`";
pub(super) const PATH_FORM: &str = "a path relative to the repository's root, without `..`";
pub(super) const ID_FORM: &str = "ids of the form `owner/name`";
pub(super) const TIMEOUT_FORM: &str = "a duration such as 30m, 1h or 1h30m, at most 24h";
pub(super) const PRELOAD_FORM: &str = "`owner/name`, `owner/name file1,file2` or `owner/name file1,file2 revision`";

/// Python versions for which base images were ever published and SDKs still work.
const PYTHON_MINORS: std::ops::RangeInclusive<u32> = 8..=15;
const MAX_VERSION_LEN: usize = 64;
const MAX_PATH_LEN: usize = 1024;

pub(super) fn any(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("an empty entry".to_owned()) } else { Ok(text.to_owned()) }
}

pub(super) fn command(text: &str) -> Result<String, String> {
    // A NUL cannot be part of an argument of a program.
    if text.contains('\0') { Err("holds a NUL character".to_owned()) } else { Ok(text.to_owned()) }
}

pub(super) fn emoji(text: &str) -> Result<String, String> {
    let count = text.graphemes(true).take(2).count();
    // Letters of all common scripts lie below; `©`, `®` and the keycaps are emoji nevertheless.
    let symbol = text.chars().any(|c| c >= '\u{2000}' || matches!(c, '©' | '®'));
    match (count, symbol) {
        (1, true) => Ok(text.to_owned()),
        (1, false) => Err(format!("`{}` is not an emoji", shorten(text))),
        _ => Err(format!("`{}` is more than one emoji", shorten(text))),
    }
}

pub(super) fn number(text: &str, least: u32, most: u32) -> Result<u32, String> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse() {
        Ok(number) if digits && (least..=most).contains(&number) => Ok(number),
        _ => Err(format!("`{}` is not a number from {least} to {most}", shorten(text))),
    }
}

pub(super) fn port(text: &str) -> Result<u16, String> {
    let port = number(text, 1, u16::MAX.into())?;
    u16::try_from(port).map_err(|_| unknown(text))
}

/// A released version by PEP 440, without epoch: `5.49.1`, `6.0.0b2`, `5.0.0.dev3`, `5.0+local`.
pub(super) fn sdk_version(text: &str) -> Result<String, String> {
    let version = text.strip_prefix("==").unwrap_or(text).trim_start();
    let version = version.strip_prefix('v').unwrap_or(version);
    let wrong = || format!("`{}` is not a version", shorten(text));
    let (public, local) = version.split_once('+').unwrap_or((version, "0"));
    let local_ok = !local.is_empty() && local.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.');
    if version.len() > MAX_VERSION_LEN || !local_ok {
        return Err(wrong());
    }
    let suffix = public.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(public.len());
    let (release, suffix) = public.split_at(suffix);
    // `1.0.dev1`: the dot belongs to the suffix.
    let release = if suffix.is_empty() { release } else { release.trim_end_matches('.') };
    let release_ok = release.split('.').all(|part| !part.is_empty());
    let mut rest = suffix;
    while !rest.is_empty() {
        let word = ["a", "b", "rc", "post", "dev", "alpha", "beta", "c"];
        let trimmed = rest.trim_start_matches(['.', '-', '_']);
        let letters = trimmed.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(trimmed.len());
        let (name, tail) = trimmed.split_at(letters);
        if !word.contains(&name) {
            return Err(wrong());
        }
        rest = tail.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    if release_ok { Ok(version.to_owned()) } else { Err(wrong()) }
}

pub(super) fn python_version(text: &str) -> Result<String, String> {
    let parts: Vec<&str> = text.split('.').collect();
    let small = |part: &&str| (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    let wrong = || format!("`{}` is not a Python version that can be had", shorten(text));
    let (3.., [major, minor, ..]) = (text.len(), parts.as_slice()) else { return Err(wrong()) };
    if parts.len() > 3 || !parts.iter().all(small) || *major != "3" || (minor.len() > 1 && minor.starts_with('0')) {
        return Err(wrong());
    }
    match minor.parse() {
        Ok(number) if PYTHON_MINORS.contains(&number) => Ok(text.to_owned()),
        // What is left of `3.10` after a tool has taken it for a number.
        Ok(1) => Err(format!("`{}` is not a Python version that can be had; is `\"3.10\"` meant?", shorten(text))),
        _ => Err(wrong()),
    }
}

/// A path in the repository; `./` in front is dropped.
pub(super) fn relative_path(text: &str) -> Result<String, String> {
    let shown = shorten(text);
    let path = text.strip_prefix("./").unwrap_or(text);
    if path.starts_with('/') {
        return Err(format!("`{shown}` is an absolute path"));
    }
    if path.len() > MAX_PATH_LEN || path.contains('\\') || path.chars().any(char::is_control) {
        return Err(format!("`{shown}` is not a path with `/` between its parts"));
    }
    match path.split('/').find(|part| matches!(*part, "" | "." | "..") || part.eq_ignore_ascii_case(".git")) {
        Some(part) => Err(format!("`{shown}` is not a plain path: it has the part `{part}`")),
        None => Ok(path.to_owned()),
    }
}

pub(super) fn base_path(text: &str) -> Result<String, String> {
    // `//host` and `/\host` would lead to another site.
    let elsewhere = text.starts_with("//") || text.contains('\\');
    let plain = !text.chars().any(|c| c.is_control() || c.is_whitespace());
    let ok = text.starts_with('/') && !elsewhere && plain && text.len() <= MAX_PATH_LEN;
    if ok { Ok(text.to_owned()) } else { Err(unknown(text)) }
}

pub(super) fn thumbnail(text: &str) -> Result<String, String> {
    let lower = text.to_ascii_lowercase();
    let plain = !text.chars().any(|c| c.is_control() || c.is_whitespace());
    if lower.starts_with("https://") || lower.starts_with("http://") {
        return if plain { Ok(text.to_owned()) } else { Err(unknown(text)) };
    }
    if text.contains(':') { Err(unknown(text)) } else { relative_path(text) }
}

/// `owner/name`, or a name from the time before owners, such as `gpt2`.
pub(super) fn repo_id(text: &str) -> Result<String, String> {
    let parts: Vec<&str> = text.split('/').collect();
    let valid = parts.len() <= 2 && parts.iter().all(|part| name::check_part(part).is_ok());
    if valid { Ok(text.to_owned()) } else { Err(format!("`{}` is not a repository id", shorten(text))) }
}

pub(super) fn account(text: &str) -> Result<String, String> {
    name::check_part(text).map(|()| text.to_owned()).map_err(|_| unknown(text))
}

pub(super) fn startup_timeout(text: &str) -> Result<Duration, String> {
    let shown = shorten(text);
    match duration::parse(text) {
        Ok(timeout) if timeout <= MAX_STARTUP_TIMEOUT => Ok(timeout),
        Ok(_) | Err(duration::InvalidDuration::TooLong) => Err(format!("`{shown}` is longer than 24 hours")),
        Err(error) => Err(format!("`{shown}` is {error}")),
    }
}

/// `"repo [file1,file2] [commit]"`.
pub(super) fn preload(text: &str) -> Result<Preload, String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let (repo, files, revision) = match words.as_slice() {
        [repo] => (repo, None, None),
        [repo, files] => (repo, Some(files), None),
        [repo, files, revision] => (repo, Some(files), Some(revision)),
        _ => return Err(format!("`{}` has {} parts", shorten(text), words.len())),
    };
    let repo = repo_id(repo)?;
    let files = files.map(|files| files.split(',').map(relative_path).collect()).transpose()?.unwrap_or_default();
    let revision = revision.map(|revision| self::revision(revision)).transpose()?;
    Ok(Preload { repo, files, revision })
}

/// A branch, tag or commit. Specification: git-check-ref-format(1), and never an option.
fn revision(text: &str) -> Result<String, String> {
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/'));
    let odd = text.starts_with(['-', '/', '.']) || text.ends_with(['/', '.']) || text.contains("..");
    if plain && !odd { Ok(text.to_owned()) } else { Err(format!("`{}` is not a revision", shorten(text))) }
}
