//! The primitives that the run state is made of: those of the standard library, or loom's, so that
//! `tests/loom.rs` can go through every order of their steps.

#[cfg(not(loom))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, atomic};

#[cfg(loom)]
pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard, atomic};
