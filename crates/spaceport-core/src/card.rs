//! The card of a repository: its README's front matter as clients see it, and the tags that lists
//! filter by.
//! Hub: <https://huggingface.co/docs/hub/model-cards#model-card-metadata>

use std::collections::BTreeSet;

use serde_json::Value;

use crate::RepoKind;

/// Most tags of one repository.
const MAX_TAGS: usize = 256;
/// Longest tag, in bytes.
const MAX_TAG_BYTES: usize = 256;

/// Keys whose values become tags, with what stands before each value; a key that is not named here
/// gives no tag.
fn prefixes(kind: RepoKind) -> &'static [(&'static str, &'static str)] {
    match kind {
        RepoKind::Model => &[
            ("tags", ""),
            ("library_name", ""),
            ("pipeline_tag", ""),
            ("language", ""),
            ("license", "license:"),
            ("datasets", "dataset:"),
            ("base_model", "base_model:"),
        ],
        RepoKind::Dataset => &[
            ("tags", ""),
            ("license", "license:"),
            ("language", "language:"),
            ("task_categories", "task_categories:"),
            ("task_ids", "task_ids:"),
            ("size_categories", "size_categories:"),
            ("multilinguality", "multilinguality:"),
            ("source_datasets", "source_datasets:"),
            ("annotations_creators", "annotations_creators:"),
            ("language_creators", "language_creators:"),
            ("modality", "modality:"),
            ("format", "format:"),
        ],
        RepoKind::Space => &[("sdk", ""), ("license", "license:"), ("tags", "")],
    }
}

/// The tags of a card, each once: `license:mit`, `text-generation`, `dataset:squad`.
#[must_use]
pub fn tags(kind: RepoKind, card: Option<&Value>) -> Vec<String> {
    let mut tags = Vec::new();
    let mut seen = BTreeSet::new();
    for (key, prefix) in prefixes(kind) {
        for value in texts(card, key) {
            let tag = format!("{prefix}{value}");
            if tag.len() <= MAX_TAG_BYTES && tags.len() < MAX_TAGS && seen.insert(tag.clone()) {
                tags.push(tag);
            }
        }
    }
    tags
}

/// What sort of tag a key's values become, for those who pick from a list. Hub: the types of its tag pickers.
fn sort_of(key: &'static str) -> &'static str {
    match key {
        "tags" => "other",
        "library_name" => "library",
        "datasets" => "dataset",
        key => key,
    }
}

/// What follows the host where a Space is opened: the path its author named, empty when that is the root. The card is the
/// author's text, whether a build takes it or not.
/// Hub: <https://huggingface.co/docs/hub/spaces-config-reference> (`base_path`)
#[must_use]
pub fn base_path(card: Option<&Value>) -> &str {
    let path = card.and_then(|card| card["base_path"].as_str()).unwrap_or_default();
    if path.len() > 1 && path.starts_with('/') && !path.contains(char::is_control) { path } else { "" }
}

/// The tags of a card with their sorts, and with the text without what stands before it: `license:mit` is `mit` of
/// the sort `license`. A text that is a tag in two ways is there twice.
#[must_use]
pub fn sorted_tags(kind: RepoKind, card: Option<&Value>) -> Vec<(&'static str, String, String)> {
    let of = |(key, prefix): &(&'static str, &'static str)| {
        let (sort, prefix) = (sort_of(key), *prefix);
        texts(card, key).into_iter().map(move |value| (sort, format!("{prefix}{value}"), value)).collect::<Vec<_>>()
    };
    prefixes(kind).iter().flat_map(of).filter(|(_, tag, _)| tag.len() <= MAX_TAG_BYTES).take(MAX_TAGS).collect()
}

/// The texts below a key: one value, or a list of them.
#[must_use]
pub fn texts(card: Option<&Value>, key: &str) -> Vec<String> {
    let one = |value: &Value| match value {
        Value::String(text) if !text.trim().is_empty() => Some(text.trim().to_owned()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    match card.and_then(|card| card.get(key)) {
        Some(Value::Array(values)) => values.iter().filter_map(one).collect(),
        Some(value) => one(value).into_iter().collect(),
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tags_follow_the_kind() {
        let card = json!({"license": "mit", "language": ["en", "de"], "tags": ["a", "a", 7, null], "sdk": "gradio",
            "pipeline_tag": "text-generation", "datasets": "squad"});
        assert_eq!(
            tags(RepoKind::Model, Some(&card)),
            ["a", "7", "text-generation", "en", "de", "license:mit", "dataset:squad"]
        );
        assert_eq!(tags(RepoKind::Dataset, Some(&card)), ["a", "7", "license:mit", "language:en", "language:de"]);
        assert_eq!(tags(RepoKind::Space, Some(&card)), ["gradio", "license:mit", "a", "7"]);
        let sorted = sorted_tags(RepoKind::Model, Some(&card));
        let has = |sort: &'static str, tag: &str, text: &str| sorted.contains(&(sort, tag.to_owned(), text.to_owned()));
        assert!(has("other", "a", "a") && has("pipeline_tag", "text-generation", "text-generation"));
        assert!(has("license", "license:mit", "mit") && has("dataset", "dataset:squad", "squad"), "{sorted:?}");
        assert!(tags(RepoKind::Space, None).is_empty());
        assert!(tags(RepoKind::Space, Some(&json!("text"))).is_empty());
    }
}
