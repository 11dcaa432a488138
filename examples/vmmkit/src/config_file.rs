//! The configuration file: TOML, with the options of `vmmkit run` as keys.
//!
//! ```toml
//! kernel = "vmlinux"        # paths are relative to the file
//! initrd = "initramfs.cpio"
//! memory = "1G"
//! cpus = 2
//! ```

mod fault;

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Value;
use toml::de::{DeTable, ValueDeserializer};
use vmmkit_host_io::{FileError, read_text};
use vmmkit_machine_spec::Given;

use crate::failure::Failure;
use crate::options::{self, RunOption, Takes, Values};
use crate::{own_guest, usage};
use fault::{Fault, Wrong};

/// How large a file may be: far more than any that was meant.
const MAX_BYTES: usize = 1 << 20;

/// Keys that say the opposite of an option.
const OPPOSITES: [(&str, &str); 2] = [("acpi", "no-acpi"), ("instance", "no-instance")];

/// The options that are not keys: the file itself, and what is for tests.
pub(crate) const NOT_KEYS: [&str; 4] = ["config", "dump-config", "kvm", "detached"];

/// `values`, with those of the file that they name, and its path. A guest of the user's own has its name.
pub(crate) fn with_options(mut values: Values) -> Result<(Values, Option<PathBuf>), Failure> {
    let mut config = values.path("config");
    if values.has("dump-config") {
        // What is written now is read from another folder.
        let here = std::env::current_dir().unwrap_or_default();
        config = config.map(|path| here.join(path));
        values = values.in_folder(&here);
    }
    let Some(path) = config else {
        return Ok((values, None));
    };
    let mut values = values.or(read(&path)?);
    if let Some(name) = own_guest::name_of(&path).filter(|_| !values.has("name")) {
        values.add("name", Given::text(name));
    }
    Ok((values, Some(path)))
}

/// The values in the file at `path`.
fn read(path: &Path) -> Result<Values, Failure> {
    let name = format!("--config {}", path.display());
    let text = read_text(path, MAX_BYTES).map_err(|error| unreadable(path, &name, &error))?;
    parse(&text, path.parent().unwrap_or(Path::new(""))).map_err(|Wrong { line, fault }| {
        Failure::usage(format!("{name}: line {line}: {fault}"), fault.next())
    })
}

/// A file that cannot be read as text: it may be the image of something.
fn unreadable(path: &Path, name: &str, error: &FileError) -> Failure {
    const MADE: &str = "`vmmkit run --help` has the options, each of which is a key";
    let given = path.to_string_lossy();
    match error {
        FileError::Host(source)
            if matches!(
                source.kind(),
                io::ErrorKind::InvalidData | io::ErrorKind::IsADirectory
            ) => {}
        FileError::Host(source) if source.kind() == io::ErrorKind::NotFound => {
            let next = format!("give the path of a file that is there, or write one: {MADE}");
            return Failure::host(name, error, next);
        }
        FileError::Kind(_) | FileError::TooLong(_) | FileError::NoWriter => {}
        _ => return Failure::host(name, error, "check the path and its permissions"),
    }
    let is_text = format!("give a file of text in TOML: {MADE}");
    let is_named_so = path.extension().is_some_and(|end| end == "toml");
    match usage::file_advice(&given).filter(|_| !is_named_so) {
        Some(advice) => Failure::because(
            format!("{name}: this is not a file of options"),
            vec![error.to_string()],
            format!("{advice}; else {is_text}"),
        ),
        None => Failure::host(name, error, is_text),
    }
}

/// All keys.
fn keys() -> Vec<&'static str> {
    let options = options::all().map(|option| option.name);
    let options = options.filter(|name| !NOT_KEYS.contains(name));
    options.chain(OPPOSITES.map(|(key, _)| key)).collect()
}

/// The values in `text`, or its first mistake. Paths are relative to `folder`.
fn parse(text: &str, folder: &Path) -> Result<Values, Wrong> {
    let syntax = |error| Wrong::syntax(text, &error);
    let table = DeTable::parse(text).map_err(syntax)?.into_inner();
    let mut entries: Vec<(usize, String, Value)> = Vec::new();
    for (key, value) in table {
        let value = Value::deserialize(ValueDeserializer::from(value)).map_err(syntax)?;
        entries.push((key.span().start, key.into_inner().into_owned(), value));
    }
    entries.sort_by_key(|(start, ..)| *start);
    let mut values = Values::default();
    for (start, key, value) in entries {
        let given = of_key(&key, &value).map_err(|fault| Wrong::at(text, start, fault))?;
        let (name, given) = given;
        for one in given {
            values.add(name, one.in_folder(folder));
        }
    }
    Ok(values)
}

/// The same for tests of others; `None` where there is a mistake.
#[cfg(test)]
pub(crate) fn parsed(text: &str, folder: &Path) -> Option<Values> {
    parse(text, folder).ok()
}

/// The option that `key` stands for, and its values.
fn of_key(key: &str, value: &Value) -> Result<(&'static str, Vec<Given>), Fault> {
    let opposite = OPPOSITES.iter().find(|(name, _)| *name == key);
    let name = opposite.map_or(key, |(_, option)| option);
    let option = options::named(name).filter(|option| !NOT_KEYS.contains(&option.name));
    let option = option.ok_or_else(|| Fault::UnknownKey {
        key: key.to_owned(),
        known: keys(),
    })?;
    let given = match (opposite, value) {
        (Some(_), Value::Boolean(is_on)) => given(option, &Value::Boolean(!is_on))?,
        _ => given(option, value)?,
    };
    Ok((option.name, given))
}

/// The values that `value` is for `option`: as much as possible of what one would write.
fn given(option: &RunOption, value: &Value) -> Result<Vec<Given>, Fault> {
    use Takes::{Flag, Line, Many, Number, Optional, Parts, Path, Switch, Text, Words};
    let takes = option.takes;
    let wrong = || Fault::of_type(takes, value);
    Ok(match (takes, value) {
        (Flag | Optional, Value::Boolean(false)) => Vec::new(),
        (Flag | Optional, Value::Boolean(true)) => vec![Given::text("")],
        (Switch, Value::Boolean(true)) => vec![Given::text("on")],
        (Switch, Value::Boolean(false)) => vec![Given::text("off")],
        (Path | Text | Line | Words | Parts | Switch | Optional | Many, Value::String(text)) => {
            vec![Given::text(text)]
        }
        (Number | Words | Parts, Value::Integer(number)) => vec![Given::text(&number.to_string())],
        (Words | Optional | Many, Value::Table(table)) => vec![of_table(table)],
        (Parts, Value::Array(items)) => vec![Given::of_words(words(items).ok_or_else(wrong)?)],
        (Line, Value::Array(items)) => {
            vec![Given::text(&words(items).ok_or_else(wrong)?.join(" "))]
        }
        (Many, Value::Array(items)) => {
            let one = |item: &Value| match item {
                Value::String(text) => Some(Given::text(text)),
                Value::Table(table) => Some(of_table(table)),
                _ => None,
            };
            let all: Option<_> = items.iter().map(one).collect();
            all.ok_or_else(wrong)?
        }
        _ => return Err(wrong()),
    })
}

/// Texts and numbers as words.
fn words(items: &[Value]) -> Option<Vec<String>> {
    let word = |item: &Value| match item {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        _ => None,
    };
    items.iter().map(word).collect()
}

/// The words of a table, as on the command line: what has no key there comes first.
fn of_table(table: &toml::Table) -> Given {
    let one = |(key, value): (&String, &Value)| {
        let value = match value {
            Value::String(text) => text.clone(),
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
    Given::of_words(first.chain(rest).map(one).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::RunOptions;

    fn parsed(text: &str) -> RunOptions {
        options::read(&parse(text, Path::new("/vm")).unwrap()).unwrap()
    }

    fn fault(text: &str) -> Wrong {
        parse(text, Path::new("")).unwrap_err()
    }

    fn devices(text: &str) -> Vec<String> {
        let devices = parsed(text).devices;
        devices
            .iter()
            .map(|(device, _)| device.to_string())
            .collect()
    }

    #[test]
    fn the_command_line_has_precedence_over_the_file() {
        let mut given = Values::default();
        given.add("memory", Given::text("64M"));
        given.add("disk", Given::text("own"));
        let file = "memory = \"1G\"\ncpus = 2\ndisk = [\"a\", \"b\"]";
        let values = given.or(parse(file, Path::new("/vm")).unwrap());
        let options = options::read(&values).unwrap();
        assert_eq!(options.memory.to_string(), "64M");
        assert_eq!(options.cpus.vcpus.count(), 2);
        assert_eq!(options.devices.len(), 1);
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        let text = "kernel = \"vmlinux\"\ninitrd = \"/abs\"\nserial = \"file=s.log\"\nconsole = \"pty\"\n\
                    memory = \"1G,backend=file=ram\"\ncpu = \"my.toml,+aes\"\nlog = \"debug,a.log\"\n\
                    debug-port = \"file=d\"\nmodule = \"m x\"";
        let options = parsed(text);
        assert_eq!(options.kernel, Some("/vm/vmlinux".into()));
        assert_eq!(options.initrd.unwrap().path, Path::new("/abs"));
        assert_eq!(options.serial.unwrap().to_string(), "file=/vm/s.log");
        assert_eq!(options.memory.to_string(), "1G,backend=file=/vm/ram");
        assert_eq!(options.cpus.model.to_string(), "/vm/my.toml,+aes");
        assert_eq!(options.log.unwrap().to_string(), "debug,/vm/a.log");
        assert_eq!(options.platform.debug_port.to_string(), "file=/vm/d");
        assert_eq!(options.modules[0].to_string(), "/vm/m x");
        assert_eq!(parsed("log = \"info\"").log.unwrap().to_string(), "info");
    }

    #[test]
    fn a_file_says_how_the_machine_is_controlled() {
        let text =
            "name = \"web\"\napi-socket = \"s\"\ninstance = false\npaused = true\ngdb = \"unix:g\"";
        let options = parsed(text);
        assert_eq!(options.gdb.unwrap().to_string(), "unix:/vm/g");
        assert_eq!(options.name.as_deref(), Some("web"));
        assert_eq!(options.api_socket, Some("/vm/s".into()));
        assert!(options.no_instance && options.paused);
        assert!(!parsed("instance = true\nacpi = true").no_instance);
    }

    #[test]
    fn cpus_are_a_number_or_an_arrangement() {
        let cpus = |text| parsed(text).cpus.vcpus.to_string();
        assert_eq!(cpus("cpus = 2"), "2");
        let arranged = "4,sockets=1,dies=1,cores=2,threads=2";
        assert_eq!(cpus("cpus = \"4,threads=2\""), arranged);
        assert_eq!(cpus("cpus = {count = 4, threads = 2}"), arranged);
        let wrong = fault("cpus = [2]");
        assert_eq!(wrong.line, 1);
        let reason = wrong.fault.to_string();
        assert_eq!(reason, "text in quotes, a number or a table is needed");
    }

    #[test]
    fn a_list_may_be_the_parts_of_one_value() {
        let options = parsed(
            "cpu = [\"host\", \"-avx\"]\naffinity = [\"0:0\", \"1:1\"]\ncmdline = [\"quiet\", \"a=b\"]\n",
        );
        assert_eq!(options.cpus.model.to_string(), "host,-avx");
        assert_eq!(options.cpus.affinity.unwrap().to_string(), "0:0,1:1");
        assert_eq!(options.cmdline.as_deref(), Some("quiet a=b"));
        assert_eq!(
            parsed("affinity = 1").cpus.affinity.unwrap().to_string(),
            "1"
        );
    }

    #[test]
    fn a_list_may_be_one_text_or_tables() {
        assert_eq!(devices("disk = \"a.img,readonly\""), ["/vm/a.img,readonly"]);
        assert_eq!(
            devices("disk = [\"a.img\", \"b.img\"]"),
            ["/vm/a.img", "/vm/b.img"]
        );
        assert_eq!(
            devices("disk = [{path = \"a,b.img\", readonly = true, queues = 2}]"),
            ["/vm/a,,b.img,readonly,queues=2"]
        );
        assert_eq!(
            devices("[[disk]]\npath = \"a.img\"\n[[disk]]\nserial = \"x\"\npath = \"/b\"\n"),
            ["/vm/a.img", "/b,serial=x"]
        );
        assert_eq!(
            devices("[net]\ntap = \"tap0\"\n[vsock]\ncid = 3\nsocket = \"s\"\n"),
            ["tap=tap0", "cid=3,socket=/vm/s"]
        );
        let balloon = "balloon = {size = \"64M\", stats = 5}";
        assert_eq!(devices(balloon), ["64M,stats=5"]);
    }

    #[test]
    fn the_options_that_say_no_are_keys_too() {
        let text = "no-acpi = true\nno-instance = true\nquiet = true\ndry-run = true\nballoon = true\n\
                    legacy-timer = \"off\"\nmemory = {size = \"1G\", merge = true}\n";
        let options = parsed(text);
        assert!(!options.platform.acpi && options.no_instance);
        assert!(options.quiet && options.dry_run);
        assert_eq!(devices(text), [""]);
        assert_eq!(options.platform.legacy_timer, Some(false));
        assert_eq!(options.memory.to_string(), "1G,merge");
        assert!(devices("balloon = false\nrng = false").is_empty());
        let timer = parsed("legacy-timer = true").platform.legacy_timer;
        assert_eq!(timer, Some(true));
    }

    #[test]
    fn a_mistake_is_told_in_the_words_of_the_file() {
        for (text, reason, next) in [
            (
                "kernl = \"k\"",
                "there is no key kernl",
                "did you mean kernel? The keys are ",
            ),
            (
                "mem = \"1G\"",
                "there is no key mem",
                "did you mean memory?",
            ),
            (
                "xyzzy = 1",
                "there is no key xyzzy",
                "the keys are the long options",
            ),
            (
                "kernel = 1",
                "the number 1 is given, and a path in quotes is needed",
                "write key = value",
            ),
            (
                "cmdline = true",
                "the value true is given, and text in quotes is needed",
                "write key",
            ),
            (
                "paused = \"yes\"",
                "the text \"yes\" is given, and true or false is needed",
                "write key",
            ),
            (
                "serial = [1]",
                "a list is given, and text in quotes is needed",
                "write key",
            ),
            (
                "disk = 1",
                "text in quotes, a table or a list of them is needed",
                "write key",
            ),
            (
                "name = \"a\"\nname = \"b\"",
                "name is given twice",
                "write it once",
            ),
        ] {
            let wrong = fault(text);
            let (said, then) = (wrong.fault.to_string(), wrong.fault.next());
            assert_eq!(said, reason, "{text}");
            assert!(then.starts_with(next), "{text}: {then}");
        }
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let wrong = fault("cpus = 2\nkernal = \"x\"");
        assert_eq!(wrong.line, 2);
        assert_eq!(wrong.fault.to_string(), "there is no key kernal");
        for not_a_key in ["kvm = \"x\"", "config = \"x\""] {
            assert!(matches!(fault(not_a_key).fault, Fault::UnknownKey { .. }));
        }
    }

    /// docs/config.md describes the keys that there are, and each of them.
    #[test]
    fn the_keys_are_those_that_are_documented() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/config.md");
        let text = std::fs::read_to_string(path).unwrap();
        let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
        let mut documented: Vec<&str> = rows.filter_map(|row| row.split('`').next()).collect();
        let mut keys = keys();
        documented.sort_unstable();
        keys.sort_unstable();
        assert_eq!(documented, keys);
        let example = text
            .split("```toml\n")
            .nth(1)
            .unwrap()
            .split("```")
            .next()
            .unwrap();
        let disks = devices(example);
        assert_eq!(disks[0], "/vm/root.ext4");
        assert_eq!(disks[1], "/vm/data,, old.qcow2,readonly");
    }
}
