//! Any sequence of the guest's packets, against the device as a whole.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::spec::{SHUTDOWN_BOTH, SHUTDOWN_SEND, op};
use super::*;

#[derive(Clone, Debug)]
struct Packet {
    /// Of three ports of the guest.
    from: u32,
    /// To three ports of the host, of which nobody listens on the last.
    to: u32,
    op: u16,
    kind: u16,
    flags: u32,
    data: usize,
}

fn packet() -> impl Strategy<Value = Packet> {
    let op = prop_oneof![3 => Just(op::REQUEST), 4 => Just(op::RW), 4 => 0_u16..9];
    let kind = prop_oneof![20 => Just(1_u16), 1 => 0_u16..4];
    (0_u32..3, 80_u32..83, op, kind, 0_u32..8, 1_usize..3000).prop_map(
        |(from, to, op, kind, flags, data)| Packet {
            from,
            to,
            op,
            kind,
            flags,
            data,
        },
    )
}

/// The device's view of one connection, as a model.
#[derive(Debug, Default)]
struct Open {
    shut: u32,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn each_packet_is_answered_as_the_model_says(
        packets in proptest::collection::vec(packet(), 1..60),
    ) {
        let directory = Directory::new();
        let (vsock, mut guest) = directory.guest();
        // Programs that accept, and neither read nor write.
        let _listeners = [directory.listen(80), directory.listen(81)];
        let mut open = BTreeMap::<(u32, u32), Open>::new();
        for packet in packets {
            let key = (packet.from, packet.to);
            let mut header = guest.header(key, packet.op);
            (header.kind, header.flags) = (packet.kind, packet.flags);
            let data = if packet.op == op::RW { pattern(0, packet.data) } else { Vec::new() };
            header.len = data.len() as u32;
            let expected = match (open.get_mut(&key), packet.op) {
                _ if packet.kind != 1 && packet.op != op::RST => Some(op::RST),
                (_, op::RST) if packet.kind != 1 => None,
                (None, op::RST) => None,
                (None, op::REQUEST) if packet.to < 82 => {
                    open.insert(key, Open::default());
                    Some(op::RESPONSE)
                }
                (None, _) => Some(op::RST),
                (Some(_), op::RST) => {
                    open.remove(&key);
                    None
                }
                (Some(found), op::SHUTDOWN) => {
                    found.shut |= packet.flags & SHUTDOWN_BOTH;
                    (found.shut == SHUTDOWN_BOTH).then(|| {
                        open.remove(&key);
                        op::RST
                    })
                }
                (Some(found), op::RW) if found.shut & SHUTDOWN_SEND == 0 => None,
                (Some(_), op::CREDIT_UPDATE) => None,
                (Some(_), op::CREDIT_REQUEST) => Some(op::CREDIT_UPDATE),
                (Some(_), _) => {
                    open.remove(&key);
                    Some(op::RST)
                }
            };
            guest.send_raw(&header, &data);
            guest.peers.clear();
            if let Some(expected) = expected {
                let (header, data) = guest.next_quietly();
                prop_assert_eq!((header.op, header.dst_port, header.src_port), (expected, key.0, key.1));
                prop_assert_eq!(header.kind, packet.kind);
                prop_assert!(data.is_empty());
            }
            prop_assert_eq!(vsock.stats().connections, open.len() as u64);
        }
        prop_assert!(guest.look_quietly().is_none());
    }
}
