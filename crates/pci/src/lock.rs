//! Locks that outlive a panic of who held them.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks `mutex`. What a panic may have left in it is the guest's to repair, by a reset.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
