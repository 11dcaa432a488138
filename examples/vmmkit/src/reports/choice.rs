//! The choice of reports, as text and back.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use vmmkit_telemetry::{Metrics, Timeline};

use vmmkit_machine_spec::{Fault, Given, Words};

use crate::failure::Failure;
use crate::os_text;

const TIMELINE: &str = "give a path that ends in .svg or .json";
/// How often metrics are written unless it is said.
const EVERY: Duration = Duration::from_secs(1);
/// A day.
const LONGEST: f64 = 86_400.0;

/// `--metrics PATH[,every=SECONDS][,format=prometheus|json]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MetricsChoice {
    pub(super) path: PathBuf,
    pub(super) every: Duration,
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Prometheus,
    JsonLines,
}

impl MetricsChoice {
    pub(crate) fn new(given: &Given) -> Result<Self, Fault> {
        let mut words = Words::new(given);
        let path = words.first().ok_or(Fault::Missing("path"))?;
        let path = words.path(path);
        let format = |text: &str| match text {
            "prometheus" => Some(Format::Prometheus),
            "json" => Some(Format::JsonLines),
            _ => None,
        };
        let format = words.parsed("format", "prometheus or json", format)?;
        let every = words.parsed("every", "a number of seconds from 0.1 to 86400", seconds)?;
        words.end()?;
        Ok(Self {
            every: every.unwrap_or(EVERY),
            format: format.unwrap_or_else(|| Format::of(&path)),
            path,
        })
    }

    /// Where it goes.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The text to write.
    pub(super) fn encode(&self, metrics: &Metrics) -> String {
        match self.format {
            Format::Prometheus => metrics.to_prometheus(),
            Format::JsonLines => metrics.to_json_lines(),
        }
    }
}

impl Format {
    /// That of a file's name.
    fn of(path: &Path) -> Self {
        match extension(path).as_deref() {
            Some("json" | "jsonl" | "ndjson") => Self::JsonLines,
            _ => Self::Prometheus,
        }
    }
}

impl fmt::Display for MetricsChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&os_text::of_path(&self.path).replace(',', ",,"))?;
        match self.format {
            format if format == Format::of(&self.path) => {}
            Format::Prometheus => f.write_str(",format=prometheus")?,
            Format::JsonLines => f.write_str(",format=json")?,
        }
        if self.every != EVERY {
            write!(f, ",every={}", self.every.as_secs_f64())?;
        }
        Ok(())
    }
}

/// `--timeline PATH.svg` or `PATH.json`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TimelineChoice {
    pub(super) path: PathBuf,
    is_picture: bool,
}

impl TimelineChoice {
    pub(crate) fn new(path: &Path) -> Result<Self, Failure> {
        let is_picture = match extension(path).as_deref() {
            Some("svg") => true,
            Some("json") => false,
            _ => {
                let what = format!(
                    "--timeline {}: the path does not say which form it is to have",
                    path.display()
                );
                return Err(Failure::usage(what, TIMELINE));
            }
        };
        Ok(Self {
            path: path.to_owned(),
            is_picture,
        })
    }

    /// Where it goes.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The text to write.
    pub(super) fn encode(&self, timeline: &Timeline) -> String {
        match self.is_picture {
            true => timeline.to_svg(),
            false => timeline.to_json(),
        }
    }
}

impl fmt::Display for TimelineChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&os_text::of_path(&self.path))
    }
}

fn extension(path: &Path) -> Option<String> {
    Some(path.extension()?.to_str()?.to_ascii_lowercase())
}

fn seconds(text: &str) -> Option<Duration> {
    let seconds: f64 = text.parse().ok()?;
    (0.1..=LONGEST)
        .contains(&seconds)
        .then(|| Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_file_says_the_form() {
        let metrics = |text| MetricsChoice::new(&Given::text(text)).unwrap();
        assert_eq!(metrics("m.prom").format, Format::Prometheus);
        assert_eq!(metrics("/dev/stderr").format, Format::Prometheus);
        assert_eq!(metrics("m.JSONL").format, Format::JsonLines);
        let own = metrics("m.prom,format=json,every=0.5");
        assert_eq!(own.format, Format::JsonLines);
        assert_eq!(own.every, Duration::from_millis(500));
        assert_eq!(own.to_string(), "m.prom,format=json,every=0.5");
        assert!(TimelineChoice::new(Path::new("a.svg")).unwrap().is_picture);
        assert!(!TimelineChoice::new(Path::new("a.json")).unwrap().is_picture);
    }

    #[test]
    fn what_cannot_be_understood_is_refused() {
        for text in ["", "m,every=0", "m,every=x", "m,format=xml", "m,often"] {
            assert!(MetricsChoice::new(&Given::text(text)).is_err(), "{text}");
        }
        for path in ["", "boot", "boot.png", ".svg"] {
            assert!(TimelineChoice::new(Path::new(path)).is_err(), "{path}");
        }
    }
}
