//! A machine that is built.

use std::sync::Arc;

use vmmkit_host_io::EventLoop;
use vmmkit_run_control::{Hardware, LastEvent, Vcpus};

/// Built: every file, socket and byte of memory is in hand. The caller may drop privileges now.
pub struct Ready {
    pub(crate) vcpus: Vcpus,
    pub(crate) board: Arc<dyn Hardware>,
    pub(crate) event_loop: EventLoop,
    pub(crate) last: LastEvent,
}

impl std::fmt::Debug for Ready {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ready").field("vcpus", &self.vcpus).finish()
    }
}
