//! A machine's tree of state, read from its JSON in the order in which it is there.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use vmmkit_control::ClientError;
use vmmkit_telemetry::{Node, Tree};

/// The tree that is `json`.
pub(super) fn read(json: &str) -> Result<Tree, ClientError> {
    match serde_json::from_str(json) {
        Ok(Read(Node::Tree(tree))) => Ok(tree),
        Ok(_) => Err(ClientError::Protocol("it is no tree".to_owned())),
        Err(error) => Err(ClientError::Protocol(error.to_string())),
    }
}

/// A node as it is read.
struct Read(Node);

impl<'de> Deserialize<'de> for Read {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Nodes).map(Read)
    }
}

struct Nodes;

impl<'de> Visitor<'de> for Nodes {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Node, E> {
        Ok(Node::Flag(flag))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Node, E> {
        Ok(Node::Number(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Node, E> {
        Ok(Node::Text(number.to_string()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Node, E> {
        Ok(Node::Text(number.to_string()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Text("-".to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut tree = Tree::new();
        while let Some((name, Read(node))) = map.next_entry::<String, Read>()? {
            tree = tree.with(name, node);
        }
        Ok(Node::Tree(tree))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut tree = Tree::new();
        for number in 0_u64.. {
            let Some(Read(node)) = items.next_element()? else {
                break;
            };
            tree = tree.with(number.to_string(), node);
        }
        Ok(Node::Tree(tree))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_machine_writes_is_read_in_its_order() {
        let queue = Tree::new().number("size", 256_u64).flag("ready", true);
        let tree = Tree::new()
            .text("name", "web")
            .hex("base", 0xd000_0000_u64)
            .tree("queue0", queue);
        let read = read(&tree.to_json()).unwrap();
        assert_eq!(read.to_string(), tree.to_string());
    }

    #[test]
    fn what_is_no_tree_is_refused() {
        for json in ["", "7", "[", "\"x\""] {
            assert!(read(json).is_err(), "{json}");
        }
        assert_eq!(
            read(r#"{"a": [null, -1, 0.5]}"#).unwrap().to_string(),
            "a:\n  0  -\n  1  -1\n  2  0.5\n"
        );
    }
}
