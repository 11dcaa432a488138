//! Events of the machine, for the server's thread.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use parking_lot::{Mutex, MutexGuard};
use vmmkit_hypervisor::VcpuId;
use vmmkit_hypervisor::x86::DebugExit;

/// Tells the server what happens. Any thread may call it; it waits for nobody.
#[derive(Debug)]
pub struct Notices {
    queue: Mutex<VecDeque<Notice>>,
    pub(crate) event: vmmkit_host_io::EventFd,
}

/// How a guest's run ended, as GDB tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// With this exit code: 0 is power-off and reset.
    Exited(u8),
    /// By a fault: a triple fault, or the host's.
    Aborted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    Started,
    Stopped(VcpuId, DebugExit),
    Reset,
    Ended(Ended),
}

impl Notices {
    /// Nothing has happened.
    ///
    /// # Errors
    /// The host's, when it has no descriptor left.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            queue: Mutex::default(),
            event: vmmkit_host_io::EventFd::new()?,
        })
    }

    /// The vCPUs have threads: from now on clients are let in.
    pub fn started(&self) {
        self.push(Notice::Started);
    }

    /// A vCPU left the guest with [`VcpuExit::Debug`](vmmkit_hypervisor::VcpuExit::Debug). The machine is, or will
    /// be, halted.
    pub fn stopped(&self, vcpu: VcpuId, exit: DebugExit) {
        self.push(Notice::Stopped(vcpu, exit));
    }

    /// The guest starts anew, with new vCPUs and its RAM cleared.
    pub fn reset(&self) {
        self.push(Notice::Reset);
    }

    /// The run has ended: the server's thread ends too.
    pub fn ended(&self, how: Ended) {
        self.push(Notice::Ended(how));
    }

    fn push(&self, notice: Notice) {
        let mut queue = self.lock();
        // A guest that resets itself all the time is told of once.
        if queue.back() != Some(&Notice::Reset) || notice != Notice::Reset {
            queue.push_back(notice);
        }
        drop(queue);
        self.event.notify();
    }

    /// The next one, if there is any.
    pub(crate) fn next(&self) -> Option<Notice> {
        self.event.drain();
        let mut queue = self.lock();
        let next = queue.pop_front();
        if !queue.is_empty() {
            self.event.notify();
        }
        next
    }

    /// The next one, if it is the stop of a vCPU.
    pub(crate) fn next_stop(&self) -> Option<Notice> {
        let mut queue = self.lock();
        match queue.front() {
            Some(Notice::Stopped(..)) => queue.pop_front(),
            _ => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Notice>> {
        self.queue.lock()
    }
}

impl AsFd for Notices {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}
