//! What happens to a guest that goes on, told on stderr: crashes, and what is done about them.

use std::time::{Duration, Instant};

use std::sync::Arc;

use vmmkit_telemetry::BootLog;
use vmmkit_vmm::{Event, OnCrash};

use crate::{ending, messages};

/// The least time between two messages.
const PACE: Duration = Duration::from_secs(1);

/// What was told so far.
pub(crate) struct News {
    on_crash: OnCrash,
    log: Arc<BootLog>,
    /// A guest that crashes again and again is told of once a second.
    told: Option<Instant>,
}

impl News {
    pub(crate) fn new(on_crash: OnCrash, log: Arc<BootLog>) -> Self {
        Self {
            on_crash,
            log,
            told: None,
        }
    }

    /// `event` has happened.
    pub(crate) fn tell(&mut self, event: &Event) {
        let Some(text) = self.text(event) else { return };
        if self.told.is_none_or(|told| told.elapsed() >= PACE) {
            self.told = Some(Instant::now());
            messages::say(&text);
        }
    }

    /// What there is to say of `event`; the end of a run is `finish`'s to tell.
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
            OnCrash::Exit => None,
        }
    }
}
