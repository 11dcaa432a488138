//! A queue as an engine has it: a ring, the kicks that come with it and the interrupts that go.

use std::fmt;
use std::sync::Arc;

use vmmkit_guest_memory::GuestRam;
use vmmkit_host_io::EventFd;

use super::{Chain, QueueCounters, QueueState, Ring};
use crate::{Fault, Interrupts, QueueInterrupt};

/// A queue as an engine has it. A driver that breaks the rules of the ring is told by
/// DEVICE_NEEDS_RESET, and the queue is then empty for good: an engine need not care.
pub struct Queue {
    index: u16,
    ring: Ring,
    kick: Arc<EventFd>,
    interrupts: Arc<dyn Interrupts>,
    fault: Arc<Fault>,
    counters: Arc<QueueCounters>,
    is_broken: bool,
}

impl Queue {
    pub(crate) fn new(
        index: u16,
        ring: Ring,
        kick: Arc<EventFd>,
        interrupts: Arc<dyn Interrupts>,
        fault: Arc<Fault>,
        counters: Arc<QueueCounters>,
    ) -> Self {
        Self {
            index,
            ring,
            kick,
            interrupts,
            fault,
            counters,
            is_broken: false,
        }
    }

    /// Its number.
    pub fn index(&self) -> u16 {
        self.index
    }

    /// The number of its entries.
    pub fn size(&self) -> u16 {
        self.ring.state().layout.size
    }

    /// The guest's RAM.
    #[inline]
    pub fn ram(&self) -> &GuestRam {
        self.ring.ram()
    }

    /// The eventfd that the driver's kicks raise.
    pub fn kick(&self) -> &Arc<EventFd> {
        &self.kick
    }

    /// The interrupt to its driver, whether it wants that or not; to be kept apart from the queue.
    /// An engine has no use for it: see [`publish`](Self::publish).
    pub fn interrupt(&self) -> QueueInterrupt {
        QueueInterrupt::new(self.index, self.interrupts.clone())
    }

    /// Where it lies and how far it is.
    pub fn state(&self) -> QueueState {
        self.ring.state()
    }

    /// Takes the next chain into `chain`; `false` where there is none, and the driver will then kick
    /// for the next one.
    #[inline]
    pub fn pop(&mut self, chain: &mut Chain) -> bool {
        if self.is_broken {
            return false;
        }
        match self.ring.pop(chain) {
            Ok(found) => found,
            Err(error) => {
                self.is_broken = true;
                self.fault.ring(self.index, error);
                false
            }
        }
    }

    /// Puts back the chain that was popped last: the next pop gives it again.
    pub fn unpop(&mut self) {
        self.ring.unpop();
    }

    /// Gives a chain back with `written` bytes in its writable buffers; never more than they hold.
    /// The driver sees it after [`publish`](Self::publish).
    #[inline]
    pub fn complete(&mut self, chain: &Chain, written: u32) {
        self.count(written);
        self.ring.complete(chain, written);
    }

    /// As [`complete`](Self::complete), by the number of the chain's head, for whoever does not keep
    /// the chain.
    #[inline]
    pub fn complete_head(&mut self, head: u16, written: u32) {
        self.count(written);
        self.ring.complete_head(head, written);
    }

    /// Shows the driver what is complete, and interrupts it if it wants that. Once for a batch.
    #[inline]
    pub fn publish(&mut self) {
        if self.ring.publish() {
            self.counters.interrupts.increment();
            self.interrupts.queue(self.index);
        }
    }

    /// Its driver has kicked it.
    #[inline]
    pub(crate) fn count_kick(&self) {
        self.counters.kicks.increment();
    }

    #[inline]
    fn count(&self, written: u32) {
        self.counters.requests.increment();
        self.counters.written_bytes.add(written.into());
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("index", &self.index)
            .field("state", &self.state())
            .field("is_broken", &self.is_broken)
            .finish_non_exhaustive()
    }
}
