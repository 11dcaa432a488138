//! A configuration file with the options of a machine: what reads it makes the same machine.

use std::path::absolute;
use std::process::ExitCode;

use toml::Value;
use vmmkit_machine_spec::path_text;

use crate::config_file::NOT_KEYS;
use crate::failure::Failure;
use crate::options::{self, Takes};
use crate::settings::Settings;
use crate::{generate, os_text};

/// `path`, whatever folder it is read from.
fn whole(path: &str) -> String {
    absolute(os_text::path(path)).map_or_else(|_| path.to_owned(), |path| path_text::of_path(&path))
}

/// Writes the file to stdout.
pub(crate) fn write(settings: &Settings) -> Result<ExitCode, Failure> {
    generate::write(text(settings).as_bytes())
}

/// The text of the file.
fn text(settings: &Settings) -> String {
    let words = options::words(settings);
    let mut text = String::new();
    for option in options::all().filter(|option| !NOT_KEYS.contains(&option.name)) {
        let of_it = words.iter().filter(|(name, _)| name == option.name);
        let values: Vec<&String> = of_it.map(|(_, value)| value).collect();
        let quoted = |value: &str| Value::String(value.to_owned()).to_string();
        let value = match (option.takes, values.as_slice()) {
            (_, []) => continue,
            (Takes::Many, values) => {
                let lines = values
                    .iter()
                    .map(|value| format!("    {},\n", quoted(value)));
                format!("[\n{}]", lines.collect::<String>())
            }
            (Takes::Flag, _) => "true".to_owned(),
            (Takes::Optional, [value, ..]) if value.is_empty() => "true".to_owned(),
            (Takes::Path, [value, ..]) => quoted(&whole(value)),
            (_, [value, ..]) => quoted(value),
        };
        text += &format!("{} = {value}\n", option.name);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use vmmkit_machine_spec::Given;

    use super::*;
    use crate::config_file::parsed;
    use crate::options::{Values, named};

    #[test]
    fn a_file_makes_the_same_machine() {
        let given = [
            ("kernel", "/a kernel"),
            ("cpus", "3"),
            ("memory", "1G,max=2G"),
            ("disk", "/a \"disk\".img,readonly"),
            ("disk", "/b.img"),
            ("balloon", ""),
            ("rng", ""),
            ("escape", "ctrl-]"),
            ("serial", "file=/log"),
            ("name", "web"),
        ];
        let mut values = Values::default();
        for (name, value) in given {
            values.add(named(name).unwrap().name, Given::text(value));
        }
        let settings = Settings::new(&values).unwrap();
        let text = text(&settings);
        let read = parsed(&text, Path::new("/elsewhere")).unwrap();
        let again = Settings::new(&read).unwrap();
        assert_eq!(
            options::equivalent(&again),
            options::equivalent(&settings),
            "{text}"
        );
        assert!(text.contains("\nescape = \"ctrl-]\"\n"), "{text}");
    }

    #[test]
    fn paths_are_whole() {
        let mut values = Values::default();
        values.add("kernel", Given::text("vmlinux"));
        let text = text(&Settings::new(&values).unwrap());
        let here = std::env::current_dir().unwrap().join("vmlinux");
        assert!(
            text.starts_with(&format!("kernel = {:?}\n", here.to_str().unwrap())),
            "{text}"
        );
    }
}
