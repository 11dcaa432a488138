//! From the host to the guest.

use vmmkit_device_bus::Lifecycle;

use super::*;

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
fn chains_too_small_for_a_header_between_others_do_not_mix_up_what_is_put_back() {
    let (net, peer) = net();
    let mut driver = Driver::start(net.clone()).unwrap();
    let mut good = Vec::new();
    let mut small = Vec::new();
    for size in [100, 4, 100, 3, 2, 100, 100] {
        let head = driver.add(RECEIVE, &[], &[size]).unwrap();
        if size == 100 { &mut good } else { &mut small }.push(head);
    }
    // A packet that there is no room for: all chains are taken, and put back by the pause.
    peer.send(&packet(&bytes(1000, 1))).unwrap();
    driver.kick(RECEIVE);
    while net.stats().received.errors < 3 {
        std::thread::yield_now();
    }
    for _ in 0..2 {
        driver.transport().pause();
        driver.transport().wait_paused();
        driver.transport().resume();
    }
    // 64 bytes behind the header make 1000 in all, with what comes now.
    room(&mut driver, 8, 200);
    let mut frame = Vec::new();
    let mut heads = Vec::new();
    while frame.len() < HEADER + 1000 {
        let (head, part) = driver.wait(RECEIVE).unwrap();
        heads.push(head);
        frame.extend(part);
    }
    assert_eq!(frame[HEADER..], bytes(1000, 1));
    // Each came back once, in the order in which it was made available.
    let place = |head| heads.iter().filter(|used| *used == head).count();
    assert!(
        good.iter().chain(&small).all(|head| place(head) == 1),
        "{heads:?}"
    );
    peer.send(&packet(&bytes(60, 2))).unwrap();
    assert_eq!(received(&mut driver), bytes(60, 2));
}
