//! The first mistake of a configuration file.

use std::fmt;

use toml::Value;
use vmmkit_machine_spec::nearest;

use crate::options::Takes;

/// The first mistake of a file.
#[derive(Debug)]
pub(super) struct Wrong {
    /// From 1.
    pub(super) line: usize,
    pub(super) fault: Fault,
}

/// A mistake.
#[derive(Debug)]
pub(super) enum Fault {
    /// It is not TOML: the parser's message.
    Syntax(String),
    /// A key is there a second time.
    Twice(String),
    UnknownKey {
        key: String,
        known: Vec<&'static str>,
    },
    /// A value of another type; found, where it is short.
    Type {
        found: Option<String>,
        wanted: &'static str,
    },
}

impl Wrong {
    /// `fault` of what is at the byte `place` of `text`.
    pub(super) fn at(text: &str, place: usize, fault: Fault) -> Self {
        let before = text.get(..place).unwrap_or_default();
        Self {
            line: before.matches('\n').count() + 1,
            fault,
        }
    }

    /// That `text` is not TOML.
    pub(super) fn syntax(text: &str, error: &toml::de::Error) -> Self {
        let span = error.span().unwrap_or_default();
        let start = span.start;
        let key = text.get(span).unwrap_or_default().trim();
        // The parser has no other name for it.
        let fault = match error.message() {
            "duplicate key" => Fault::Twice(key.to_owned()),
            message => Fault::Syntax(message.replace('\n', " ")),
        };
        Self::at(text, start, fault)
    }
}

impl Fault {
    /// `value` is not one of those that may stand for an option.
    pub(super) fn of_type(takes: Takes, value: &Value) -> Self {
        let (is_one, wanted) = match takes {
            Takes::Flag => (true, "true or false"),
            Takes::Path => (true, "a path in quotes"),
            Takes::Text | Takes::Line => (true, "text in quotes"),
            Takes::Number => (true, "a whole number"),
            Takes::Words => (false, "text in quotes, a number or a table"),
            Takes::Parts => (false, "text in quotes, a number or a list of them"),
            Takes::Switch => (false, "true or false"),
            Takes::Optional => (false, "text in quotes, a table, or true or false"),
            Takes::Many => (false, "text in quotes, a table or a list of them"),
        };
        Self::Type {
            found: is_one.then(|| found(value)),
            wanted,
        }
    }

    /// The next step.
    pub(super) fn next(&self) -> String {
        match self {
            Self::UnknownKey { key, known } => {
                let all = "he keys are the long options of `vmmkit run --help`, without the dashes";
                match nearest(key, known.iter().copied()) {
                    Some(near) => format!("did you mean {near}? T{all}"),
                    None => format!("t{all}"),
                }
            }
            Self::Twice(_) => {
                "write it once; several disks and the like are a list: disk = [\"a.img\", \
                 \"b.img\"]"
                    .to_owned()
            }
            _ => "write key = value, with text in quotes and numbers without".to_owned(),
        }
    }
}

fn found(value: &Value) -> String {
    match value {
        Value::Boolean(value) => format!("the value {value}"),
        Value::Integer(number) => format!("the number {number}"),
        Value::Float(number) => format!("the number {number}"),
        Value::String(text) => format!("the text {text:?}"),
        Value::Array(_) => "a list".to_owned(),
        Value::Table(_) => "a table".to_owned(),
        Value::Datetime(_) => "a date".to_owned(),
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(message) => f.write_str(message),
            Self::Twice(key) => write!(f, "{key} is given twice"),
            Self::UnknownKey { key, .. } => write!(f, "there is no key {key}"),
            Self::Type {
                found: Some(found),
                wanted,
            } => write!(f, "{found} is given, and {wanted} is needed"),
            Self::Type { wanted, .. } => write!(f, "{wanted} is needed"),
        }
    }
}
