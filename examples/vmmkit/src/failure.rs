//! Failures, and the next step for each.

use std::error::Error;
use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

use vmmkit_hypervisor::Error as HypervisorError;
use vmmkit_hypervisor_kvm::OpenError;
use vmmkit_vmm::RunError;

use crate::{exit_code, messages};

/// A failure as the user reads it:
///
/// ```text
/// vmmkit: error: <thing> <value>: <reason>
///   caused by: <cause>
///   next: <what to do>
/// ```
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    /// The thing, its value and the reason.
    what: String,
    causes: Vec<String>,
    next: String,
}

impl Failure {
    /// The command line or the configuration file cannot be understood.
    pub(crate) fn usage(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self {
            code: exit_code::USAGE,
            what: what.into(),
            causes: Vec::new(),
            next: next.into(),
        }
    }

    /// The host refused something: `what` names it with its value, `error` is the reason.
    pub(crate) fn host(what: &str, error: &dyn Error, next: impl Into<String>) -> Self {
        Self {
            code: exit_code::HOST_ERROR,
            what: format!("{what}: {}", plain(error)),
            causes: causes(error.source()),
            next: next.into(),
        }
    }

    /// The host's part of a machine: `what` has the reason already, `causes` go behind it.
    pub(crate) fn because(what: String, causes: Vec<String>, next: impl Into<String>) -> Self {
        Self {
            code: exit_code::HOST_ERROR,
            what,
            causes,
            next: next.into(),
        }
    }

    /// A device or a console, shown as `what`, that cannot be had. A cause that says no more than the reason is
    /// left out.
    pub(crate) fn device(what: &str, error: &dyn Error, next: impl Into<String>) -> Self {
        let mut causes = causes(Some(error));
        let reason = causes.remove(0);
        Self::because(format!("{what}: {reason}"), causes, next)
    }

    /// The KVM device at `path` cannot be used.
    pub(crate) fn kvm(path: &Path, error: &OpenError) -> Self {
        let path = path.display();
        let advice = "`vmmkit doctor` says what this host's KVM can do";
        let because = |next: &str| Self::because(format!("KVM: {error}"), Vec::new(), next);
        match error {
            OpenError::Missing { .. } => because(MODPROBE),
            OpenError::Forbidden { access, .. } => because(&access.to_string()),
            OpenError::Open { .. } | OpenError::Probe { .. } => {
                Self::because(format!("KVM: {error}"), causes(error.source()), advice)
            }
            OpenError::Version { found, .. } if *found < 0 => Self::because(
                format!("KVM: {path}: it is not a KVM device"),
                Vec::new(),
                "leave --kvm out: the KVM device is /dev/kvm",
            ),
            OpenError::Extensions { .. } => Self::because(
                format!("KVM: {path}: {error}"),
                Vec::new(),
                "update the host's Linux kernel",
            ),
            _ => Self::because(
                format!("KVM: {path}: {error}"),
                causes(error.source()),
                advice,
            ),
        }
    }

    /// The same with another next step.
    pub(crate) fn with_next(mut self, next: &str) -> Self {
        next.clone_into(&mut self.next);
        self
    }

    /// The same, of options that may be in the file at `path`.
    pub(crate) fn with_file(mut self, path: &Path) -> Self {
        let _ = write!(self.next, " (on the command line or in {})", path.display());
        self
    }

    /// Writes it to stderr; the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        messages::say(&self.text());
        self.code.into()
    }

    /// The text for the user, without `vmmkit: `.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("error: {}", cut(&self.what));
        for cause in &self.causes {
            let _ = write!(text, "\n  caused by: {cause}");
        }
        let _ = write!(text, "\n  next: {}", self.next);
        text
    }
}

/// Advice where there is no KVM device.
const MODPROBE: &str = "load the module (`sudo modprobe kvm_intel` or `sudo modprobe kvm_amd`); if that fails, \
     enable VT-x or AMD-V in the firmware's settings, or, inside a virtual machine, nested virtualization on \
     its host";

/// The longest first line that is shown whole.
const LONGEST: usize = 500;

/// `text` without its middle where that is long: a value may be, and the reason stands at the end.
fn cut(text: &str) -> String {
    let count = text.chars().count();
    if count <= LONGEST {
        return text.to_owned();
    }
    let half = LONGEST / 2;
    let start: String = text.chars().take(half).collect();
    let end: String = text.chars().skip(count - half).collect();
    format!("{start} [...] {end}")
}

/// The text of `error`, without the number that std adds to a host's error.
fn plain(error: &dyn Error) -> String {
    let text = error.to_string();
    let number = text.rfind(" (os error ");
    match number.and_then(|start| text.get(..start)) {
        Some(short) => short.to_owned(),
        None => text,
    }
}

/// The texts of an error and the causes below it.
pub(crate) fn chain(error: &dyn Error) -> Vec<String> {
    causes(Some(error))
}

/// The chain of causes; one that says no more than the one before it is left out.
fn causes(mut error: Option<&dyn Error>) -> Vec<String> {
    let mut causes: Vec<String> = Vec::new();
    while let Some(cause) = error {
        let text = plain(cause);
        if causes.last() != Some(&text) {
            causes.push(text);
        }
        error = cause.source();
    }
    causes
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        let next = match &error {
            RunError::ThreadPanicked { .. } => {
                "this is a bug in vmmkit; please report it with the command line"
            }
            RunError::Vcpu {
                source: HypervisorError::Starved { .. },
                ..
            } => {
                "raise the limit of processes (`ulimit -u`, or that of the container or service), or \
                 free memory"
            }
            _ => "`vmmkit doctor` says what this host's KVM can do",
        };
        Self {
            code: exit_code::HOST_ERROR,
            what: error.to_string(),
            causes: causes(error.source()),
            next: next.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_long_value_is_cut() {
        let value = "x".repeat(3000);
        let text = Failure::usage(format!("--cmdline {value}: it is too long"), "cut it").text();
        assert!(text.starts_with("error: --cmdline xxx"), "{text}");
        assert!(
            text.ends_with("xxx: it is too long\n  next: cut it"),
            "{text}"
        );
        assert!(text.contains("x [...] x") && text.len() < 600, "{text}");
    }

    #[test]
    fn a_failure_reads_as_thing_reason_and_next_step() {
        let error = io::Error::from(io::ErrorKind::NotFound);
        let failure = Failure::host("--config vm.toml", &error, "check the path");
        assert_eq!(
            failure.text(),
            "error: --config vm.toml: entity not found\n  next: check the path"
        );
    }
}
