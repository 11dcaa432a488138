//! Firecracker's API as a table of requests and answers.

mod answer;
mod route;
mod running;
mod setup;
mod snapshot;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, MutexGuard};
use serde_json::{Value, json};
use vmmkit_control::{Answer, Asked, Fault, Table};

use crate::body::{Action, ActionType};
use crate::config_file::ConfigFile;
use crate::guest::{Guest, Launcher};
use crate::log::Log;
use crate::memory::{MemoryHotplug, MemoryHotplugStatus};
use crate::metrics::Metrics;
use crate::resources::Resources;
use crate::{API_VERSION, APP_NAME, log};
use answer::{Done, Refused, answered};
use route::{Request, Verb};

/// Bodies in the log are cut here, in bytes.
const LOGGED_BODY: usize = 4096;

/// The API of one process, which makes at most one machine.
pub struct Firecracker {
    id: String,
    launcher: Arc<dyn Launcher>,
    log: Arc<Log>,
    metrics: Arc<Metrics>,
    guest: Arc<OnceLock<Arc<dyn Guest>>>,
    // Held while the machine is being started, which may ask for its metrics: those do without it.
    state: Mutex<State>,
}

/// Before boot, what clients have configured; afterwards the machine too.
struct State {
    resources: Resources,
    guest: Arc<OnceLock<Arc<dyn Guest>>>,
    is_paused: bool,
    /// A client has configured the machine, or tried to: no snapshot can be loaded any more.
    is_configured: bool,
}

impl Firecracker {
    /// The API of the instance `id`, whose machine begins as `resources` and is started by `launcher`.
    pub fn new(
        id: &str,
        resources: Resources,
        launcher: Arc<dyn Launcher>,
        log: Arc<Log>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let guest: Arc<OnceLock<_>> = Arc::default();
        Self {
            id: id.to_owned(),
            launcher,
            log,
            metrics,
            guest: guest.clone(),
            state: Mutex::new(State {
                resources,
                guest,
                is_paused: false,
                is_configured: false,
            }),
        }
    }

    /// Configures a machine as `file` says, and starts it.
    ///
    /// # Errors
    /// The first part that cannot be, in a sentence.
    pub fn boot(&self, file: ConfigFile) -> Result<(), String> {
        let mut state = self.lock();
        file.apply(&mut state.resources, &self.log, &self.metrics)?;
        self.start(&mut state)
    }

    /// Writes the metrics.
    ///
    /// # Errors
    /// A sentence, where there is no file for them.
    pub fn flush_metrics(&self) -> Result<(), String> {
        let counters = self
            .guest
            .get()
            .map_or(Value::Null, |guest| guest.counters());
        self.metrics.flush(&counters, self.log.take_lost())
    }

    fn start(&self, state: &mut State) -> Result<(), String> {
        let guest = self.launcher.launch(&state.resources, None)?;
        // Whoever starts has looked that there is none, under the lock.
        let _ = state.guest.set(guest);
        Ok(())
    }

    fn handle(&self, asked: &Asked) -> Result<Done, Refused> {
        let request = Request::parse(asked)?;
        let name = request.counted();
        let done = self.act(&request);
        if let Some((group, name)) = name {
            self.metrics.count(group, name, done.is_err());
        }
        done
    }

    fn act(&self, request: &Request<'_>) -> Result<Done, Refused> {
        let mut state = self.lock();
        match (request.verb, request.parts()) {
            (Verb::Get, _) => self.get(&mut state, request),
            (Verb::Put, ["actions"]) => {
                let action: Action = request.json()?;
                self.action(&mut state, action.action_type)
            }
            (Verb::Put, _) => self.put(&mut state, request),
            (Verb::Patch, _) => Self::patch(&mut state, request),
        }
    }

    fn get(&self, state: &mut State, request: &Request<'_>) -> Result<Done, Refused> {
        Ok(match request.parts() {
            [] => Done::Json(json!({
                "app_name": APP_NAME,
                "id": self.id,
                "state": state.name(),
                "vmm_version": API_VERSION,
            })),
            ["version"] => Done::Json(json!({ "firecracker_version": API_VERSION })),
            ["vm", "config"] => Done::Json(state.resources.to_json()),
            ["machine-config"] => Done::json(&state.resources.machine_config)?,
            ["balloon"] => Done::json(state.resources.the_balloon()?)?,
            ["balloon", "statistics"] => {
                let guest = state.running()?.clone();
                if state.resources.the_balloon()?.stats_polling_interval_s == 0 {
                    return Err("The balloon has no statistics.".to_owned().into());
                }
                Done::json(&guest.balloon())?
            }
            ["hotplug", "memory"] => {
                let (plugged_size_mib, requested_size_mib) = state.running()?.plugged_memory();
                Done::json(&MemoryHotplugStatus {
                    config: *state.hotplug()?,
                    plugged_size_mib,
                    requested_size_mib,
                })?
            }
            _ => return Err(request.unknown()),
        })
    }

    fn action(&self, state: &mut State, action: ActionType) -> Result<Done, Refused> {
        match action {
            ActionType::InstanceStart => {
                state.only_before()?;
                self.start(state)?;
            }
            ActionType::SendCtrlAltDel => state.running()?.ctrl_alt_del(),
            ActionType::FlushMetrics => {
                state.running()?;
                self.flush_metrics()?;
            }
        }
        Ok(Done::Nothing)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl State {
    fn name(&self) -> &'static str {
        match self.guest.get() {
            None => "Not started",
            Some(_) if self.is_paused => "Paused",
            Some(_) => "Running",
        }
    }

    fn running(&self) -> Result<&Arc<dyn Guest>, Refused> {
        self.guest.get().ok_or(Refused::Before)
    }

    fn hotplug(&self) -> Result<&MemoryHotplug, String> {
        let config = self.resources.memory_hotplug.as_ref();
        config.ok_or_else(|| "There is no memory that can be plugged.".to_owned())
    }

    fn only_before(&self) -> Result<(), Refused> {
        match self.guest.get() {
            None => Ok(()),
            Some(_) => Err(Refused::After),
        }
    }
}

impl Table for Firecracker {
    fn answer(&self, asked: &Asked) -> Answer {
        let (method, path) = (capitalized(&asked.method), &asked.path);
        match String::from_utf8_lossy(&asked.body) {
            body if body.is_empty() => {
                log!(
                    self.log,
                    Info,
                    "The API server received a {method} request on {path:?}."
                );
            }
            body => {
                let end = body.floor_char_boundary(LOGGED_BODY);
                let body = body.get(..end).unwrap_or_default();
                log!(
                    self.log,
                    Info,
                    "The API server received a {method} request on {path:?} with body {body:?}."
                );
            }
        }
        let answer = answered(self.handle(asked));
        match answer.status {
            200 => log!(
                self.log,
                Info,
                "The request was executed successfully. Status code: 200 OK."
            ),
            204 => log!(
                self.log,
                Info,
                "The request was executed successfully. Status code: 204 No Content."
            ),
            status => {
                let said = String::from_utf8_lossy(&answer.body);
                log!(
                    self.log,
                    Error,
                    "Received Error. Status code: {status}. Message: {said}"
                );
            }
        }
        answer
    }

    fn refuse(&self, fault: Fault) -> Answer {
        answered(Err(Refused::Fault(fault)))
    }
}

impl fmt::Debug for Firecracker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Firecracker")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// `Put`
fn capitalized(method: &str) -> String {
    let mut letters = method.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first
        .into_iter()
        .chain(letters.map(|letter| letter.to_ascii_lowercase()))
        .collect()
}
