//! Virtqueues as the device sees them.

mod chain;
mod counters;
mod either;
mod error;
mod handle;
mod layout;
mod packed;
mod ring;
mod walk;

#[cfg(test)]
mod tests;

pub use chain::{Chain, Reader, Writer};
pub(crate) use counters::QueueCounters;
pub(crate) use either::Ring;
pub use error::RingError;
pub use handle::Queue;
pub use layout::{QueueLayout, QueueState};
pub use packed::PackedRing;
pub use ring::SplitRing;
