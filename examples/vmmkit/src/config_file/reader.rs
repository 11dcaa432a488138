//! The file as TOML, with its first mistake as a type.

use std::cell::Cell;
use std::fmt;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{
    Deserialize, DeserializeOwned, Deserializer, Error as _, Expected, IntoDeserializer,
    Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;
use toml::Value;
use toml::de::{DeTable, ValueDeserializer};

use crate::usage::nearest;

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
        known: &'static [&'static str],
    },
    /// A value of another type.
    Type { found: String, wanted: String },
    /// A value of none of the types that it may have, in the words of its type.
    Value(String),
}

/// Reads `text` into `T`.
pub(super) fn read<T: DeserializeOwned>(text: &str) -> Result<T, Wrong> {
    let wrong = |error| syntax(text, &error);
    let table = DeTable::parse(text).map_err(wrong)?.into_inner();
    let mut entries: Vec<(usize, String, Value)> = Vec::new();
    for (key, value) in table {
        let value = Value::deserialize(ValueDeserializer::from(value)).map_err(wrong)?;
        entries.push((key.span().start, key.into_inner().into_owned(), value));
    }
    entries.sort_by_key(|(start, ..)| *start);
    let current = Cell::new(0);
    let entries = entries.into_iter().map(|(start, name, value)| {
        current.set(start);
        (name, Node(value))
    });
    T::deserialize(MapDeserializer::new(entries)).map_err(|fault| Wrong {
        line: line_of(text, current.get()),
        fault,
    })
}

fn line_of(text: &str, place: usize) -> usize {
    let before = text.get(..place).unwrap_or_default();
    before.matches('\n').count() + 1
}

fn syntax(text: &str, error: &toml::de::Error) -> Wrong {
    let span = error.span().unwrap_or_default();
    let line = line_of(text, span.start);
    let key = text.get(span).unwrap_or_default().trim();
    // The parser has no other name for it.
    let fault = match error.message() {
        "duplicate key" => Fault::Twice(key.to_owned()),
        message => Fault::Syntax(message.replace('\n', " ")),
    };
    Wrong { line, fault }
}

impl Fault {
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

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(message) => f.write_str(message),
            Self::Twice(key) => write!(f, "{key} is given twice"),
            Self::UnknownKey { key, .. } => write!(f, "there is no key {key}"),
            Self::Type { found, wanted } => write!(f, "{found} is given, and {wanted} is needed"),
            Self::Value(wanted) => write!(f, "{wanted} is needed"),
        }
    }
}

impl std::error::Error for Fault {}

impl serde::de::Error for Fault {
    fn custom<T: fmt::Display>(wanted: T) -> Self {
        Self::Value(wanted.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        Self::Type {
            found: found_words(found),
            wanted: wanted_words(wanted.to_string()),
        }
    }

    fn unknown_field(key: &str, known: &'static [&'static str]) -> Self {
        let key = key.to_owned();
        Self::UnknownKey { key, known }
    }
}

fn found_words(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(value) => format!("the value {value}"),
        Unexpected::Signed(number) => format!("the number {number}"),
        Unexpected::Float(number) => format!("the number {number}"),
        Unexpected::Str(text) => format!("the text {text:?}"),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a table".to_owned(),
        other => other.to_string(),
    }
}

/// The words of Rust's types in those of a configuration file.
fn wanted_words(wanted: String) -> String {
    let words = match wanted.as_str() {
        "a string" => "text in quotes",
        "path string" => "a path in quotes",
        "a boolean" => "true or false",
        "i64" | "u64" => "a whole number",
        _ => return wanted,
    };
    words.to_owned()
}

/// A value, whose mistakes are [`Fault`]s.
struct Node(Value);

impl<'de> IntoDeserializer<'de, Fault> for Node {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Node {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            Value::String(text) => visitor.visit_string(text),
            Value::Integer(number) => visitor.visit_i64(number),
            Value::Float(number) => visitor.visit_f64(number),
            Value::Boolean(value) => visitor.visit_bool(value),
            Value::Array(items) => {
                visitor.visit_seq(SeqDeserializer::new(items.into_iter().map(Node)))
            }
            Value::Table(table) => {
                let entries = table.into_iter().map(|(key, value)| (key, Node(value)));
                visitor.visit_map(MapDeserializer::new(entries))
            }
            Value::Datetime(_) => Err(Fault::invalid_type(Unexpected::Other("a date"), &visitor)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}
