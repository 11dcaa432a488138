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
//! The vCPU's thread clears `immediate_exit` when, and only when, it reports
//! [`Interrupted`](vmmkit_hypervisor::VcpuExit::Interrupted).

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, Ordering};

use libc::{c_int, c_void, siginfo_t};
use vmm_sys_util::signal::{SIGRTMIN, register_signal_handler, unblock_signal};
use vmmkit_hypervisor::Kick;

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
    /// The thread that runs the vCPU, as gettid(2) names it.
    thread: AtomicI32,
}

impl Kicker {
    /// The kicker of the vCPU that owns `page`. The first one installs the signal's handler.
    pub(crate) fn new(page: Arc<RunPage>) -> io::Result<Self> {
        static HANDLER: OnceLock<Result<(), i32>> = OnceLock::new();
        HANDLER
            .get_or_init(|| register_signal_handler(signal(), ignore).map_err(|e| e.errno()))
            .map_err(io::Error::from_raw_os_error)?;
        Ok(Self {
            page,
            thread: AtomicI32::new(NOBODY),
        })
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
        // signal number only, which the handler's installation has excluded.
        let _ = unblock_signal(signal());
        // Ordering: with `kick`: either the kicker sees this thread, or KVM_RUN sees its store.
        self.thread.store(current_thread(), Ordering::SeqCst);
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
            send(thread);
        }
    }
}

/// Interrupts `thread` of this process. A thread that is gone is not there to be interrupted.
fn send(thread: i32) {
    let process = std::process::id() as libc::pid_t;
    // SAFETY: tgkill takes integers only. Should `thread` have ended and its number be that of a
    // new thread of this process, that thread runs the empty handler.
    unsafe { libc::syscall(libc::SYS_tgkill, process, thread, signal()) };
}

/// The first real-time signal: no other meaning, and not merged with another sender's.
fn signal() -> c_int {
    SIGRTMIN()
}

extern "C" fn ignore(_signal: c_int, _info: *mut siginfo_t, _context: *mut c_void) {}

thread_local!(static THREAD: Cell<i32> = const { Cell::new(UNKNOWN) });

fn current_thread() -> i32 {
    if THREAD.get() == UNKNOWN {
        // Not the C library's: in a static program the standard library's weak reference to it
        // may win, and then it is a null pointer.
        THREAD.set(rustix::thread::gettid().as_raw_nonzero().get());
    }
    THREAD.get()
}
