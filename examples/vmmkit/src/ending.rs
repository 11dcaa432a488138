//! How a guest ended: the words for it, and the exit code.

use std::process::ExitCode;

use vmmkit_vmm::Outcome;

use crate::{exit_code, messages};

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

/// An end, and what its words depend on.
#[derive(Debug)]
pub(crate) struct Ending {
    pub(crate) outcome: Outcome,
    /// Why the kernel panicked, in its own words, where it said so.
    pub(crate) panic: Option<String>,
    /// How to see more of a guest that ended in a triple fault.
    pub(crate) to_see_more: &'static str,
    /// A reset is a failure.
    pub(crate) reset_fails: bool,
    pub(crate) quiet: bool,
}

impl Ending {
    /// Says how the guest ended where that needs words; the exit code.
    pub(crate) fn tell(&self) -> ExitCode {
        if let Some(words) = self.words() {
            messages::say(&words);
        }
        self.code().into()
    }

    fn code(&self) -> u8 {
        exit_code::of(self.outcome, self.reset_fails)
    }

    fn words(&self) -> Option<String> {
        match self.outcome {
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
            panic: None,
            to_see_more: "boot with earlyprintk=ttyS0",
            reset_fails: false,
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
    fn a_power_off_needs_no_words() {
        assert_eq!(of(Outcome::PowerOff).words(), None);
    }
}
