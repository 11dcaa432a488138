//! Buffers for images that are read and written by way of this process's memory.

use parking_lot::Mutex;

/// Buffers of one size that are not in use.
#[derive(Debug, Default)]
pub(super) struct Buffers(Mutex<Vec<Vec<u8>>>);

impl Buffers {
    /// Their size in bytes: a cluster, or a grain, of the usual size.
    pub(super) const PIECE: usize = 64 << 10;

    /// Has `work` use one.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut [u8]) -> T) -> T {
        let free = self.0.lock().pop();
        let mut buffer = free.unwrap_or_else(|| vec![0; Self::PIECE]);
        let answer = work(&mut buffer);
        self.0.lock().push(buffer);
        answer
    }
}
