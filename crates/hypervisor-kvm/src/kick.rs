//! Kicks: how another thread ends a vCPU's run.
//!
//! A kick stores 1 to `immediate_exit`, then signals the thread that was last seen to run the
//! vCPU. Whatever the two threads do, one of the two catches the run:
//!
//! | the kick comes | what ends the run |
//! | --- | --- |
//! | before `KVM_RUN` | `immediate_exit`, which `KVM_RUN` tests first |
//! | after that test | the signal, sent after the store: the guest is not entered, or is left |
//! | before the first run | `immediate_exit`; there is no thread to signal yet |
//! | between runs | the signal does nothing, `immediate_exit` ends the next run |
//!
//! The signal is an ordinary one, which the kernel delivers whatever limits the process has: see
//! [`KickSignal`].
//!
//! The vCPU's thread clears `immediate_exit` when, and only when, it reports
//! [`Interrupted`](vmmkit_hypervisor::VcpuExit::Interrupted).

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use vmm_sys_util::signal::unblock_signal;
use vmmkit_hypervisor::Kick;

use crate::KickSignal;
use crate::run_page::RunPage;

/// `immediate_exit`: nobody wants the vCPU out.
const IDLE: u8 = 0;
/// `immediate_exit`: a kick wants it out.
const KICKED: u8 = 1;
/// `immediate_exit`: its own thread wants an access completed, no more.
const COMPLETING: u8 = 2;
/// No thread has run the vCPU yet, or it is gone.
const NOBODY: i32 = 0;
/// The calling thread does not know its number yet; no `Kicker` has this one.
const UNKNOWN: i32 = -1;

/// What a vCPU and its kickers share. Any thread may kick; only the vCPU's thread does the rest.
pub(crate) struct Kicker {
    page: Arc<RunPage>,
    signal: KickSignal,
    /// The thread that runs the vCPU, as gettid(2) names it.
    thread: AtomicI32,
}

impl Kicker {
    /// The kicker of the vCPU that owns `page`, by `signal`, whose handler is installed.
    pub(crate) fn new(page: Arc<RunPage>, signal: KickSignal) -> Self {
        Self {
            page,
            signal,
            thread: AtomicI32::new(NOBODY),
        }
    }

    /// Notes that the calling thread is about to run the vCPU.
    #[inline]
    pub(crate) fn enter(&self) {
        if self.thread.load(Ordering::Relaxed) != THREAD.get() {
            self.move_here();
        }
    }

    #[cold]
    fn move_here(&self) {
        // A mask inherited with the signal blocked would make it useless. It fails for an invalid
        // signal number only, which `KickSignal` excludes.
        let _ = unblock_signal(self.signal.number());
        // Ordering: with `kick`: either the kicker sees this thread, or KVM_RUN sees its store.
        self.thread.store(current_thread(), Ordering::SeqCst);
    }

    /// Whether there is a kick that has not been taken.
    pub(crate) fn is_kicked(&self) -> bool {
        // Ordering: acquires what `kick` released, as `take` does.
        self.page.immediate_exit().load(Ordering::Acquire) == KICKED
    }

    /// Takes the kick that ended a run. What its sender wrote before is visible from here on.
    #[inline]
    pub(crate) fn take(&self) {
        // Ordering: acquires what `kick` released.
        self.page.immediate_exit().swap(IDLE, Ordering::AcqRel);
    }

    /// Makes the next `KVM_RUN` complete the pending access and return.
    pub(crate) fn begin_completion(&self) {
        // A kick that is there already has the same effect, and stays.
        let byte = self.page.immediate_exit();
        let _ = byte.compare_exchange(IDLE, COMPLETING, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// Undoes [`begin_completion`](Self::begin_completion); a kick that came meanwhile stays.
    pub(crate) fn end_completion(&self) {
        let byte = self.page.immediate_exit();
        let _ = byte.compare_exchange(COMPLETING, IDLE, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// Forgets the thread: the vCPU is gone.
    pub(crate) fn leave(&self) {
        self.thread.store(NOBODY, Ordering::SeqCst);
    }
}

impl Kick for Kicker {
    fn kick(&self) {
        // Ordering: with `move_here`, and releases what the caller wrote to `take`.
        self.page.immediate_exit().store(KICKED, Ordering::SeqCst);
        let thread = self.thread.load(Ordering::SeqCst);
        // The vCPU's own thread is not in the guest: `immediate_exit` is enough.
        if thread != NOBODY && thread != current_thread() {
            send(thread, self.signal);
        }
    }
}

/// Interrupts `thread` of this process. A thread that is gone is not there to be interrupted.
fn send(thread: i32, signal: KickSignal) {
    let process = std::process::id() as libc::pid_t;
    // SAFETY: tgkill takes integers only. Should `thread` have ended and its number be that of a
    // new thread of this process, that thread runs the empty handler.
    let answer = unsafe { libc::syscall(libc::SYS_tgkill, process, thread, signal.number()) };
    // An ordinary signal within the process is refused for a thread that is gone, and for nothing
    // else (tgkill(2)), unless a filter of system calls does.
    if answer < 0 {
        let refused = io::Error::last_os_error();
        if refused.raw_os_error() != Some(libc::ESRCH) {
            tracing::error!(thread, %refused, "tgkill: a vCPU cannot be taken out of the guest");
        }
    }
}

thread_local!(static THREAD: Cell<i32> = const { Cell::new(UNKNOWN) });

fn current_thread() -> i32 {
    if THREAD.get() == UNKNOWN {
        // Not the C library's: in a static program the standard library's weak reference to it
        // may win, and then it is a null pointer.
        THREAD.set(rustix::thread::gettid().as_raw_nonzero().get());
    }
    THREAD.get()
}
