//! The log: lines as Firecracker writes them.

use std::fmt;
use std::io::{self, Write};

use parking_lot::Mutex;

use crate::body::{Level, Logger};
use crate::clock;
use crate::sink::Sink;

/// The code that a line is of.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// The path of its module.
    pub module: &'a str,
    /// Its file.
    pub file: &'a str,
    /// The line there.
    pub line: u32,
}

/// The log of a process.
#[derive(Debug)]
pub struct Log {
    id: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    level: Level,
    shows_level: bool,
    shows_origin: bool,
    /// Lines of modules whose path begins so; of all without it.
    module: Option<String>,
    /// Otherwise stdout.
    sink: Option<Sink>,
    lost: u64,
}

impl Log {
    /// The log of the instance `id`, on stdout.
    pub fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            state: Mutex::new(State {
                level: Level::default(),
                shows_level: false,
                shows_origin: false,
                module: None,
                sink: None,
                lost: 0,
            }),
        }
    }

    /// Changes what is written, and where.
    ///
    /// # Errors
    /// The first part that cannot be, in a sentence.
    pub fn configure(&self, logger: &Logger) -> Result<(), String> {
        let open = |path: &String| {
            Sink::open(path).map_err(|error| format!("The log cannot be opened: {path}: {error}"))
        };
        let sink = logger.log_path.as_ref().map(open).transpose()?;
        let mut state = self.state.lock();
        state.sink = sink.or(state.sink.take());
        state.level = logger.level.unwrap_or(state.level);
        state.shows_level = logger.show_level.unwrap_or(state.shows_level);
        state.shows_origin = logger.show_log_origin.unwrap_or(state.shows_origin);
        state.module = logger.module.clone().or(state.module.take());
        Ok(())
    }

    /// Writes a line, of the code at `origin`.
    pub fn write(&self, level: Level, origin: Origin<'_>, text: fmt::Arguments<'_>) {
        let mut state = self.state.lock();
        let mut wanted = state.module.iter();
        let is_other = wanted.any(|module| !origin.module.starts_with(module.as_str()));
        if level > state.level || is_other {
            return;
        }
        let line = line(&self.id, level, origin, &state, text);
        match &mut state.sink {
            Some(sink) => {
                sink.add(&line);
                state.lost += state.sink.as_mut().map_or(0, Sink::take_lost);
            }
            // A process whose stdout is closed has no log.
            None => {
                let _ = io::stdout().lock().write_all(line.as_bytes());
            }
        }
    }

    /// The lines that were lost since the last call.
    pub fn take_lost(&self) -> u64 {
        std::mem::take(&mut self.state.lock().lost)
    }
}

fn line(
    id: &str,
    level: Level,
    origin: Origin<'_>,
    state: &State,
    text: fmt::Arguments<'_>,
) -> String {
    let thread = std::thread::current();
    let mut place = format!("{id}:{}", thread.name().unwrap_or("-"));
    if state.shows_level {
        let level = format!("{level:?}").to_uppercase();
        place = format!(
            "{place}:{}",
            if level == "WARNING" { "WARN" } else { &level }
        );
    }
    if state.shows_origin {
        place = format!("{place}:{}:{}", origin.file, origin.line);
    }
    // What a client has sent stays in its line.
    let text = text.to_string().replace(['\n', '\r'], " ");
    format!("{} [{place}] {text}\n", clock::stamp(clock::now()))
}

/// Writes a line of this level to a log.
#[macro_export]
macro_rules! log {
    ($log:expr, $level:ident, $($text:tt)*) => {
        $log.write(
            $crate::body::Level::$level,
            $crate::log::Origin { module: module_path!(), file: file!(), line: line!() },
            format_args!($($text)*),
        )
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_what_the_logger_says() {
        let path = std::env::temp_dir().join(format!("vmmkit-fc-log-{}", std::process::id()));
        let log = Log::new("vm1");
        let mut logger = Logger {
            log_path: path.to_str().map(str::to_owned),
            ..Logger::default()
        };
        log.configure(&logger).unwrap();
        log!(log, Info, "one\ntwo");
        log!(log, Debug, "not this");
        logger.show_level = Some(true);
        logger.show_log_origin = Some(true);
        logger.level = Some(Level::Warning);
        log.configure(&logger).unwrap();
        log!(log, Info, "nor this");
        log!(log, Warning, "three");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let [first, second] = lines[..] else {
            panic!("{text}");
        };
        assert_eq!(&first[19..20], ".");
        let thread = std::thread::current();
        let thread = thread.name().unwrap();
        assert_eq!(&first[29..], format!(" [vm1:{thread}] one two"));
        let start = format!(" [vm1:{thread}:WARN:");
        assert!(second[29..].starts_with(&start), "{second}");
        assert!(
            second.ends_with("] three") && second.contains("log.rs:"),
            "{second}"
        );
    }

    #[test]
    fn lines_of_other_modules_are_left_out() {
        let path = std::env::temp_dir().join(format!("vmmkit-fc-module-{}", std::process::id()));
        let log = Log::new("vm1");
        let mut logger = Logger {
            log_path: path.to_str().map(str::to_owned),
            module: Some("vmmkit_firecracker::log".into()),
            ..Logger::default()
        };
        log.configure(&logger).unwrap();
        log!(log, Info, "one");
        logger.module = Some("vmm::devices".into());
        log.configure(&logger).unwrap();
        log!(log, Info, "two");
        // Unless another is named, it stays.
        logger.module = None;
        log.configure(&logger).unwrap();
        log!(log, Info, "three");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(
            text.ends_with("] one\n") && text.lines().count() == 1,
            "{text}"
        );
    }
}
