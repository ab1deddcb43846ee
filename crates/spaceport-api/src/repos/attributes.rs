//! `.gitattributes` of a new repository: which files git-lfs takes from the beginning. Hub: the same
//! patterns.

use spaceport_core::RepoKind;

/// Weights, archives and other binary formats.
const EVERYWHERE: [&str; 35] = [
    "*.7z",
    "*.arrow",
    "*.bin",
    "*.bz2",
    "*.ckpt",
    "*.ftz",
    "*.gz",
    "*.h5",
    "*.joblib",
    "*.lfs.*",
    "*.mlmodel",
    "*.model",
    "*.msgpack",
    "*.npy",
    "*.npz",
    "*.onnx",
    "*.ot",
    "*.parquet",
    "*.pb",
    "*.pickle",
    "*.pkl",
    "*.pt",
    "*.pth",
    "*.rar",
    "*.safetensors",
    "saved_model/**/*",
    "*.tar.*",
    "*.tar",
    "*.tflite",
    "*.tgz",
    "*.wasm",
    "*.xz",
    "*.zip",
    "*.zst",
    "*tfevents*",
];
/// Sounds, pictures and films, which data sets consist of.
const OF_DATASETS: [&str; 20] = [
    "*.lz4", "*.mds", "*.pcm", "*.sam", "*.raw", "*.aac", "*.flac", "*.mp3", "*.ogg", "*.wav", "*.bmp", "*.gif",
    "*.png", "*.tiff", "*.jpg", "*.jpeg", "*.webp", "*.mp4", "*.webm", "*.avi",
];

/// The text of the file.
pub(super) fn attributes(kind: RepoKind) -> String {
    let of_kind: &[&str] = if kind == RepoKind::Dataset { &OF_DATASETS } else { &[] };
    let patterns = EVERYWHERE.iter().chain(of_kind);
    patterns.map(|pattern| format!("{pattern} filter=lfs diff=lfs merge=lfs -text\n")).collect()
}
