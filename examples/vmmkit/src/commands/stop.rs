//! `stop`: asks, waits for the end, and says what it was.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use serde_json::json;
use vmmkit_control::{Client, ClientError, MachineInfo, StopRequest};
use vmmkit_host_io::{ThreadRole, ThreadSpec};

use super::ask::{self, AskError, Target, each_at_all};
use super::options::StopOptions;
use super::{nobody, write_json};
use crate::failure::Failure;
use crate::{control, exit_code, generate};

/// How long a machine may take to end after it was stopped.
const END: Duration = Duration::from_secs(10);
/// How long one that was suspended may take to go on.
const WAKE: Duration = Duration::from_secs(2);
/// How often to look.
const LOOK: Duration = Duration::from_millis(10);
/// The longest time that a guest may be given.
const DAY: Duration = Duration::from_secs(86_400);

/// How a machine ended.
#[derive(Debug, Serialize)]
struct End {
    name: String,
    pid: Option<u32>,
    state: &'static str,
    /// As the event `ended` tells it; none where nobody heard it.
    outcome: Option<String>,
    seconds: f64,
    /// The guest was asked to power off, did not, and was stopped.
    cut_off: bool,
}

/// Stops machines.
pub(super) fn stop(options: &StopOptions) -> Result<ExitCode, Failure> {
    let timeout = options.timeout.as_deref().map(seconds).transpose()?;
    let targets = options.whom.targets()?;
    if targets.is_empty() {
        return nobody(options.whom.json);
    }
    let answers = each_at_all(&targets, |target| end(target, timeout));
    let mut ends = Vec::new();
    let mut code = ask::sort(&targets, answers, |end| ends.push(end));
    if code == exit_code::SUCCESS.into() && ends.iter().any(|end| end.cut_off) {
        code = exit_code::CUT_OFF.into();
    }
    if options.whom.json {
        write_json(&ends)?;
    } else {
        let lines: String = ends.iter().map(|end| end.line(timeout)).collect();
        generate::write(lines.as_bytes())?;
    }
    Ok(code)
}

/// Ends one machine.
fn end(target: &Target, timeout: Option<u32>) -> Result<End, AskError> {
    wake(target);
    let began = Instant::now();
    let client = target.client();
    let witness = Witness::of(&client);
    let body = json!(StopRequest {
        timeout_seconds: timeout
    });
    match client.post::<MachineInfo>("/v1/machine/stop", Some(&body)) {
        Ok(_) => {}
        // It ended before it could answer: that is what was wanted.
        Err(ClientError::Protocol(_) | ClientError::Transfer(_)) if is_gone(target) => {}
        Err(error) => return Err(error.into()),
    }
    let limit = timeout.map_or(DAY, |seconds| Duration::from_secs(seconds.into()) + END);
    while !is_gone(target) {
        if began.elapsed() > limit {
            return Err(AskError::StillThere);
        }
        thread::sleep(LOOK);
    }
    let seen = witness.map(Witness::tells).unwrap_or_default();
    // Of a guest that has not run, or has crashed, nothing was asked.
    let was_asked = timeout != Some(0) && ["running", "paused"].contains(&&*seen.state);
    Ok(End {
        name: target.name.clone().unwrap_or_else(|| target.option.clone()),
        pid: target.pid,
        state: "ended",
        cut_off: was_asked && seen.outcome.as_deref() == Some("stopped"),
        outcome: seen.outcome,
        seconds: began.elapsed().as_secs_f64(),
    })
}

/// A process that was suspended hears nothing until it goes on.
fn wake(target: &Target) {
    let pid = target.pid.and_then(|pid| i32::try_from(pid).ok());
    let Some(pid) = pid.and_then(Pid::from_raw) else {
        return;
    };
    if target.is_suspended() && kill_process(pid, Signal::CONT).is_ok() {
        let deadline = Instant::now() + WAKE;
        while target.is_suspended() && Instant::now() < deadline {
            thread::sleep(LOOK);
        }
    }
}

/// Hears a machine's events to the last.
struct Witness(thread::JoinHandle<Seen>);

/// The events heard.
#[derive(Debug, Default)]
struct Seen {
    /// The machine's state before it was stopped.
    state: String,
    outcome: Option<String>,
}

impl Witness {
    /// `None` where there are no events to hear.
    fn of(client: &Client) -> Option<Self> {
        // An event, or a heartbeat, comes every 15 s.
        let events = client.clone().patient_for(2 * END).events().ok()?;
        let listening = ThreadSpec::new(ThreadRole::Helper, "events").spawn(move || {
            let mut seen = Seen::default();
            for event in events.flatten() {
                match &*event.kind {
                    "state" => seen.state = event.detail.unwrap_or_default(),
                    "ended" => {
                        seen.outcome = event.detail;
                        break;
                    }
                    "failed" => break,
                    _ => {}
                }
            }
            seen
        });
        listening.ok().map(Self)
    }

    /// The events heard when the machine is gone: its stream has ended then.
    fn tells(self) -> Seen {
        self.0.join().unwrap_or_default()
    }
}

impl End {
    fn line(&self, timeout: Option<u32>) -> String {
        let Self { name, seconds, .. } = self;
        let what = match self.outcome.as_deref() {
            _ if self.cut_off => {
                let patience = timeout.map_or_else(
                    || format!("{seconds:.1} s"),
                    |timeout| format!("{timeout} s"),
                );
                return format!("{name}: did not answer the power button in {patience}, stopped\n");
            }
            Some("power-off") => "powered off",
            Some("reset") => "reset itself, and ended",
            Some("guest-panic") => "its kernel panicked",
            Some("stopped") => "stopped",
            Some("command-ended") => "its command ended",
            _ => "ended",
        };
        format!("{name}: {what} after {seconds:.1} s\n")
    }
}

/// Whether a machine is not there any more.
fn is_gone(target: &Target) -> bool {
    match &target.name {
        Some(name) => {
            let found = control::runtime_folder().and_then(|folder| folder.find(name));
            // Another one may have its name by now.
            found.map_or(true, |instance| instance.pid != target.pid)
        }
        None => target.client().get::<MachineInfo>("/v1/machine").is_err(),
    }
}

fn seconds(text: &str) -> Result<u32, Failure> {
    match text.parse() {
        Ok(seconds @ 0..=86_400) => Ok(seconds),
        _ => Err(Failure::usage(
            format!("--timeout {text}: this is not a number of seconds up to a day"),
            "give a whole number from 0 to 86400, such as --timeout 5",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(outcome: &str, cut_off: bool) -> String {
        let end = End {
            name: "web".to_owned(),
            pid: None,
            state: "ended",
            outcome: Some(outcome.to_owned()),
            seconds: 3.12,
            cut_off,
        };
        end.line(Some(5))
    }

    #[test]
    fn an_end_is_told_as_what_it_was() {
        assert_eq!(line("power-off", false), "web: powered off after 3.1 s\n");
        assert_eq!(
            line("stopped", true),
            "web: did not answer the power button in 5 s, stopped\n"
        );
        assert_eq!(
            line("command-ended", false),
            "web: its command ended after 3.1 s\n"
        );
        assert_eq!(line("stopped", false), "web: stopped after 3.1 s\n");
    }
}
