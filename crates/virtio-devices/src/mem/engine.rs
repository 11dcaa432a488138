//! Requests, on the device's thread.

use std::sync::Arc;

use vmmkit_virtio::{Chain, Context, Engine, Queue};

use super::shared::Shared;
use super::{MemRequest, spec};

/// Requests after which this thread sees what else it is asked for.
const BUDGET: u32 = 16;

/// Answers requests, one after the other.
pub(super) struct MemEngine {
    shared: Arc<Shared>,
    chain: Chain,
}

impl MemEngine {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            chain: Chain::new(),
        }
    }

    /// Answers the request in the chain. One that has no room for its answer is not done.
    fn answer(&self, queue: &mut Queue) {
        let mut bytes = [0; spec::REQUEST_SIZE];
        let length = self.chain.reader(queue.ram()).read(&mut bytes);
        let request = bytes.get(..length).and_then(MemRequest::parse);
        let mut writer = self.chain.writer(queue.ram());
        let has_room = writer.left() >= spec::RESPONSE_SIZE as u64;
        let answer = match request.filter(|_| has_room) {
            Some(request) => self.shared.answer(request),
            None => {
                self.shared.count(|counters| counters.malformed += 1);
                super::MemAnswer::Error
            }
        };
        writer.write(&answer.bytes());
        let written = writer.written();
        queue.complete(&self.chain, written);
    }
}

impl Engine for MemEngine {
    fn kicked(&mut self, context: &mut Context, index: u16) {
        let Some(queue) = context.queues.get_mut(index) else {
            return;
        };
        debug_assert_eq!(index, spec::REQUESTS);
        let mut left = BUDGET;
        while left > 0 && queue.pop(&mut self.chain) {
            left -= 1;
            self.answer(queue);
        }
        queue.publish();
        if left == 0 {
            queue.kick().notify();
        }
    }
}
