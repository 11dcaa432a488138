//! The process's heap.

/// Lets all threads share one heap. The C library otherwise sets up one for each thread, which
/// costs every short-lived VMM time and memory, and serves threads that allocate all the time: a
/// VMM's allocate when they start. Call it before the first thread is started; it does nothing
/// where the C library is not glibc.
pub fn share_one_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt(3) takes integers only and may be called at any time; it has no
    // preconditions but that no other thread calls it at once, and this crate calls it here alone.
    let _ = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}
