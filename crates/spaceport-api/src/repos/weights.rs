//! How many parameters a model has, by their types: from the headers of its `*.safetensors` files.
//! Format: <https://huggingface.co/docs/safetensors>, "Format".
//!
//! Only headers are read, and each once: what a content says never changes, so it is remembered by the content's id.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use spaceport_core::Sha256;
use spaceport_git::{Content, Entry, NodeKind, ObjectId};

use crate::access::ReadRepo;
use crate::error::ApiError;
use crate::large::holdings::are_readable;
use crate::state::ApiState;

/// Longer headers are not read; the largest models have some hundred kilobytes.
const MAX_HEADER_BYTES: u64 = 4 << 20;
/// Files of one model that are looked at.
const MAX_FILES: usize = 512;
/// Contents that are remembered; then all are forgotten.
const MOST_REMEMBERED: usize = 20_000;

/// The parameters of a model.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = SafetensorsInfo)]
pub struct Weights {
    /// How many of each type, `BF16` for one.
    pub parameters: BTreeMap<String, u64>,
    /// How many in all.
    pub total: u64,
}

/// What headers said. Hub: the same, computed when a commit arrives.
#[derive(Debug, Clone, Default)]
pub struct WeightHeaders(Arc<Mutex<HashMap<ObjectId, Option<Arc<Weights>>>>>);

impl WeightHeaders {
    fn get(&self, content: ObjectId) -> Option<Option<Arc<Weights>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&content).cloned()
    }

    fn remember(&self, content: ObjectId, weights: Option<Arc<Weights>>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST_REMEMBERED {
            known.clear();
        }
        known.insert(content, weights);
    }
}

/// The parameters of a commit's model; `None` when it has no weights in this format, or one of its files cannot be read.
///
/// # Errors
/// When git, the database or the disk fail.
pub(super) async fn weights(state: &ApiState, read: &ReadRepo, entries: &[Entry]) -> Result<Option<Weights>, ApiError> {
    let files = of_model(entries);
    if files.is_empty() || files.len() > MAX_FILES {
        return Ok(None);
    }
    // Also when their headers are known: a file may not be this repository's any more.
    let names: Result<Vec<Sha256>, _> =
        files.iter().filter_map(|file| file.lfs.as_ref()).map(|lfs| lfs.object.sha256.parse()).collect();
    let Ok(names) = names else { return Ok(None) };
    if !are_readable(state, read, &names).await? {
        return Ok(None);
    }
    let mut sum = Weights::default();
    for file in files {
        let Some(weights) = of_file(state, read, file).await? else { return Ok(None) };
        for (dtype, count) in &weights.parameters {
            let known = sum.parameters.entry(dtype.clone()).or_default();
            *known = known.saturating_add(*count);
        }
        sum.total = sum.total.saturating_add(weights.total);
    }
    Ok(Some(sum))
}

/// The files that make the model: the one with its usual name, or its parts, or else all at the root. A
/// repository may have the same weights once more in other folders.
fn of_model(entries: &[Entry]) -> Vec<&Entry> {
    let all = entries.iter().filter(|entry| entry.kind == NodeKind::File && !entry.path.contains('/'));
    let all: Vec<_> = all.filter(|entry| entry.path.ends_with(".safetensors")).collect();
    if let Some(whole) = all.iter().find(|entry| entry.path == "model.safetensors") {
        return vec![*whole];
    }
    let parts: Vec<_> = all.iter().filter(|entry| is_part(&entry.path)).copied().collect();
    if parts.is_empty() { all } else { parts }
}

/// `model-00001-of-00003.safetensors`.
fn is_part(name: &str) -> bool {
    let numbers = name.strip_prefix("model-").and_then(|rest| rest.strip_suffix(".safetensors"));
    let numbers = numbers.and_then(|numbers| numbers.split_once("-of-"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    numbers.is_some_and(|(part, parts)| is_number(part) && is_number(parts))
}

async fn of_file(state: &ApiState, read: &ReadRepo, file: &Entry) -> Result<Option<Arc<Weights>>, ApiError> {
    if let Some(known) = state.weights.get(file.oid) {
        return Ok(known);
    }
    let Some(length) = part(state, read, file, 0..8).await? else { return Ok(None) };
    let length = length.first_chunk().map_or(u64::MAX, |bytes| u64::from_le_bytes(*bytes));
    let weights = if length > MAX_HEADER_BYTES {
        None
    } else {
        let Some(header) = part(state, read, file, 8..8 + length).await? else { return Ok(None) };
        parse(&header).map(Arc::new)
    };
    state.weights.remember(file.oid, weights.clone());
    Ok(weights)
}

/// A part of a file, or what there is of it; `None` when the content is not here.
async fn part(state: &ApiState, read: &ReadRepo, file: &Entry, range: Range<u64>) -> Result<Option<Bytes>, ApiError> {
    let Some(lfs) = &file.lfs else {
        let blob = state.repositories.blob(read.repo.id, file.oid, Some(range)).await?;
        return Ok(blob.and_then(|blob| match blob.content {
            Content::Whole(bytes) => Some(bytes),
            // So large a file is kept outside of git.
            Content::Stream(_) => None,
        }));
    };
    let Ok(sha256) = lfs.object.sha256.parse() else { return Ok(None) };
    let Some(object) = state.large.objects.open_object(sha256).await? else { return Ok(None) };
    let bytes = object.stream(range).try_fold(BytesMut::new(), async |mut all, piece| {
        all.extend_from_slice(&piece);
        Ok(all)
    });
    Ok(Some(bytes.await?.freeze()))
}

#[derive(Deserialize)]
struct Tensor {
    dtype: String,
    shape: Vec<u64>,
}

fn parse(header: &[u8]) -> Option<Weights> {
    let mut tensors: BTreeMap<String, serde_json::Value> = serde_json::from_slice(header).ok()?;
    tensors.remove("__metadata__");
    let mut weights = Weights::default();
    for tensor in tensors.into_values() {
        let Tensor { dtype, shape } = serde_json::from_value(tensor).ok()?;
        let count = shape.iter().try_fold(1_u64, |count, side| count.checked_mul(*side))?;
        let known = weights.parameters.entry(dtype).or_default();
        *known = known.checked_add(count)?;
        weights.total = weights.total.checked_add(count)?;
    }
    Some(weights)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_added_up_and_nonsense_is_none() {
        let header = br#"{"__metadata__": {"format": "pt"},
            "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
            "b": {"dtype": "BF16", "shape": [], "data_offsets": [24, 26]},
            "c": {"dtype": "F32", "shape": [0, 7], "data_offsets": [26, 26]}}  "#;
        let parameters = BTreeMap::from([("F32".to_owned(), 6), ("BF16".to_owned(), 1)]);
        assert_eq!(parse(header), Some(Weights { parameters, total: 7 }));
        assert_eq!(parse(b"{}"), Some(Weights::default()));
        for bad in [
            "",
            "[]",
            "{\"a\": 1}",
            "{\"a\": {\"dtype\": \"F32\", \"shape\": [-1]}}",
            "{\"a\": {\"dtype\": \"F32\", \"shape\": [18446744073709551615, 2]}}",
        ] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn parts_are_told_from_other_files() {
        assert!(is_part("model-00001-of-00003.safetensors"));
        for name in ["model.safetensors", "model-a-of-b.safetensors", "adapter-1-of-2.safetensors", "model-1-of-2.bin"]
        {
            assert!(!is_part(name), "{name}");
        }
    }
}
