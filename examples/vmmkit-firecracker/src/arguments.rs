//! The command line.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::body::Level;

/// The exit code for a command line that cannot be.
pub const EXIT_ARGUMENTS: u8 = 153;

/// Options with a value, and whether this VMM has it.
const VALUES: [(&str, Has); 15] = [
    ("api-sock", Has::Yes),
    ("id", Has::Yes),
    ("config-file", Has::Yes),
    ("log-path", Has::Yes),
    ("level", Has::Yes),
    ("metrics-path", Has::Yes),
    ("http-api-max-payload-size", Has::Yes),
    ("start-time-us", Has::Yes),
    ("start-time-cpu-us", Has::Yes),
    ("parent-cpu-time-us", Has::Yes),
    ("seccomp-filter", Has::Ignored),
    ("module", Has::Yes),
    ("metadata", Has::No),
    ("mmds-size-limit", Has::No),
    ("describe-snapshot", Has::No),
];

/// Those without.
const SWITCHES: [(&str, Has); 9] = [
    ("no-api", Has::Yes),
    ("no-seccomp", Has::Ignored),
    ("show-level", Has::Yes),
    ("show-log-origin", Has::Yes),
    ("enable-pci", Has::Yes),
    ("version", Has::Yes),
    ("help", Has::Yes),
    ("boot-timer", Has::No),
    ("snapshot-version", Has::No),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Has {
    Yes,
    /// It changes nothing.
    Ignored,
    No,
}

/// The text of `--help`.
pub const HELP: &str = "\
usage: vmmkit-firecracker [OPTION [VALUE]]...

A VMM with the command line, configuration file and API of Firecracker.

  --api-sock PATH                   the socket of the API [/run/firecracker.socket]
  --id ID                           the name of the instance [anonymous-instance]
  --config-file PATH                a machine as JSON, which boots at once
  --no-api                          no API; needs --config-file
  --enable-pci                      devices are on PCI
  --http-api-max-payload-size BYTES the largest body of a request [51200]
  --log-path PATH                   a file or FIFO for the log [stdout]
  --level LEVEL                     Off, Error, Warning, Info, Debug or Trace [Info]
  --show-level, --show-log-origin   lines of the log have their level, and their place in the source
  --module PATH                     lines of the log are of this module alone
  --metrics-path PATH               a file or FIFO for the metrics
  --start-time-us, --start-time-cpu-us, --parent-cpu-time-us MICROSECONDS
                                    when the process that starts this one began, as a jailer says
  --seccomp-filter PATH, --no-seccomp
                                    are taken, and change nothing
  --version, --help
";

/// A command line that can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arguments {
    /// The socket of the API; none for `--no-api`.
    pub api_sock: Option<PathBuf>,
    /// The name of the instance.
    pub id: String,
    /// The machine that boots at once.
    pub config_file: Option<PathBuf>,
    /// Devices are on PCI.
    pub enable_pci: bool,
    /// The largest body, in bytes.
    pub max_payload: usize,
    /// The log.
    pub log_path: Option<String>,
    /// Its level.
    pub level: Option<Level>,
    /// Lines have their level.
    pub show_level: bool,
    /// Lines have their place.
    pub show_log_origin: bool,
    /// Lines of this part alone.
    pub module: Option<String>,
    /// The metrics.
    pub metrics_path: Option<String>,
    /// Microseconds: the start by the monotonic clock, by that of the CPU, and the CPU time of the parent.
    pub times: [u64; 3],
    /// Options that change nothing.
    pub ignored: Vec<&'static str>,
}

/// The command line's wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A process with an API or a machine.
    Run(Box<Arguments>),
    /// Its version.
    Version,
    /// Help.
    Help,
}

type Given = BTreeMap<&'static str, String>;

/// Reads the words after the name of the program.
///
/// # Errors
/// The first that cannot be, in a sentence.
pub fn parse(words: &[String]) -> Result<Wish, String> {
    let mut ignored = Vec::new();
    let given = given(words, &mut ignored)?;
    if given.contains_key("help") {
        return Ok(Wish::Help);
    }
    if given.contains_key("version") {
        return Ok(Wish::Version);
    }
    let text = |name: &str| given.get(name).cloned();
    let number = |name: &str, usual: u64| match given.get(name) {
        None => Ok(usual),
        Some(text) => text
            .parse()
            .map_err(|_| format!("--{name} {text} is not a number.")),
    };
    let no_api = given.contains_key("no-api");
    if no_api && !given.contains_key("config-file") {
        return Err("--no-api needs --config-file.".to_owned());
    }
    if no_api && given.contains_key("api-sock") {
        return Err("--no-api does not go with --api-sock.".to_owned());
    }
    let id = text("id").unwrap_or_else(|| "anonymous-instance".to_owned());
    let is_id = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
    if !(1..=64).contains(&id.len()) || !id.chars().all(is_id) {
        return Err(format!(
            "--id {id:?} is not 1 to 64 letters, digits and hyphens."
        ));
    }
    let socket = text("api-sock").unwrap_or_else(|| "/run/firecracker.socket".to_owned());
    Ok(Wish::Run(Box::new(Arguments {
        api_sock: (!no_api).then(|| socket.into()),
        id,
        config_file: text("config-file").map(PathBuf::from),
        enable_pci: given.contains_key("enable-pci"),
        max_payload: usize::try_from(number("http-api-max-payload-size", 51_200)?)
            .unwrap_or(usize::MAX),
        log_path: text("log-path"),
        level: text("level").map(|text| level(&text)).transpose()?,
        show_level: given.contains_key("show-level"),
        show_log_origin: given.contains_key("show-log-origin"),
        module: text("module"),
        metrics_path: text("metrics-path"),
        times: [
            number("start-time-us", 0)?,
            number("start-time-cpu-us", 0)?,
            number("parent-cpu-time-us", 0)?,
        ],
        ignored,
    })))
}

fn given(words: &[String], ignored: &mut Vec<&'static str>) -> Result<Given, String> {
    let mut given = Given::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let unknown = || {
            format!(
                "Found argument '{word}' which wasn't expected, or isn't valid in this context."
            )
        };
        let option = word.strip_prefix("--").ok_or_else(unknown)?;
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (option, None),
        };
        let find =
            |table: &[(&'static str, Has)]| table.iter().find(|(known, _)| *known == name).copied();
        let (name, has, value) = match (find(&VALUES), find(&SWITCHES), value) {
            (Some((name, has)), _, value) => {
                let value = value.or_else(|| words.next().cloned());
                (
                    name,
                    has,
                    value.ok_or_else(|| format!("--{name} needs a value."))?,
                )
            }
            (_, Some((name, has)), None) => (name, has, String::new()),
            _ => return Err(unknown()),
        };
        match has {
            Has::No => return Err(format!("This VMM does not have --{name}.")),
            Has::Ignored => ignored.push(name),
            Has::Yes => {}
        }
        if given.insert(name, value).is_some() {
            return Err(format!("--{name} was given twice."));
        }
    }
    Ok(given)
}

fn level(text: &str) -> Result<Level, String> {
    let level = serde_json::from_value(serde_json::Value::from(text));
    level.map_err(|_| format!("--level {text} is not Off, Error, Warning, Info, Debug or Trace."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Wish, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        parse(&words)
    }

    fn run(line: &str) -> Arguments {
        match parsed(line).unwrap() {
            Wish::Run(arguments) => *arguments,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn without_words_there_is_an_api() {
        let arguments = run("");
        assert_eq!(arguments.api_sock, Some("/run/firecracker.socket".into()));
        assert_eq!(arguments.id, "anonymous-instance");
        assert_eq!(arguments.max_payload, 51_200);
        assert_eq!(arguments.config_file, None);
    }

    #[test]
    fn a_jailers_line_is_taken() {
        let line = "--id=551e7604-e35c-42b3-b825-416853441234 --start-time-us=5 \
                    --start-time-cpu-us=6 --parent-cpu-time-us=7 --api-sock /api.socket --no-seccomp";
        let arguments = run(line);
        assert_eq!(arguments.times, [5, 6, 7]);
        assert_eq!(arguments.api_sock, Some("/api.socket".into()));
        assert_eq!(arguments.ignored, ["no-seccomp"]);
    }

    #[test]
    fn a_level_has_any_case() {
        assert_eq!(run("--level Warning").level, Some(Level::Warning));
        assert_eq!(run("--level=debug").level, Some(Level::Debug));
        assert_eq!(parsed("--version"), Ok(Wish::Version));
        assert_eq!(parsed("--help --id x"), Ok(Wish::Help));
    }

    #[test]
    fn a_word_that_cannot_be_is_named() {
        for (line, reason) in [
            ("--api-sok x", "Found argument '--api-sok'"),
            ("x", "Found argument 'x'"),
            ("--no-api=1", "Found argument '--no-api=1'"),
            ("--id", "--id needs a value"),
            ("--id a --id b", "--id was given twice"),
            ("--id a_b", "--id \"a_b\" is not"),
            ("--no-api", "--no-api needs --config-file"),
            (
                "--no-api --config-file f --api-sock s",
                "--no-api does not go",
            ),
            ("--metadata f", "This VMM does not have --metadata"),
            ("--boot-timer", "This VMM does not have --boot-timer"),
            ("--level loud", "--level loud is not"),
            ("--start-time-us x", "--start-time-us x is not a number"),
        ] {
            let said = parsed(line).unwrap_err();
            assert!(said.starts_with(reason), "{line}: {said}");
        }
    }
}
