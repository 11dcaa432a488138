//! The state of one connection with the guest: packets in, packets owed out, and no socket.

use super::credit::Credit;
use super::packet::{Op, VsockHeader};
use super::spec::{HOST_CID, SHUTDOWN_BOTH, SHUTDOWN_RECEIVE, SHUTDOWN_SEND, TYPE_STREAM};

/// The two ports of a connection, which tell it from every other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) guest: u32,
    pub(super) host: u32,
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The guest has not answered our REQUEST.
    Requested,
    Established,
}

/// The result of a guest's packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It is dealt with.
    Noted,
    /// The guest has granted our request.
    Opened,
    /// There are data, which were within the guest's credit.
    Data,
    /// The guest has shut something down.
    Shut,
    /// The guest has reset the connection.
    Gone,
    /// The packet is none that may come now: the connection is to be reset.
    Broken,
    /// Data beyond the guest's credit, likewise.
    Overrun,
}

/// Packets that are owed to the guest: a set, so that nothing piles up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Owed {
    request: bool,
    response: bool,
    shutdown: bool,
    credit_request: bool,
    credit_update: bool,
}

/// A connection, as the guest sees it.
#[derive(Clone, Debug)]
pub(super) struct Link {
    key: Key,
    phase: Phase,
    credit: Credit,
    /// The directions that each side has shut down.
    guest_shut: u32,
    host_shut: u32,
    owed: Owed,
    /// The guest was asked for credit, and none has come yet.
    has_asked: bool,
}

impl Link {
    /// A connection that a host program asks for.
    pub(super) fn request(key: Key) -> Self {
        Self::new(key, Phase::Requested)
    }

    /// A connection that the guest asked for by the packet `header`, and gets.
    pub(super) fn accept(key: Key, header: &VsockHeader) -> Self {
        let mut link = Self::new(key, Phase::Established);
        link.credit.update(header);
        link
    }

    fn new(key: Key, phase: Phase) -> Self {
        Self {
            key,
            phase,
            credit: Credit::default(),
            guest_shut: 0,
            host_shut: 0,
            owed: Owed {
                request: phase == Phase::Requested,
                response: phase == Phase::Established,
                ..Owed::default()
            },
            has_asked: false,
        }
    }

    pub(super) fn key(&self) -> Key {
        self.key
    }

    pub(super) fn is_established(&self) -> bool {
        self.phase == Phase::Established
    }

    /// Whether the guest may know of it.
    pub(super) fn is_known_to_guest(&self) -> bool {
        !self.owed.request
    }

    /// A packet of the guest.
    pub(super) fn arrive(&mut self, header: &VsockHeader) -> Arrival {
        let op = match Op::parse(header.op) {
            None => return Arrival::Broken,
            Some(Op::Reset) => return Arrival::Gone,
            Some(op) => op,
        };
        self.credit.update(header);
        if self.credit.free() > 0 {
            self.has_asked = false;
        }
        match (self.phase, op) {
            (Phase::Requested, Op::Response) if !self.owed.request => {
                self.phase = Phase::Established;
                Arrival::Opened
            }
            (Phase::Requested, _) => Arrival::Broken,
            (Phase::Established, Op::Data) => {
                if self.guest_shut & SHUTDOWN_SEND != 0 {
                    Arrival::Broken
                } else if self.credit.accept(header.len) {
                    Arrival::Data
                } else {
                    Arrival::Overrun
                }
            }
            (Phase::Established, Op::Shutdown) => {
                // What was shut down once stays so (5.10.6.5).
                self.guest_shut |= header.flags & SHUTDOWN_BOTH;
                Arrival::Shut
            }
            (Phase::Established, Op::CreditRequest) => {
                self.owed.credit_update = true;
                Arrival::Noted
            }
            (Phase::Established, Op::CreditUpdate) => Arrival::Noted,
            (Phase::Established, Op::Request | Op::Response | Op::Reset) => Arrival::Broken,
        }
    }

    /// Whether the guest has said that it will neither send nor receive.
    pub(super) fn guest_is_done(&self) -> bool {
        self.guest_shut == SHUTDOWN_BOTH
    }

    pub(super) fn guest_sends(&self) -> bool {
        self.guest_shut & SHUTDOWN_SEND == 0
    }

    pub(super) fn guest_receives(&self) -> bool {
        self.guest_shut & SHUTDOWN_RECEIVE == 0
    }

    /// The host's side does some of that no more; the guest is told what is new.
    pub(super) fn shut(&mut self, flags: u32) {
        let all = self.host_shut | flags;
        if all != self.host_shut {
            self.host_shut = all;
            self.owed.shutdown = true;
        }
    }

    /// How many bytes of data may be sent now.
    pub(super) fn room(&self) -> u32 {
        if self.is_established() && self.guest_receives() && self.host_shut & SHUTDOWN_SEND == 0 {
            self.credit.free()
        } else {
            0
        }
    }

    /// Data of the guest have been taken by the host, or never will be.
    pub(super) fn forwarded(&mut self, bytes: u32) {
        if self.credit.forwarded(bytes) && self.guest_sends() {
            self.owed.credit_update = true;
        }
    }

    /// Whether there is a packet without data to send.
    pub(super) fn owes(&self) -> bool {
        self.owed != Owed::default()
    }

    /// The next packet without data, which is then owed no more. `cid` is the guest's.
    pub(super) fn next_owed(&mut self, cid: u64) -> Option<VsockHeader> {
        let owed = &mut self.owed;
        let mut flags = 0;
        let op = if std::mem::take(&mut owed.request) {
            Op::Request
        } else if std::mem::take(&mut owed.response) {
            Op::Response
        } else if std::mem::take(&mut owed.shutdown) {
            flags = self.host_shut;
            Op::Shutdown
        } else if std::mem::take(&mut owed.credit_request) {
            Op::CreditRequest
        } else if owed.credit_update {
            Op::CreditUpdate
        } else {
            return None;
        };
        let mut header = self.header(cid, op);
        header.flags = flags;
        Some(header)
    }

    /// The header of `bytes` of data, no more than there is [`room`](Self::room) for.
    pub(super) fn data(&mut self, cid: u64, bytes: u32) -> VsockHeader {
        self.credit.sent(bytes);
        if self.credit.free() == 0 && !self.has_asked {
            (self.has_asked, self.owed.credit_request) = (true, true);
        }
        let mut header = self.header(cid, Op::Data);
        header.len = bytes;
        header
    }

    /// Every packet tells of the credit.
    fn header(&mut self, cid: u64, op: Op) -> VsockHeader {
        self.owed.credit_update = false;
        let (buf_alloc, fwd_cnt) = self.credit.tell();
        VsockHeader {
            buf_alloc,
            fwd_cnt,
            ..answer(cid, self.key, TYPE_STREAM, op)
        }
    }
}

/// A packet of the host to the guest `cid`, without credit.
pub(super) fn answer(cid: u64, key: Key, kind: u16, op: Op) -> VsockHeader {
    VsockHeader {
        src_cid: HOST_CID,
        dst_cid: cid,
        src_port: key.host,
        dst_port: key.guest,
        kind,
        op: op as u16,
        ..VsockHeader::default()
    }
}
