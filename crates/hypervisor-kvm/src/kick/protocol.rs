//! Memory that kickers and the vCPU's thread write and read: `immediate_exit`, which KVM reads too, and the
//! number of the thread.
//!
//! The atomics are those of the module above, so that `tests/loom.rs` can go through every order of them.

use super::atomic::{AtomicI32, AtomicU8, Ordering, fence};

/// `immediate_exit`: nobody wants the vCPU out.
const IDLE: u8 = 0;
/// `immediate_exit`: a kick wants it out.
const KICKED: u8 = 1;
/// `immediate_exit`: its own thread wants an access completed, no more.
const COMPLETING: u8 = 2;
/// No thread has run the vCPU yet, or it is gone.
const NOBODY: i32 = 0;

/// The thread that runs the vCPU, as gettid(2) names it.
// Ordering: Relaxed where a fence, or being the thread that it names, gives the order.
pub(crate) struct Runner(AtomicI32);

impl Runner {
    /// Nobody.
    pub(crate) fn new() -> Self {
        Self(AtomicI32::new(NOBODY))
    }

    /// Whether it is `thread`, which asks.
    #[inline]
    pub(crate) fn is(&self, thread: i32) -> bool {
        self.0.load(Ordering::Relaxed) == thread
    }

    /// It is `thread` from now on, which asks for it and is about to call `KVM_RUN`.
    pub(crate) fn set(&self, thread: i32) {
        self.0.store(thread, Ordering::Relaxed);
        // Ordering: with the fence of `kick`: either the kicker sees this thread, or KVM_RUN sees its store.
        fence(Ordering::SeqCst);
    }

    /// The vCPU is gone.
    pub(crate) fn clear(&self) {
        self.0.store(NOBODY, Ordering::Relaxed);
    }

    /// Sets `immediate_exit` on behalf of thread `this`. The thread to signal then; the vCPU's own is
    /// not in the guest.
    pub(crate) fn kick(&self, immediate_exit: &AtomicU8, this: i32) -> Option<i32> {
        // Ordering: releases what the caller wrote to `take`. Not a store, which would end what another
        // kicker released before.
        immediate_exit.swap(KICKED, Ordering::AcqRel);
        fence(Ordering::SeqCst);
        let thread = self.0.load(Ordering::Relaxed);
        (thread != NOBODY && thread != this).then_some(thread)
    }
}

/// Whether there is a kick that has not been taken.
pub(crate) fn is_kicked(immediate_exit: &AtomicU8) -> bool {
    // Ordering: acquires what `kick` released, as `take` does.
    immediate_exit.load(Ordering::Acquire) == KICKED
}

/// Takes the kick that ended a run. What its senders wrote before is visible from here on.
#[inline]
pub(crate) fn take(immediate_exit: &AtomicU8) {
    // Ordering: acquires what `kick` released.
    immediate_exit.swap(IDLE, Ordering::AcqRel);
}

/// Makes the next `KVM_RUN` complete the pending access and return. A kick that is there already
/// has the same effect, and stays.
pub(crate) fn begin_completion(immediate_exit: &AtomicU8) {
    // Ordering: a kick that it meets stays for `take`, which acquires it.
    let _ = immediate_exit.compare_exchange(IDLE, COMPLETING, Ordering::AcqRel, Ordering::Relaxed);
}

/// Undoes [`begin_completion`]; a kick that came meanwhile stays.
pub(crate) fn end_completion(immediate_exit: &AtomicU8) {
    // Ordering: as in `begin_completion`.
    let _ = immediate_exit.compare_exchange(COMPLETING, IDLE, Ordering::AcqRel, Ordering::Relaxed);
}
