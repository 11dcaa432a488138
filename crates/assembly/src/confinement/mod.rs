//! A machine's process without what it does not need: each thread with its own system calls, files that are named,
//! no capabilities.

mod calls;
mod kind;

use std::cell::Cell;
use std::sync::OnceLock;

use thiserror::Error;
use vmmkit_sandbox::{
    CapabilitySet, FileRules, FilesClosed, FilesError, Filter, FilterError, PrivilegeError,
    ProcessMemory, Refusal, Support, drop_privileges, support,
};

pub use kind::ThreadKind;

/// Why a thread is not confined.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfinementError {
    /// Its system calls.
    #[error("system calls are not filtered")]
    Calls(#[from] FilterError),
    /// Its files.
    #[error("files are not closed")]
    Files(#[from] FilesError),
    /// Its privileges.
    #[error("privileges are not dropped")]
    Privileges(#[from] PrivilegeError),
}

/// The confinement of one process's threads, as data until a thread takes it on.
///
/// 1. Whoever starts a thread asks for its confinement ([`child`](Self::child)) before, and the thread takes it on when it
///    begins ([`begin_child`](Self::begin_child)): see [`on_thread_start`](vmmkit_host_io::on_thread_start).
/// 2. The thread that starts the machine calls [`begin`](Self::begin) before that, when all files are open, and
///    enters [`ThreadKind::Main`] after it.
///
/// Threads that are there before, and do not enter a role, are not confined.
#[derive(Debug)]
pub struct Confinement {
    refusal: Refusal,
    files: FileRules,
    kept: CapabilitySet,
    memory: ProcessMemory,
    support: Support,
    filters: [OnceLock<Filter>; ThreadKind::ALL.len()],
}

thread_local! {
    /// Files are closed and privileges dropped for this thread: what it starts inherits that.
    static IS_CLOSED: Cell<bool> = const { Cell::new(false) };
}

/// The confinement of a thread that is about to be started: see [`Confinement::child`].
#[derive(Clone, Copy, Debug)]
pub struct Child {
    kind: ThreadKind,
    inherits: bool,
}

impl Confinement {
    /// Calls that are not a role's are answered with `refusal`; paths that may be opened later are those of `files`.
    pub fn new(refusal: Refusal, files: FileRules) -> Self {
        Self {
            refusal,
            files,
            kept: CapabilitySet::empty(),
            memory: ProcessMemory::Closed,
            support: support(),
            filters: [const { OnceLock::new() }; ThreadKind::ALL.len()],
        }
    }

    /// Leaves the threads the capabilities `kept`, of those that they have; none otherwise.
    #[must_use]
    pub fn keep(self, kept: CapabilitySet) -> Self {
        Self { kept, ..self }
    }

    /// Leaves the process its core files, and debuggers of the same user their access: for who debugs a guest.
    #[must_use]
    pub fn keep_core_files(self) -> Self {
        let memory = ProcessMemory::AsBefore;
        Self { memory, ..self }
    }

    /// Closes files and drops privileges, for the calling thread and all that it starts from now on.
    ///
    /// # Errors
    /// [`ConfinementError`]. Where the host lacks a part of it, the rest is done.
    pub fn begin(&self) -> Result<FilesClosed, ConfinementError> {
        drop_privileges(self.kept, self.memory)?;
        let closed = self.files.close()?;
        IS_CLOSED.set(true);
        Ok(closed)
    }

    /// The calling thread is about to start one of `kind`.
    pub fn child(&self, kind: ThreadKind) -> Child {
        Child {
            kind,
            inherits: IS_CLOSED.get(),
        }
    }

    /// Confines the calling thread, which has just been started: whatever the one that started it was not confined in, and
    /// the system calls.
    ///
    /// # Errors
    /// [`ConfinementError`].
    pub fn begin_child(&self, child: Child) -> Result<(), ConfinementError> {
        match child.inherits {
            true => IS_CLOSED.set(true),
            false => drop(self.begin()?),
        }
        self.enter(child.kind)
    }

    /// Leaves the calling thread, which has [begun](Self::begin), the system calls of `kind`, and no others.
    ///
    /// # Errors
    /// [`ConfinementError`].
    pub fn enter(&self, kind: ThreadKind) -> Result<(), ConfinementError> {
        if self.support.system_calls {
            self.filter(kind)?.apply()?;
        }
        Ok(())
    }

    /// The filter of `role`, compiled once.
    fn filter(&self, role: ThreadKind) -> Result<Filter, FilterError> {
        let place = self.filters.get(role as usize);
        if let Some(filter) = place.and_then(OnceLock::get) {
            return Ok(filter.clone());
        }
        let filter = role.filter(self.refusal)?;
        if let Some(place) = place {
            let _ = place.set(filter.clone());
        }
        Ok(filter)
    }
}
