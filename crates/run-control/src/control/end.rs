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
        let outcome = self.with_last_words(outcome);
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

    /// What `outcome` means after what the guest said last: a kernel that has told of its panic on a console, and
    /// then ends, has panicked, whatever it does to end; and one that has said that it restarts, and ends in a
    /// triple fault, resets by that (Linux's `reboot=t`). Once a crash is known, an end is just that.
    fn with_last_words(&self, outcome: Outcome) -> Outcome {
        let is_end = matches!(
            outcome,
            Outcome::Reset | Outcome::PowerOff | Outcome::TripleFault(_)
        );
        let is_panic = is_end && self.lock().crash.is_none() && self.boot_log().panic().is_some();
        match outcome {
            _ if is_panic => Outcome::GuestPanic,
            Outcome::TripleFault(_) if self.boot_log().restarts() => Outcome::Reset,
            outcome => outcome,
        }
    }

    /// The guest's crash kernel takes over; told once.
    fn crash_is_loaded(&self) {
        if !std::mem::replace(&mut self.lock().crash_loaded, true) {
            self.publish(Event::CrashLoaded);
        }
    }

    /// Whether the guest's kernel has said last that it panicked, and that it does nothing any more.
    fn has_panicked_for_good(&self) -> bool {
        self.boot_log().panic().is_some_and(|panic| panic.is_over)
    }

    /// Ends the run. The first ending stands.
    pub fn end(&self, ending: Ending) {
        self.boot_log().mark(Milestone::End);
        let mut phase = self.lock();
        if phase.ending.is_none() {
            // Who stops a guest that crashed learns how it did.
            let ending = match (ending, phase.crash) {
                (Ok(Outcome::Stopped), Some(crash)) => Ok(crash),
                (Ok(Outcome::Stopped), None) if self.has_panicked_for_good() => {
                    Ok(Outcome::GuestPanic)
                }
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

#[cfg(test)]
mod tests {
    use vmmkit_hypervisor::VcpuId;

    use super::*;

    const PANIC: &str = "[    1.0] Kernel panic - not syncing: VFS: Unable to mount root fs\r\n";
    const OVER: &str = "[    1.1] ---[ end Kernel panic - not syncing: VFS ]---\r\n";

    /// How a guest ends that says `words` and then does `last`.
    fn end_of(words: &str, last: Outcome) -> MachineState {
        let control = Control::default();
        control.start(1);
        words
            .bytes()
            .for_each(|byte| control.boot_log().output(byte));
        match last {
            Outcome::Stopped => control.end(Ok(last)),
            last => control.guest_asks(last),
        }
        control.state()
    }

    #[test]
    fn an_end_after_the_words_of_a_panic_is_a_panic() {
        let panicked = MachineState::Ended(Outcome::GuestPanic);
        for end in [
            Outcome::Reset,
            Outcome::PowerOff,
            Outcome::TripleFault(VcpuId(0)),
        ] {
            assert_eq!(end_of(PANIC, end), panicked, "{end:?}");
            assert_eq!(end_of("hello\r\n", end), MachineState::Ended(end));
        }
        let orderly = format!("{PANIC}[    2.0] reboot: Restarting system\r\n");
        assert_eq!(
            end_of(&orderly, Outcome::Reset),
            MachineState::Ended(Outcome::Reset)
        );
        // A code of the guest's own is what it says.
        let code = Outcome::DebugExit(7);
        assert_eq!(end_of(PANIC, code), MachineState::Ended(code));
    }

    #[test]
    fn who_stops_a_guest_that_panicked_for_good_learns_of_it() {
        let stopped = MachineState::Ended(Outcome::Stopped);
        assert_eq!(end_of(PANIC, Outcome::Stopped), stopped);
        let panicked = MachineState::Ended(Outcome::GuestPanic);
        assert_eq!(
            end_of(&format!("{PANIC}{OVER}"), Outcome::Stopped),
            panicked
        );
        assert_eq!(
            end_of(&format!("{PANIC}{OVER}/ # "), Outcome::Stopped),
            stopped
        );
    }

    #[test]
    fn a_triple_fault_of_a_kernel_that_restarts_is_a_reset() {
        let restarts =
            "[    2.0] reboot: Restarting system\r\n[    2.0] reboot: machine restart\r\n";
        let end = end_of(restarts, Outcome::TripleFault(VcpuId(0)));
        assert_eq!(end, MachineState::Ended(Outcome::Reset));
    }
}
