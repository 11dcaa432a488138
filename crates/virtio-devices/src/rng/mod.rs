//! The entropy device (section 5.4): fills what the driver gives it with random bytes, as fast as its limits let it.

#[cfg(test)]
mod tests;

use std::io;

use rustix::rand::{GetRandomFlags, getrandom};
use vmmkit_host_io::{Interest, Ready};
use vmmkit_virtio::{
    ActivateError, Activation, Active, Chain, Context, Device, DeviceKind, Engine, Queue,
};

use crate::{RateLimiter, Throttle};

/// Its only queue (5.4.2).
const REQUESTS: u16 = 0;
/// The most bytes that one request gets; Linux asks for 64 or so. A driver takes less than it asked
/// for (5.4.6.2), and asks again.
const MAX: u64 = 64 << 10;
/// Bytes at a time.
const PIECE: usize = 256;
/// Bytes after which others have their turn.
const BUDGET: u64 = 256 << 10;

/// A source of random bytes: the host's getrandom(2).
#[derive(Debug, Default)]
pub struct Rng {
    limiter: RateLimiter,
}

impl Rng {
    /// A source without limits.
    pub fn new() -> Self {
        Self::default()
    }

    /// Its limits, which can be changed while it works: an operation is a request, a byte one that the guest gets.
    pub fn rate_limiter(&self) -> &RateLimiter {
        &self.limiter
    }
}

impl Device for Rng {
    fn kind(&self) -> DeviceKind {
        DeviceKind::ENTROPY
    }

    fn queue_sizes(&self) -> &[u16] {
        &[64]
    }

    fn activate(&self, activation: Activation) -> Result<Box<dyn Active>, ActivateError> {
        let throttle = Throttle::new(&self.limiter);
        let throttle = throttle.map_err(|source| ActivateError::Host {
            what: "making a timer",
            source,
        })?;
        activation.on_shared_thread(Box::new(RngEngine {
            throttle,
            chain: Chain::new(),
        }))
    }
}

/// The token of the throttle.
const THROTTLE: u64 = 0;

struct RngEngine {
    throttle: Throttle,
    chain: Chain,
}

impl Engine for RngEngine {
    fn start(&mut self, context: &mut Context) -> io::Result<()> {
        let poller = &context.poller;
        poller.add(&self.throttle, THROTTLE, Interest::Readable)
    }

    fn ready(&mut self, context: &mut Context, ready: Ready) {
        debug_assert_eq!(ready.token, THROTTLE);
        self.throttle.drain();
        self.kicked(context, REQUESTS);
    }

    fn kicked(&mut self, context: &mut Context, index: u16) {
        let Some(queue) = context.queues.get_mut(index) else {
            return;
        };
        debug_assert_eq!(index, REQUESTS);
        let mut budget = BUDGET;
        while budget > 0 && self.throttle.is_open() && queue.pop(&mut self.chain) {
            let written = self.fill(queue);
            self.throttle.charge(1, written.into());
            queue.complete(&self.chain, written);
            budget = budget.saturating_sub(u64::from(written).max(PIECE as u64));
        }
        queue.publish();
        if budget == 0 {
            queue.kick().notify();
        }
    }
}

impl RngEngine {
    /// Fills the chain's buffers to write; how far.
    fn fill(&self, queue: &Queue) -> u32 {
        let mut writer = self.chain.writer(queue.ram());
        let mut left = writer.left().min(MAX);
        let mut bytes = [0; PIECE];
        while left > 0 {
            let wanted = bytes.len().min(usize::try_from(left).unwrap_or(PIECE));
            let piece = bytes.get_mut(..wanted).unwrap_or_default();
            // The host's pool is filled early in its boot, and then never empty.
            let Ok(found) = getrandom(&mut *piece, GetRandomFlags::empty()) else {
                break;
            };
            writer.write(piece.get(..found).unwrap_or_default());
            left -= found.min(wanted) as u64;
        }
        writer.written()
    }
}
