//! What went wrong, and what to do about it.

use std::error::Error;
use std::fmt::Write;
use std::process::ExitCode;

use vmmkit_hypervisor_kvm::OpenError;
use vmmkit_vmm::{BuildError, ConfigError, RunError};

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
            what: format!("{what}: {error}"),
            causes: causes(error.source()),
            next: next.into(),
        }
    }

    /// Writes it to stderr; the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        messages::say(&self.text());
        self.code.into()
    }

    fn text(&self) -> String {
        let mut text = format!("error: {}", self.what);
        for cause in &self.causes {
            let _ = write!(text, "\n  caused by: {cause}");
        }
        let _ = write!(text, "\n  next: {}", self.next);
        text
    }
}

/// The chain of causes; one that says no more than the one before it is left out.
fn causes(mut error: Option<&dyn Error>) -> Vec<String> {
    let mut causes: Vec<String> = Vec::new();
    while let Some(cause) = error {
        let text = cause.to_string();
        if causes.last() != Some(&text) {
            causes.push(text);
        }
        error = cause.source();
    }
    causes
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        let text = error.to_string();
        let advice = "`vmmkit doctor` says what this host's KVM can do";
        let (what, next) = match &error {
            // Their messages have the next step after the first colon.
            OpenError::Missing { .. } | OpenError::Forbidden { .. } => {
                text.split_once(": ").unwrap_or((&text, advice))
            }
            OpenError::Version { .. } => (text.as_str(), "check that this is the KVM device"),
            OpenError::Extensions { .. } => (text.as_str(), "update the host's Linux kernel"),
            _ => (text.as_str(), advice),
        };
        Self {
            code: exit_code::HOST_ERROR,
            what: format!("KVM: {what}"),
            causes: causes(error.source()),
            next: next.to_owned(),
        }
    }
}

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Self {
        // Its message names the thing; the reason is its cause.
        let mut causes = causes(error.source());
        let mut what = error.to_string();
        if !causes.is_empty() {
            let _ = write!(what, ": {}", causes.remove(0));
        }
        let next = match &error {
            BuildError::Open { .. } => "check the path and its permissions",
            BuildError::Load { .. } => {
                "give an x86-64 Linux kernel (ELF vmlinux or bzImage), and an initrd and a command \
                 line that fit it"
            }
            BuildError::Ram(_) => "ask for less with --memory, or free memory of the host",
            BuildError::Config(ConfigError::TooManyVcpus { .. }) => "ask for fewer with --cpus",
            BuildError::Config(_) => "see `vmmkit run --help`",
            BuildError::Cpu(_) => "see `--cpu` in `vmmkit run --help`",
            _ => "`vmmkit doctor` says what this host's KVM can do",
        };
        Self {
            code: exit_code::HOST_ERROR,
            what,
            causes,
            next: next.to_owned(),
        }
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        let next = match &error {
            RunError::ThreadPanicked { .. } => {
                "this is a bug in vmmkit; please report it with the command line"
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
    fn a_failure_reads_as_thing_reason_and_next_step() {
        let error = io::Error::from(io::ErrorKind::NotFound);
        let failure = Failure::host("--config vm.toml", &error, "check the path");
        assert_eq!(
            failure.text(),
            "error: --config vm.toml: entity not found\n  next: check the path"
        );
    }

    #[test]
    fn the_reason_of_a_build_error_is_in_its_first_line() {
        let source = io::Error::from(io::ErrorKind::NotFound);
        let error = BuildError::Open {
            option: "--kernel",
            path: "/nope".into(),
            source,
        };
        assert!(
            Failure::from(error)
                .text()
                .starts_with("error: --kernel /nope: entity not found")
        );
    }
}
