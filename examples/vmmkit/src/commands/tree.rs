//! A machine's tree of state, read from its JSON in the order in which it is there.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use vmmkit_control::ClientError;
use vmmkit_guest_memory::ByteCount;
use vmmkit_machine_spec::nearest;
use vmmkit_telemetry::{Node, Tree};

use crate::failure::Failure;

/// The tree that is `json`.
pub(super) fn read(json: &str) -> Result<Tree, ClientError> {
    match serde_json::from_str(json) {
        Ok(Read(Node::Tree(tree))) => Ok(tree),
        Ok(_) => Err(ClientError::Protocol("it is not a tree".to_owned())),
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

/// The part of `tree` at `path`, names with `/` between them, as a tree.
pub(super) fn part(tree: &Tree, path: &str) -> Result<Tree, Failure> {
    let (mut at, mut way) = (tree, String::new());
    let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
    for (place, name) in names.iter().enumerate() {
        let found = at
            .entries()
            .find_map(|(other, node)| (other == *name).then_some(node));
        match found {
            Some(Node::Tree(tree)) => at = tree,
            Some(node) if place + 1 == names.len() => {
                return Ok(Tree::new().with((*name).to_owned(), node.clone()));
            }
            Some(_) => {
                return Err(no_part(
                    &Tree::new(),
                    &format!("{way}{name}/"),
                    names.get(place + 1).copied().unwrap_or_default(),
                ));
            }
            None => return Err(no_part(at, &way, name)),
        }
        way = format!("{way}{name}/");
    }
    Ok(at.clone())
}

fn no_part(at: &Tree, way: &str, name: &str) -> Failure {
    let parts: Vec<&str> = at.entries().map(|(name, _)| name).collect();
    let next = match nearest(name, parts.iter().copied()) {
        Some(near) => format!("did you mean {way}{near}?"),
        None if parts.is_empty() || parts.len() > 40 => {
            "`vmmkit inspect NAME` shows all".to_owned()
        }
        None => format!("there are {}", parts.join(", ")),
    };
    Failure::usage(format!("{way}{name}: there is no such part"), next)
}

/// `tree` as it reads best: numbers with their units, and without what means nothing to people.
pub(super) fn for_people(tree: &Tree) -> Tree {
    tree.entries().fold(Tree::new(), |shown, (name, node)| {
        let node = match node {
            // Where this process has it mapped, which changes with each run.
            _ if name == "host_address" => return shown,
            Node::Tree(tree) => Node::Tree(for_people(tree)),
            Node::Number(number) => return with_unit(shown, name, *number),
            other => other.clone(),
        };
        shown.with(name.to_owned(), node)
    })
}

fn with_unit(tree: Tree, name: &str, number: u64) -> Tree {
    let is_bytes = ["memory", "bytes", "size_bytes"].contains(&name) || name.ends_with("_bytes");
    if is_bytes && number >= 1024 {
        return tree.text(name.to_owned(), ByteCount(number).to_string());
    }
    if let Some(name) = name.strip_suffix("_us") {
        let text = match number {
            0..1000 => format!("{number} us"),
            1000..1_000_000 => format!("{:.1} ms", number as f64 / 1e3),
            _ => format!("{:.3} s", number as f64 / 1e6),
        };
        return tree.text(name.to_owned(), text);
    }
    tree.number(name.to_owned(), number)
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

    #[test]
    fn a_part_is_found_by_its_names() {
        let queue = Tree::new().number("size", 256_u64).flag("ready", true);
        let blk = Tree::new().text("state", "driven").tree("queue0", queue);
        let tree = Tree::new().tree("blk0", blk).text("name", "web");
        let shown = |path| part(&tree, path).map(|tree| tree.to_string());
        assert_eq!(shown("blk0/queue0").unwrap(), "size   256\nready  yes\n");
        assert_eq!(shown("blk0/queue0/size").unwrap(), "size  256\n");
        assert_eq!(shown("/name").unwrap(), "name  web\n");
        assert_eq!(shown("").unwrap(), tree.to_string());
        for (path, said) in [
            (
                "blk1",
                "error: blk1: there is no such part\n  next: did you mean blk0?",
            ),
            (
                "xyz",
                "error: xyz: there is no such part\n  next: there are blk0, name",
            ),
            (
                "blk0/queue",
                "error: blk0/queue: there is no such part\n  next: did you mean blk0/queue0?",
            ),
            (
                "name/x",
                "error: name/x: there is no such part\n  next: `vmmkit inspect NAME` shows all",
            ),
        ] {
            assert_eq!(shown(path).unwrap_err().text(), said);
        }
    }

    #[test]
    fn numbers_are_shown_with_their_units() {
        let tree = Tree::new()
            .number("memory", 64_u64 << 20)
            .number("built_us", 35_113_u64)
            .number("end_us", 1_500_000_u64)
            .number("vcpus", 2_u64)
            .hex("host_address", 1_u64);
        let text = "memory  64 MiB\nbuilt   35.1 ms\nend     1.500 s\nvcpus   2\n";
        assert_eq!(for_people(&tree).to_string(), text);
    }
}
