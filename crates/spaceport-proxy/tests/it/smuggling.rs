//! Requests that two parsers may read differently, sent byte by byte, with an app of raw sockets
//! behind the proxy that reads strictly and writes down what it gets.
//!
//! The classes are those of RFC 9112 §11.2 and of what has been published about request smuggling:
//! lengths against chunks, disguised field names, line ends, chunk lines, hosts, request lines.
//! Whatever the proxy makes of one, the app sees at most one request, in a form that can be read in
//! one way only, and never the one that is hidden in the first.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::support::*;

/// What must become of a request.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Must {
    /// Refused: the app sees nothing of it.
    Refuse,
    /// Broken in the middle: the app may have seen its begin, the client gets no success.
    Break,
    /// Passed on as one request with this target.
    Pass(&'static str),
}
use Must::{Break, Pass, Refuse};

const FIRST: Must = Pass("/first");

/// `{h}` is the right `Host` line, `{HOST}` the host, and `{S}` a request that must not be seen.
const VECTORS: &[(&str, Must, &str)] = &[
    // A length against chunks.
    (
        "length first",
        Refuse,
        "POST /first HTTP/1.1\r\n{h}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{S}",
    ),
    (
        "chunks first",
        Refuse,
        "POST /first HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\n{S}\r\n0\r\n\r\n",
    ),
    (
        "length of nothing beside chunks",
        Refuse,
        "POST /first HTTP/1.1\r\n{h}Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{S}",
    ),
    (
        "chunks between equal lengths",
        Refuse,
        "POST /first HTTP/1.1\r\n{h}Content-Length: 5\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n{S}",
    ),
    (
        "shouted names",
        Refuse,
        "POST /first HTTP/1.1\r\n{h}CONTENT-LENGTH: 5\r\nTRANSFER-ENCODING: CHUNKED\r\n\r\n0\r\n\r\n{S}",
    ),
    (
        "chunks on a line of their own by a bare LF",
        Refuse,
        "POST /first HTTP/1.1\r\n{h}Content-Length: 5\r\nX: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{S}",
    ),
    ("chunks of HTTP/1.0", Refuse, "POST /first HTTP/1.0\r\n{h}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{S}"),
    (
        "length and chunks of a GET",
        Refuse,
        "GET /first HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n{S}",
    ),
    // Lengths.
    (
        "two lengths that differ",
        Refuse,
        "POST /first HTTP/1.1\r\n{h}Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcde{S}",
    ),
    ("two equal lengths", Refuse, "POST /first HTTP/1.1\r\n{h}Content-Length: 5\r\nContent-Length: 5\r\n\r\nabcde{S}"),
    ("a list of equal lengths", Refuse, "POST /first HTTP/1.1\r\n{h}Content-Length: 5, 5\r\n\r\nabcde{S}"),
    ("a list of lengths", Refuse, "POST /first HTTP/1.1\r\n{h}Content-Length: 0, 5\r\n\r\nabcde{S}"),
    ("a length with a sign", Refuse, "POST /first HTTP/1.1\r\n{h}Content-Length: +5\r\n\r\nabcde{S}"),
    ("a negative length", Refuse, "POST /first HTTP/1.1\r\n{h}Content-Length: -5\r\n\r\nabcde{S}"),
    ("a hexadecimal length", Refuse, "POST /first HTTP/1.1\r\n{h}Content-Length: 0x5\r\n\r\nabcde{S}"),
    ("a length with an exponent", Refuse, "POST /first HTTP/1.1\r\n{h}Content-Length: 5e0\r\n\r\nabcde{S}"),
    ("a length with a fraction", Refuse, "POST /first HTTP/1.1\r\n{h}Content-Length: 5.0\r\n\r\nabcde{S}"),
    ("a length with a parameter", Refuse, "POST /first HTTP/1.1\r\n{h}Content-Length: 5;a=b\r\n\r\nabcde{S}"),
    ("a length in quotes", Refuse, "POST /first HTTP/1.1\r\n{h}Content-Length: \"5\"\r\n\r\nabcde{S}"),
    ("a length with a gap", Refuse, "POST /first HTTP/1.1\r\n{h}Content-Length: 5 0\r\n\r\nabcde{S}"),
    ("a length with an underscore", Refuse, "POST /first HTTP/1.1\r\n{h}Content-Length: 1_0\r\n\r\nabcde{S}"),
    ("an empty length", Refuse, "POST /first HTTP/1.1\r\n{h}Content-Length:\r\n\r\n{S}"),
    (
        "a length beyond 64 bits",
        Refuse,
        "POST /first HTTP/1.1\r\n{h}Content-Length: 18446744073709551621\r\n\r\nabcde{S}",
    ),
    ("a length after a vertical tab", Refuse, "POST /first HTTP/1.1\r\n{h}Content-Length:\x0b5\r\n\r\nabcde{S}"),
    ("a length with a NUL", Refuse, "POST /first HTTP/1.1\r\n{h}Content-Length: 5\0\r\n\r\nabcde{S}"),
    (
        "a length with leading zeros",
        FIRST,
        "POST /first HTTP/1.1\r\n{h}Connection: close\r\nContent-Length: 0005\r\n\r\nabcde{S}",
    ),
    (
        "a length amid blanks",
        FIRST,
        "POST /first HTTP/1.1\r\n{h}Connection: close\r\nContent-Length: \t 5 \t\r\n\r\nabcde{S}",
    ),
    (
        "a disguised second length",
        FIRST,
        "POST /first HTTP/1.1\r\n{h}Connection: close\r\nContent_Length: 90\r\nContent-Length: 5\r\n\r\nabcde{S}",
    ),
    (
        "a length that is to be dropped",
        FIRST,
        "POST /first HTTP/1.1\r\n{h}Connection: close, Content-Length\r\nContent-Length: 5\r\n\r\nabcde{S}",
    ),
    ("a body of a GET", FIRST, "GET /first HTTP/1.1\r\n{h}Connection: close\r\nContent-Length: {N}\r\n\r\n{S}"),
    ("a body of a HEAD", FIRST, "HEAD /first HTTP/1.1\r\n{h}Connection: close\r\nContent-Length: {N}\r\n\r\n{S}"),
    ("a body shorter than its length", Break, "POST /first HTTP/1.1\r\n{h}Content-Length: 5000\r\n\r\n{S}"),
    // Disguised encodings.
    ("an unknown encoding", Refuse, "POST /first HTTP/1.1\r\n{h}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{S}"),
    (
        "an encoding after chunked",
        Refuse,
        "POST /first HTTP/1.1\r\n{h}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n{S}",
    ),
    (
        "identity before chunked",
        Refuse,
        "POST /first HTTP/1.1\r\n{h}Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n{S}",
    ),
    ("gzip before chunked", Refuse, "POST /first HTTP/1.1\r\n{h}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n{S}"),
    ("chunked twice", Refuse, "POST /first HTTP/1.1\r\n{h}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n{S}"),
    (
        "chunked on two lines",
        Refuse,
        "POST /first HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{S}",
    ),
    (
        "chunked and then identity",
        Refuse,
        "POST /first HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n{S}",
    ),
    (
        "identity alone",
        Refuse,
        "POST /first HTTP/1.1\r\n{h}Transfer-Encoding: identity\r\nContent-Length: 5\r\n\r\nabcde{S}",
    ),
    ("chunked in quotes", Refuse, "POST /first HTTP/1.1\r\n{h}Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n{S}"),
    (
        "chunked with a parameter",
        Refuse,
        "POST /first HTTP/1.1\r\n{h}Transfer-Encoding: chunked;a=b\r\n\r\n0\r\n\r\n{S}",
    ),
    ("chunked with a comma", Refuse, "POST /first HTTP/1.1\r\n{h}Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n{S}"),
    (
        "chunked after a vertical tab",
        Refuse,
        "POST /first HTTP/1.1\r\n{h}Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n{S}",
    ),
    (
        "chunked after a form feed",
        Refuse,
        "POST /first HTTP/1.1\r\n{h}Transfer-Encoding:\x0cchunked\r\n\r\n0\r\n\r\n{S}",
    ),
    ("chunked with a NUL", Refuse, "POST /first HTTP/1.1\r\n{h}Transfer-Encoding: chunked\0\r\n\r\n0\r\n\r\n{S}"),
    ("an empty encoding", Refuse, "POST /first HTTP/1.1\r\n{h}Transfer-Encoding:\r\nContent-Length: 5\r\n\r\nabcde{S}"),
    (
        "a blank before the colon",
        Refuse,
        "POST /first HTTP/1.1\r\n{h}Content-Length: 5\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n{S}",
    ),
    (
        "a tab before the colon",
        Refuse,
        "POST /first HTTP/1.1\r\n{h}Content-Length: 5\r\nTransfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n{S}",
    ),
    (
        "a line end before the colon",
        Refuse,
        "POST /first HTTP/1.1\r\n{h}Content-Length: 5\r\nTransfer-Encoding\r\n : chunked\r\n\r\n0\r\n\r\n{S}",
    ),
    (
        "a folded encoding",
        Refuse,
        "POST /first HTTP/1.1\r\n{h}Content-Length: 5\r\nX: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{S}",
    ),
    ("a folded value", Refuse, "POST /first HTTP/1.1\r\n{h}Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n{S}"),
    (
        "a first field that is indented",
        Refuse,
        "POST /first HTTP/1.1\r\n Transfer-Encoding: chunked\r\n{h}Content-Length: 5\r\n\r\n0\r\n\r\n{S}",
    ),
    (
        "an encoding behind a bare CR",
        Refuse,
        "POST /first HTTP/1.1\r\n{h}Content-Length: 5\r\nX: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{S}",
    ),
    (
        "an encoding behind a NUL",
        Refuse,
        "POST /first HTTP/1.1\r\n{h}Content-Length: 5\r\nX: y\0Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{S}",
    ),
    (
        "a disguised encoding",
        FIRST,
        "POST /first HTTP/1.1\r\n{h}Connection: close\r\nContent-Length: 5\r\nTransfer_Encoding: chunked\r\n\r\n0\r\n\r\n{S}",
    ),
    (
        "an encoding that is to be dropped",
        FIRST,
        "POST /first HTTP/1.1\r\n{h}Connection: close, Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n{S}",
    ),
    (
        "chunked after a tab",
        FIRST,
        "POST /first HTTP/1.1\r\n{h}Connection: close\r\nTransfer-Encoding:\tchunked\r\n\r\n2\r\nab\r\n0\r\n\r\n{S}",
    ),
    (
        "chunked in capitals",
        FIRST,
        "POST /first HTTP/1.1\r\n{h}Connection: close\r\nTransfer-Encoding: cHuNkEd\r\n\r\n2\r\nab\r\n0\r\n\r\n{S}",
    ),
    // Chunks.
    (
        "a negative chunk",
        Break,
        "POST /first HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\n\r\n-1\r\nab\r\n0\r\n\r\n{S}",
    ),
    (
        "a chunk with a sign",
        Break,
        "POST /first HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\n\r\n+2\r\nab\r\n0\r\n\r\n{S}",
    ),
    (
        "a chunk with a prefix",
        Break,
        "POST /first HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\n\r\n0x2\r\nab\r\n0\r\n\r\n{S}",
    ),
    (
        "a chunk with an underscore",
        Break,
        "POST /first HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\n\r\n0_2\r\nab\r\n0\r\n\r\n{S}",
    ),
    (
        "a chunk behind a blank",
        Break,
        "POST /first HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\n\r\n 2\r\nab\r\n0\r\n\r\n{S}",
    ),
    (
        "a chunk without a size",
        Break,
        "POST /first HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\n\r\n;a=b\r\n\r\n0\r\n\r\n{S}",
    ),
    (
        "a chunk beyond 64 bits",
        Break,
        "POST /first HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\n\r\n10000000000000002\r\nab\r\n0\r\n\r\n{S}",
    ),
    (
        "a size that ends in a bare LF",
        Break,
        "POST /first HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\n\r\n2\nab\r\n0\r\n\r\n{S}",
    ),
    (
        "a size that ends in a bare CR",
        Break,
        "POST /first HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\n\r\n2\rXab\r\n0\r\n\r\n{S}",
    ),
    (
        "an extension with a bare LF",
        Break,
        "POST /first HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\n\r\n2;\nxx\r\nab\r\n0\r\n\r\n{S}",
    ),
    (
        "an extension with a bare CR",
        Break,
        "POST /first HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\n\r\n2;a\rb\r\nab\r\n0\r\n\r\n{S}",
    ),
    (
        "an extension without end",
        Break,
        "POST /first HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\n\r\n2;{LONG}\r\nab\r\n0\r\n\r\n{S}",
    ),
    (
        "data longer than its chunk",
        Break,
        "POST /first HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n{S}",
    ),
    (
        "data that ends in a bare LF",
        Break,
        "POST /first HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\n\r\n2\r\nab\n0\r\n\r\n{S}",
    ),
    (
        "a last chunk with bare LFs",
        Break,
        "POST /first HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\n\n{S}",
    ),
    (
        "a blank before a trailer's colon",
        Break,
        "POST /first HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nX : y\r\n\r\n{S}",
    ),
    (
        "a folded trailer",
        Break,
        "POST /first HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nX: y\r\n z\r\n\r\n{S}",
    ),
    ("chunks that do not end", Break, "POST /first HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\n\r\n{N16}\r\n{S}\r\n"),
    (
        "an extension",
        FIRST,
        "POST /first HTTP/1.1\r\n{h}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nab\r\n0;c\r\n\r\n{S}",
    ),
    (
        "an extension with an open quote",
        FIRST,
        "POST /first HTTP/1.1\r\n{h}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n2;a=\"\r\nab\r\n0\r\n\r\n{S}",
    ),
    (
        "a last chunk of many zeros",
        FIRST,
        "POST /first HTTP/1.1\r\n{h}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n02\r\nab\r\n0000\r\n\r\n{S}",
    ),
    (
        "a length among the trailers",
        FIRST,
        "POST /first HTTP/1.1\r\n{h}Connection: close\r\nTrailer: Content-Length\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nContent-Length: 99\r\n\r\n{S}",
    ),
    (
        "an encoding among the trailers",
        FIRST,
        "POST /first HTTP/1.1\r\n{h}Connection: close\r\nTrailer: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nTransfer-Encoding: gzip\r\n\r\n{S}",
    ),
    // Hosts.
    ("no host", Refuse, "GET /first HTTP/1.1\r\n\r\n{S}"),
    ("an empty host", Refuse, "GET /first HTTP/1.1\r\nHost:\r\n\r\n{S}"),
    ("a host twice", Refuse, "GET /first HTTP/1.1\r\n{h}{h}\r\n{S}"),
    ("two hosts", Refuse, "GET /first HTTP/1.1\r\n{h}Host: other.localhost\r\n\r\n{S}"),
    ("a list of hosts", Refuse, "GET /first HTTP/1.1\r\nHost: {HOST}, other.localhost\r\n\r\n{S}"),
    ("a host with a blank", Refuse, "GET /first HTTP/1.1\r\nHost: {HOST} other\r\n\r\n{S}"),
    ("a host with a path", Refuse, "GET /first HTTP/1.1\r\nHost: {HOST}/other\r\n\r\n{S}"),
    ("a host with a user", Refuse, "GET /first HTTP/1.1\r\nHost: other@{HOST}\r\n\r\n{S}"),
    ("a host with two ports", Refuse, "GET /first HTTP/1.1\r\nHost: {HOST}:80:81\r\n\r\n{S}"),
    ("a host with a name for a port", Refuse, "GET /first HTTP/1.1\r\nHost: {HOST}:http\r\n\r\n{S}"),
    ("a blank before the host's colon", Refuse, "GET /first HTTP/1.1\r\nHost : {HOST}\r\n\r\n{S}"),
    ("a folded host", Refuse, "GET /first HTTP/1.1\r\nHost:\r\n {HOST}\r\n\r\n{S}"),
    ("another host in the target", Refuse, "GET http://other.localhost/first HTTP/1.1\r\n{h}\r\n{S}"),
    ("a user in the target", Refuse, "GET http://other@{HOST}/first HTTP/1.1\r\n{h}\r\n{S}"),
    ("another scheme in the target", Refuse, "GET ftp://{HOST}/first HTTP/1.1\r\n{h}\r\n{S}"),
    ("the same host in the target", FIRST, "GET http://{HOST}/first HTTP/1.1\r\n{h}Connection: close\r\n\r\n{S}"),
    ("the same host by https", FIRST, "GET https://{HOST}:443/first HTTP/1.1\r\n{h}Connection: close\r\n\r\n{S}"),
    ("a host that is to be dropped", FIRST, "GET /first HTTP/1.1\r\n{h}Connection: close, Host\r\n\r\n{S}"),
    (
        "a disguised second host",
        FIRST,
        "GET /first HTTP/1.1\r\n{h}Connection: close\r\nX_Forwarded_Host: other.localhost\r\n\r\n{S}",
    ),
    // Request lines.
    ("two blanks before the version", Refuse, "GET /first  HTTP/1.1\r\n{h}\r\n{S}"),
    ("two blanks before the target", Refuse, "GET  /first HTTP/1.1\r\n{h}\r\n{S}"),
    ("tabs for blanks", Refuse, "GET\t/first\tHTTP/1.1\r\n{h}\r\n{S}"),
    ("a blank in the target", Refuse, "GET /first /second HTTP/1.1\r\n{h}\r\n{S}"),
    ("a version in the target", Refuse, "GET /first HTTP/1.1 HTTP/1.1\r\n{h}\r\n{S}"),
    ("a blank before the method", Refuse, " GET /first HTTP/1.1\r\n{h}\r\n{S}"),
    ("a method with a colon", Refuse, "GET: /first HTTP/1.1\r\n{h}\r\n{S}"),
    ("a method with a NUL", Refuse, "GE\0T /first HTTP/1.1\r\n{h}\r\n{S}"),
    ("a version in small letters", Refuse, "GET /first http/1.1\r\n{h}\r\n{S}"),
    ("a version with two digits", Refuse, "GET /first HTTP/1.10\r\n{h}\r\n{S}"),
    ("a version from the future", Refuse, "GET /first HTTP/3.0\r\n{h}\r\n{S}"),
    ("no version", Refuse, "GET /first\r\n{h}\r\n{S}"),
    ("a CR in the target", Refuse, "GET /fi\rrst HTTP/1.1\r\n{h}\r\n{S}"),
    ("a NUL in the target", Refuse, "GET /fi\0rst HTTP/1.1\r\n{h}\r\n{S}"),
    ("a target that is no path", Refuse, "GET first HTTP/1.1\r\n{h}\r\n{S}"),
    ("an asterisk of a GET", Refuse, "GET * HTTP/1.1\r\n{h}\r\n{S}"),
    ("a tunnel", Refuse, "CONNECT {HOST}:80 HTTP/1.1\r\n{h}\r\n{S}"),
    ("an asterisk of OPTIONS", Pass("*"), "OPTIONS * HTTP/1.1\r\n{h}Connection: close\r\n\r\n{S}"),
    (
        "two slashes",
        Pass("//other.localhost/first"),
        "GET //other.localhost/first HTTP/1.1\r\n{h}Connection: close\r\n\r\n{S}",
    ),
    ("empty lines before", FIRST, "\r\n\r\nGET /first HTTP/1.1\r\n{h}Connection: close\r\n\r\n{S}"),
    ("bare LFs throughout", FIRST, "GET /first HTTP/1.1\n{h}Connection: close\n\n{S}"),
    // Fields.
    ("a field without a colon", Refuse, "GET /first HTTP/1.1\r\n{h}X\r\n\r\n{S}"),
    ("a field without a name", Refuse, "GET /first HTTP/1.1\r\n{h}: x\r\n\r\n{S}"),
    ("a name that is no token", Refuse, "GET /first HTTP/1.1\r\n{h}X(y): z\r\n\r\n{S}"),
    ("a name with a control character", Refuse, "GET /first HTTP/1.1\r\n{h}X\x01: y\r\n\r\n{S}"),
    ("a value with a control character", Refuse, "GET /first HTTP/1.1\r\n{h}X: a\x7fb\r\n\r\n{S}"),
    ("an empty line with a blank", Refuse, "GET /first HTTP/1.1\r\n{h} \r\n\r\n{S}"),
    ("an empty line by CR CR LF", Refuse, "GET /first HTTP/1.1\r\n{h}\r\r\n{S}"),
    ("too many fields", Refuse, "GET /first HTTP/1.1\r\n{h}{MANY}\r\n{S}"),
    ("too large a head", Refuse, "GET /first HTTP/1.1\r\n{h}X: {LONG}{LONG}{LONG}{LONG}\r\n\r\n{S}"),
    (
        "an expectation before a body",
        FIRST,
        "POST /first HTTP/1.1\r\n{h}Connection: close\r\nExpect: 100-continue\r\nContent-Length: {N}\r\n\r\n{S}",
    ),
    (
        "a switch to HTTP/2",
        FIRST,
        "GET /first HTTP/1.1\r\n{h}Connection: close, Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n{S}",
    ),
    (
        "a websocket that the app does not open",
        FIRST,
        "GET /first HTTP/1.1\r\n{h}Connection: upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n{S}",
    ),
    ("the preface of HTTP/2 before HTTP/1.1", Refuse, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{S}"),
];

#[tokio::test]
async fn no_app_sees_a_hidden_request() {
    let mut config = config();
    config.timeouts.header_read = Duration::from_secs(1);
    config.timeouts.idle = Duration::from_secs(1);
    config.timeouts.response_head = Duration::from_secs(1);
    let proxy = proxy_with(config, upstream("none", saying("none").await)).await;
    let mut routes = Vec::new();
    let mut cases = Vec::new();
    for (number, (name, must, text)) in VECTORS.iter().enumerate() {
        let host = format!("v{number}.localhost");
        let seen = Arc::new(Mutex::new(Vec::new()));
        routes.push((host.clone(), route(upstream(&number.to_string(), strict_app(seen.clone()).await))));
        cases.push((*name, *must, filled(text, &host), seen));
    }
    proxy.publish_all(routes);
    let outcomes = cases.into_iter().map(async |(name, must, text, seen)| {
        let answer = proxy.raw(&text).await;
        let seen = seen.lock().unwrap().clone();
        wrong(must, &answer, &seen)
            .map(|why| format!("{name}: {why}\n  the app saw {seen:?}\n  the client got {answer:?}"))
    });
    let wrong: Vec<String> = futures::future::join_all(outcomes).await.into_iter().flatten().collect();
    assert!(VECTORS.len() >= 100);
    assert!(wrong.is_empty(), "{} of {} went wrong:\n{}", wrong.len(), VECTORS.len(), wrong.join("\n"));
}

fn filled(text: &str, host: &str) -> Vec<u8> {
    let hidden = format!("GET /smuggled HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let many: String = (0..120).map(|number| format!("X{number}: y\r\n")).collect();
    text.replace("{S}", &hidden)
        .replace("{h}", &format!("Host: {host}\r\n"))
        .replace("{HOST}", host)
        .replace("{N}", &hidden.len().to_string())
        .replace("{N16}", &format!("{:x}", hidden.len()))
        .replace("{MANY}", &many)
        .replace("{LONG}", &"l".repeat(20_000))
        .into_bytes()
}

/// What is wrong with an outcome.
fn wrong(must: Must, answer: &str, seen: &[Seen]) -> Option<String> {
    let statuses: Vec<&str> = answer
        .split("HTTP/1.")
        .skip(1)
        .map(|answer| answer.get(2..5).unwrap_or(""))
        .filter(|status| *status != "100")
        .collect();
    for seen in seen {
        if let Seen::Wrong(why) = seen {
            return Some(format!("the app cannot read it: {why}"));
        }
    }
    if seen.len() > 1 {
        return Some("the app saw more than one request".to_owned());
    }
    let refused = statuses.first().is_none_or(|status| status.starts_with('4') || status.starts_with('5'));
    match must {
        Refuse if !seen.is_empty() => Some("the app saw it".to_owned()),
        Refuse if !refused || statuses.len() > 1 => Some("it was not refused once".to_owned()),
        Break if seen.iter().any(|seen| matches!(seen, Seen::Whole(_))) => Some("the app saw all of it".to_owned()),
        // One that stops in the middle is not broken, but late.
        Break if statuses.len() > 1 || statuses.iter().any(|status| !matches!(*status, "400" | "504")) => {
            Some("the client was not told that it is its own fault".to_owned())
        }
        Pass(target) if seen != [Seen::Whole(target.to_owned())] => Some("the app did not see it".to_owned()),
        Pass(_) if statuses != ["200"] => Some("it was not answered once".to_owned()),
        _ => None,
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Seen {
    /// The target of a request that came whole.
    Whole(String),
    /// Of one whose body broke off.
    Part(String),
    /// What is not as it must be.
    Wrong(String),
}

/// An app that reads as RFC 9112 has it, and nothing else.
async fn strict_app(seen: Arc<Mutex<Vec<Seen>>>) -> std::net::SocketAddr {
    raw_app(move |_, stream| {
        let seen = seen.clone();
        async move {
            let mut stream = BufReader::new(stream);
            loop {
                let next = match read_request(&mut stream).await {
                    Ok(None) => return,
                    Ok(Some(request)) => request,
                    Err(why) => Seen::Wrong(why),
                };
                let go_on = matches!(next, Seen::Whole(_));
                seen.lock().unwrap().push(next);
                if !go_on {
                    return;
                }
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                if stream.get_mut().write_all(answer).await.is_err() {
                    return;
                }
            }
        }
    })
    .await
}

async fn read_request(stream: &mut BufReader<TcpStream>) -> Result<Option<Seen>, String> {
    let Some(line) = read_line(stream).await? else { return Ok(None) };
    let parts: Vec<&str> = line.split(' ').collect();
    let [method, target, "HTTP/1.1"] = parts[..] else { return Err(format!("the request line {line:?}")) };
    if !(target.starts_with('/') || (target == "*" && method == "OPTIONS")) {
        return Err(format!("the target {target:?}"));
    }
    let (mut hosts, mut length, mut chunked) = (0, None, false);
    loop {
        let line = read_line(stream).await?.ok_or("a head that breaks off")?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(": ").ok_or_else(|| format!("the field {line:?}"))?;
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if name.is_empty() || !name.bytes().all(token) || !value.bytes().all(|b| (0x20..0x7f).contains(&b)) {
            return Err(format!("the field {line:?}"));
        }
        match name.to_ascii_lowercase().replace('_', "-").as_str() {
            "host" => hosts += 1,
            "content-length" if length.is_none() && !name.contains('_') => {
                let number: usize = value.parse().map_err(|_| format!("the length {value:?}"))?;
                if number.to_string() != value {
                    return Err(format!("the length {value:?}"));
                }
                length = Some(number);
            }
            "transfer-encoding" if !chunked && value == "chunked" && !name.contains('_') => chunked = true,
            "content-length" | "transfer-encoding" => return Err(format!("the field {line:?}")),
            _ => {}
        }
    }
    if hosts != 1 || (chunked && length.is_some()) {
        return Err(format!("{hosts} hosts, length {length:?}, chunked {chunked}"));
    }
    let whole = if chunked { read_chunks(stream).await? } else { skip(stream, length.unwrap_or(0)).await };
    let target = target.to_owned();
    Ok(Some(if whole { Seen::Whole(target) } else { Seen::Part(target) }))
}

/// A line without its end; `None` when the connection ends before the line begins.
async fn read_line(stream: &mut BufReader<TcpStream>) -> Result<Option<String>, String> {
    let mut line = Vec::new();
    let read = stream.read_until(b'\n', &mut line).await;
    if read.is_err() || line.is_empty() {
        return Ok(None);
    }
    let line = String::from_utf8(line).map_err(|error| error.to_string())?;
    match line.strip_suffix("\r\n") {
        Some(line) if !line.contains(['\r', '\0']) => Ok(Some(line.to_owned())),
        _ => Err(format!("the line {line:?}")),
    }
}

/// Whether all chunks and an empty line came.
async fn read_chunks(stream: &mut BufReader<TcpStream>) -> Result<bool, String> {
    loop {
        let Some(line) = read_line(stream).await? else { return Ok(false) };
        if line.is_empty() || !line.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(format!("the chunk {line:?}"));
        }
        let size = usize::from_str_radix(&line, 16).map_err(|error| error.to_string())?;
        if size == 0 {
            return match read_line(stream).await? {
                Some(line) if line.is_empty() => Ok(true),
                Some(line) => Err(format!("the trailer {line:?}")),
                None => Ok(false),
            };
        }
        if !skip(stream, size).await {
            return Ok(false);
        }
        match read_line(stream).await? {
            Some(line) if line.is_empty() => {}
            Some(line) => return Err(format!("{line:?} after a chunk")),
            None => return Ok(false),
        }
    }
}

async fn skip(stream: &mut BufReader<TcpStream>, count: usize) -> bool {
    let mut body = vec![0; count];
    stream.read_exact(&mut body).await.is_ok()
}
