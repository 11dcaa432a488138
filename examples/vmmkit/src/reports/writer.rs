//! The thread that writes reports.

use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use vmmkit_host_io::{FileError, ThreadRole, ThreadSpec, replace_file};
use vmmkit_legacy_devices::cmos::Moment;
use vmmkit_telemetry::{Bins, Timeline};
use vmmkit_vmm::{Handle, MachineState, Outcome};

use super::{MetricsSource, Reports, start};
use crate::failure::Failure;
use crate::messages;

/// How long the reader of a pipe may take for one report.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long the last reports may take: a file system that hangs must not hold up the end.
const LAST: Duration = Duration::from_secs(5);

/// The thread `reports`, which samples and writes until it is told to finish.
pub(super) struct Writer {
    finish: Sender<()>,
    /// Ends with the thread.
    done: Receiver<()>,
}

/// The context of the thread.
struct Work {
    reports: Reports,
    machine: Handle,
    numbers: MetricsSource,
    exits: Bins,
    /// A report could not be written, and that was said.
    has_failed: bool,
}

impl Writer {
    /// Writes each file once, then again and again.
    pub(super) fn start(
        reports: Reports,
        machine: Handle,
        numbers: MetricsSource,
    ) -> Result<Self, Failure> {
        let mut work = Work {
            reports,
            machine,
            numbers,
            exits: Bins::default(),
            has_failed: false,
        };
        let written = work.write_metrics();
        work.tell_at_start(written)?;
        let written = work.write_timeline();
        work.tell_at_start(written)?;
        let (finish, asked) = channel();
        let (at_end, done) = channel();
        ThreadSpec::new(ThreadRole::Helper, "reports")
            .spawn(move || {
                work.run(&asked);
                drop(at_end);
            })
            .map_err(|error| {
                let next = "raise the limit of processes (ulimit -u)";
                Failure::host("threads", &error, next)
            })?;
        Ok(Self { finish, done })
    }

    /// Has all of it written for the last time, and waits a while for that.
    pub(super) fn finish(self) {
        drop(self.finish);
        if self.done.recv_timeout(LAST) == Err(RecvTimeoutError::Timeout) {
            messages::say("warning: the last reports could not be written in time");
        }
    }
}

impl Work {
    fn run(mut self, asked: &Receiver<()>) {
        let mut next_metrics = Instant::now();
        loop {
            let wait = self.pause(next_metrics);
            match asked.recv_timeout(wait) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.reports.timeline.is_some() {
                self.sample();
            }
            if let Some(metrics) = &self.reports.metrics
                && Instant::now() >= next_metrics
            {
                next_metrics = Instant::now() + metrics.every;
                let written = self.write_metrics();
                self.tell(written);
            }
        }
        self.sample();
        let written = self.write_metrics();
        self.tell(written);
        let written = self.write_timeline();
        self.tell(written);
    }

    /// How long nothing is to be done.
    fn pause(&self, next_metrics: Instant) -> Duration {
        let sample = self.reports.timeline.as_ref();
        let sample = sample.map(|_| self.exits.interval());
        let metrics = self.reports.metrics.as_ref();
        let metrics = metrics.map(|_| next_metrics.saturating_duration_since(Instant::now()));
        let both = sample.into_iter().chain(metrics);
        both.min().unwrap_or(Duration::from_secs(1))
    }

    /// Notes the exits to each device so far.
    fn sample(&mut self) {
        let at = self.reports.log.milestones().start().elapsed();
        let mut counts = std::collections::BTreeMap::<String, u64>::new();
        for vcpu in self.machine.exits() {
            let mmio = vcpu.mmio.owners.iter();
            for owner in vcpu.ports.owners.iter().chain(mmio) {
                *counts.entry(owner.name.to_string()).or_default() += owner.reads + owner.writes;
            }
        }
        for (name, count) in &counts {
            self.exits.sample(at, name, *count);
        }
    }

    fn write_metrics(&self) -> Result<(), NotWritten> {
        let Some(choice) = &self.reports.metrics else {
            return Ok(());
        };
        write("--metrics", &choice.path, &choice.encode(&(self.numbers)()))
    }

    fn write_timeline(&mut self) -> Result<(), NotWritten> {
        let Some(choice) = &self.reports.timeline else {
            return Ok(());
        };
        let title = self.reports.title.as_str();
        let exits = self.exits.clone();
        let mut timeline = Timeline::of(title, &self.reports.log, start::main(), exits);
        timeline.facts = self.facts(&timeline);
        write("--timeline", &choice.path, &choice.encode(&timeline))
    }

    /// The facts that a report of a bug needs.
    fn facts(&self, timeline: &Timeline) -> Vec<String> {
        let now = utc(vmmkit_host_io::wall_clock());
        let panic = self.reports.log.panic();
        let outcome = match (self.machine.state(), panic) {
            (_, Some(panic)) => format!("the guest's kernel panicked: {}", panic.reason),
            (MachineState::Ended(outcome), None) => match outcome {
                Outcome::PowerOff => "the guest powered off".to_owned(),
                Outcome::Reset => "the guest reset itself".to_owned(),
                Outcome::Stopped => "it was stopped".to_owned(),
                Outcome::GuestPanic => "the guest's kernel panicked".to_owned(),
                Outcome::TripleFault(vcpu) => format!("a triple fault of {vcpu}"),
                other => format!("{other:?}"),
            },
            (MachineState::Failed, None) => "the machine failed".to_owned(),
            _ => "it has not ended".to_owned(),
        };
        let version = env!("CARGO_PKG_VERSION");
        let mut facts = vec![format!("{outcome}; vmmkit {version}, {now}")];
        facts.extend(timeline.kernel_version().map(str::to_owned));
        if !self.reports.cmdline.is_empty() {
            facts.push(format!("command line: {}", self.reports.cmdline));
        }
        facts
    }

    /// Says once that something could not be written; the guest goes on.
    fn tell(&mut self, written: Result<(), NotWritten>) {
        if let Err(error) = written
            && !std::mem::replace(&mut self.has_failed, true)
        {
            // The guest goes on.
            messages::say(&error.failure.text().replacen("error", "warning", 1));
        }
    }

    /// Nothing runs yet: a file that cannot be written is a mistake. The reader of a pipe may still come.
    fn tell_at_start(&mut self, written: Result<(), NotWritten>) -> Result<(), Failure> {
        match written {
            Err(error) if !error.is_for_a_reader => Err(error.failure),
            other => {
                self.tell(other);
                Ok(())
            }
        }
    }
}

/// A time as `2026-11-29 18:03 UTC`, of seconds since 1970.
fn utc(seconds: i64) -> String {
    let Moment {
        year,
        month,
        day,
        hour,
        minute,
        ..
    } = Moment::from_unix(seconds);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02} UTC")
}

/// Why a report could not be written.
struct NotWritten {
    failure: Failure,
    /// It is a pipe, and nobody reads from it now.
    is_for_a_reader: bool,
}

fn write(option: &str, path: &Path, text: &str) -> Result<(), NotWritten> {
    replace_file(path, text.as_bytes(), PATIENCE).map_err(|error| {
        let is_for_a_reader = matches!(error, FileError::NoReader);
        let what = format!("{option} {}", path.display());
        let next = match is_for_a_reader {
            true => "the guest goes on; a reader who comes gets the next report",
            false => "check the folder, its permissions and the space there",
        };
        NotWritten {
            failure: Failure::host(&what, &error, next),
            is_for_a_reader,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_in_utc() {
        assert_eq!(utc(0), "1970-01-01 00:00 UTC");
        assert_eq!(utc(1_709_251_140), "2024-02-29 23:59 UTC");
        assert_eq!(utc(1_709_251_200), "2024-03-01 00:00 UTC");
        assert_eq!(utc(4_102_444_799), "2099-12-31 23:59 UTC");
        assert_eq!(utc(-1), "1969-12-31 23:59 UTC");
    }
}
