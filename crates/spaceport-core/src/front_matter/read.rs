//! Takes values out of the tree by key and collects what is wrong with them.

use super::MAX_ERRORS;
use super::block::Place;
use super::yaml::{Node, Value, shorten};
use crate::config::ConfigError;

/// The top-level map, and the mistakes found so far.
pub(super) struct Fields<'a> {
    pairs: &'a [(Node, Node)],
    pub errors: Vec<ConfigError>,
}

/// A text and where it stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text<'a> {
    pub text: &'a str,
    pub place: Place,
}

impl<'a> Fields<'a> {
    pub(super) fn new(pairs: &'a [(Node, Node)]) -> Self {
        Self { pairs, errors: Vec::new() }
    }

    /// The value of a key; a key without a value counts as absent.
    pub(super) fn node(&self, key: &str) -> Option<&'a Node> {
        let is = |node: &Node| matches!(&node.value, Value::Scalar(name) if name == key);
        self.pairs.iter().find(|(name, _)| is(name)).map(|(_, node)| node).filter(|node| {
            let empty = matches!(&node.value, Value::Scalar(text) if text.trim().is_empty());
            !empty && !matches!(node.value, Value::Null)
        })
    }

    /// The place of a key.
    pub(super) fn key_place(&self, matches: impl Fn(&str) -> bool) -> Option<(&'a str, Place)> {
        self.pairs.iter().find_map(|(name, _)| match &name.value {
            Value::Scalar(text) if matches(text) => Some((text.as_str(), name.place)),
            _ => None,
        })
    }

    pub(super) fn refuse(&mut self, place: Place, key: &str, message: impl Into<String>, allowed: &str) {
        if self.errors.len() < MAX_ERRORS {
            self.errors.push(place.error(key, message, allowed));
        }
    }

    /// A single value.
    pub(super) fn text(&mut self, key: &str) -> Option<Text<'a>> {
        let node = self.node(key)?;
        let text = self.scalar(key, node, "a text");
        text.map(|text| Text { text: text.text.trim(), ..text })
    }

    /// A single value that `check` turns into another; its error says what is wrong.
    pub(super) fn parsed<T>(
        &mut self,
        key: &str,
        allowed: &str,
        check: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let node = self.node(key)?;
        let Text { text, place } = self.scalar(key, node, allowed)?;
        check(text.trim()).map_err(|message| self.refuse(place, key, format!("`{key}`: {message}"), allowed)).ok()
    }

    /// One of a few words.
    pub(super) fn one_of(&mut self, key: &str, words: &[&str]) -> Option<String> {
        self.parsed(key, &words.join(", "), |text| match words.contains(&text) {
            true => Ok(text.to_owned()),
            false => Err(unknown(text)),
        })
    }

    /// `true` or `false`, by YAML 1.2: `yes` and `on` are not among them.
    pub(super) fn flag(&mut self, key: &str) -> Option<bool> {
        self.parsed(key, "true, false", |text| match text {
            "true" | "True" | "TRUE" => Ok(true),
            "false" | "False" | "FALSE" => Ok(false),
            _ => Err(unknown(text)),
        })
    }

    /// A list of texts that `check` turns into values. A single value is a list of one.
    pub(super) fn list<T>(
        &mut self,
        key: &str,
        allowed: &str,
        check: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let node = self.node(key)?;
        let items = match &node.value {
            Value::List(items) => items.as_slice(),
            Value::Map(_) => {
                let message = format!("`{key}` is {}; a list is expected", node.value.kind());
                self.refuse(node.place, key, message, allowed);
                return None;
            }
            Value::Scalar(_) | Value::Null => std::slice::from_ref(node),
        };
        let mut values = Vec::with_capacity(items.len());
        for item in items {
            let Some(Text { text, place }) = self.scalar(key, item, allowed) else { continue };
            match check(text.trim()) {
                Ok(value) => values.push(value),
                Err(message) => self.refuse(place, key, format!("`{key}`: {message}"), allowed),
            }
        }
        Some(values)
    }

    /// The text of a node that must be a single value.
    pub(super) fn scalar(&mut self, key: &str, node: &'a Node, allowed: &str) -> Option<Text<'a>> {
        match &node.value {
            Value::Scalar(text) => Some(Text { text, place: node.place }),
            other => {
                let message = format!("`{key}` holds {} where a single value is expected", other.kind());
                self.refuse(node.place, key, message, allowed);
                None
            }
        }
    }
}

/// The message for a value that is none of the allowed ones.
pub(super) fn unknown(text: &str) -> String {
    format!("`{}` is not allowed", shorten(text))
}
