//! YAML events to a small tree of nodes with places.
//!
//! Depth, number of nodes and text after the expansion of aliases are limited, so a hostile file
//! costs no more than a large honest one.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle};

use super::block::{Block, Place};
use crate::config::ConfigError;

/// Lists and maps inside each other; the deepest key we know needs two.
const MAX_DEPTH: usize = 32;
/// Nodes plus bytes of text, with every alias counted as what it stands for.
const MAX_WEIGHT: usize = 1024 * 1024;

/// A node and where it begins.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub place: Place,
    pub value: Value,
    /// Without quotes, so that YAML would see a number or a truth value in it.
    pub plain: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Value {
    /// Nothing, `null` or `~`.
    Null,
    /// The text in the file, whatever type YAML would give it.
    Scalar(String),
    List(Vec<Node>),
    /// Keys in the order of the file, each once.
    Map(Vec<(Node, Node)>),
}

impl Value {
    /// The kind, in words.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Scalar(_) => "a single value",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}

/// A collection whose end has not come yet.
struct Open {
    place: Place,
    anchor: usize,
    kind: Kind,
    children: Vec<Node>,
    size: Size,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    List,
    Map,
}

#[derive(Clone, Copy, Default)]
struct Size {
    weight: usize,
    height: usize,
}

struct Tree<'b, 'a> {
    block: &'b Block<'a>,
    open: Vec<Open>,
    anchors: HashMap<usize, (Node, Size)>,
    root: Option<Node>,
    weight: usize,
}

/// Reads the block as one YAML document.
pub(super) fn read(block: &Block<'_>) -> Result<Node, ConfigError> {
    let mut tree = Tree { block, open: Vec::new(), anchors: HashMap::new(), root: None, weight: 0 };
    let mut documents = 0;
    // Characters, not `&str`: positions are counted in characters either way, and this input does
    // not depend on byte offsets into multi-byte text.
    let mut parser = Parser::new_from_iter(block.text.chars());
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| {
            let message = format!("the front matter is not valid YAML: {}", error.info());
            tree.place(*error.marker()).error("", message, "")
        })?;
        let place = tree.place(span.start);
        match event {
            Event::DocumentStart(_) => {
                documents += 1;
                if documents > 1 {
                    return Err(place.error("", "the front matter holds more than one YAML document", "one"));
                }
            }
            Event::Scalar(text, style, anchor, _) => tree.scalar(place, text.into_owned(), style, anchor)?,
            Event::SequenceStart(anchor, _) => tree.begin(place, anchor, Kind::List)?,
            Event::MappingStart(anchor, _) => tree.begin(place, anchor, Kind::Map)?,
            Event::SequenceEnd | Event::MappingEnd => tree.end()?,
            Event::Alias(anchor) => tree.alias(place, anchor)?,
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
    }
    Ok(tree.root.unwrap_or_else(|| Node { place: block.opening(), value: Value::Null, plain: true }))
}

impl Tree<'_, '_> {
    fn place(&self, marker: Marker) -> Place {
        self.block.place(marker.line(), marker.col())
    }

    fn scalar(&mut self, place: Place, text: String, style: ScalarStyle, anchor: usize) -> Result<(), ConfigError> {
        let size = Size { weight: text.len() + 1, height: 0 };
        let null = style == ScalarStyle::Plain && matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL");
        let value = if null { Value::Null } else { Value::Scalar(text) };
        self.add(Node { place, value, plain: style == ScalarStyle::Plain }, size, anchor)
    }

    fn begin(&mut self, place: Place, anchor: usize, kind: Kind) -> Result<(), ConfigError> {
        if self.open.len() >= MAX_DEPTH {
            return Err(too_deep(place));
        }
        self.open.push(Open { place, anchor, kind, children: Vec::new(), size: Size::default() });
        Ok(())
    }

    fn end(&mut self) -> Result<(), ConfigError> {
        let Some(Open { place, anchor, kind, children, size }) = self.open.pop() else { return Ok(()) };
        let size = Size { weight: size.weight + 1, height: size.height + 1 };
        let value = match kind {
            Kind::List => Value::List(children),
            Kind::Map => Value::Map(pairs(children)?),
        };
        // The children were counted when they were added.
        self.weight = self.weight.saturating_sub(size.weight - 1);
        self.add(Node { place, value, plain: false }, size, anchor)
    }

    fn alias(&mut self, place: Place, anchor: usize) -> Result<(), ConfigError> {
        let Some((node, size)) = self.anchors.get(&anchor) else {
            return Err(place.error("", "an alias (`*name`) stands inside the value it refers to", ""));
        };
        let (size, value, plain) = (*size, node.value.clone(), node.plain);
        self.add(Node { place, value, plain }, size, 0)
    }

    fn add(&mut self, node: Node, size: Size, anchor: usize) -> Result<(), ConfigError> {
        self.weight += size.weight;
        if self.weight > MAX_WEIGHT {
            return Err(node.place.error("", "the front matter is too large once its aliases are resolved", ""));
        }
        if self.open.len() + size.height > MAX_DEPTH {
            return Err(too_deep(node.place));
        }
        if anchor != 0 {
            // The copy counts too: it is kept until the end.
            self.weight += size.weight;
            self.anchors.insert(anchor, (node.clone(), size));
        }
        match self.open.last_mut() {
            Some(open) => {
                open.size.weight += size.weight;
                open.size.height = open.size.height.max(size.height);
                open.children.push(node);
            }
            None => self.root = Some(node),
        }
        Ok(())
    }
}

impl Node {
    /// As JSON, the way clients of the Hub see a card. A number stays text when writing it anew would
    /// change it: `3.10` is a version, not 3.1.
    pub(super) fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Null => Json::Null,
            Value::Scalar(text) if self.plain => match text.as_str() {
                "true" | "True" | "TRUE" => Json::Bool(true),
                "false" | "False" | "FALSE" => Json::Bool(false),
                text => match serde_json::from_str::<serde_json::Number>(text) {
                    Ok(number) if number.to_string() == text => Json::Number(number),
                    _ => Json::String(text.to_owned()),
                },
            },
            Value::Scalar(text) => Json::String(text.clone()),
            Value::List(nodes) => nodes.iter().map(Self::to_json).collect(),
            Value::Map(pairs) => {
                let name = |key: &Self| match &key.value {
                    Value::Scalar(text) => Some(text.clone()),
                    _ => None,
                };
                Json::Object(pairs.iter().filter_map(|(key, value)| Some((name(key)?, value.to_json()))).collect())
            }
        }
    }
}

fn too_deep(place: Place) -> ConfigError {
    place.error("", format!("lists and maps stand more than {MAX_DEPTH} deep inside each other"), "")
}

fn pairs(children: Vec<Node>) -> Result<Vec<(Node, Node)>, ConfigError> {
    let mut seen: HashMap<String, u32> = HashMap::new();
    let mut pairs = Vec::with_capacity(children.len() / 2);
    let mut children = children.into_iter();
    while let (Some(key), Some(value)) = (children.next(), children.next()) {
        if let Value::Scalar(name) = &key.value
            && let Some(first) = seen.insert(name.clone(), key.place.line)
        {
            let message = format!("the key `{}` is already set on line {first}", shorten(name));
            return Err(key.place.error(name, message, "each key once"));
        }
        pairs.push((key, value));
    }
    Ok(pairs)
}

/// Text of the user in a message: enough to recognise it, and no more.
pub(super) fn shorten(text: &str) -> String {
    const SHOWN: usize = 60;
    let mut shown: String = text.chars().take(SHOWN).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}
