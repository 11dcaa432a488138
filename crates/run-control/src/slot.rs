//! The place of one vCPU in the run state.

use std::mem;

use vmmkit_hypervisor::x86::VcpuState;

use crate::VcpuBody;

/// Work for the thread of one vCPU while it is out of the guest.
pub(crate) type Visit = Box<dyn FnOnce(&mut dyn VcpuState) + Send>;

#[derive(Default)]
pub(crate) struct Slot {
    pub(crate) thread: Thread,
    /// Work that waits for the thread.
    pub(crate) visit: Option<Visit>,
    /// A debugger keeps the vCPU out of the guest.
    pub(crate) is_held: bool,
}

/// The place of a vCPU's thread in its life.
#[derive(Default)]
pub(crate) enum Thread {
    /// It runs the guest, or is about to.
    #[default]
    Running,
    /// Its vCPU is out of the guest until somebody lets it go on.
    Parked,
    /// It has dropped its vCPU, for a reset or the end.
    Arrived,
    /// There is a new vCPU for it.
    Next(VcpuBody),
}

/// The next step of a parked thread.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Visit,
    Run,
    Leave,
}

impl Slot {
    pub(crate) fn wants_a_look(&self) -> bool {
        self.visit.is_some() || self.is_held
    }

    pub(crate) fn is_parked(&self) -> bool {
        matches!(self.thread, Thread::Parked)
    }

    pub(crate) fn has_arrived(&self) -> bool {
        matches!(self.thread, Thread::Arrived)
    }

    pub(crate) fn take_next(&mut self) -> Option<VcpuBody> {
        match mem::take(&mut self.thread) {
            Thread::Next(body) => Some(body),
            other => {
                self.thread = other;
                None
            }
        }
    }
}
