//! The status of a command, as a guest writes it: it ends once at most, whatever the pieces are, and the reason of a
//! failure is short and printable.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use vmmkit_guest_init::{Ended, Monitor};

/// Hears `data` in pieces: the first byte is the length of all but the last.
pub fn run(data: &[u8]) {
    let Some((length, bytes)) = data.split_first() else {
        return;
    };
    let ends = Arc::new(AtomicU32::new(0));
    let counted = ends.clone();
    let monitor = Monitor::new(move || {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    for piece in bytes.chunks(usize::from(*length).max(1)) {
        monitor.hear_status(piece);
        monitor.count_stdout(piece.len());
    }
    let ended = monitor.ended();
    assert_eq!(ends.load(Ordering::Relaxed), u32::from(ended.is_some()));
    if let Some(Ended::Failed(reason)) = ended {
        assert!(reason.len() <= 1024);
        assert!(
            reason
                .bytes()
                .all(|byte| byte == b' ' || byte.is_ascii_graphic())
        );
    }
}
