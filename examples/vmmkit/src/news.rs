//! Events of a guest that goes on, reported on stderr: crashes, and their handling.

use std::time::{Duration, Instant};

use std::sync::Arc;

use vmmkit_telemetry::{BootLog, Occasions};
use vmmkit_vmm::{Event, OnCrash};

use crate::{ending, messages};

/// The least time between two messages.
const PACE: Duration = Duration::from_secs(1);

/// The events reported so far.
pub(crate) struct News {
    on_crash: OnCrash,
    log: Arc<BootLog>,
    /// A guest that crashes again and again is told of once a second.
    told: Option<Instant>,
    /// And, however long it does so, not for ever.
    crashes: Occasions,
    /// Back ends that were lost, and were back.
    losses: Occasions,
}

impl News {
    pub(crate) fn new(on_crash: OnCrash, log: Arc<BootLog>) -> Self {
        Self {
            on_crash,
            log,
            told: None,
            crashes: Occasions::default(),
            losses: Occasions::default(),
        }
    }

    /// `event` has happened.
    pub(crate) fn tell(&mut self, event: &Event) {
        if let Some(text) = loss(event) {
            if self.losses.next().is_some() {
                messages::say(&text);
            }
            return;
        }
        let Some(text) = self.text(event) else { return };
        if self.told.is_none_or(|told| told.elapsed() >= PACE) {
            self.told = Some(Instant::now());
            if self.crashes.next().is_some() {
                messages::say(&text);
            }
        }
    }

    /// The text for `event`; the end of a run is reported by `finish`.
    fn text(&self, event: &Event) -> Option<String> {
        let crash = match event {
            Event::Panicked => {
                let panic = self.log.panic();
                ending::panicked(panic.as_ref().map(|panic| panic.reason.as_str()))
            }
            Event::TripleFault(vcpu) => format!("{vcpu}: the guest ended in a triple fault"),
            Event::CrashLoaded => {
                return Some("the guest's kernel panicked; its crash kernel runs".to_owned());
            }
            _ => return None,
        };
        match self.on_crash {
            OnCrash::Pause => Some(format!(
                "{crash}; it is kept as it is\n  next: look at it, then quit (Ctrl-a x) or stop it"
            )),
            OnCrash::Reboot => Some(format!("{crash}; it starts anew")),
            // `Exit`, whose end is reported by `finish`.
            _ => None,
        }
    }
}

/// The text for a device whose back end goes or comes.
fn loss(event: &Event) -> Option<String> {
    match event {
        Event::DeviceLost { device, reason } => Some(format!(
            "{device}: {reason}\n  next: start the back end again; what the guest asked for waits for it"
        )),
        Event::DeviceBack { device } => Some(format!(
            "{device}: its back end is there again, and works on what waited"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_back_end_that_goes_and_comes_is_one_line_each() {
        let device: std::sync::Arc<str> = "blk0".into();
        let lost = Event::DeviceLost {
            device: device.clone(),
            reason: "the back end hung up".to_owned(),
        };
        let text = loss(&lost).unwrap();
        assert!(
            text.starts_with("blk0: the back end hung up\n  next: "),
            "{text}"
        );
        let text = loss(&Event::DeviceBack { device }).unwrap();
        assert!(
            text.starts_with("blk0: its back end is there again"),
            "{text}"
        );
        assert_eq!(loss(&Event::Panicked), None);
    }
}
