//! How a guest ended: the words for it, and the exit code.

use std::process::ExitCode;
use std::time::Duration;

use vmmkit_controlled::Departure;
use vmmkit_machine_spec::OnReboot;
use vmmkit_telemetry::BootLog;
use vmmkit_vmm::Outcome;

use crate::remote::Remote;
use crate::settings::Settings;
use crate::{boot_files, exit_code, messages};

/// A kernel's reasons to panic, and their cures; the first that fits counts.
const CURES: [(&str, &str); 6] = [
    (
        "Unable to mount root",
        "give --initrd, or --disk and root= on the kernel's command line (--cmdline)",
    ),
    (
        "No working init found",
        "name a program of the guest's by init= (of an initrd by rdinit=) on the kernel's command line",
    ),
    (
        "Requested init",
        "check init= and rdinit= on the kernel's command line",
    ),
    (
        "Attempted to kill init",
        "its first program has ended: look at what it said, or give another by init=",
    ),
    ("deadlocked on memory", "give the guest more --memory"),
    ("Out of memory", "give the guest more --memory"),
];

/// That the guest runs elsewhere.
const MIGRATED: &str = "migrated: the guest runs in the other process";

/// An end, and what its words depend on.
#[derive(Debug)]
pub(crate) struct Ending {
    pub(crate) outcome: Outcome,
    /// Where the guest has gone, if it has.
    pub(crate) departure: Option<Departure>,
    /// Why the kernel panicked, in its own words, where it said so.
    pub(crate) panic: Option<String>,
    /// How to see more of a guest that ended in a triple fault.
    pub(crate) to_see_more: &'static str,
    /// A reset is a failure.
    pub(crate) reset_fails: bool,
    /// The time that it was given, where it was stopped at the end of it.
    pub(crate) late_after: Option<Duration>,
    pub(crate) quiet: bool,
}

impl Ending {
    /// The end `outcome` of the machine of `settings` and `remote`.
    pub(crate) fn of(
        settings: &Settings,
        remote: &Remote,
        outcome: Outcome,
        log: &BootLog,
    ) -> Self {
        Self {
            outcome,
            departure: remote.departure(),
            panic: log.panic().map(|panic| panic.reason),
            to_see_more: match outcome {
                Outcome::TripleFault(_) => boot_files::after_triple_fault(&settings.machine),
                _ => "",
            },
            reset_fails: settings.spec.policy.on_reboot == OnReboot::Fail,
            late_after: settings.timeout.filter(|_| remote.is_late()),
            quiet: settings.quiet,
        }
    }

    /// Whether its exit code is that of a success.
    pub(crate) fn is_success(&self) -> bool {
        self.code() == exit_code::SUCCESS
    }

    /// Says how the guest ended where that needs words; the exit code.
    pub(crate) fn tell(&self) -> ExitCode {
        if let Some(words) = self.words() {
            messages::say(&words);
        }
        self.code().into()
    }

    fn code(&self) -> u8 {
        if let Some(departure) = &self.departure {
            return exit_code::of_departure(departure);
        }
        match (self.outcome, self.late_after) {
            (Outcome::Stopped, Some(_)) => exit_code::LATE,
            _ => exit_code::of(self.outcome, self.reset_fails),
        }
    }

    fn words(&self) -> Option<String> {
        match &self.departure {
            None => {}
            Some(Departure::Running) if self.quiet => return None,
            Some(Departure::Running) => return Some(MIGRATED.to_owned()),
            Some(Departure::Unknown(reason)) => {
                return Some(format!(
                    "error: the guest was handed over, and the other process has not said that it runs there: \
                     {reason}\n  next: look there; it does not run here any more"
                ));
            }
        }
        match self.outcome {
            Outcome::Stopped => self.late_after.map(|limit| {
                let seconds = limit.as_secs();
                format!(
                    "error: --timeout {seconds}: the guest still ran, and was stopped\n  next: give it more time, or \
                     omit --timeout"
                )
            }),
            Outcome::TripleFault(vcpu) => {
                let next = self.to_see_more;
                Some(format!(
                    "error: {vcpu}: the guest ended in a triple fault\n  \
                     next: {next} to see how far it came"
                ))
            }
            Outcome::GuestPanic => {
                let error = panicked(self.panic.as_deref());
                let reason = self.panic.as_deref().unwrap_or_default();
                let cure = CURES.iter().find(|(words, _)| reason.contains(words));
                let next = cure.map_or("its console says more", |(_, next)| next);
                Some(format!("error: {error}\n  next: {next}"))
            }
            Outcome::Reset if self.reset_fails => Some(
                "error: the guest reset itself\n  \
                 next: its console may say why; without --on-reboot fail this is not an error"
                    .to_owned(),
            ),
            Outcome::Reset if !self.quiet => Some("the guest reset itself".to_owned()),
            _ => None,
        }
    }
}

/// That the guest's kernel panicked, and why.
pub(crate) fn panicked(reason: Option<&str>) -> String {
    match reason {
        Some(reason) => format!("the guest's kernel panicked: {reason}"),
        None => "the guest's kernel panicked".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(outcome: Outcome) -> Ending {
        Ending {
            outcome,
            departure: None,
            panic: None,
            to_see_more: "boot with earlyprintk=ttyS0",
            reset_fails: false,
            late_after: None,
            quiet: false,
        }
    }

    #[test]
    fn a_panic_is_told_with_its_reason_and_what_helps() {
        let mut ending = of(Outcome::GuestPanic);
        assert_eq!(
            ending.words().unwrap(),
            "error: the guest's kernel panicked\n  next: its console says more"
        );
        ending.panic = Some("VFS: Unable to mount root fs on unknown-block(0,0)".to_owned());
        let words = ending.words().unwrap();
        assert!(words.starts_with("error: the guest's kernel panicked: VFS: Unable"));
        assert!(words.contains("next: give --initrd, or --disk and root="));
        assert_eq!(ending.code(), 4);
    }

    #[test]
    fn a_reset_is_told_and_may_be_a_failure() {
        let mut ending = of(Outcome::Reset);
        assert_eq!(ending.words().unwrap(), "the guest reset itself");
        assert_eq!(ending.code(), 0);
        ending.quiet = true;
        assert_eq!(ending.words(), None);
        ending.reset_fails = true;
        assert!(ending.words().unwrap().starts_with("error: "));
        assert_eq!(ending.code(), 3);
    }

    #[test]
    fn a_guest_that_took_too_long_has_an_exit_code_of_its_own() {
        let mut ending = of(Outcome::Stopped);
        assert_eq!((ending.words(), ending.code()), (None, 0));
        ending.late_after = Some(Duration::from_secs(60));
        assert_eq!(ending.code(), 124);
        let words = ending.words().unwrap();
        assert!(words.starts_with("error: --timeout 60: "), "{words}");
        // It ended by itself at the same time.
        ending.outcome = Outcome::PowerOff;
        assert_eq!((ending.words(), ending.code()), (None, 0));
    }

    #[test]
    fn a_guest_that_has_gone_is_told_and_what_is_not_known_of_it() {
        let mut ending = of(Outcome::Stopped);
        ending.departure = Some(Departure::Running);
        assert!(ending.words().unwrap().starts_with("migrated"));
        assert_eq!(ending.code(), 0);
        ending.quiet = true;
        assert_eq!(ending.words(), None);
        ending.departure = Some(Departure::Unknown("it closed the stream".to_owned()));
        let words = ending.words().unwrap();
        assert!(
            words.contains("it closed the stream\n  next: look there"),
            "{words}"
        );
        assert_eq!(ending.code(), 6);
    }

    #[test]
    fn a_power_off_needs_no_words() {
        assert_eq!(of(Outcome::PowerOff).words(), None);
    }
}
