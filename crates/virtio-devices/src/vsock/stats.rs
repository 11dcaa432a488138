//! The counters.

use std::sync::atomic::{AtomicU64, Ordering};

use vmmkit_telemetry::{Node, Occasions, Tree};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Statistics of a socket device, over all resets of its driver.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct VsockStats {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl VsockStats {
            /// Adds them to `tree`.
            pub(super) fn add_to(&self, tree: Tree) -> Tree {
                $(let tree = tree.with(stringify!($name), node(stringify!($name), self.$name));)*
                tree
            }
        }

        /// The counters. They are one thread's, which others look at.
        #[derive(Debug, Default)]
        pub(super) struct Counters {
            // Ordering: counts.
            $(pub(super) $name: AtomicU64,)*
            /// The refused for want of room that a log tells of.
            pub(super) refusals: Occasions,
        }

        impl Counters {
            pub(super) fn look(&self) -> VsockStats {
                VsockStats { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Connections now, those of host programs that have not said where to among them.
    connections,
    /// Connections that the guest asked for and got.
    opened_by_guest,
    /// Connections that host programs asked for and got.
    opened_by_host,
    /// Connections that nobody listened for or the guest refused, or for which there was no room, and
    /// host programs that did not say where to.
    refused,
    /// Of the refused, those for which there was no room: too many connections, too many host programs
    /// that had not said where to, or too few descriptors left to others.
    out_of_room,
    /// Connections that were closed because somebody did not answer in time.
    timed_out,
    /// RST packets sent.
    resets,
    /// Packets of the guest that were dropped: too short, or not from or to where they may be.
    malformed_packets,
    /// Packets of the guest that broke the rules of a connection.
    broken_packets,
    /// Data packets of the guest for which there was no credit.
    overruns,
    /// Buffers for packets that were given back empty, for they were too small.
    small_buffers,
    /// Packets to the guest.
    rx_packets,
    /// Packets from the guest.
    tx_packets,
    /// Bytes of data to the guest.
    rx_bytes,
    /// Bytes of data from the guest.
    tx_bytes,
}

/// All but one of them only grow.
fn node(name: &str, value: u64) -> Node {
    match name {
        "connections" => Node::Gauge(value),
        _ => Node::Counter(value),
    }
}

/// One more.
pub(super) fn count(counter: &AtomicU64) {
    add(counter, 1);
}

/// So many more.
pub(super) fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}
