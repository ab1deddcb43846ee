//! The hub's web page: one page application, embedded with the feature `embed-web`; a plain page
//! without it, so that the server builds without Node.

use axum::body::Body;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};

/// Own scripts, styles and API only; apps are shown in frames from their own origins. No page may
/// frame the hub, since it acts with the visitor's rights.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     font-src 'self'; connect-src 'self'; frame-src http: https:; manifest-src 'self'; base-uri 'none'; \
     form-action 'self'; frame-ancestors 'none'";

/// A page of the hub or one of its files.
pub async fn get_page(uri: Uri) -> Response {
    let path = uri.path().trim_start_matches('/');
    let (status, kind, cache, body) = match file(path) {
        Some((kind, body)) => {
            // The names of built files carry a hash of their content.
            let hashed = path.starts_with("assets/");
            let cache = if hashed { "public, max-age=31536000, immutable" } else { "no-cache" };
            (StatusCode::OK, kind, cache, body)
        }
        None => (StatusCode::OK, "text/html; charset=utf-8".to_owned(), "no-cache", index()),
    };
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    set(CONTENT_TYPE, &kind);
    set(CACHE_CONTROL, cache);
    set(CONTENT_SECURITY_POLICY, POLICY);
    set(X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(REFERRER_POLICY, "same-origin");
    response
}

/// Whether a path is one of the web page's files, so that an unknown one is a 404 and not the page.
pub(crate) fn is_file_path(path: &str) -> bool {
    path.starts_with("/assets/") || path.rsplit('/').next().is_some_and(|name| name.contains('.'))
}

/// Whether there is such a file.
pub(crate) fn has_file(path: &str) -> bool {
    file(path.trim_start_matches('/')).is_some()
}

#[cfg(feature = "embed-web")]
mod embedded {
    /// What `npm run build` made.
    #[derive(rust_embed::RustEmbed)]
    #[folder = "../../web/dist"]
    pub(super) struct Files;
}

#[cfg(feature = "embed-web")]
fn file(path: &str) -> Option<(String, Body)> {
    let file = embedded::Files::get(path)?;
    let kind = match file.metadata.mimetype() {
        text if text.starts_with("text/") && !text.contains("charset") => format!("{text}; charset=utf-8"),
        other => other.to_owned(),
    };
    Some((kind, Body::from(file.data)))
}

#[cfg(feature = "embed-web")]
fn index() -> Body {
    file("index.html").map_or_else(|| Body::from(PLAIN), |(_, body)| body)
}

#[cfg(not(feature = "embed-web"))]
fn file(_: &str) -> Option<(String, Body)> {
    None
}

#[cfg(not(feature = "embed-web"))]
fn index() -> Body {
    Body::from(PLAIN)
}

const PLAIN: &str = "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>Spaceport</title>\n\
     <h1>Spaceport</h1>\n<p>This server was built without its web page. The API is at \
     <a href=\"/api/spaces\">/api/spaces</a>, its description at <a href=\"/api/openapi.json\">/api/openapi.json</a>, \
     and <code>spaceport space list</code> shows the Spaces in a terminal.</p>\n</html>\n";
