//! The half of a buffer that is being filled, and how whoever writes the other is woken for it.
//!
//! The lock, the timer and the sizes are those of the module above, so that `tests/loom.rs` can go through every
//! order of their steps.

use std::mem;
use std::time::Duration;

use super::{HALF, LINGER, Mutex, SOON, Timer};

/// The bytes that came since the other half was taken over.
#[derive(Debug, Default)]
pub(super) struct Filling(Mutex<Vec<u8>>);

impl Filling {
    /// Appends a byte; `false` where the half is full and `make_room` makes none. The first byte and the one that makes
    /// it half full arm `timer`, after they are there.
    #[inline]
    pub(super) fn push(
        &self,
        byte: u8,
        timer: &Timer,
        make_room: impl FnOnce(&mut Vec<u8>) -> bool,
    ) -> bool {
        let length = {
            let mut bytes = self.0.lock();
            if bytes.len() >= HALF && !make_room(&mut bytes) {
                return false;
            }
            bytes.push(byte);
            bytes.len()
        };
        match length {
            1 => timer.arm_once(LINGER),
            SOON => timer.arm_once(Duration::ZERO),
            _ => {}
        }
        true
    }

    /// Exchanges the bytes for `empty`. Whoever was woken by the timer has drained it before: a byte that comes later
    /// arms it anew.
    pub(super) fn take_over(&self, empty: &mut Vec<u8>) {
        mem::swap(empty, &mut *self.0.lock());
    }
}
