//! JSON as an indented tree, for people.

use std::fmt::Write;

use serde_json::Value;

/// How deep a tree is shown; no machine is deeper.
const DEEPEST: usize = 32;

/// The tree, a line for each leaf.
pub(super) fn text(tree: &Value) -> String {
    let mut text = String::new();
    write(&mut text, tree, 0);
    text
}

fn write(text: &mut String, tree: &Value, depth: usize) {
    match tree {
        Value::Object(members) => {
            for (name, member) in members {
                entry(text, &format!("{name}:"), member, depth);
            }
        }
        Value::Array(items) => {
            for item in items {
                entry(text, "-", item, depth);
            }
        }
        leaf => {
            let _ = writeln!(text, "{:1$}{2}", "", depth * 2, shown(leaf));
        }
    }
}

fn entry(text: &mut String, label: &str, value: &Value, depth: usize) {
    let indent = depth * 2;
    let is_leaf = !(value.is_object() || value.is_array()) || depth >= DEEPEST;
    if is_leaf {
        let _ = writeln!(text, "{:indent$}{label} {}", "", shown(value));
    } else {
        let _ = writeln!(text, "{:indent$}{label}", "");
        write(text, value, depth + 1);
    }
}

fn shown(leaf: &Value) -> String {
    match leaf {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_tree_is_indented() {
        let tree = json!({"a": {"b": 1, "c": "x"}, "d": [null]});
        assert_eq!(text(&tree), "a:\n  b: 1\n  c: x\nd:\n  - -\n");
    }
}
