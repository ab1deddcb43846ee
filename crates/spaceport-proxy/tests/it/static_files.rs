//! Static Spaces.

use std::fs;
use std::os::unix::fs::symlink;

use crate::support::*;

async fn site() -> (tempfile::TempDir, TestProxy) {
    let root = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| {
        let path = root.path().join("site").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    write("index.html", "<!doctype html><html><head><title>Home</title></head></html>");
    write("folder/index.html", "<p>folder");
    write("app.js", &"console.log('a line of code');\n".repeat(100));
    write("data.bin", "0123456789");
    write(".git/config", "secret");
    write(".env", "secret");
    fs::write(root.path().join("outside.txt"), "secret").unwrap();
    symlink("../outside.txt", root.path().join("site/leads-out.txt")).unwrap();
    symlink("/etc/passwd", root.path().join("site/absolute.txt")).unwrap();
    symlink("data.bin", root.path().join("site/inside.bin")).unwrap();
    let proxy = proxy(files(&root.path().join("site"))).await;
    (root, proxy)
}

#[tokio::test]
async fn documents_get_their_variables_and_files_their_types() {
    let (_root, proxy) = site().await;
    let home = proxy.get("/", "").await;
    assert_eq!((home.status, home.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(
        home.body.contains(r#"<head><script>window.huggingface={"variables":{"NAME":"value"}};</script><title>"#),
        "{}",
        home.body
    );
    assert_eq!(proxy.get("/app.js?v=1", "").await.header("content-type"), Some("text/javascript; charset=utf-8"));
    assert_eq!(proxy.get("/inside.bin", "").await.body, "0123456789");
    assert!(proxy.get("/folder/", "").await.body.ends_with("<p>folder"));
    let folder = proxy.get("/folder?q=1", "").await;
    assert_eq!((folder.status, folder.header("location")), (308, Some("/folder/?q=1")));
}

#[tokio::test]
async fn nothing_hidden_or_outside_is_served() {
    let (_root, proxy) = site().await;
    for path in [
        "/.git/config",
        "/.env",
        "/../outside.txt",
        "/%2e%2e/outside.txt",
        "/folder/..%2f..%2foutside.txt",
        "/leads-out.txt",
        "/absolute.txt",
        "/missing",
        "/data.bin/",
        "/a%00b",
    ] {
        let answer = proxy.get(path, "").await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(!answer.body.contains("secret") && !answer.body.contains("root:"), "{path}");
    }
    let page = proxy.get("/missing", "Accept: text/html\r\n").await;
    assert!(page.body.contains("<h1>There is no such page</h1>"));
    let post = proxy.request(&format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n")).await;
    assert_eq!((post.status, post.header("allow")), (405, Some("get, head")));
}

#[tokio::test]
async fn tags_save_the_second_transfer() {
    let (_root, proxy) = site().await;
    let first = proxy.get("/data.bin", "").await;
    let tag = first.header("etag").unwrap().to_owned();
    assert!(tag.starts_with('"'));
    let again = proxy.get("/data.bin", &format!("If-None-Match: {tag}\r\n")).await;
    assert_eq!((again.status, again.body.as_str()), (304, ""));
    assert_eq!(proxy.get("/data.bin", "If-None-Match: \"other\"\r\n").await.status, 200);
    let head = proxy.request(&format!("HEAD /data.bin HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n")).await;
    assert_eq!((head.status, head.header("content-length"), head.body.as_str()), (200, Some("10"), ""));
}

#[tokio::test]
async fn ranges_follow_their_conditions() {
    let (_root, proxy) = site().await;
    let part = proxy.get("/data.bin", "Range: bytes=2-4\r\n").await;
    assert_eq!((part.status, part.header("content-range"), part.body.as_str()), (206, Some("bytes 2-4/10"), "234"));
    let end = proxy.get("/data.bin", "Range: bytes=-3\r\n").await;
    assert_eq!((end.status, end.body.as_str()), (206, "789"));
    let beyond = proxy.get("/data.bin", "Range: bytes=50-\r\n").await;
    assert_eq!((beyond.status, beyond.header("content-range")), (416, Some("bytes */10")));
    let tag = part.header("etag").unwrap().to_owned();
    let same = proxy.get("/data.bin", &format!("Range: bytes=0-0\r\nIf-Range: {tag}\r\n")).await;
    assert_eq!((same.status, same.body.as_str()), (206, "0"));
    let changed = proxy.get("/data.bin", "Range: bytes=0-0\r\nIf-Range: \"old\"\r\n").await;
    assert_eq!((changed.status, changed.body.as_str()), (200, "0123456789"));
}

#[tokio::test]
async fn text_is_compressed_for_those_who_accept_it() {
    let (_root, proxy) = site().await;
    let plain = proxy.get("/app.js", "").await;
    let mut tags = vec![plain.header("etag").unwrap().to_owned()];
    for coding in ["br", "gzip"] {
        let answer = proxy.get("/app.js", &format!("Accept-Encoding: {coding}\r\n")).await;
        assert_eq!(answer.header("content-encoding"), Some(coding));
        assert_eq!(answer.header("vary"), Some("accept-encoding"));
        let length: usize = answer.header("content-length").unwrap().parse().unwrap();
        assert!(length < plain.body.len() / 5, "{coding}: {length}");
        tags.push(answer.header("etag").unwrap().to_owned());
    }
    tags.dedup();
    assert_eq!(tags.len(), 3);
    let part = proxy.get("/app.js", "Accept-Encoding: br\r\nRange: bytes=0-6\r\n").await;
    assert_eq!((part.status, part.header("content-encoding"), part.body.as_str()), (206, None, "console"));
    assert_eq!(proxy.get("/data.bin", "Accept-Encoding: br\r\n").await.header("content-encoding"), None);
}

#[tokio::test]
async fn a_page_of_the_space_says_not_found_if_there_is_one() {
    let (root, proxy) = site().await;
    fs::write(root.path().join("site/404.html"), "<h1>ours</h1>").unwrap();
    let answer = proxy.get("/missing", "Range: bytes=0-3\r\nIf-None-Match: *\r\n").await;
    assert_eq!(answer.status, 404);
    assert!(answer.body.ends_with("<h1>ours</h1>"), "{}", answer.body);
}

#[tokio::test]
async fn large_files_stream_whole() {
    let (root, proxy) = site().await;
    let content: String = (0..400_000).map(|n| char::from(b'a' + u8::try_from(n % 26).unwrap())).collect();
    fs::write(root.path().join("site/large.bin"), &content).unwrap();
    assert!(proxy.get("/large.bin", "").await.body == content);
}
