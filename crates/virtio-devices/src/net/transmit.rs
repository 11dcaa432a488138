//! From the guest to the host (section 5.1.6.2).

use std::io;

use vmmkit_guest_memory::MAX_SEGMENTS;
use vmmkit_virtio::{Chain, Queue};

use super::line::{Host, frame_bytes};
use super::spec::{HEADER, MAX_PACKET};
use super::stats::NetFlow;
use super::{BATCH, Halt};
use crate::Throttle;

/// Sends packets straight from the guest's buffers.
pub(super) struct Transmitter {
    chain: Chain,
    throttle: Throttle,
}

impl Transmitter {
    pub(super) fn new(throttle: Throttle) -> Self {
        Self {
            chain: Chain::new(),
            throttle,
        }
    }

    pub(super) fn throttle(&self) -> &Throttle {
        &self.throttle
    }

    /// Sends a batch, adds to `flow`, and says what to wait for.
    pub(super) fn run(
        &mut self,
        queue: &mut Queue,
        host: &mut Host,
        is_up: bool,
        flow: &mut NetFlow,
    ) -> Halt {
        let halt = self.send_batch(queue, host, is_up, flow);
        match host.backend.flush() {
            Ok(()) => halt,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Halt::Host,
            Err(error) => Halt::Lost(error),
        }
    }

    fn send_batch(
        &mut self,
        queue: &mut Queue,
        host: &mut Host,
        is_up: bool,
        flow: &mut NetFlow,
    ) -> Halt {
        for _ in 0..BATCH {
            if !self.throttle.is_open() {
                return Halt::Throttled;
            }
            if !queue.pop(&mut self.chain) {
                return Halt::NoRoom;
            }
            match packet_length(&self.chain) {
                None => flow.errors += 1,
                Some(_) if !is_up => flow.drops += 1,
                Some(length) => match host.backend.send(queue.ram(), &self.chain) {
                    Ok(()) => {
                        flow.packets += 1;
                        flow.bytes += frame_bytes(length);
                        self.throttle.charge(1, frame_bytes(length));
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        queue.unpop();
                        return Halt::Host;
                    }
                    // The host does not take this one. That nothing goes any more, receiving tells.
                    Err(_) => flow.errors += 1,
                },
            }
            queue.complete(&self.chain, 0);
        }
        Halt::Batch
    }
}

/// Bytes of the packet in a chain, its header with it; `None` where it can be none.
#[inline]
fn packet_length(chain: &Chain) -> Option<usize> {
    let length = usize::try_from(chain.readable_bytes()).ok()?;
    let is_packet = (HEADER + 1..=MAX_PACKET).contains(&length);
    (is_packet && chain.readable().len() <= MAX_SEGMENTS).then_some(length)
}
