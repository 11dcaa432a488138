//! The control queue, pairs of queues, and the link.

use super::*;

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
