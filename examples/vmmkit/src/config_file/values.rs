//! The values of keys: as much as possible of what one would write.

use serde::Deserialize;

/// A value of words: `"2,threads=2"`, a number, or a table of the keys and values that the text would have.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "text in quotes, a number or a table")]
pub(super) enum Text {
    Words(String),
    Number(i64),
    Table(toml::Table),
}

impl Text {
    pub(super) fn text(self) -> String {
        match self {
            Self::Words(text) => text,
            Self::Number(number) => number.to_string(),
            Self::Table(table) => of_table(&table),
        }
    }
}

/// The values of an option that can be given several times.
#[derive(Debug, Default, Deserialize)]
#[serde(from = "Several")]
pub(super) struct Texts(pub(super) Vec<String>);

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "text in quotes, a table or a list of them")]
enum Several {
    Text(String),
    Table(toml::Table),
    List(Vec<One>),
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum One {
    Text(String),
    Table(toml::Table),
}

impl From<Several> for Texts {
    fn from(several: Several) -> Self {
        let text = |one| match one {
            One::Text(text) => text,
            One::Table(table) => of_table(&table),
        };
        Self(match several {
            Several::Text(text) => vec![text],
            Several::Table(table) => vec![of_table(&table)],
            Several::List(list) => list.into_iter().map(text).collect(),
        })
    }
}

/// `true`, or the size from the start and more.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "text in quotes, or true or false")]
pub(super) enum Balloon {
    Is(bool),
    Text(String),
}

impl Balloon {
    pub(super) fn text(self) -> Option<String> {
        match self {
            Self::Is(is) => is.then(String::new),
            Self::Text(text) => Some(text),
        }
    }
}

/// `true`, `false`, or the words of the command line.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "true or false")]
pub(super) enum Switch {
    Is(bool),
    Text(String),
}

impl Switch {
    pub(super) fn text(self) -> String {
        match self {
            Self::Is(true) => "on".to_owned(),
            Self::Is(false) => "off".to_owned(),
            Self::Text(text) => text,
        }
    }
}

/// The words of a table, as on the command line: what has no key there comes first. The commas of a value
/// are doubled.
fn of_table(table: &toml::Table) -> String {
    let one = |(key, value): (&String, &toml::Value)| {
        let value = match value {
            toml::Value::String(text) => text.replace(',', ",,"),
            other => other.to_string(),
        };
        match key.as_str() {
            "size" | "count" | "level" => value,
            "file" => format!("path={value}"),
            _ => format!("{key}={value}"),
        }
    };
    let is_first = |key: &str| ["path", "file", "size", "count", "level"].contains(&key);
    let first = table.iter().filter(|(key, _)| is_first(key));
    let rest = table.iter().filter(|(key, _)| !is_first(key));
    first.chain(rest).map(one).collect::<Vec<_>>().join(",")
}
