//! The lock of a device.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, even after a thread panicked with the lock held: the guest goes on with the device as
/// that thread left it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
