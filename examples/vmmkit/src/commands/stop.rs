//! `stop`: asks, and waits for the end.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use vmmkit_control::{ClientError, MachineInfo, RuntimeFolder, StopRequest};

use super::ask::{self, Target, each};
use super::options::StopOptions;
use super::{nobody, show};
use crate::failure::Failure;
use crate::{exit_code, messages};

/// How long a machine may take to end after it was stopped.
const END: Duration = Duration::from_secs(10);
/// How often to look whether it has.
const LOOK: Duration = Duration::from_millis(10);

/// Stops machines.
pub(super) fn stop(options: &StopOptions) -> Result<ExitCode, Failure> {
    let timeout_seconds = options.timeout.as_deref().map(seconds).transpose()?;
    let targets = options.whom.targets()?;
    if targets.is_empty() {
        return nobody(options.whom.json);
    }
    let request = StopRequest { timeout_seconds };
    let body = json!(request);
    let asked = each(&targets, |target| {
        let client = target.client();
        let machine: Result<MachineInfo, _> = client.post("/v1/machine/stop", Some(&body));
        match machine {
            // It ended before it could answer: that is what was wanted.
            Err(ClientError::Protocol(_) | ClientError::Transfer(_)) if is_gone(target) => Ok(None),
            other => other.map(Some),
        }
    });
    let mut machines = Vec::new();
    let mut code = ask::sort(&targets, asked, |machine| machines.extend(machine));
    let limit = timeout_seconds.map_or(Duration::from_secs(86_400), |seconds| {
        Duration::from_secs(seconds.into()) + END
    });
    let deadline = Instant::now() + limit;
    for target in &targets {
        while !is_gone(target) {
            if Instant::now() > deadline {
                messages::say(&format!(
                    "error: {}: it has not ended\n  next: kill its process: kill -9 {}",
                    target.option,
                    target.pid.map(|pid| pid.to_string()).unwrap_or_default()
                ));
                code = exit_code::HOST_ERROR.into();
                break;
            }
            thread::sleep(LOOK);
        }
    }
    if options.whom.json {
        show(true, &targets, machines.into_iter().map(Ok).collect())?;
    }
    Ok(code)
}

/// Whether a machine is not there any more.
fn is_gone(target: &Target) -> bool {
    match &target.name {
        Some(name) => {
            let found = RuntimeFolder::of_this_user().and_then(|folder| folder.find(name));
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
            format!("--timeout {text}: this is no number of seconds up to a day"),
            "give a whole number from 0 to 86400, such as --timeout 5",
        )),
    }
}
