//! The exit codes of vmmkit: a documented interface, see `vmmkit run --help`.
//!
//! A signal that ends vmmkit does so really: the shell shows 128 + its number.

use vmmkit_controlled::Departure;
use vmmkit_host_io::Signal;
use vmmkit_vmm::Outcome;

/// The guest powered off or reset, or its user quit with Ctrl-a x.
pub(crate) const SUCCESS: u8 = 0;
/// The host, the hypervisor or vmmkit could not go on.
pub(crate) const HOST_ERROR: u8 = 1;
/// The command line or the configuration file cannot be understood.
pub(crate) const USAGE: u8 = 2;
/// A vCPU ended in a triple fault; or the guest reset itself, where that is to be a failure.
pub(crate) const TRIPLE_FAULT: u8 = 3;
/// The guest's kernel panicked and said so, by pvpanic or on its console.
pub(crate) const GUEST_PANIC: u8 = 4;
/// A thread made a system call that its sandbox refuses.
pub(crate) const REFUSED_CALL: u8 = 5;
/// The guest still ran at the end of `--timeout`: the same code as timeout(1) has.
pub(crate) const LATE: u8 = 124;

/// The guest was handed over to another process, which has not said that it runs.
pub(crate) const UNACKNOWLEDGED: u8 = 6;

/// `vmmkit stop`: a guest did not answer the power button, and was stopped.
pub(crate) const CUT_OFF: u8 = 3;

/// Their text in `--help`.
pub(crate) const HELP: &str = "\
Exit codes:
  0      the guest powered off or reset (or Ctrl-a x), or `vmmkit migrate` has moved it
  1      host or VMM error
  2      usage error
  3      triple fault of the guest (--on-crash exit, or pause and then stopped), or
         a reset of the guest with --on-reboot fail
  4      guest kernel panic (likewise), which the guest reports by pvpanic or as the
         last words on its console
  5      the sandbox refused a system call of this process (--sandbox)
  6      `vmmkit migrate` has handed the guest over, and the other process has not said
         that it runs there
  124    the guest still ran at the end of --timeout
  n      the guest wrote n to the debug-exit port, or its command (--root) ended with n:
         127 where the command is not there, 126 where it cannot be run
  128+n  ended by signal n, after the guest was asked to power off";

/// The exit code that a shell shows of a process that `signal` ended.
pub(crate) fn of_signal(signal: Signal) -> u8 {
    u8::try_from(signal.number()).map_or(HOST_ERROR, |number| number.saturating_add(128))
}

/// The exit code of a process whose guest has gone to another one.
pub(crate) fn of_departure(departure: &Departure) -> u8 {
    match departure {
        Departure::Running => SUCCESS,
        Departure::Unknown(_) => UNACKNOWLEDGED,
    }
}

/// The exit code for how a run ended; a reset may be a failure.
pub(crate) fn of(outcome: Outcome, reset_fails: bool) -> u8 {
    match outcome {
        Outcome::Reset if reset_fails => TRIPLE_FAULT,
        Outcome::PowerOff | Outcome::Reset | Outcome::Stopped => SUCCESS,
        Outcome::DebugExit(code) => code,
        Outcome::TripleFault(_) => TRIPLE_FAULT,
        Outcome::GuestPanic => GUEST_PANIC,
        _ => HOST_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_codes() {
        assert_eq!(of(Outcome::PowerOff, false), 0);
        assert_eq!(of(Outcome::Reset, false), 0);
        assert_eq!(
            of(Outcome::TripleFault(vmmkit_hypervisor::VcpuId(0)), false),
            3
        );
        assert_eq!(of(Outcome::GuestPanic, false), 4);
        assert_eq!(of(Outcome::DebugExit(42), false), 42);
        assert_eq!(of(Outcome::Reset, true), 3);
        assert_eq!(of_signal(Signal::Terminate), 143);
    }
}
