//! A link against a model of it that keeps true counts.

use proptest::prelude::*;

use super::super::credit::BUF_ALLOC;
use super::super::link::{Arrival, Key, Link};
use super::super::spec::{SHUTDOWN_BOTH, SHUTDOWN_RECEIVE, SHUTDOWN_SEND, op};
use super::*;

const KEY: Key = Key { guest: 5, host: 6 };

#[derive(Clone, Debug)]
enum Step {
    /// A packet of the guest: its operation, length and flags.
    Packet(u16, u32, u32),
    /// The guest takes some of what came, and tells its buffer.
    Takes(u64, u32),
    /// The host takes some of what it holds.
    Forwarded(u64),
    /// The host's program has this much to send.
    Sends(u32),
    Shut(u32),
    /// The guest has a buffer for a packet.
    Buffer,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0_u16..9, 0..BUF_ALLOC / 3, 0_u32..8).prop_map(|(op, len, flags)| Step::Packet(op, len, flags)),
        4 => (0..BUF_ALLOC / 2).prop_map(|len| Step::Packet(op::RW, len, 0)),
        3 => (0_u64..200_000, 0_u32..300_000).prop_map(|(taken, buffer)| Step::Takes(taken, buffer)),
        4 => (0_u64..200_000).prop_map(Step::Forwarded),
        3 => (1_u32..100_000).prop_map(Step::Sends),
        1 => (0_u32..4).prop_map(Step::Shut),
        5 => Just(Step::Buffer),
    ]
}

/// The same with counts that do not go round.
#[derive(Debug, Default)]
struct Model {
    is_open: bool,
    was_requested: bool,
    guest_shut: u32,
    host_shut: u32,
    /// From the guest: came, taken by the host, known to the guest.
    came: u64,
    forwarded: u64,
    told: u64,
    /// To the guest: sent, taken, its buffer as it told.
    sent: u64,
    taken: u64,
    buffer: u32,
}

impl Model {
    fn expected(&mut self, op: u16, len: u32, flags: u32) -> Arrival {
        match op {
            op::RST => Arrival::Gone,
            op::RESPONSE if !self.is_open && self.was_requested => {
                self.is_open = true;
                Arrival::Opened
            }
            _ if !self.is_open => Arrival::Broken,
            op::SHUTDOWN => {
                self.guest_shut |= flags & SHUTDOWN_BOTH;
                Arrival::Shut
            }
            op::RW if self.guest_shut & SHUTDOWN_SEND != 0 => Arrival::Broken,
            op::RW if self.came - self.told + u64::from(len) > BUF_ALLOC.into() => Arrival::Overrun,
            op::RW => {
                self.came += u64::from(len);
                Arrival::Data
            }
            op::CREDIT_UPDATE | op::CREDIT_REQUEST => Arrival::Noted,
            _ => Arrival::Broken,
        }
    }

    fn room(&self) -> u64 {
        if !self.is_open
            || self.guest_shut & SHUTDOWN_RECEIVE != 0
            || self.host_shut & SHUTDOWN_SEND != 0
        {
            return 0;
        }
        u64::from(self.buffer).saturating_sub(self.sent - self.taken)
    }

    fn header(&self, op: u16, len: u32, flags: u32) -> VsockHeader {
        VsockHeader {
            op,
            len,
            flags,
            buf_alloc: self.buffer,
            fwd_cnt: self.taken as u32,
            ..VsockHeader::default()
        }
    }

    /// Checks the fields of every packet to the guest.
    fn check_packet(&mut self, header: &VsockHeader) {
        assert_eq!((header.src_port, header.dst_port), (KEY.host, KEY.guest));
        assert_eq!((header.src_cid, header.dst_cid, header.kind), (2, CID, 1));
        assert_eq!(header.buf_alloc, BUF_ALLOC);
        assert_eq!(header.fwd_cnt, self.forwarded as u32);
        self.told = self.forwarded;
        match header.op {
            op::REQUEST => self.was_requested = true,
            op::SHUTDOWN => assert_eq!(header.flags, self.host_shut),
            op::RESPONSE | op::CREDIT_REQUEST | op::CREDIT_UPDATE => {}
            other => panic!("operation {other}"),
        }
    }
}

fn run(mut link: Link, mut model: Model, steps: Vec<Step>) {
    for step in steps {
        match step {
            Step::Packet(op, len, flags) => {
                let header = model.header(op, len, flags);
                let expected = model.expected(op, len, flags);
                assert_eq!(link.arrive(&header), expected);
                if matches!(expected, Arrival::Gone | Arrival::Broken | Arrival::Overrun) {
                    return;
                }
                if op == op::CREDIT_REQUEST {
                    assert!(link.owes());
                }
            }
            Step::Takes(bytes, buffer) if model.is_open => {
                model.taken += bytes.min(model.sent - model.taken);
                model.buffer = buffer;
                let header = model.header(op::CREDIT_UPDATE, 0, 0);
                assert_eq!(link.arrive(&header), Arrival::Noted);
            }
            Step::Forwarded(bytes) => {
                let bytes = bytes.min(model.came - model.forwarded);
                model.forwarded += bytes;
                link.forwarded(bytes as u32);
                let is_due = model.forwarded - model.told >= u64::from(BUF_ALLOC / 2);
                let is_wanted = model.guest_shut & SHUTDOWN_SEND == 0;
                assert!(link.owes() || !(is_due && bytes > 0 && is_wanted));
            }
            Step::Sends(bytes) => {
                let bytes = bytes.min(link.room());
                if bytes > 0 {
                    let header = link.data(CID, bytes);
                    assert_eq!((header.op, header.len), (op::RW, bytes));
                    assert_eq!(header.fwd_cnt, model.forwarded as u32);
                    model.told = model.forwarded;
                    model.sent += u64::from(bytes);
                    // The guest is asked for room when there is none.
                    assert!(model.room() > 0 || link.owes() || model.sent == model.taken);
                }
            }
            Step::Shut(flags) if model.is_open => {
                let is_new = model.host_shut | flags != model.host_shut;
                model.host_shut |= flags;
                link.shut(flags);
                assert!(link.owes() || !is_new);
            }
            Step::Buffer => match link.next_owed(CID) {
                Some(header) => model.check_packet(&header),
                None => assert!(!link.owes()),
            },
            Step::Takes(..) | Step::Shut(_) => {}
        }
        assert_eq!(link.is_established(), model.is_open);
        assert_eq!(u64::from(link.room()), model.room());
        assert_eq!(link.guest_is_done(), model.guest_shut == SHUTDOWN_BOTH);
        assert!(model.came - model.forwarded <= BUF_ALLOC.into());
    }
}

proptest! {
    #[test]
    fn a_link_of_the_guest_does_as_the_model(
        buffer in 0_u32..300_000,
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let model = Model {
            is_open: true,
            buffer,
            ..Model::default()
        };
        let header = model.header(op::REQUEST, 0, 0);
        run(Link::accept(KEY, &header), model, steps);
    }

    #[test]
    fn a_link_of_the_host_does_as_the_model(
        buffer in 0_u32..300_000,
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let model = Model {
            buffer,
            ..Model::default()
        };
        let mut link = Link::request(KEY);
        let mut model = model;
        // Mostly it is granted.
        if buffer % 4 != 0 {
            model.check_packet(&link.next_owed(CID).unwrap());
            let header = model.header(op::RESPONSE, 0, 0);
            prop_assert_eq!(model.expected(op::RESPONSE, 0, 0), Arrival::Opened);
            prop_assert_eq!(link.arrive(&header), Arrival::Opened);
        }
        run(link, model, steps);
    }
}
