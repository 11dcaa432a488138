//! When this process was started.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// When the program began, and how much processor time the process had used by then.
static START: OnceLock<(Instant, Duration)> = OnceLock::new();

/// Call it first of all.
pub(crate) fn note_start() {
    let _ = START.set((Instant::now(), vmmkit_host_io::cpu_time()));
}

/// When the process was started: /proc tells hundredths of a second only, so it is when the program
/// began less the processor time of its loading, which does not wait for anything.
pub(super) fn exec() -> Instant {
    let (main, used) = start();
    main.checked_sub(used).unwrap_or(main)
}

/// How long after that the program began.
pub(super) fn main() -> Duration {
    start().1
}

fn start() -> (Instant, Duration) {
    *START.get_or_init(|| (Instant::now(), Duration::ZERO))
}
