use std::io::{Read, Write};
use std::num::NonZeroU64;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use vmmkit_host_io::StreamSocket;
use vmmkit_virtio::Device;
use vmmkit_virtio::fake::hostile::torture;
use vmmkit_virtio::fake::{Driver, Options};

use super::spec::{HEADER, MAX_PACKET, feature};
use super::*;
use crate::{Bucket, RateLimit};

const RECEIVE: u16 = 0;
const TRANSMIT: u16 = 1;
const CONTROL: u16 = 2;
const NO_HEADER: [u8; HEADER] = [0; HEADER];

/// A device of `pairs` pairs, and the other ends of its back ends.
fn net_of(pairs: u16, options: &NetOptions) -> (Arc<Net>, Vec<UnixDatagram>) {
    let mut backends: Vec<Box<dyn NetBackend>> = Vec::new();
    let mut peers = Vec::new();
    for _ in 0..pairs {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        backends.push(Box::new(ours));
        peers.push(theirs);
    }
    (
        Arc::new(Net::with_backends(backends, options).unwrap()),
        peers,
    )
}

fn net() -> (Arc<Net>, UnixDatagram) {
    let (net, mut peers) = net_of(1, &NetOptions::default());
    (net, peers.remove(0))
}

fn without(features: u64) -> Options {
    Options {
        features: !features,
        ..Options::default()
    }
}

fn packet(frame: &[u8]) -> Vec<u8> {
    [&NO_HEADER, frame].concat()
}

fn bytes(length: usize, seed: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 7 + seed) as u8).collect()
}

fn next(peer: &UnixDatagram) -> Vec<u8> {
    let mut bytes = vec![0; MAX_PACKET + 1];
    let length = peer.recv(&mut bytes).unwrap();
    bytes.truncate(length);
    bytes
}

/// The next packet that the driver receives, which lies in several chains: its frame.
fn received(driver: &mut Driver) -> Vec<u8> {
    let (_, mut bytes) = driver.wait(RECEIVE).unwrap();
    let buffers = u16::from_le_bytes([bytes[10], bytes[11]]);
    assert!(buffers >= 1);
    for _ in 1..buffers {
        bytes.extend(driver.wait(RECEIVE).unwrap().1);
    }
    bytes.split_off(HEADER)
}

fn room(driver: &mut Driver, chains: usize, size: usize) {
    for _ in 0..chains {
        driver.add(RECEIVE, &[], &[size]).unwrap();
    }
    driver.kick(RECEIVE);
}

#[test]
fn the_configuration_is_that_of_5_1_4() {
    let options = NetOptions {
        mac: Some([2, 1, 2, 3, 4, 5]),
        mtu: Some(9000),
        ..NetOptions::default()
    };
    let (net, _peers) = net_of(3, &options);
    let driver = Driver::start(net).unwrap();
    let config: [u8; 16] = driver.config(0);
    assert_eq!(config[..6], [2, 1, 2, 3, 4, 5]);
    assert_eq!(config[6..], [1, 0, 3, 0, 0x28, 0x23, 0, 0, 0, 0]);
    assert_ne!(driver.features() & feature::MTU, 0);
    assert_ne!(driver.features() & feature::MQ, 0);
}

#[test]
fn an_address_is_made_up_where_none_is_given_and_a_bad_one_refused() {
    let (first, second) = (net().0.mac(), net().0.mac());
    assert_ne!(first, second);
    assert_eq!(first[0] & 3, 2);
    for mac in [[0; 6], [1, 2, 3, 4, 5, 6]] {
        let options = NetOptions {
            mac: Some(mac),
            ..NetOptions::default()
        };
        let error = options.address().unwrap_err();
        assert!(error.to_string().contains(&config::mac(&mac)), "{error}");
    }
    let options = NetOptions {
        mtu: Some(67),
        ..NetOptions::default()
    };
    assert!(matches!(
        Net::with_backends(Vec::new(), &options),
        Err(NetError::QueuePairs { .. })
    ));
    let (ours, _theirs) = UnixDatagram::pair().unwrap();
    let error = Net::with_backends(vec![Box::new(ours)], &options).unwrap_err();
    assert_eq!(error.to_string(), "MTU 67: it must be 68 or more");
}

#[test]
fn a_packet_is_sent_with_its_header_from_any_buffers() {
    let (net, peer) = net();
    let mut driver = Driver::start(net.clone()).unwrap();
    let frame = bytes(1000, 3);
    let header = [1, 1, 54, 0, 0xb4, 5, 34, 0, 16, 0, 0, 0];
    let (start, end) = frame.split_at(7);
    let answer = driver.request(TRANSMIT, &[&header[..5], &header[5..], start, end], &[]);
    assert_eq!(answer.unwrap(), b"");
    assert_eq!(next(&peer), [&header[..], &frame].concat());
    let sent = net.stats().transmitted;
    assert_eq!((sent.packets, sent.bytes, sent.errors), (1, 1000, 0));
}

#[test]
fn the_host_is_waited_for_and_nothing_is_lost() {
    let (net, peer) = net();
    let mut driver = Driver::start(net.clone()).unwrap();
    for index in 0..100 {
        let frame = bytes(60, index);
        driver.add(TRANSMIT, &[&packet(&frame)], &[]).unwrap();
    }
    driver.kick(TRANSMIT);
    for index in 0..100 {
        assert_eq!(next(&peer), packet(&bytes(60, index)));
    }
    for _ in 0..100 {
        driver.wait(TRANSMIT).unwrap();
    }
    assert_eq!(net.stats().transmitted.packets, 100);
}

#[test]
fn what_is_no_packet_is_given_back_and_counted() {
    let (net, peer) = net();
    let mut driver = Driver::start(net.clone()).unwrap();
    let large = vec![0; MAX_PACKET + 1];
    for wrong in [&NO_HEADER[..], &NO_HEADER[..3], &large] {
        assert_eq!(driver.request(TRANSMIT, &[wrong], &[]).unwrap(), b"");
    }
    driver.request(TRANSMIT, &[], &[100]).unwrap();
    assert_eq!(net.stats().transmitted.errors, 4);
    // The largest goes through.
    driver.request(TRANSMIT, &[&large[1..]], &[]).unwrap();
    assert_eq!(next(&peer).len(), MAX_PACKET);
}

#[test]
fn a_packet_lies_in_as_many_chains_as_it_needs_5_1_6_3_1() {
    let (net, peer) = net();
    let mut driver = Driver::start(net.clone()).unwrap();
    let sizes = [1, 88, 89, 500, 1000];
    room(&mut driver, 40, 100);
    for size in sizes {
        peer.send(&packet(&bytes(size, size))).unwrap();
        assert_eq!(received(&mut driver), bytes(size, size));
    }
    assert_eq!(net.stats().received.packets, 5);
    assert_eq!(
        net.stats().received.bytes,
        sizes.iter().sum::<usize>() as u64
    );
}

#[test]
fn a_large_packet_after_many_small_ones_is_whole_at_once_or_when_there_is_room() {
    let (net, peer) = net();
    let mut driver = Driver::start(net.clone()).unwrap();
    room(&mut driver, 36, 100);
    // 11 chains, of those that are left; then 51.
    for (large, later) in [(1000, 0), (5000, 30)] {
        room(&mut driver, 64, 100);
        for index in 0..64 {
            peer.send(&packet(&bytes(50, index))).unwrap();
            assert_eq!(received(&mut driver), bytes(50, index));
        }
        peer.send(&packet(&bytes(large, large))).unwrap();
        room(&mut driver, later, 100);
        assert_eq!(received(&mut driver), bytes(large, large));
    }
    assert_eq!(net.stats().received.packets, 130);
}

#[test]
fn without_merging_a_packet_is_in_one_chain_or_dropped() {
    let (net, peer) = net();
    let mut driver = Driver::start_with(net.clone(), &without(feature::MRG_RXBUF)).unwrap();
    room(&mut driver, 4, 200);
    peer.send(&packet(&bytes(189, 1))).unwrap();
    peer.send(&packet(&bytes(188, 2))).unwrap();
    let (_, chain) = driver.wait(RECEIVE).unwrap();
    assert_eq!(chain[HEADER..], bytes(188, 2));
    assert_eq!(chain[10..12], [1, 0]);
    let flow = net.stats().received;
    assert_eq!((flow.packets, flow.drops), (1, 1));
}

#[test]
fn a_packet_waits_for_room() {
    let (net, peer) = net();
    let mut driver = Driver::start(net.clone()).unwrap();
    let frame = bytes(60_000, 9);
    room(&mut driver, 1, 1000);
    peer.send(&packet(&frame)).unwrap();
    peer.send(&packet(&frame[..100])).unwrap();
    for _ in 0..61 {
        room(&mut driver, 1, 1000);
    }
    assert!(received(&mut driver) == frame);
    assert_eq!(received(&mut driver), frame[..100]);
    assert_eq!(net.stats().received.drops, 0);
}

#[test]
fn a_packet_larger_than_all_the_guest_can_offer_is_dropped() {
    let (net, peer) = net();
    let options = Options {
        queue_size: 4,
        ..Options::default()
    };
    let mut driver = Driver::start_with(net.clone(), &options).unwrap();
    room(&mut driver, 4, 100);
    peer.send(&packet(&bytes(389, 1))).unwrap();
    peer.send(&packet(&bytes(388, 2))).unwrap();
    assert_eq!(received(&mut driver), bytes(388, 2));
    assert_eq!(net.stats().received.drops, 1);
}

#[test]
fn chains_without_room_for_a_header_are_given_back() {
    let (net, peer) = net();
    let mut driver = Driver::start(net.clone()).unwrap();
    driver.add(RECEIVE, &[b"odd"], &[]).unwrap();
    driver.add(RECEIVE, &[], &[4, 7]).unwrap();
    driver.add(RECEIVE, &[], &[4, 7, 1, 50, 50]).unwrap();
    driver.kick(RECEIVE);
    assert_eq!(driver.wait(RECEIVE).unwrap().1, b"");
    assert_eq!(driver.wait(RECEIVE).unwrap().1, b"");
    peer.send(&packet(&bytes(100, 0))).unwrap();
    assert_eq!(received(&mut driver), bytes(100, 0));
    assert_eq!(net.stats().received.errors, 2);
}

#[test]
fn flags_are_zero_without_guest_csum_5_1_6_3_1() {
    let header = [2; HEADER];
    for (features, flags) in [(0, 2), (feature::GUEST_CSUM, 0)] {
        let (net, peer) = net();
        let mut driver = Driver::start_with(net, &without(features)).unwrap();
        room(&mut driver, 1, 200);
        peer.send(&[&header[..], b"frame"].concat()).unwrap();
        let (_, bytes) = driver.wait(RECEIVE).unwrap();
        assert_eq!(bytes[..12], [flags, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 0]);
    }
}

#[test]
fn commands_are_done_or_refused_5_1_6_5() {
    let (net, _peers) = net_of(3, &NetOptions::default());
    let mut driver = Driver::start(net.clone()).unwrap();
    let mut ask = |bytes: &[u8]| driver.request(2 * 3, &[bytes], &[1]).unwrap()[0];
    assert_eq!(ask(&[4, 0, 2, 0]), 0);
    assert_eq!(net.shared.pairs(), 2);
    // None, too many, too short, receive modes, which are not offered, and nonsense.
    for wrong in [
        &[4, 0, 0, 0][..],
        &[4, 0, 4, 0],
        &[4, 0, 1],
        &[0, 0, 1],
        &[9],
        &[4, 1, 1, 0],
    ] {
        assert_eq!(ask(wrong), 1, "{wrong:?}");
    }
    assert_eq!(net.shared.pairs(), 2);
    let offloads = |bits: u64| [&[5, 0][..], &bits.to_le_bytes()].concat();
    assert_eq!(ask(&offloads(feature::GUEST_CSUM)), 0);
    assert_eq!(net.shared.offloads(), feature::GUEST_CSUM);
    assert_eq!(ask(&offloads(1 << 10)), 1);
    assert_eq!(driver.request(6, &[&[4, 0, 1, 0]], &[]).unwrap(), b"");
    assert_eq!(net.shared.pairs(), 1);
}

#[test]
fn pairs_work_when_the_driver_uses_them() {
    let (net, peers) = net_of(2, &NetOptions::default());
    let mut driver = Driver::start(net).unwrap();
    driver.add(2, &[], &[200]).unwrap();
    driver.kick(2);
    peers[1].send(&packet(b"to the second pair")).unwrap();
    assert_eq!(driver.request(4, &[&[4, 0, 2, 0]], &[1]).unwrap(), [0]);
    let (_, bytes) = driver.wait(2).unwrap();
    assert_eq!(&bytes[HEADER..], b"to the second pair");
    driver
        .request(3, &[&packet(b"from the second pair")], &[])
        .unwrap();
    assert_eq!(next(&peers[1]), packet(b"from the second pair"));
}

#[test]
fn the_control_queue_is_the_third_without_mq_5_1_2() {
    let (net, _peers) = net_of(2, &NetOptions::default());
    let mut driver = Driver::start_with(net.clone(), &without(feature::MQ)).unwrap();
    let command = [&[5, 0][..], &feature::GUEST_CSUM.to_le_bytes()].concat();
    assert_eq!(driver.request(CONTROL, &[&command], &[1]).unwrap(), [0]);
    assert_eq!(
        driver.request(CONTROL, &[&[4, 0, 2, 0]], &[1]).unwrap(),
        [1]
    );
}

#[test]
fn a_link_that_is_down_drops_packets_of_both_directions() {
    let (net, peer) = net();
    let mut driver = Driver::start(net.clone()).unwrap();
    room(&mut driver, 4, 200);
    let interrupts = driver.interrupts();
    net.set_link(false);
    assert!(driver.interrupts() > interrupts);
    assert_eq!(driver.config(6), [0, 0]);
    peer.send(&packet(b"lost")).unwrap();
    driver
        .request(TRANSMIT, &[&packet(b"lost too")], &[])
        .unwrap();
    while net.stats().received.drops == 0 {
        std::thread::yield_now();
    }
    net.set_link(true);
    assert_eq!(driver.config(6), [1, 0]);
    peer.send(&packet(b"there")).unwrap();
    assert_eq!(received(&mut driver), b"there");
    driver.request(TRANSMIT, &[&packet(b"here")], &[]).unwrap();
    assert_eq!(next(&peer), packet(b"here"));
    assert_eq!(net.stats().transmitted.drops, 1);
}

#[test]
fn limits_delay_packets_and_lose_none() {
    let options = NetOptions {
        rate_rx: RateLimit::default(),
        rate_tx: RateLimit {
            operations: Some(Bucket {
                size: NonZeroU64::new(2).unwrap(),
                burst: 0,
                refill: Duration::from_millis(4),
            }),
            bandwidth: None,
        },
        ..NetOptions::default()
    };
    let (net, peers) = net_of(1, &options);
    let mut driver = Driver::start(net.clone()).unwrap();
    for index in 0..9 {
        driver.add(TRANSMIT, &[&packet(&[index])], &[]).unwrap();
    }
    driver.kick(TRANSMIT);
    for index in 0..9 {
        assert_eq!(next(&peers[0]), packet(&[index]));
    }
    assert!(net.transmit_limit().throttled() > 0);
    net.receive_limit().set(RateLimit {
        bandwidth: Some(Bucket {
            size: NonZeroU64::new(100).unwrap(),
            burst: 0,
            refill: Duration::from_millis(1),
        }),
        operations: None,
    });
    room(&mut driver, 8, 200);
    for index in 0..8 {
        peers[0].send(&packet(&bytes(150, index))).unwrap();
    }
    for index in 0..8 {
        assert_eq!(received(&mut driver), bytes(150, index));
    }
    assert!(net.receive_limit().throttled() > 0);
}

#[test]
fn a_stream_carries_frames_after_their_lengths_and_no_offloads() {
    let (ours, mut peer) = UnixStream::pair().unwrap();
    let backend = Box::new(StreamSocket::new(ours).unwrap());
    let net = Arc::new(Net::with_backends(vec![backend], &NetOptions::default()).unwrap());
    let mut driver = Driver::start(net.clone()).unwrap();
    let offloads = feature::GUEST_OFFLOADS | feature::HOST_OFFLOADS | feature::CTRL_GUEST_OFFLOADS;
    assert_eq!(driver.offered_features() & offloads, 0);
    driver
        .request(TRANSMIT, &[&packet(b"a frame")], &[])
        .unwrap();
    let mut out = [0; 11];
    peer.read_exact(&mut out).unwrap();
    assert_eq!(&out, b"\0\0\0\x07a frame");
    let mut wants_checksum = packet(b"a frame");
    wants_checksum[0] = 1;
    driver.request(TRANSMIT, &[&wants_checksum], &[]).unwrap();
    assert_eq!(net.stats().transmitted.errors, 1);

    room(&mut driver, 40, 100);
    let frame = bytes(1514, 5);
    peer.write_all(b"\0\0\0\x03one\0\0\x05\xea").unwrap();
    peer.write_all(&frame).unwrap();
    assert_eq!(received(&mut driver), b"one");
    assert_eq!(received(&mut driver), frame);

    // It goes away: the guest sees its link go down, and the device lives on.
    drop(peer);
    while net.is_link_up() {
        driver.wait_interrupt(driver.interrupts(), Duration::from_millis(10));
    }
    assert!(net.lost().unwrap().contains("end of file"));
    assert_eq!(driver.config(6), [0, 0]);
    driver
        .request(TRANSMIT, &[&packet(b"a frame")], &[])
        .unwrap();
    assert_eq!(net.stats().transmitted.drops, 1);
}

#[test]
fn a_device_moves_with_what_waits_in_its_queues() {
    let options = NetOptions {
        mac: Some([2, 0, 0, 0, 0, 1]),
        ..NetOptions::default()
    };
    let (first, _peers) = net_of(2, &options);
    let mut driver = Driver::start(first).unwrap();
    assert_eq!(driver.request(4, &[&[4, 0, 2, 0]], &[1]).unwrap(), [0]);
    room(&mut driver, 10, 100);
    let (second, peers) = net_of(2, &NetOptions::default());
    driver.move_to(second.clone()).unwrap();
    assert_eq!(second.mac(), [2, 0, 0, 0, 0, 1]);
    assert_eq!(second.shared.pairs(), 2);
    peers[0].send(&packet(&bytes(300, 0))).unwrap();
    assert_eq!(received(&mut driver), bytes(300, 0));
    // Its receive queue is reset, and used anew.
    driver.reset_queue(RECEIVE);
    room(&mut driver, 1, 1000);
    peers[0].send(&packet(&bytes(300, 1))).unwrap();
    assert_eq!(received(&mut driver), bytes(300, 1));
}

#[test]
fn a_hostile_driver_is_survived() {
    let (net, peers) = net_of(2, &NetOptions::default());
    let net: Arc<dyn Device> = net;
    let stop = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        for peer in &peers {
            peer.set_nonblocking(true).unwrap();
            scope.spawn(move || {
                let mut packet = vec![0; MAX_PACKET];
                while !stop.load(Ordering::Relaxed) {
                    let _ = peer.send(&packet[..5000]);
                    let _ = peer.recv(&mut packet);
                    std::thread::yield_now();
                }
            });
        }
        let survival = torture(&net, 1, 200);
        stop.store(true, Ordering::Relaxed);
        survival.unwrap();
    });
    let (ours, _peer) = UnixStream::pair().unwrap();
    let backend = Box::new(StreamSocket::new(ours).unwrap());
    let net: Arc<dyn Device> =
        Arc::new(Net::with_backends(vec![backend], &NetOptions::default()).unwrap());
    torture(&net, 2, 100).unwrap();
}

#[test]
fn a_header_is_read_field_by_field_5_1_6() {
    let header = PacketHeader::parse(&[1, 4, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9]);
    let wanted = PacketHeader {
        flags: 1,
        gso_type: 4,
        header_length: 0x102,
        gso_size: 0x304,
        checksum_start: 0x506,
        checksum_offset: 0x708,
        buffers: 0x90a,
    };
    assert_eq!(header, wanted);
    assert!(header.leaves_work());
    assert!(!PacketHeader::default().leaves_work());
}

/// One thing that happens.
#[derive(Clone, Debug)]
enum Step {
    /// The host sends a frame of so many bytes.
    Receive(usize),
    /// The guest makes so many chains of so many bytes available.
    Room(usize, usize),
    /// The guest sends a frame of so many bytes in buffers of so many.
    Transmit(usize, usize),
    Rest,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1_usize..3000).prop_map(Step::Receive),
        (1_usize..12, 12_usize..700).prop_map(|(chains, size)| Step::Room(chains, size)),
        (1_usize..3000, 100_usize..900).prop_map(|(size, piece)| Step::Transmit(size, piece)),
        Just(Step::Rest),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn all_frames_arrive_whole_and_in_order(steps in prop::collection::vec(step(), 1..24)) {
        let (net, peer) = net();
        let mut driver = Driver::start(net.clone()).unwrap();
        let mut waiting = std::collections::VecDeque::new();
        for (seed, step) in steps.into_iter().enumerate() {
            match step {
                Step::Receive(size) => {
                    // More would not fit into the socket.
                    if waiting.len() < 8 {
                        peer.send(&packet(&bytes(size, seed))).unwrap();
                        waiting.push_back(bytes(size, seed));
                    }
                }
                Step::Room(chains, size) => {
                    for _ in 0..chains {
                        let _ = driver.add(RECEIVE, &[], &[size]);
                    }
                    driver.kick(RECEIVE);
                }
                Step::Transmit(size, piece) => {
                    let sent = packet(&bytes(size, seed));
                    let pieces: Vec<&[u8]> = sent.chunks(piece).collect();
                    driver.request(TRANSMIT, &pieces, &[]).unwrap();
                    prop_assert_eq!(next(&peer), sent);
                }
                Step::Rest => {
                    // The device comes to rest for it, and goes on.
                    driver.reset_queue(TRANSMIT);
                }
            }
        }
        // Room for everything in the end; what does not fit before is lost by no means.
        while let Some(frame) = waiting.pop_front() {
            for _ in 0..16 {
                let _ = driver.add(RECEIVE, &[], &[400]);
            }
            driver.kick(RECEIVE);
            prop_assert_eq!(received(&mut driver), frame);
        }
        prop_assert_eq!(net.stats().received.drops, 0);
    }
}
