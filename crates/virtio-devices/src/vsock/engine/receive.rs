//! Packets to the guest.

use std::io;

use vmmkit_guest_memory::GuestRam;
use vmmkit_virtio::{Chain, Queues};

use super::{TURN, VsockEngine};
use crate::vsock::packet::VsockHeader;
use crate::vsock::spec::RX;
use crate::vsock::stats::{add, count};
use crate::vsock::table::Id;

/// The most data of one packet: what Linux takes (VIRTIO_VSOCK_MAX_PKT_BUF_SIZE).
const MAX_DATA: u64 = 64 << 10;
const HEADER: u64 = VsockHeader::SIZE as u64;

impl VsockEngine {
    /// Sends packets to the guest, one of each connection in turn, as long as it has buffers for
    /// them; whether there are more, and buffers.
    pub(super) fn receive(&mut self, queues: &mut Queues) -> bool {
        let Some(queue) = queues.get_mut(RX) else {
            return false;
        };
        let mut chain = std::mem::take(&mut self.chain);
        let mut left = TURN;
        while left > 0 && self.has_packets() && queue.pop(&mut chain) {
            left -= 1;
            if chain.writable_bytes() < HEADER {
                count(&self.counters.small_buffers);
                queue.complete(&chain, 0);
                continue;
            }
            match self.next_packet(queue.ram(), &chain) {
                Some(written) => queue.complete(&chain, written),
                None => queue.unpop(),
            }
        }
        queue.publish();
        self.chain = chain;
        left == 0 && self.has_packets()
    }

    fn has_packets(&self) -> bool {
        !self.resets.is_empty() || !self.ready.is_empty()
    }

    /// Puts the next packet into `chain`, which has room for a header; how many bytes it has. `None`
    /// where the connection whose turn it was has none after all.
    fn next_packet(&mut self, ram: &GuestRam, chain: &Chain) -> Option<u32> {
        let written = if let Some(header) = self.resets.pop_front() {
            Some(write_header(ram, chain, &header))
        } else {
            let id = self.ready.pop_front()?;
            let written = self.packet_of(id, ram, chain);
            self.attend(id);
            written
        };
        if written.is_some() {
            count(&self.counters.rx_packets);
        }
        written
    }

    fn packet_of(&mut self, id: Id, ram: &GuestRam, chain: &Chain) -> Option<u32> {
        let connection = self.table.get_mut(id)?;
        connection.is_queued = false;
        let link = connection.link()?;
        if let Some(header) = link.next_owed(self.cid) {
            return Some(write_header(ram, chain, &header));
        }
        let credit = link.room();
        if credit == 0 || !connection.is_readable {
            return None;
        }
        let room = chain.writable_bytes() - HEADER;
        if room == 0 {
            count(&self.counters.small_buffers);
            return Some(0);
        }
        let most = room.min(MAX_DATA).min(credit.into());
        let mut writer = chain.writer(ram);
        writer.skip(HEADER);
        writer.rest(most, &mut self.pieces);
        let filled = match ram.receive(connection.socket(), &self.pieces) {
            Ok(0) => {
                connection.end();
                return None;
            }
            Ok(filled) => filled,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                connection.is_readable = false;
                return None;
            }
            Err(_) => {
                connection.hang_up();
                return None;
            }
        };
        if (filled as u64) < most {
            // What may have come since, the poller tells.
            connection.is_readable = false;
        }
        add(&self.counters.rx_bytes, filled as u64);
        // 64 KiB at most.
        let filled = filled as u32;
        let header = connection.link()?.data(self.cid, filled);
        Some(write_header(ram, chain, &header) + filled)
    }
}

fn write_header(ram: &GuestRam, chain: &Chain, header: &VsockHeader) -> u32 {
    let mut writer = chain.writer(ram);
    writer.write(&header.to_bytes());
    writer.written()
}
