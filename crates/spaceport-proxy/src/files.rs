//! Static Spaces: files without a container.
//!
//! The protocol of one representation (conditions, ranges, HEAD) is `http-serve`'s, chosen over
//! `tower-http`'s `ServeDir`, which has no entity tags, cannot change a document on the way and
//! follows links out of the folder. Ours is what is served: which file, in which coding, and the
//! variables in documents.

mod compress;
mod inject;
mod open;
mod source;

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RANGE, VARY,
};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use sha2::{Digest, Sha256};
use spaceport_core::route::Route;

use self::compress::Coding;
use self::open::{Found, Opened};
use self::source::Representation;
use crate::answers;
use crate::body::ProxyBody;
use crate::worker::Worker;

pub(crate) use self::compress::Compressed;

/// Documents up to this size get the variables; larger ones are data, not pages.
const MAX_DOCUMENT: u64 = 8 << 20;
/// Files of this size are compressed; smaller ones do not gain, larger ones cost too much at once.
const COMPRESSED_SIZES: std::ops::RangeInclusive<u64> = 256..=16 << 20;

/// Answers a request for a file below `root`.
pub(crate) async fn serve(
    worker: &Rc<Worker>,
    route: &Route,
    root: &Path,
    index: &str,
    variables: &BTreeMap<String, String>,
    parts: &Parts,
) -> Response<ProxyBody> {
    if parts.method != Method::GET && parts.method != Method::HEAD {
        return answers::method_not_allowed();
    }
    let page = answers::wants_page(parts);
    let found = open::find(root, parts.uri.path(), index).await;
    let result = match found {
        Ok(Found::File(file)) => respond(worker, root, variables, file, parts, false).await,
        Ok(Found::Folder) => return to_folder(parts),
        Ok(Found::Nothing) => match open::find(root, "/404.html", index).await {
            Ok(Found::File(file)) => respond(worker, root, variables, file, parts, true).await,
            Ok(_) => return answers::no_file(route, page),
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    };
    result.unwrap_or_else(|error| {
        tracing::error!(space.id = %route.space, error = &error as &dyn std::error::Error, "a static file cannot be read");
        answers::file_failed(route, page)
    })
}

async fn respond(
    worker: &Rc<Worker>,
    root: &Path,
    variables: &BTreeMap<String, String>,
    file: Opened,
    parts: &Parts,
    missing: bool,
) -> std::io::Result<Response<ProxyBody>> {
    let (mime, is_document) = content_type(&file.name);
    let is_document = is_document && file.len <= MAX_DOCUMENT;
    let compressible = compress::is_compressible(mime.as_bytes()) && COMPRESSED_SIZES.contains(&file.len);
    // A range is of the file as it is: compressed, its bytes would be of no use to the client.
    let coding = if compressible && !parts.headers.contains_key(RANGE) {
        Coding::negotiate(parts.headers.get_all(ACCEPT_ENCODING).iter())
    } else {
        Coding::Identity
    };
    let script = is_document.then(|| inject::script(variables));
    let tag = entity_tag(root, &file, script.as_deref(), coding);
    let content = match (&script, coding) {
        (None, Coding::Identity) => None,
        _ => Some(match worker.compressed.get(&tag) {
            Some(bytes) => bytes,
            None => {
                let bytes = prepare(&file, script, coding).await?;
                worker.compressed.put(tag.clone(), bytes.clone());
                bytes
            }
        }),
    };
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(CONTENT_TYPE, mime);
    if let Some(name) = coding.name() {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(name));
    }
    let entity = Representation::new(file, content, tag, headers);
    let mut response = if missing {
        // A page that says "not found" is not the file that was asked for: no condition, no range.
        let plain = Request::builder().method(parts.method.clone()).body(()).unwrap_or_default();
        let mut response = http_serve::serve(entity, &plain);
        *response.status_mut() = StatusCode::NOT_FOUND;
        response
    } else {
        let mut request = Request::new(());
        *request.method_mut() = parts.method.clone();
        *request.headers_mut() = parts.headers.clone();
        http_serve::serve(entity, &request)
    };
    let headers = response.headers_mut();
    // Always ask again: a release replaces all files at once, and the tag makes asking cheap.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(http::header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if compressible {
        headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    }
    Ok(response.map(ProxyBody::file))
}

/// The content as it is sent, when that is not the file as it lies on disk.
async fn prepare(file: &Opened, script: Option<String>, coding: Coding) -> std::io::Result<Bytes> {
    let file = file.file.clone();
    tokio::task::spawn_blocking(move || {
        let mut content = source::read_all(&file)?;
        if let Some(script) = script {
            content = inject::into_document(content, &script);
        }
        coding.encode(content).map(Bytes::from)
    })
    .await
    .map_err(std::io::Error::other)?
}

/// Strong, and without reading the file: the folder is a release and never changes, so it and the
/// file's path, size and time name the content. What we add and how we encode it are part of it.
fn entity_tag(root: &Path, file: &Opened, script: Option<&str>, coding: Coding) -> HeaderValue {
    use std::os::unix::ffi::OsStrExt;
    let mut hash = Sha256::new();
    for part in [
        root.as_os_str().as_bytes(),
        file.name.as_bytes(),
        &file.len.to_le_bytes(),
        &file.modified_ns.to_le_bytes(),
        script.unwrap_or_default().as_bytes(),
    ] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    let mut tag = String::with_capacity(40);
    tag.push('"');
    for byte in &digest[..16] {
        use std::fmt::Write;
        let _ = write!(tag, "{byte:02x}");
    }
    if let Some(name) = coding.name() {
        tag.push('-');
        tag.push_str(name);
    }
    tag.push('"');
    HeaderValue::try_from(tag).unwrap_or(HeaderValue::from_static("\"\""))
}

/// The type by the file's name, and whether it is an HTML document.
fn content_type(name: &str) -> (HeaderValue, bool) {
    let mime = mime_guess::from_path(name).first_or_octet_stream();
    let essence = mime.essence_str();
    let text = mime.type_() == mime_guess::mime::TEXT
        || matches!(essence, "application/javascript" | "application/json" | "application/xml" | "image/svg+xml");
    let value = if text && mime.get_param("charset").is_none() {
        HeaderValue::try_from(format!("{essence}; charset=utf-8"))
    } else {
        HeaderValue::try_from(mime.to_string())
    };
    let value = value.unwrap_or(HeaderValue::from_static("application/octet-stream"));
    (value, essence == "text/html")
}

/// Relative links of a folder's page work only below a slash.
fn to_folder(parts: &Parts) -> Response<ProxyBody> {
    // Two leading slashes would name another host.
    let path = parts.uri.path().trim_start_matches('/');
    let query = parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut response = Response::new(ProxyBody::empty());
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    if let Ok(location) = HeaderValue::try_from(format!("/{path}/{query}")) {
        response.headers_mut().insert(LOCATION, location);
    }
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}
