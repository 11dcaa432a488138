//! The traffic of a queue.

use vmmkit_telemetry::{Counter, Tree};

/// Counts of one queue, over all resets. Whoever has the queue counts, one thread at a time; a queue
/// that another process serves is not counted.
#[derive(Debug, Default)]
pub(crate) struct QueueCounters {
    /// Wake-ups by the driver's kicks; several kicks may be one.
    pub(crate) kicks: Counter,
    /// Chains given back.
    pub(crate) requests: Counter,
    /// Bytes in them for the driver.
    pub(crate) written_bytes: Counter,
    /// Interrupts that the driver wanted for them.
    pub(crate) interrupts: Counter,
}

impl QueueCounters {
    /// Adds them to `tree`.
    pub(crate) fn add_to(&self, tree: Tree) -> Tree {
        tree.counter("kicks", self.kicks.value())
            .counter("requests", self.requests.value())
            .counter("written_bytes", self.written_bytes.value())
            .counter("interrupts", self.interrupts.value())
    }
}
