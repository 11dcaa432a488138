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

mod protocol;

use std::cell::Cell;
use std::io;
use std::sync::{Arc, atomic};

use vmm_sys_util::signal::unblock_signal;
use vmmkit_hypervisor::Kick;
use vmmkit_telemetry::Occasions;

use crate::KickSignal;
use crate::run_page::RunPage;
use protocol::Runner;

/// The calling thread does not know its number yet; no `Kicker` has this one.
const UNKNOWN: i32 = -1;

/// State shared by a vCPU and its kickers. Any thread may kick; only the vCPU's thread does the rest.
pub(crate) struct Kicker {
    page: Arc<RunPage>,
    signal: KickSignal,
    thread: Runner,
}

impl Kicker {
    /// The kicker of the vCPU that owns `page`, by `signal`, whose handler is installed.
    pub(crate) fn new(page: Arc<RunPage>, signal: KickSignal) -> Self {
        Self {
            page,
            signal,
            thread: Runner::new(),
        }
    }

    /// Notes that the calling thread is about to run the vCPU.
    #[inline]
    pub(crate) fn enter(&self) {
        if !self.thread.is(THREAD.get()) {
            self.move_here();
        }
    }

    #[cold]
    fn move_here(&self) {
        // A mask inherited with the signal blocked would make it useless. It fails for an invalid
        // signal number only, which `KickSignal` excludes.
        let _ = unblock_signal(self.signal.number());
        self.thread.set(current_thread());
    }

    /// Whether there is a kick that has not been taken.
    pub(crate) fn is_kicked(&self) -> bool {
        protocol::is_kicked(self.page.immediate_exit())
    }

    /// Takes the kick that ended a run. What its sender wrote before is visible from here on.
    #[inline]
    pub(crate) fn take(&self) {
        protocol::take(self.page.immediate_exit());
    }

    /// Makes the next `KVM_RUN` complete the pending access and return.
    pub(crate) fn begin_completion(&self) {
        protocol::begin_completion(self.page.immediate_exit());
    }

    /// Undoes [`begin_completion`](Self::begin_completion); a kick that came meanwhile stays.
    pub(crate) fn end_completion(&self) {
        protocol::end_completion(self.page.immediate_exit());
    }

    /// Forgets the thread: the vCPU is gone.
    pub(crate) fn leave(&self) {
        self.thread.clear();
    }
}

impl Kick for Kicker {
    fn kick(&self) {
        let immediate_exit = self.page.immediate_exit();
        if let Some(thread) = self.thread.kick(immediate_exit, current_thread()) {
            send(thread, self.signal);
        }
    }
}

/// Kicks come as often as a client of the machine asks for something.
static REFUSALS: Occasions = Occasions::new();

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
        if refused.raw_os_error() != Some(libc::ESRCH)
            && let Some(count) = REFUSALS.next()
        {
            tracing::error!(thread, %refused, count, "tgkill: a vCPU cannot be taken out of the guest");
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
