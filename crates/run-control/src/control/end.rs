//! What the guest asks for, the policy over it, and the end of the run.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use vmmkit_device_bus::{GuestRequest, RequestSink};
use vmmkit_telemetry::Milestone;

use super::{Control, Ending, STOP};
use crate::{Event, MachineState, OnCrash, OnReboot, Outcome, ResetCause};

impl Control {
    /// Where devices send what the guest asks for.
    pub fn requests(self: &Arc<Self>) -> RequestSink {
        let control = self.clone();
        Arc::new(move |request| match request {
            GuestRequest::Reset => control.guest_asks(Outcome::Reset),
            GuestRequest::PowerOff => control.guest_asks(Outcome::PowerOff),
            GuestRequest::DebugExit(code) => control.guest_asks(Outcome::DebugExit(code)),
            GuestRequest::Panicked => control.guest_asks(Outcome::GuestPanic),
            GuestRequest::CrashLoaded => control.crash_is_loaded(),
        })
    }

    /// The guest did something that ends its run, or whatever the policy says.
    pub fn guest_asks(&self, outcome: Outcome) {
        let crash = match outcome {
            Outcome::GuestPanic => Some(Event::Panicked),
            Outcome::TripleFault(vcpu) => Some(Event::TripleFault(vcpu)),
            _ => None,
        };
        let is_crash = crash.is_some();
        let mut phase = self.lock();
        // What other vCPUs do until they are out of the guest is of no interest.
        if phase.ending.is_some() || phase.reset.is_some() || (is_crash && phase.crash.is_some()) {
            return;
        }
        if let Some(event) = crash {
            phase.crash = Some(outcome);
            self.publish(event);
        }
        let (on_reboot, on_crash) = self.policy.get().copied().unwrap_or_default();
        let pauses = is_crash && on_crash == OnCrash::Pause;
        if pauses {
            self.request_pause(&mut phase);
        }
        drop(phase);
        match outcome {
            _ if pauses => self.kick_all(),
            _ if is_crash && on_crash == OnCrash::Reboot => {
                self.reset(ResetCause::Crash);
            }
            Outcome::Reset if on_reboot == OnReboot::Reboot => {
                self.reset(ResetCause::Guest);
            }
            _ => self.end(Ok(outcome)),
        }
    }

    /// The guest's crash kernel takes over; told once.
    fn crash_is_loaded(&self) {
        if !std::mem::replace(&mut self.lock().crash_loaded, true) {
            self.publish(Event::CrashLoaded);
        }
    }

    /// Ends the run. The first ending stands.
    pub fn end(&self, ending: Ending) {
        self.boot_log().mark(Milestone::End);
        let mut phase = self.lock();
        if phase.ending.is_none() {
            // Who stops a guest that crashed learns how it did.
            let ending = match (ending, phase.crash) {
                (Ok(Outcome::Stopped), Some(crash)) => Ok(crash),
                (ending, _) => ending,
            };
            let (state, event) = match &ending {
                Ok(outcome) => (MachineState::Ended(*outcome), Event::Ended(*outcome)),
                Err(error) => (MachineState::Failed, Event::Failed(error.to_string())),
            };
            phase.ended = Some(state);
            self.publish(event);
            phase.ending = Some(ending);
        }
        self.request.store(STOP, Ordering::Release);
        // Unlocked first, so that nobody wakes up only to wait for the lock.
        drop(phase);
        self.kick_all();
        self.changed.notify_all();
    }
}
