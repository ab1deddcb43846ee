//! Files of a repository as answers: headers, parts, and what keeps a stranger's file from acting
//! as the hub.
//!
//! Files come from the hub's own origin. A page among them would run with the rights of whoever
//! looks at it, so text of every kind is sent as plain text, nothing may be guessed, and what a
//! browser shows anyway is in a sandbox that may load nothing. Hub: the same.

use axum::body::Body;
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_SECURITY_POLICY,
    CONTENT_TYPE, ETAG, HeaderName, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use spaceport_core::{CommitSha, Repo};
use spaceport_git::Entry;

use crate::error::{ApiError, X_REPO_COMMIT};
use crate::files::range::{Wanted, is_known, wanted};

/// The id of a large file, for clients that compare it with their own copy.
const X_LINKED_ETAG: HeaderName = HeaderName::from_static("x-linked-etag");
/// The size of a large file.
const X_LINKED_SIZE: HeaderName = HeaderName::from_static("x-linked-size");
const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
/// What stays as it is in `filename*`. Specification: RFC 8187 §3.2.1, `attr-char`.
const NAME: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What is sent of a file.
pub(super) struct Served {
    /// The file.
    pub entry: Entry,
    /// The commit it was found at.
    pub commit: CommitSha,
    /// Whether the content of a large file is meant, and not its pointer.
    pub content: bool,
    /// Whether a browser shall save it.
    pub attachment: bool,
}

/// What an answer has as body.
pub(super) enum Answer {
    /// Nothing: the headers say it all.
    Head(Response),
    /// These bytes, to be put into the answer.
    Bytes(Response, std::ops::Range<u64>),
}

impl Served {
    /// Its bytes.
    pub(super) fn size(&self) -> u64 {
        match &self.entry.lfs {
            Some(pointer) if !self.content => pointer.pointer_size,
            _ => self.entry.size,
        }
    }

    /// Its id: that of its content.
    fn tag(&self) -> String {
        match &self.entry.lfs {
            Some(pointer) if self.content => format!("\"{}\"", pointer.object.sha256),
            _ => format!("\"{}\"", self.entry.oid),
        }
    }

    /// The answer without its body.
    ///
    /// # Errors
    /// 416 when none of the bytes asked for exist.
    pub(super) fn answer(&self, repo: &Repo, asked: &HeaderMap, is_head: bool) -> Result<Answer, ApiError> {
        let (size, tag) = (self.size(), self.tag());
        let mut response = StatusCode::OK.into_response();
        let headers = response.headers_mut();
        let mut set = |name: HeaderName, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        };
        set(X_REPO_COMMIT, self.commit.as_str());
        set(ETAG, &tag);
        if self.content
            && let Some(pointer) = &self.entry.lfs
        {
            set(X_LINKED_ETAG, &tag);
            set(X_LINKED_SIZE, &pointer.object.size.to_string());
        }
        set(ACCEPT_RANGES, "bytes");
        // A branch moves on, so a copy is asked about each time; a private file stays out of
        // caches that others share.
        let public = repo.visibility == spaceport_core::space::Visibility::Public;
        set(CACHE_CONTROL, if public { "no-cache" } else { "private, no-cache" });
        set(CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox");
        set(X_CONTENT_TYPE_OPTIONS, "nosniff");
        set(CROSS_ORIGIN_RESOURCE_POLICY, "cross-origin");
        if is_known(asked, &tag) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return Ok(Answer::Head(response));
        }
        set(CONTENT_TYPE, media_type(&self.entry.path));
        set(CONTENT_DISPOSITION, &disposition(&self.entry.path, self.attachment));
        let (status, part) = match wanted(asked, size, &tag) {
            // A HEAD tells of the file, whatever part will be asked for.
            _ if is_head => (StatusCode::OK, 0..size),
            Wanted::Whole => (StatusCode::OK, 0..size),
            Wanted::Part(part) => {
                set(CONTENT_RANGE, &format!("bytes {}-{}/{size}", part.start, part.end - 1));
                (StatusCode::PARTIAL_CONTENT, part)
            }
            Wanted::Nothing => return Err(ApiError::no_range(size).at_commit(&self.commit)),
        };
        set(CONTENT_LENGTH, &(part.end - part.start).to_string());
        *response.status_mut() = status;
        if is_head {
            *response.body_mut() = Body::empty();
            return Ok(Answer::Head(response));
        }
        Ok(Answer::Bytes(response, part))
    }
}

/// What a browser may take a file for. Anything that is text, or could be more than a picture, a
/// sound or a document, is plain text or unknown.
fn media_type(path: &str) -> &'static str {
    let name = path.rsplit('/').next().unwrap_or(path);
    let extension = name.rsplit_once('.').filter(|(stem, _)| !stem.is_empty()).map(|(_, extension)| extension);
    // `README`, `.gitattributes`.
    let Some(extension) = extension else { return "text/plain; charset=utf-8" };
    let guess = mime_guess::from_ext(extension).first_raw().unwrap_or("application/octet-stream");
    let (kind, sort) = guess.split_once('/').unwrap_or(("", ""));
    let is_text = kind == "text"
        || matches!(sort, "json" | "xml" | "javascript" | "x-javascript" | "toml" | "yaml" | "x-yaml" | "x-sh")
        || sort.ends_with("+json")
        || (sort.ends_with("+xml") && sort != "svg+xml")
        || matches!(extension, "jsonl" | "ndjson" | "toml" | "yml" | "yaml" | "lock" | "cfg" | "ini" | "ipynb");
    match kind {
        _ if is_text => "text/plain; charset=utf-8",
        "image" | "audio" | "video" | "font" => guess,
        _ if sort == "pdf" => guess,
        _ => "application/octet-stream",
    }
}

/// The name under which a browser saves it.
fn disposition(path: &str, attachment: bool) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    let plain: String =
        name.chars().map(|c| if matches!(c, ' '..='~') && !matches!(c, '"' | '\\') { c } else { '_' }).collect();
    let how = if attachment { "attachment" } else { "inline" };
    format!("{how}; filename*=UTF-8''{}; filename=\"{plain}\";", utf8_percent_encode(name, NAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_stranger_is_a_page() {
        for path in
            ["a/index.html", "x.xhtml", "x.js", "x.css", "x.md", "x.json", "x.xml", "LICENSE", ".gitignore", "x.py"]
        {
            assert_eq!(media_type(path), "text/plain; charset=utf-8", "{path}");
        }
        for (path, kind) in [
            ("a.png", "image/png"),
            ("a.SVG", "image/svg+xml"),
            ("a.wav", "audio/wav"),
            ("a.pdf", "application/pdf"),
            ("model.safetensors", "application/octet-stream"),
            ("a.swf", "application/octet-stream"),
            ("a.unknown", "application/octet-stream"),
        ] {
            assert_eq!(media_type(path), kind, "{path}");
        }
    }

    #[test]
    fn names_are_quoted() {
        assert_eq!(disposition("a/b c.txt", false), "inline; filename*=UTF-8''b%20c.txt; filename=\"b c.txt\";");
        assert_eq!(
            disposition("ü\"\\\n.txt", true),
            "attachment; filename*=UTF-8''%C3%BC%22%5C%0A.txt; filename=\"____.txt\";"
        );
    }
}
