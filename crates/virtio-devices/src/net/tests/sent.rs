//! From the guest to the host.

use super::*;

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
