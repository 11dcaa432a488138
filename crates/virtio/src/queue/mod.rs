//! Virtqueues as the device sees them.

mod chain;
mod counters;
mod error;
mod handle;
mod layout;
mod ring;
mod walk;

#[cfg(test)]
mod tests;

pub use chain::{Chain, Reader, Writer};
pub(crate) use counters::QueueCounters;
pub use error::RingError;
pub use handle::Queue;
pub use layout::{QueueLayout, QueueState};
pub use ring::SplitRing;
