//! The border: which requests are let in at all.
//!
//! Two parsers that read one message differently are how requests are smuggled, so whatever can be
//! read in two ways is refused, and what is passed on is framed anew. hyper already refuses bare CR,
//! control characters, folded lines and lengths that disagree; `framing` sees two framings; this is
//! the rest.

use std::borrow::Cow;
use std::net::IpAddr;

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Version};
use hyper::ext::Protocol;

/// Why a request is refused, in words for whoever sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused(pub &'static str);

/// What `framing` found.
pub(crate) const TWO_FRAMINGS: Refused = Refused("The request says in two ways where it ends");

/// Checks a request and normalises it: afterwards exactly one valid `Host` is in its headers.
/// `None` is a request of HTTP/1.0 without a host, such as a health check of a load balancer.
pub(crate) fn vet(parts: &mut Parts) -> Result<Option<Box<str>>, Refused> {
    if parts.method == Method::CONNECT && !is_websocket(parts) {
        return Err(Refused("CONNECT is for websockets over HTTP/2 only"));
    }
    check_target(parts)?;
    check_framing(&mut parts.headers, parts.version)?;
    check_host(parts)
}

/// Whether HTTP/2 asks for a websocket (RFC 8441 §4).
pub(crate) fn is_websocket(parts: &Parts) -> bool {
    parts.method == Method::CONNECT
        && parts.version == Version::HTTP_2
        && parts.extensions.get::<Protocol>().is_some_and(|protocol| protocol.as_str() == "websocket")
}

/// The host to look up: lower case, without port and trailing dot.
pub(crate) fn host_name(authority: &str) -> Option<Cow<'_, str>> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let end = rest.find(']')?;
            let after = &rest[end + 1..];
            let port = if after.is_empty() { "" } else { after.strip_prefix(':')? };
            rest[..end].parse::<std::net::Ipv6Addr>().ok()?;
            (&authority[..end + 2], port)
        }
        None => {
            let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
            let label = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
            if !host.bytes().all(label) {
                return None;
            }
            let host = host.strip_suffix('.').unwrap_or(host);
            if host.split('.').any(str::is_empty) {
                return None;
            }
            (host, port)
        }
    };
    if host.is_empty() || host.len() > 253 || port.len() > 5 || !port.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(if host.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    })
}

/// Whether a normalised host is an address rather than a name.
pub(crate) fn is_address(host: &str) -> bool {
    host.starts_with('[') || host.parse::<IpAddr>().is_ok()
}

fn check_target(parts: &Parts) -> Result<(), Refused> {
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    if !target.bytes().all(|b| (0x21..=0x7e).contains(&b)) {
        return Err(Refused("The request target has characters that must be percent-encoded"));
    }
    let asterisk = target == "*" && parts.method == Method::OPTIONS;
    if !target.starts_with('/') && !asterisk {
        return Err(Refused("The request target must be a path"));
    }
    if let Some(scheme) = parts.uri.scheme_str()
        && scheme != "http"
        && scheme != "https"
    {
        return Err(Refused("The request target has a scheme other than http or https"));
    }
    Ok(())
}

fn check_framing(headers: &mut HeaderMap, version: Version) -> Result<(), Refused> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let length = lengths.next();
    if lengths.next().is_some() {
        return Err(Refused("There is more than one Content-Length"));
    }
    if length.is_some_and(|value| value.is_empty() || !value.as_bytes().iter().all(u8::is_ascii_digit)) {
        return Err(Refused("Content-Length is not a number"));
    }
    let mut encodings = headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(encoding) = encodings.next() {
        if version != Version::HTTP_11 || length.is_some() || encodings.next().is_some() {
            return Err(Refused("Transfer-Encoding is ambiguous"));
        }
        if !encoding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Err(Refused("The only Transfer-Encoding that is understood is chunked"));
        }
    }
    // Leading zeros are allowed, and read as octal by some.
    if let Some(zeros) = length.filter(|value| value.len() > 1 && value.as_bytes()[0] == b'0') {
        let digits = zeros.to_str().unwrap_or_default().trim_start_matches('0');
        let digits = HeaderValue::from_str(if digits.is_empty() { "0" } else { digits });
        headers.insert(CONTENT_LENGTH, digits.map_err(|_| Refused("Content-Length is not a number"))?);
    }
    Ok(())
}

fn check_host(parts: &mut Parts) -> Result<Option<Box<str>>, Refused> {
    const INVALID: Refused = Refused("The Host header is not a valid host name");
    let mut hosts = parts.headers.get_all(HOST).iter();
    let header = hosts.next();
    if hosts.next().is_some() {
        return Err(Refused("There is more than one Host header"));
    }
    let from_header = match header {
        Some(value) => Some(value.to_str().ok().and_then(host_name).ok_or(INVALID)?),
        None => None,
    };
    let Some(authority) = parts.uri.authority() else {
        return match from_header {
            Some(host) => Ok(Some(host.into())),
            None if parts.version < Version::HTTP_11 => Ok(None),
            None => Err(Refused("There is no Host header")),
        };
    };
    let host = host_name(authority.as_str()).ok_or(INVALID)?;
    if from_header.is_some_and(|header| header != host) {
        return Err(Refused("The Host header and the request target name different hosts"));
    }
    let host = host.into();
    let value = HeaderValue::from_str(authority.as_str()).map_err(|_| INVALID)?;
    parts.headers.insert(HOST, value);
    Ok(Some(host))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn hosts_lose_case_port_and_trailing_dot() {
        for (authority, host) in [
            ("alice-demo.localhost", Some("alice-demo.localhost")),
            ("Alice-Demo.LocalHost:8080", Some("alice-demo.localhost")),
            ("alice-demo.localhost.:80", Some("alice-demo.localhost")),
            ("127.0.0.1:8080", Some("127.0.0.1")),
            ("[::1]:8080", Some("[::1]")),
            ("[::1]", Some("[::1]")),
            ("", None),
            (".", None),
            ("a..", None),
            (".a", None),
            ("a b", None),
            ("a@b", None),
            ("a/b", None),
            ("a:b", None),
            ("a:1:2", None),
            ("[::1]x", None),
            ("[nonsense]", None),
            ("a:123456", None),
        ] {
            assert_eq!(host_name(authority).as_deref(), host, "{authority:?}");
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        let check = |request: Request<()>| vet(&mut request.into_parts().0);
        let ok = Request::get("/a?b=c").header("host", "a").body(()).unwrap();
        assert_eq!(check(ok), Ok(Some("a".into())));
        for (name, request) in [
            ("two hosts", Request::get("/").header("host", "a").header("host", "a")),
            ("no host", Request::get("/")),
            ("bad host", Request::get("/").header("host", "a,b")),
            ("other host in target", Request::get("http://b/").header("host", "a")),
            ("user in target", Request::get("http://x@a/").header("host", "a")),
            ("connect", Request::connect("a:80").header("host", "a:80")),
            ("non-ascii target", Request::get("/\u{e9}").header("host", "a")),
            (
                "two lengths",
                Request::post("/").header("host", "a").header("content-length", "1").header("content-length", "1"),
            ),
            ("signed length", Request::post("/").header("host", "a").header("content-length", "+1")),
            ("gzip, chunked", Request::post("/").header("host", "a").header("transfer-encoding", "gzip, chunked")),
            (
                "two encodings",
                Request::post("/")
                    .header("host", "a")
                    .header("transfer-encoding", "chunked")
                    .header("transfer-encoding", "chunked"),
            ),
            (
                "length and encoding",
                Request::post("/")
                    .header("host", "a")
                    .header("transfer-encoding", "chunked")
                    .header("content-length", "1"),
            ),
        ] {
            assert!(check(request.body(()).unwrap()).is_err(), "{name}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_normalised_host_is_its_own_normal_form(authority in "\\PC{0,40}|[a-zA-Z0-9.:\\[\\]-]{0,40}") {
            if let Some(host) = host_name(&authority) {
                proptest::prop_assert!(!host.bytes().any(|b| b.is_ascii_uppercase() || b <= b' ' || b == b'/' || b == b'@'));
                let again = host_name(&host);
                proptest::prop_assert_eq!(again.as_deref(), Some(&*host));
            }
        }
    }
}
