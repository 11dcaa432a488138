//! Commands of the control queue (section 5.1.6.5).

use vmmkit_virtio::{Chain, Queue};

use super::line::Shared;
use super::spec::{control, feature};

/// A command that the device knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ControlCommand {
    /// Use so many pairs of queues.
    QueuePairs(u16),
    /// Take these offloads.
    GuestOffloads(u64),
}

/// Bytes of the longest command that is known.
const LONGEST: usize = 10;

impl ControlCommand {
    /// Reads a command: class, command, data. `None` for one that is not known or not whole. What
    /// is behind it does not count.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let ([class, command], data) = bytes.split_first_chunk()?;
        match (*class, *command) {
            (control::MQ, control::MQ_VQ_PAIRS_SET) => {
                let pairs = u16::from_le_bytes(*data.first_chunk()?);
                Some(Self::QueuePairs(pairs))
            }
            (control::GUEST_OFFLOADS, control::GUEST_OFFLOADS_SET) => {
                let offloads = u64::from_le_bytes(*data.first_chunk()?);
                Some(Self::GuestOffloads(offloads))
            }
            _ => None,
        }
    }
}

/// The device's side of the control queue.
pub(super) struct Control {
    pub(super) queue: u16,
    features: u64,
    chain: Chain,
}

impl Control {
    pub(super) fn new(queue: u16, features: u64) -> Self {
        Self {
            queue,
            features,
            chain: Chain::new(),
        }
    }

    /// Answers up to `most` commands; whether those were all.
    pub(super) fn run(&mut self, queue: &mut Queue, shared: &Shared, most: u32) -> bool {
        let mut is_all = false;
        for _ in 0..most {
            if !queue.pop(&mut self.chain) {
                is_all = true;
                break;
            }
            let mut bytes = [0; LONGEST];
            let length = self.chain.reader(queue.ram()).read(&mut bytes);
            let command = ControlCommand::parse(bytes.get(..length).unwrap_or_default());
            let is_done = command.is_some_and(|command| self.perform(command, shared));
            let answer = if is_done { control::OK } else { control::ERR };
            let mut writer = self.chain.writer(queue.ram());
            writer.write(&[answer]);
            let written = writer.written();
            queue.complete(&self.chain, written);
        }
        queue.publish();
        is_all
    }

    /// Does what is asked, if the driver took the feature for it and the host is able to.
    fn perform(&self, command: ControlCommand, shared: &Shared) -> bool {
        match command {
            ControlCommand::QueuePairs(pairs) => {
                let is_there = (1..=shared.lines.len()).contains(&usize::from(pairs));
                self.features & feature::MQ != 0 && is_there && shared.set_pairs(pairs).is_ok()
            }
            ControlCommand::GuestOffloads(offloads) => {
                let taken = self.features & feature::GUEST_OFFLOADS;
                self.features & feature::CTRL_GUEST_OFFLOADS != 0
                    && offloads & !taken == 0
                    && shared.set_offloads(offloads).is_ok()
            }
        }
    }
}
