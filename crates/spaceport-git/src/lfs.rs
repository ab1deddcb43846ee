//! Git LFS pointer files: text in place of a large file.
//! Specification: <https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md>

use git2::{ObjectType, Odb, Oid};

/// The longest pointer file. Specification: Git LFS, "The Pointer": less than 1024 bytes.
pub(crate) const MAX_POINTER_BYTES: u64 = 1024;
/// A pointer has three lines at least, one of them with 64 digits.
const MIN_POINTER_BYTES: u64 = 100;

/// A large file, which is kept elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LfsObject {
    /// SHA-256 of its content: 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// Its size in bytes.
    pub size: u64,
}

impl LfsObject {
    /// Reads a pointer file; `None` when the content is something else.
    #[must_use]
    pub fn from_pointer(content: &[u8]) -> Option<Self> {
        if !is_lfs_pointer(content) {
            return None;
        }
        let text = std::str::from_utf8(content).ok()?;
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
        let sha256 = value("oid")?.strip_prefix("sha256:")?;
        let size = value("size")?.parse().ok()?;
        is_sha256(sha256).then(|| Self { sha256: sha256.to_owned(), size })
    }

    /// The pointer file, byte for byte as git-lfs writes it, so that the same file has the same id.
    #[must_use]
    pub fn pointer(&self) -> String {
        let Self { sha256, size } = self;
        format!("version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n")
    }

    /// Whether the digest has the form of one.
    pub(crate) fn is_valid(&self) -> bool {
        is_sha256(&self.sha256)
    }
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether the content of a file is an LFS pointer, so that its real content is elsewhere.
#[must_use]
pub fn is_lfs_pointer(content: &[u8]) -> bool {
    u64::try_from(content.len()).is_ok_and(|length| length < MAX_POINTER_BYTES)
        && (content.starts_with(b"version https://git-lfs.github.com/spec/")
            || content.starts_with(b"version https://hawser.github.com/spec/"))
}

/// The size of a blob and what it points to. Only blobs of the right size are read.
pub(crate) fn look(odb: &Odb<'_>, blob: Oid) -> Result<(u64, Option<LfsObject>), git2::Error> {
    let (size, kind) = odb.read_header(blob)?;
    let size = u64::try_from(size).unwrap_or(u64::MAX);
    if kind != ObjectType::Blob || !(MIN_POINTER_BYTES..MAX_POINTER_BYTES).contains(&size) {
        return Ok((size, None));
    }
    Ok((size, LfsObject::from_pointer(odb.read(blob)?.data())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_are_read_as_they_are_written() {
        let object = LfsObject { sha256: "ab".repeat(32), size: 12_345 };
        assert_eq!(LfsObject::from_pointer(object.pointer().as_bytes()), Some(object.clone()));
        let extended = object.pointer().replace("oid", "ext-0-foo sha256:00\noid");
        assert_eq!(LfsObject::from_pointer(extended.as_bytes()), Some(object.clone()));
        let text = object.pointer();
        for broken in [
            text.replace("sha256:ab", "sha256:AB"),
            text.replace("sha256:ab", "sha256:"),
            text.replace("size 12345", "size -1"),
            text.replace("version", "Version"),
            format!("{text}{}", "#".repeat(1024)),
        ] {
            assert_eq!(LfsObject::from_pointer(broken.as_bytes()), None, "{broken}");
        }
    }
}
