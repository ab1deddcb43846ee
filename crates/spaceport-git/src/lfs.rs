//! Git LFS pointer files: text in place of a large file.

/// The longest pointer file. Specification: Git LFS, "The Pointer": less than 1024 bytes.
pub(crate) const MAX_POINTER_BYTES: u64 = 1024;

/// Whether the content of a file is an LFS pointer, so that its real content is elsewhere.
/// Specification: <https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md>
#[must_use]
pub fn is_lfs_pointer(content: &[u8]) -> bool {
    u64::try_from(content.len()).is_ok_and(|length| length < MAX_POINTER_BYTES)
        && (content.starts_with(b"version https://git-lfs.github.com/spec/")
            || content.starts_with(b"version https://hawser.github.com/spec/"))
}
