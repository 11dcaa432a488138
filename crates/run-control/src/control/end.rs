//! The guest's requests, and the end of the run.

use vmmkit_telemetry::Milestone;

use super::Control;
use crate::state::{Answer, Crash};
use crate::{Ending, Outcome};

impl Control {
    /// The guest did something that ends its run, or whatever the policy says.
    pub(crate) fn guest_asks(&self, outcome: Outcome) {
        let outcome = self.with_last_words(outcome);
        let settings = &self.core.settings;
        let policy = (settings.on_reboot, settings.on_crash);
        match self.core.change(|state| state.guest_asks(outcome, policy)) {
            Answer::Ignore => {}
            Answer::Pause => self.core.kick_all(),
            Answer::Reset(cause) => {
                self.reset(cause);
            }
            Answer::End(outcome) => self.end(Ok(outcome)),
        }
    }

    /// The meaning of `outcome` after the guest's last words: a kernel that has told of its panic on a console, and
    /// then ends, has panicked, whatever it does to end; and one that has said that it restarts, and ends in a
    /// triple fault, resets by that (Linux's `reboot=t`). Once a crash is known, an end is just that.
    fn with_last_words(&self, outcome: Outcome) -> Outcome {
        let is_end = matches!(
            outcome,
            Outcome::Reset | Outcome::PowerOff | Outcome::TripleFault(_)
        );
        let has_crashed = || {
            self.core
                .read(|state| matches!(state.crash, Crash::Crashed(_)))
        };
        match outcome {
            _ if is_end && self.boot_log().panic().is_some() && !has_crashed() => {
                Outcome::GuestPanic
            }
            Outcome::TripleFault(_) if self.boot_log().restarts() => Outcome::Reset,
            outcome => outcome,
        }
    }

    /// Ends the run. The first ending stands.
    pub(crate) fn end(&self, ending: Ending) {
        self.boot_log().mark(Milestone::End);
        // The kernel has said last that it panicked, and that it does nothing any more.
        let has_panicked = self.boot_log().panic().is_some_and(|panic| panic.is_over);
        let unused = self.core.change(|state| state.end(ending, has_panicked));
        self.core.kick_all();
        drop(unused);
    }
}

#[cfg(test)]
mod tests {
    use vmmkit_hypervisor::VcpuId;

    use super::*;
    use crate::{MachineState, Supervisor};

    const PANIC: &str = "[    1.0] Kernel panic - not syncing: VFS: Unable to mount root fs\r\n";
    const OVER: &str = "[    1.1] ---[ end Kernel panic - not syncing: VFS ]---\r\n";

    /// How a guest ends that says `words` and then does `last`.
    fn end_of(words: &str, last: Outcome) -> MachineState {
        let supervisor = Supervisor::default();
        supervisor.start(Vec::new());
        let control = supervisor.control();
        words
            .bytes()
            .for_each(|byte| control.boot_log().output(byte));
        match last {
            Outcome::Stopped => control.stop(),
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
