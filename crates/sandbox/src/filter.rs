//! System calls compiled to a filter of the kernel's (seccomp(2)).

use std::io;

use seccompiler::{BpfProgram, SeccompAction};
use thiserror::Error;

use crate::program::{ALLOW, Answer};
use crate::{Call, FilterBuilder, Sysno};

/// The most instructions of a filter (seccomp(2), BPF_MAXINSNS).
pub(crate) const MAX_INSTRUCTIONS: usize = 4096;

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
    /// An argument that no call has: they are counted from 0 to 5.
    #[error("system call {call} has no argument {index}")]
    NoArgument {
        /// The call.
        call: Sysno,
        /// The argument.
        index: u8,
    },
    /// The calls make more instructions than a filter may have.
    #[error("the filter has {instructions} instructions, more than {MAX_INSTRUCTIONS}")]
    TooLong {
        /// How many.
        instructions: usize,
    },
    /// The host's kernel refuses it: EINVAL or ENOSYS where it knows no filters.
    #[error("the host's kernel refuses a filter of system calls")]
    Apply(#[source] io::Error),
}

/// A filter of system calls, compiled.
#[derive(Clone, Debug)]
pub struct Filter {
    pub(crate) program: BpfProgram,
    pub(crate) numbers: usize,
}

impl Filter {
    /// Calls that are not named are answered with `refusal`. A call of another architecture (32-bit code) ends the process.
    pub fn builder(refusal: Refusal) -> FilterBuilder {
        FilterBuilder::new(refusal.answer())
    }

    /// Allows the calls of all `sets`, and answers all others with `refusal`. A call of another architecture
    /// (32-bit code) ends the process.
    ///
    /// # Errors
    /// As [`FilterBuilder::build`].
    pub fn new(sets: &[&[Call]], refusal: Refusal) -> Result<Self, FilterError> {
        let builder = Self::builder(refusal);
        let all = sets.iter().fold(builder, |all, set| all.allow(set));
        all.build()
    }

    /// Answers the calls of `set` with `refusal`, and allows all others.
    ///
    /// # Errors
    /// As [`FilterBuilder::build`].
    pub fn refusing(set: &[Call], refusal: Refusal) -> Result<Self, FilterError> {
        FilterBuilder::new(ALLOW).refuse(set, refusal).build()
    }

    /// How many system calls it names.
    pub fn numbers(&self) -> usize {
        self.numbers
    }

    /// How many instructions it has: the kernel checks and translates them for each thread that takes it on.
    pub fn instructions(&self) -> usize {
        self.program.len()
    }

    /// Binds the calling thread, and the threads and processes that it starts from now on, for good. Filters add
    /// up: what one of them refuses is refused. The thread gains no privileges by exec from now on
    /// (PR_SET_NO_NEW_PRIVS).
    ///
    /// # Errors
    /// [`FilterError::Apply`]; nothing is refused then.
    pub fn apply(&self) -> Result<(), FilterError> {
        seccompiler::apply_filter(&self.program).map_err(|error| {
            FilterError::Apply(match error {
                seccompiler::Error::Prctl(error) | seccompiler::Error::Seccomp(error) => error,
                other => io::Error::other(other),
            })
        })
    }
}

impl Refusal {
    pub(crate) fn answer(self) -> Answer {
        SeccompAction::from(self).into()
    }
}

impl From<Refusal> for SeccompAction {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Log => Self::Log,
            Refusal::Trap => Self::Trap,
            Refusal::Kill => Self::KillProcess,
            Refusal::Error(number) => Self::Errno(number.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Argument;

    #[test]
    fn a_rule_of_two_sets_is_in_the_filter_once() {
        let read = Call::any(Sysno::fcntl).with(Argument::equal(1, 3));
        let write = Call::any(Sysno::fcntl).with(Argument::equal(1, 4));
        let length = |sets: &[&[Call]]| Filter::new(sets, Refusal::Kill).unwrap().instructions();
        assert_eq!(
            length(&[&[read], &[write, read], &[read]]),
            length(&[&[read, write]])
        );
        assert!(length(&[&[read, write]]) > length(&[&[read]]));
    }
}
