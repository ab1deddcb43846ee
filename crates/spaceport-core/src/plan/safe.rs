//! Errors of the platform, for the eyes of those who wait for it.

/// Characters of an error that are told.
const MOST_CHARS: usize = 300;

/// An error of the platform as the owner of a Space may read it: on one line, not too long, without paths of the host
/// and without what an address says of who signs in.
pub(super) fn safe(error: &str) -> String {
    let mut safe = String::new();
    // A word ends where no path goes on.
    for word in error.split_inclusive(|c: char| c.is_whitespace() || "\"'`(),;=<>[]{}".contains(c)) {
        let end = word.chars().next_back().filter(|c| !c.is_alphanumeric() && !"/:.".contains(*c));
        let text = end.map_or(word, |end| &word[..word.len() - end.len_utf8()]);
        match text.split_once("://") {
            Some((scheme, rest)) => {
                // `unix:///run/docker.sock` has no host, only a path.
                let (host, path) = rest.split_once('/').map_or((rest, ""), |(host, path)| (host, path));
                let host = host.rsplit('@').next().unwrap_or_default();
                safe.push_str(&format!("{scheme}://{host}{}", if path.is_empty() { "" } else { "/…" }));
            }
            None => match text.find('/').filter(|at| text[..*at].chars().next_back().is_none_or(|c| c == ':')) {
                Some(at) if text.len() > at + 1 => safe.push_str(&format!("{}…", &text[..at])),
                _ => safe.push_str(text),
            },
        }
        safe.extend(end.map(|end| if end.is_control() { ' ' } else { end }));
    }
    safe.trim().chars().take(MOST_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_tells_no_path_and_no_password() {
        for (error, told) in [
            ("cannot open the repository: No such file or directory (os error 2)", None),
            (
                "could not resolve path '/var/lib/spaceport/repos/01J.git'; class=Os (2)",
                Some("could not resolve path '…'; class=Os (2)"),
            ),
            (
                "mkdir /var/lib/docker/overlay2/abc/merged: no space left\non device",
                Some("mkdir … no space left on device"),
            ),
            ("open:/var/lib/x: denied", Some("open:… denied")),
            (
                "Post \"http://admin:secret@10.0.0.1:2375/v1.41/containers\": EOF",
                Some("Post \"http://10.0.0.1:2375/…\": EOF"),
            ),
            ("unix:///var/run/docker.sock refused", Some("unix:///… refused")),
            ("postgres://spaceport:secret@db", Some("postgres://db")),
            ("read/write at 100% in 1/2 s", None),
        ] {
            assert_eq!(safe(error), told.unwrap_or(error), "{error}");
        }
        assert_eq!(safe(&"x".repeat(1000)).len(), MOST_CHARS);
    }
}
