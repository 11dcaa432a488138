//! Limits, streams, moves, and whatever a driver may do.

use super::*;
use vmmkit_device_bus::{SaveState, SavedState};

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
fn states_of_earlier_builds_load_and_impossible_ones_do_not() {
    let golden = include_str!("../../../goldens/virtio-net.v1.json");
    let (net, _peers) = net_of(3, &NetOptions::default());
    let saved = SavedState::from_json(golden.as_bytes()).unwrap();
    net.restore_state(&saved).unwrap();
    assert_eq!(net.mac(), [2, 0, 0, 0xab, 0xcd, 0xef]);
    let refusal = |good: &str, bad: &str| {
        assert!(golden.contains(good));
        let bad = SavedState::from_json(golden.replace(good, bad).as_bytes()).unwrap();
        net.restore_state(&bad).unwrap_err().to_string()
    };
    assert_eq!(
        refusal("\"pairs\": 3", "\"pairs\": 4"),
        "virtio-net: pairs 4: must be from 0 to 3"
    );
    assert_eq!(
        refusal("\"mac\": [2,", "\"mac\": [3,"),
        "virtio-net: mac[0] 0x3: only the bits 0xfe are possible"
    );
    assert!(refusal("\"mtu\": 1400", "\"mtu\": 1400, \"no\": 1").contains("no"));
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
