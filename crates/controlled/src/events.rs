//! The machine's events, as the control API reports them.

use std::sync::Arc;
use std::time::Instant;

use vmmkit_control::{Event, EventSource};
use vmmkit_host_io::{Next, Subscription};
use vmmkit_vmm::{self as vmm, Outcome};

use crate::migration::Migration;
use crate::{Departure, Embedder};

/// The machine's events as the API reports them.
pub(crate) struct MachineEvents {
    events: Option<Subscription<vmm::Event>>,
    offset: u64,
    subscribed: Instant,
    embedder: Arc<dyn Embedder>,
    migration: Arc<Migration>,
}

impl MachineEvents {
    /// Of a machine that is `age_milliseconds` old.
    pub(crate) fn new(
        events: Option<Subscription<vmm::Event>>,
        age_milliseconds: u64,
        (embedder, migration): (Arc<dyn Embedder>, Arc<Migration>),
    ) -> Self {
        Self {
            events,
            // Both clocks began at the same time, but for the time that building took.
            offset: age_milliseconds,
            subscribed: Instant::now(),
            embedder,
            migration,
        }
    }

    /// The end of a machine whose guest has gone to another process.
    fn departed(&self, event: &vmm::Event) -> Option<(&'static str, u8)> {
        let vmm::Event::Ended(_) = event else {
            return None;
        };
        let departure = self.migration.departure.lock().clone()?;
        let code = self.embedder.exit_code_of(&departure)?;
        Some(match departure {
            Departure::Running => ("migrated", code),
            Departure::Unknown(_) => ("handed over, and not known to run", code),
        })
    }

    fn ended(&self, outcome: Outcome) -> String {
        let own = self.embedder.ending(outcome).map(str::to_owned);
        own.unwrap_or_else(|| ended(outcome))
    }
}

impl EventSource for MachineEvents {
    fn next(&mut self) -> Option<Event> {
        let mut exit_code = None;
        let (kind, detail) = match self.events.as_ref()?.wait() {
            Next::Message(message) => {
                exit_code = match &message.body {
                    vmm::Event::Ended(outcome) => self.embedder.exit_code(Some(*outcome)),
                    vmm::Event::Failed(_) => self.embedder.exit_code(None),
                    _ => None,
                };
                match self.departed(&message.body) {
                    None => match &message.body {
                        vmm::Event::Ended(outcome) => ("ended", Some(self.ended(*outcome))),
                        event => described(event),
                    },
                    Some((how, code)) => {
                        exit_code = Some(code);
                        ("ended", Some(how.to_owned()))
                    }
                }
            }
            Next::Missed(count) => ("lost", Some(count.to_string())),
            Next::Empty | Next::Closed => return None,
        };
        let since = u64::try_from(self.subscribed.elapsed().as_millis()).unwrap_or(u64::MAX);
        Some(Event {
            kind: kind.to_owned(),
            age_milliseconds: self.offset.saturating_add(since),
            detail,
            exit_code,
        })
    }
}

fn described(event: &vmm::Event) -> (&'static str, Option<String>) {
    match event {
        vmm::Event::Started => ("started", None),
        vmm::Event::ConsoleReady => ("console-ready", None),
        vmm::Event::DriverReady { device } => ("driver-ready", Some(device.to_string())),
        vmm::Event::DeviceFault { device, reason } => {
            ("device-fault", Some(format!("{device}: {reason}")))
        }
        vmm::Event::DeviceLost { device, reason } => {
            ("device-lost", Some(format!("{device}: {reason}")))
        }
        vmm::Event::DeviceBack { device } => ("device-back", Some(device.to_string())),
        vmm::Event::Paused => ("paused", None),
        vmm::Event::Resumed => ("resumed", None),
        vmm::Event::Panicked => ("panicked", None),
        vmm::Event::CrashLoaded => ("crash-loaded", None),
        vmm::Event::TripleFault(vcpu) => ("triple-fault", Some(vcpu.to_string())),
        vmm::Event::Reset(cause) => ("reset", Some(format!("{cause:?}").to_lowercase())),
        vmm::Event::Failed(error) => ("failed", Some(error.clone())),
        other => ("other", Some(format!("{other:?}"))),
    }
}

fn ended(outcome: Outcome) -> String {
    match outcome {
        Outcome::PowerOff => "power-off".to_owned(),
        Outcome::Reset => "reset".to_owned(),
        Outcome::Stopped => "stopped".to_owned(),
        Outcome::GuestPanic => "guest-panic".to_owned(),
        Outcome::TripleFault(vcpu) => format!("triple-fault of {vcpu}"),
        Outcome::DebugExit(code) => format!("debug-exit {code}"),
        other => format!("{other:?}"),
    }
}
