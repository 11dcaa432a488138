//! Packets from the guest.

use vmmkit_guest_memory::GuestRam;
use vmmkit_virtio::{Chain, Queues, Reader};

use super::{MAX_RESETS, TURN, VsockEngine};
use crate::vsock::connection::{Connection, Role};
use crate::vsock::host::stream_socket;
use crate::vsock::link::{Arrival, Key, Link};
use crate::vsock::packet::VsockHeader;
use crate::vsock::spec::{HOST_CID, TX, TYPE_STREAM, op};
use crate::vsock::stats::{add, count};
use crate::vsock::table::Id;

impl VsockEngine {
    /// Takes packets of the guest; whether there may be more.
    pub(super) fn transmit(&mut self, queues: &mut Queues) -> bool {
        let Some(queue) = queues.get_mut(TX) else {
            return false;
        };
        let mut chain = std::mem::take(&mut self.chain);
        let mut left = TURN;
        while left > 0 && self.resets.len() < MAX_RESETS && queue.pop(&mut chain) {
            self.take_packet(queue.ram(), &chain);
            queue.complete(&chain, 0);
            left -= 1;
        }
        queue.publish();
        self.chain = chain;
        left == 0 || self.resets.len() >= MAX_RESETS
    }

    fn take_packet(&mut self, ram: &GuestRam, chain: &Chain) {
        count(&self.counters.tx_packets);
        let mut reader = chain.reader(ram);
        let mut bytes = [0; VsockHeader::SIZE];
        let is_whole = reader.read(&mut bytes) == bytes.len();
        let header = VsockHeader::parse(&bytes).filter(|_| is_whole);
        // The guest has one CID, and the host is the only other party (5.10.4).
        let is_ours =
            |header: &VsockHeader| header.src_cid == self.cid && header.dst_cid == HOST_CID;
        let Some(header) = header.filter(is_ours) else {
            return count(&self.counters.malformed_packets);
        };
        let key = Key {
            guest: header.src_port,
            host: header.dst_port,
        };
        if header.kind != TYPE_STREAM {
            // An unknown type is answered by RST (5.10.6.4); an RST never is.
            return self.refuse(key, &header);
        }
        match self.table.find(key) {
            Some(id) => self.arrive(id, &header, ram, &mut reader),
            None if header.op == op::REQUEST => self.open(key, &header),
            None => self.refuse(key, &header),
        }
    }

    /// Answers a packet that belongs to no connection.
    fn refuse(&mut self, key: Key, header: &VsockHeader) {
        if header.op != op::RST {
            self.reset(key, header.kind);
        }
    }

    /// The guest asks for a connection.
    fn open(&mut self, key: Key, header: &VsockHeader) {
        let Some(socket) = stream_socket().ok().filter(|socket| self.has_room(socket)) else {
            self.count_refused();
            return self.refuse(key, header);
        };
        if self.host.connect(&socket, key.host).is_err() {
            count(&self.counters.refused);
            return self.refuse(key, header);
        }
        let link = Role::Linked(Link::accept(key, header));
        let Some(id) = self.table.insert(Connection::new(socket, link)) else {
            return self.refuse(key, header);
        };
        self.table.link(id, key);
        count(&self.counters.opened_by_guest);
        self.count_connections();
        self.attend(id);
    }

    /// A packet of the connection `id`, whose data `reader` has.
    fn arrive(&mut self, id: Id, header: &VsockHeader, ram: &GuestRam, reader: &mut Reader<'_>) {
        let Some(connection) = self.table.get_mut(id) else {
            return;
        };
        let Some(link) = connection.link() else {
            return;
        };
        let was_established = link.is_established();
        let is_short = header.op == op::RW && u64::from(header.len) > reader.left();
        let arrival = if is_short {
            Arrival::Broken
        } else {
            link.arrive(header)
        };
        let port = link.key().host;
        match arrival {
            Arrival::Noted | Arrival::Shut => {}
            Arrival::Data => {
                add(&self.counters.tx_bytes, header.len.into());
                connection.take(ram, reader, header.len, &mut self.pieces);
            }
            Arrival::Opened => {
                connection.tell_port(port);
                self.table.set_deadline(id, None);
                count(&self.counters.opened_by_host);
            }
            Arrival::Gone => {
                if !was_established {
                    count(&self.counters.refused);
                }
                return self.drain(id);
            }
            Arrival::Broken => {
                count(&self.counters.broken_packets);
                return self.break_off(id);
            }
            Arrival::Overrun => {
                count(&self.counters.overruns);
                return self.break_off(id);
            }
        }
        self.attend(id);
    }
}
