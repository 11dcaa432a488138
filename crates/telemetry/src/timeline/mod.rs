//! One boot as data, and as a picture.

mod bins;
mod lanes;
mod svg;
mod xml;

use std::time::Duration;

#[cfg(feature = "json")]
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::{BootLog, ConsoleLine, Milestone};

pub use bins::Bins;

/// One boot: when the machine got how far, what the guest said, and what it left the guest for.
///
/// It is read from a [`BootLog`] and from [`Bins`] that somebody filled while the guest ran. As JSON,
/// by serde, it holds all that [`to_svg`](Self::to_svg) draws; times are microseconds.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Timeline {
    /// The subject, for the heading.
    pub title: String,
    /// Other facts for a reader, such as the kernel, the day and the outcome: a line each below it.
    pub facts: Vec<String>,
    /// Points in time, in order.
    pub marks: Vec<Mark>,
    /// Lines of the console, in order.
    pub lines: Vec<ConsoleLine>,
    /// How many more lines there were.
    pub lost_lines: u64,
    /// Exits by device over time.
    pub exits: Bins,
}

/// A point in time.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mark {
    /// Its name: that of a [`Milestone`], or `exec`, `main`, `init`.
    pub name: &'static str,
    /// When it was.
    pub at: Duration,
}

impl Timeline {
    /// The boot that `log` tells of, whose time begins when the process was started. `main` is when
    /// the program itself began.
    pub fn of(title: impl Into<String>, log: &BootLog, main: Duration, exits: Bins) -> Self {
        let (lines, lost_lines) = log.lines();
        let mark = |name, at| Mark { name, at };
        let mut marks = vec![mark("exec", Duration::ZERO), mark("main", main)];
        let reached = log.milestones().all();
        marks.extend(reached.map(|(milestone, at)| mark(milestone.name(), at)));
        marks.extend(init(&lines).map(|at| mark("init", at)));
        marks.sort_by_key(|mark| mark.at);
        Self {
            title: title.into(),
            facts: Vec::new(),
            marks,
            lines,
            lost_lines,
            exits,
        }
    }

    /// The kernel's first line, its version, if the console showed it.
    pub fn kernel_version(&self) -> Option<&str> {
        let mut texts = self.lines.iter().map(|line| message(&line.text));
        texts.find(|text| text.starts_with("Linux version "))
    }

    /// When a mark was.
    pub fn at(&self, name: &str) -> Option<Duration> {
        let mark = self.marks.iter().find(|mark| mark.name == name)?;
        Some(mark.at)
    }

    /// As JSON.
    #[cfg(feature = "json")]
    pub fn to_json(&self) -> String {
        // Text, numbers and lists: nothing that serde_json refuses.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// The time that the last of it was.
    fn end(&self) -> Duration {
        let marks = self.marks.iter().map(|mark| mark.at);
        let lines = self.lines.iter().map(|line| line.at);
        marks.chain(lines).max().unwrap_or_default()
    }

    fn milestone(&self, milestone: Milestone) -> Option<Duration> {
        self.at(milestone.name())
    }
}

/// When Linux started init, as its log tells (init/main.c, `run_init_process`).
fn init(lines: &[ConsoleLine]) -> Option<Duration> {
    let line = lines.iter().find(|line| {
        let text = message(&line.text);
        text.starts_with("Run ") && text.ends_with(" as init process")
    })?;
    Some(line.at)
}

/// A line of Linux's log without its time: `[    0.123456] `.
fn message(line: &str) -> &str {
    match line
        .strip_prefix('[')
        .and_then(|rest| rest.split_once("] "))
    {
        Some((time, rest)) if time.trim().parse::<f64>().is_ok() => rest,
        _ => line,
    }
}

#[cfg(feature = "json")]
fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(feature = "json")]
impl Serialize for Timeline {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("title", &self.title)?;
        map.serialize_entry("facts", &self.facts)?;
        map.serialize_entry("marks_us", &Marks(&self.marks))?;
        map.serialize_entry("exits", &self.exits)?;
        map.serialize_entry("lines", &self.lines)?;
        map.serialize_entry("lost_lines", &self.lost_lines)?;
        map.end()
    }
}

#[cfg(feature = "json")]
struct Marks<'a>(&'a [Mark]);

#[cfg(feature = "json")]
impl Serialize for Marks<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let marks = self.0.iter().map(|mark| (mark.name, microseconds(mark.at)));
        serializer.collect_map(marks)
    }
}

#[cfg(feature = "json")]
impl Serialize for ConsoleLine {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("at_us", &microseconds(self.at))?;
        map.serialize_entry("text", &self.text)?;
        map.end()
    }
}

#[cfg(test)]
mod tests;
