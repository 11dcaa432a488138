//! The state of a part of a machine, for people and programs.

use std::borrow::Cow;
use std::fmt;

#[cfg(feature = "json")]
use serde::ser::{Serialize, SerializeMap, Serializer};

/// A part of a machine that can say how it is.
pub trait Inspect: Send + Sync {
    /// How it is now. Any thread may ask at any time; it must not wait for the guest.
    fn inspect(&self) -> Tree {
        Tree::new()
    }
}

/// Names with values, in the order they were given. It is written as indented text by
/// [`Display`](fmt::Display), and as an object by serde, where names must not occur twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    entries: Vec<(Cow<'static, str>, Node)>,
}

/// One value of a [`Tree`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Node {
    /// Words.
    Text(String),
    /// Yes or no.
    Flag(bool),
    /// A number that is what it is: a size, an index.
    Number(u64),
    /// A number that only grows.
    Counter(u64),
    /// A number that goes up and down, and is worth a curve.
    Gauge(u64),
    /// A register or an address. In JSON it is text, as 64 bits are more than a JSON number holds.
    Hex(u64),
    /// More of the kind.
    Tree(Tree),
}

impl Tree {
    /// Nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// With one more value.
    #[must_use]
    pub fn with(mut self, name: impl Into<Cow<'static, str>>, node: Node) -> Self {
        self.entries.push((name.into(), node));
        self
    }

    /// With words.
    #[must_use]
    pub fn text(self, name: impl Into<Cow<'static, str>>, text: impl Into<String>) -> Self {
        self.with(name, Node::Text(text.into()))
    }

    /// With a yes or no.
    #[must_use]
    pub fn flag(self, name: impl Into<Cow<'static, str>>, is_set: bool) -> Self {
        self.with(name, Node::Flag(is_set))
    }

    /// With a number.
    #[must_use]
    pub fn number(self, name: impl Into<Cow<'static, str>>, number: impl Into<u64>) -> Self {
        self.with(name, Node::Number(number.into()))
    }

    /// With a number that only grows.
    #[must_use]
    pub fn counter(self, name: impl Into<Cow<'static, str>>, number: impl Into<u64>) -> Self {
        self.with(name, Node::Counter(number.into()))
    }

    /// With a number that goes up and down.
    #[must_use]
    pub fn gauge(self, name: impl Into<Cow<'static, str>>, number: impl Into<u64>) -> Self {
        self.with(name, Node::Gauge(number.into()))
    }

    /// With a register or an address.
    #[must_use]
    pub fn hex(self, name: impl Into<Cow<'static, str>>, number: impl Into<u64>) -> Self {
        self.with(name, Node::Hex(number.into()))
    }

    /// With a tree, unless there is nothing in it.
    #[must_use]
    pub fn tree(self, name: impl Into<Cow<'static, str>>, tree: Self) -> Self {
        if tree.is_empty() {
            return self;
        }
        self.with(name, Node::Tree(tree))
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Its names with their values, in order.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.entries
            .iter()
            .map(|(name, node)| (name.as_ref(), node))
    }

    /// The value at `path`, whose names are separated by dots; names with dots cannot be reached.
    pub fn at(&self, path: &str) -> Option<&Node> {
        let (first, rest) = match path.split_once('.') {
            Some((first, rest)) => (first, Some(rest)),
            None => (path, None),
        };
        let (_, node) = self.entries().find(|(name, _)| *name == first)?;
        match (node, rest) {
            (node, None) => Some(node),
            (Node::Tree(tree), Some(rest)) => tree.at(rest),
            _ => None,
        }
    }

    /// As JSON, over several lines.
    #[cfg(feature = "json")]
    pub fn to_json(&self) -> String {
        // A tree has text for keys and plain values: nothing that serde_json refuses.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, indent: usize) -> fmt::Result {
        let leaves = self
            .entries()
            .filter(|(_, node)| !matches!(node, Node::Tree(_)));
        let width = leaves.map(|(name, _)| name.chars().count()).max();
        let width = width.unwrap_or(0);
        for (name, node) in self.entries() {
            match node {
                Node::Tree(tree) => {
                    writeln!(f, "{:indent$}{name}:", "")?;
                    tree.write(f, indent + 2)?;
                }
                value => writeln!(f, "{:indent$}{name:width$}  {value}", "")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Tree {
    /// Indented text, a line for each value; control characters of the guest's are escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, 0)
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => {
                for c in text.chars() {
                    match c.is_control() {
                        true => write!(f, "{}", c.escape_default())?,
                        false => write!(f, "{c}")?,
                    }
                }
                Ok(())
            }
            Self::Flag(is_set) => f.write_str(if *is_set { "yes" } else { "no" }),
            Self::Number(number) | Self::Counter(number) | Self::Gauge(number) => {
                write!(f, "{number}")
            }
            Self::Hex(number) => write!(f, "{number:#x}"),
            Self::Tree(tree) => write!(f, "{tree}"),
        }
    }
}

#[cfg(feature = "json")]
impl Serialize for Tree {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.entries.len()))?;
        for (name, node) in &self.entries {
            map.serialize_entry(name, node)?;
        }
        map.end()
    }
}

#[cfg(feature = "json")]
impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Flag(is_set) => serializer.serialize_bool(*is_set),
            Self::Number(number) | Self::Counter(number) | Self::Gauge(number) => {
                serializer.serialize_u64(*number)
            }
            Self::Hex(number) => serializer.collect_str(&format_args!("{number:#x}")),
            Self::Tree(tree) => tree.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Tree {
        let queue = Tree::new().number("size", 256u16).gauge("depth", 3u16);
        Tree::new()
            .text("kind", "blk")
            .flag("driven", true)
            .hex("features", u64::MAX)
            .tree("queue 0", queue)
            .tree("empty", Tree::new())
            .counter("reads", 7u64)
    }

    #[test]
    fn text_is_aligned_and_indented() {
        let expected = "\
kind      blk
driven    yes
features  0xffffffffffffffff
queue 0:
  size   256
  depth  3
reads     7
";
        assert_eq!(tree().to_string(), expected);
    }

    #[test]
    fn json_keeps_the_order_and_all_64_bits() {
        let expected = concat!(
            r#"{"kind":"blk","driven":true,"features":"0xffffffffffffffff","#,
            r#""queue 0":{"size":256,"depth":3},"reads":7}"#
        );
        assert_eq!(serde_json::to_string(&tree()).unwrap(), expected);
    }

    #[test]
    fn a_value_is_found_by_its_path() {
        let tree = Tree::new().tree("vcpu0", Tree::new().hex("rip", 16u64));
        assert_eq!(tree.at("vcpu0.rip"), Some(&Node::Hex(16)));
        assert_eq!(tree.at("vcpu0.rip.x"), None);
        assert_eq!(tree.at("vcpu1"), None);
    }

    #[test]
    fn a_guests_words_do_no_harm_to_a_terminal() {
        let tree = Tree::new().text("fault", "\x1b[2J\n");
        assert_eq!(tree.to_string(), "fault  \\u{1b}[2J\\n\n");
    }
}
