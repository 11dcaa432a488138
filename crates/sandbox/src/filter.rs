//! System calls compiled to a filter of the kernel's (seccomp(2)).

use std::collections::BTreeMap;
use std::io;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};
use thiserror::Error;

use crate::Call;

/// The answer to a system call that is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// It is made, and the host's kernel logs it (SECCOMP_RET_LOG), where it has an audit log.
    Log,
    /// The thread gets SIGSYS (SECCOMP_RET_TRAP): its handler may say which call it was, and end the process. The
    /// default action of the signal ends it too. A thread that may change that handler is not bound by this.
    Trap,
    /// The process is killed (SECCOMP_RET_KILL_PROCESS).
    Kill,
    /// It fails with this number (errno(3)).
    Error(u16),
}

/// Why a filter cannot be had or applied.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FilterError {
    /// The calls make no filter: too many of them, or an argument that no call has.
    #[error("the system calls make no filter")]
    Compile(#[source] seccompiler::Error),
    /// The host's kernel refuses it: EINVAL or ENOSYS where it knows no filters.
    #[error("the host's kernel refuses a filter of system calls")]
    Apply(#[source] io::Error),
}

impl FilterError {
    pub(crate) fn compile(error: impl Into<seccompiler::Error>) -> Self {
        Self::Compile(error.into())
    }
}

/// A filter of system calls, compiled.
#[derive(Clone, Debug)]
pub struct Filter {
    program: BpfProgram,
    numbers: usize,
}

impl Filter {
    /// Allows the calls of all `sets`, and answers all others with `refusal`. A call of another architecture
    /// (32-bit code) ends the process.
    ///
    /// # Errors
    /// [`FilterError::Compile`].
    pub fn new(sets: &[&[Call]], refusal: Refusal) -> Result<Self, FilterError> {
        Self::compile(sets, refusal.action(), SeccompAction::Allow)
    }

    /// Answers the calls of `set` with `refusal`, and allows all others.
    ///
    /// # Errors
    /// [`FilterError::Compile`].
    pub fn refusing(set: &[Call], refusal: Refusal) -> Result<Self, FilterError> {
        Self::compile(&[set], SeccompAction::Allow, refusal.action())
    }

    fn compile(
        sets: &[&[Call]],
        otherwise: SeccompAction,
        matched: SeccompAction,
    ) -> Result<Self, FilterError> {
        let mut rules = BTreeMap::new();
        let all = || sets.iter().copied().flatten();
        // Sets overlap, and each rule costs the kernel time for each thread that takes the filter on.
        let mut seen = Vec::new();
        for call in all().filter(|call| !call.is_unconditional()) {
            if !seen.contains(&call) {
                seen.push(call);
                let beside: &mut Vec<_> = rules.entry(call.number() as i64).or_default();
                beside.push(call.rule()?);
            }
        }
        for call in all().filter(|call| call.is_unconditional()) {
            // No rule means any arguments.
            rules.insert(call.number() as i64, Vec::new());
        }
        let numbers = rules.len();
        let filter = SeccompFilter::new(rules, otherwise, matched, TargetArch::x86_64)
            .map_err(FilterError::compile)?;
        let program = BpfProgram::try_from(filter).map_err(FilterError::compile)?;
        Ok(Self { program, numbers })
    }

    /// How many system calls it names.
    pub fn numbers(&self) -> usize {
        self.numbers
    }

    /// Binds the calling thread, and the threads and processes that it starts from now on, for good. Filters add
    /// up: what one of them refuses is refused. The thread gains no privileges by exec from now on
    /// (PR_SET_NO_NEW_PRIVS).
    ///
    /// # Errors
    /// [`FilterError::Apply`]; nothing is refused then.
    pub fn apply(&self) -> Result<(), FilterError> {
        seccompiler::apply_filter(&self.program).map_err(|error| match error {
            seccompiler::Error::Prctl(error) | seccompiler::Error::Seccomp(error) => {
                FilterError::Apply(error)
            }
            other => FilterError::Compile(other),
        })
    }
}

impl Refusal {
    fn action(self) -> SeccompAction {
        match self {
            Self::Log => SeccompAction::Log,
            Self::Trap => SeccompAction::Trap,
            Self::Kill => SeccompAction::KillProcess,
            Self::Error(number) => SeccompAction::Errno(number.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Argument, Sysno};

    #[test]
    fn a_rule_of_two_sets_is_in_the_filter_once() {
        let read = Call::any(Sysno::fcntl).with(Argument::equal(1, 3));
        let write = Call::any(Sysno::fcntl).with(Argument::equal(1, 4));
        let length = |sets: &[&[Call]]| Filter::new(sets, Refusal::Kill).unwrap().program.len();
        assert_eq!(
            length(&[&[read], &[write, read], &[read]]),
            length(&[&[read, write]])
        );
        assert!(length(&[&[read, write]]) > length(&[&[read]]));
    }
}
