//! `--log`: the events of the crates, as lines on stderr or in a file.
//!
//! The crates say what happens by the `tracing` facade and install nothing; without `--log` nobody
//! listens.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tracing::level_filters::LevelFilter;
use vmmkit_assembly::Outputs;
use vmmkit_host_io::Sharing;
use vmmkit_machine_spec::Given;

use crate::failure::Failure;
use crate::messages;
use crate::os_text;

/// The variable for `--log` where the option is not given.
const VARIABLE: &str = "VMMKIT_LOG";
const LEVELS: &str =
    "give error, warn, info or debug, and for a file a comma and its path: debug,vm.log";

/// `LEVEL[,FILE]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogChoice {
    level: Level,
    /// Otherwise stderr.
    file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Error,
    Warn,
    Info,
    Debug,
}

impl LogChoice {
    /// The choice of the environment.
    pub(crate) fn of_environment() -> Result<Option<Self>, Failure> {
        match std::env::var_os(VARIABLE).map(|text| os_text::of(&text)) {
            Some(text) if !text.is_empty() => {
                Self::parse(&format!("{VARIABLE}="), &Given::text(&text)).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// `LEVEL[,FILE]`, where messages begin with `option`. A further comma is part of the path.
    pub(crate) fn parse(option: &str, given: &Given) -> Result<Self, Failure> {
        let text = given.as_text();
        let (level, file) = match text.split_once(',') {
            Some((level, file)) => (level, Some(file)),
            None => (text, None),
        };
        let wrong = |reason: &str| Failure::usage(format!("{option}{text}: {reason}"), LEVELS);
        if file.is_some_and(str::is_empty) {
            return Err(wrong("there is no path after the comma"));
        }
        let level = level
            .parse()
            .map_err(|()| wrong(&format!("there is no level {level:?}")))?;
        let file = file.map(|file| given.path(file));
        Ok(Self { level, file })
    }

    /// The file that it goes to, if it does not go to stderr.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Has the events of this process written, from now on; those for a file wait until it is
    /// [opened](LogFile::open).
    pub(crate) fn install(&self) -> LogFile {
        let builder = tracing_subscriber::fmt()
            .with_max_level(self.level.filter())
            .with_ansi(false)
            .with_thread_names(true);
        let file = LogFile {
            choice: self.clone(),
            place: Arc::default(),
        };
        let place = file.place.clone();
        let installed = match &self.file {
            None => builder.with_writer(|| Stderr).try_init(),
            Some(_) => builder.with_writer(move || Late(place.clone())).try_init(),
        };
        // Refused only where there is a subscriber already: this is called once.
        drop(installed);
        file
    }
}

/// Where the events go: nothing is written to a file before the machine starts. Those of a start that
/// failed go to stderr.
#[derive(Debug)]
pub(crate) struct LogFile {
    choice: LogChoice,
    place: Arc<Mutex<Lines>>,
}

/// The most bytes that wait.
const MAX_WAITING: usize = 1 << 20;

#[derive(Debug)]
enum Lines {
    Waiting(Vec<u8>),
    Written(File),
    Dropped,
}

impl LogFile {
    /// Opens the file, and writes what waited for it. Lines are added to what is there; what a guest
    /// does is nobody else's to read.
    pub(crate) fn open(&self, outputs: &Outputs) -> Result<(), Failure> {
        let Some(path) = &self.choice.file else {
            return Ok(());
        };
        let failed = |error| {
            let next = "check the path and its permissions";
            Failure::host(&format!("--log {}", self.choice), &error, next)
        };
        let mut file = outputs.open(path, Sharing::Lines, 0o600).map_err(failed)?;
        let mut place = lock(&self.place);
        if let Lines::Waiting(bytes) = &*place {
            file.write_all(bytes).map_err(failed)?;
        }
        *place = Lines::Written(file);
        Ok(())
    }

    /// Nothing runs, and nothing is to be written.
    pub(crate) fn discard(self) {
        *lock(&self.place) = Lines::Dropped;
    }
}

impl Drop for LogFile {
    fn drop(&mut self) {
        let mut place = lock(&self.place);
        if let Lines::Waiting(bytes) = &*place {
            messages::write(&String::from_utf8_lossy(bytes));
            *place = Lines::Dropped;
        }
    }
}

fn lock(place: &Mutex<Lines>) -> MutexGuard<'_, Lines> {
    place.lock()
}

impl Default for Lines {
    fn default() -> Self {
        Self::Waiting(Vec::new())
    }
}

/// A file that is opened later. Each event comes in one write.
struct Late(Arc<Mutex<Lines>>);

impl Write for Late {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut *lock(&self.0) {
            Lines::Waiting(waiting) if waiting.len() + bytes.len() <= MAX_WAITING => {
                waiting.extend_from_slice(bytes);
            }
            Lines::Written(file) => return file.write(bytes),
            Lines::Waiting(_) | Lines::Dropped => {}
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Level {
    fn filter(self) -> LevelFilter {
        match self {
            Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
        }
    }
}

impl FromStr for Level {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "error" => Ok(Self::Error),
            "warn" => Ok(Self::Warn),
            "info" => Ok(Self::Info),
            "debug" => Ok(Self::Debug),
            _ => Err(()),
        }
    }
}

impl fmt::Display for LogChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.level {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
        })?;
        match &self.file {
            Some(file) => write!(f, ",{}", os_text::of_path(file)),
            None => Ok(()),
        }
    }
}

/// stderr, which may be a raw terminal. Each event comes in one write.
struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        messages::write(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(text: &str) -> Result<LogChoice, String> {
        let choice = LogChoice::parse("--log ", &Given::text(text));
        choice.map_err(|failure| failure.text())
    }

    #[test]
    fn a_level_and_a_file_are_read_back_as_they_are_written() {
        for text in ["error", "warn", "info", "debug", "debug,/tmp/a,b.log"] {
            assert_eq!(choice(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_level_is_named() {
        let text = choice("loud,x").unwrap_err();
        assert!(
            text.contains("--log loud,x: there is no level \"loud\""),
            "{text}"
        );
        let text = choice("info,").unwrap_err();
        assert!(text.contains("there is no path after the comma"), "{text}");
        assert!(choice("trace").is_err(), "no crate has any");
    }
}
