//! Output that nobody takes now.

use std::collections::VecDeque;

/// The most bytes that wait.
pub(super) const MAX: usize = 64 << 10;

/// The last bytes of output that nobody has taken: up to 64 KiB.
#[derive(Debug, Default)]
pub(super) struct Backlog(VecDeque<u8>);

impl Backlog {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds bytes; how many older ones had to go for them.
    pub(super) fn keep(&mut self, bytes: &[u8]) -> u64 {
        let kept = bytes.get(bytes.len().saturating_sub(MAX)..);
        let kept = kept.unwrap_or_default();
        let room = MAX - kept.len();
        let old = self.0.len().saturating_sub(room);
        self.0.drain(..old);
        self.0.extend(kept);
        (bytes.len() - kept.len() + old) as u64
    }

    /// The first bytes, or some of them.
    pub(super) fn first(&self) -> &[u8] {
        self.0.as_slices().0
    }

    /// The first bytes were taken.
    pub(super) fn taken(&mut self, bytes: usize) {
        self.0.drain(..bytes.min(self.0.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(backlog: &mut Backlog) -> Vec<u8> {
        let mut all = Vec::new();
        while !backlog.is_empty() {
            let length = backlog.first().len();
            all.extend(backlog.first());
            backlog.taken(length);
        }
        all
    }

    #[test]
    fn the_last_bytes_are_kept() {
        let mut backlog = Backlog::default();
        assert_eq!(backlog.keep(b"abc"), 0);
        assert_eq!(backlog.keep(&[1; MAX - 1]), 2);
        assert_eq!(all(&mut backlog)[..2], [b'c', 1]);
        assert_eq!(backlog.keep(&[2; MAX + 7]), 7);
        assert_eq!(backlog.keep(b"z"), 1);
        let kept = all(&mut backlog);
        assert_eq!((kept.len(), kept[MAX - 1]), (MAX, b'z'));
    }
}
