use std::io::{Read, Write};
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vmmkit_device_bus::check_golden;
use vmmkit_guest_memory::{RamConfig, RamSize};
use vmmkit_virtio::Device;
use vmmkit_virtio::fake::Options;
use vmmkit_virtio::fake::hostile::torture;

use super::super::spec::{EVENT, op};
use super::*;

fn is_readable(stream: &UnixStream) -> bool {
    let mut look = [PollFd::from_borrowed_fd(stream.as_fd(), PollFlags::IN)];
    poll(&mut look, Some(&Timespec::default())).unwrap() > 0
}

#[test]
fn a_reset_of_the_driver_drops_all_connections() {
    let directory = Directory::new();
    let (vsock, mut guest) = directory.guest();
    let listener = directory.listen(80);
    guest.connect(1, 80);
    let (mut stream, _) = listener.accept().unwrap();
    let mut other = directory.connect(9);
    let key = guest.accept(9);
    read_ok(&other);
    guest.restart();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    assert_eq!(other.read(&mut [0]).unwrap(), 0);
    assert_eq!(vsock.stats().connections, 0);
    // The new driver knows nothing of the old one's, nor does the device.
    guest.send(key, op::CREDIT_UPDATE);
    guest.until(key, |peer| peer.is_reset);
    let key = guest.connect(1, 80);
    assert!(guest.peer(key).is_open);
}

#[test]
fn programs_that_come_before_the_driver_wait_for_it() {
    let directory = Directory::new();
    let vsock = Arc::new(directory.vsock());
    let stream = directory.connect(9);
    let mut guest = Guest::start(vsock);
    let key = guest.accept(9);
    assert_eq!(read_ok(&stream), key.1);
}

#[test]
fn a_pause_keeps_connections_and_moves_nothing() {
    let directory = Directory::new();
    let (_vsock, mut guest) = directory.guest();
    let listener = directory.listen(80);
    let key = guest.connect(1, 80);
    let (mut stream, _) = listener.accept().unwrap();
    guest.pause();
    let before = guest.driver.interrupts();
    stream.write_all(b"to the guest").unwrap();
    guest.add_data(key, b"to the host");
    assert_eq!(guest.driver.interrupts(), before);
    assert!(!is_readable(&stream));
    guest.resume();
    let mut bytes = [0; 11];
    stream.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"to the host");
    let peer = guest.until(key, |peer| peer.data.len() == 12);
    assert_eq!(peer.data, b"to the guest");
}

#[test]
fn a_restored_guest_is_told_that_its_connections_are_gone() {
    let directory = Directory::new();
    let (vsock, mut guest) = directory.guest();
    let listener = directory.listen(80);
    let key = guest.connect(1, 80);
    let (mut stream, _) = listener.accept().unwrap();
    guest.driver.add(EVENT, &[], &[4]).unwrap();
    guest.driver.add(EVENT, &[], &[4]).unwrap();
    guest.driver.kick(EVENT);
    drop(vsock);
    let other = Directory::new();
    let new = Vsock::new(VsockConfig {
        cid: CID,
        socket: other.socket(),
    });
    guest.driver.move_to(Arc::new(new.unwrap())).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    let (_, event) = guest.driver.wait(EVENT).unwrap();
    assert_eq!(event, [0; 4]);
    // Once; and what the guest may still send is answered.
    guest.send(key, op::CREDIT_UPDATE);
    guest.until(key, |peer| peer.is_reset);
    assert!(guest.driver.used(EVENT).is_none());
    other.listen(80);
}

#[test]
fn the_event_waits_for_a_buffer_that_is_large_enough() {
    let directory = Directory::new();
    let (vsock, mut guest) = directory.guest();
    let golden = include_str!("../../../goldens/virtio-vsock.v1.json");
    check_golden(&*vsock, golden).unwrap();
    drop(vsock);
    for length in [3, 4] {
        guest.driver.add(EVENT, &[], &[length]).unwrap();
    }
    // Not seen by the device before it is another.
    guest.pause();
    guest.driver.kick(EVENT);
    let other = Directory::new();
    let vsock = Arc::new(other.vsock());
    guest.driver.move_to(vsock.clone()).unwrap();
    assert_eq!(guest.driver.wait(EVENT).unwrap().1, [0; 3]);
    assert_eq!(guest.driver.wait(EVENT).unwrap().1, [0; 4]);
    assert_eq!(vsock.stats().small_buffers, 1);
}

#[test]
fn a_queue_that_is_reset_alone_keeps_connections() {
    let directory = Directory::new();
    let (_vsock, mut guest) = directory.guest();
    let listener = directory.listen(80);
    let key = guest.connect(1, 80);
    let (mut stream, _) = listener.accept().unwrap();
    guest.reset_rx();
    stream.write_all(b"still here").unwrap();
    let peer = guest.until(key, |peer| peer.data.len() == 10);
    assert_eq!(peer.data, b"still here");
}

#[test]
fn a_guest_that_takes_no_answers_is_not_listened_to_any_more() {
    let directory = Directory::new();
    let (vsock, mut guest) = directory.guest();
    guest.drain();
    // Answers pile up to a bound; then packets stay in the queue.
    let mut sent: u64 = 0;
    let header = guest.header((7, 7), op::RW).to_bytes();
    let start = vsock.stats().resets;
    for _ in 0..20 {
        for _ in 0..32 {
            if guest.driver.add(1, &[&header], &[]).is_ok() {
                sent += 1;
            }
        }
        guest.driver.kick(1);
        while guest
            .driver
            .wait_for(1, Duration::from_millis(10))
            .unwrap()
            .is_some()
        {}
    }
    let stats = vsock.stats();
    assert_eq!(stats.resets - start, 256);
    assert!(sent > 256);
    // With buffers it goes on, and every packet is answered.
    guest.is_closed = false;
    for _ in 0..sent {
        let header = guest.next().0;
        assert_eq!(header.op, op::RST);
        guest.peers.clear();
    }
    assert_eq!(vsock.stats().resets - start, sent);
}

#[test]
fn buffers_too_small_for_a_packet_come_back_empty() {
    let directory = Directory::new();
    let (vsock, mut guest) = directory.guest();
    let listener = directory.listen(80);
    guest.is_closed = true;
    for length in [10, 44, 44, 45] {
        guest.driver.add(0, &[], &[length]).unwrap();
    }
    guest.driver.kick(0);
    guest.send((1, 80), op::REQUEST);
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all(b"ab").unwrap();
    let mut lengths = Vec::new();
    for _ in 0..4 {
        lengths.push(guest.driver.wait(0).unwrap().1.len());
    }
    // The response fits a header; data need a byte more, and one byte gets one.
    assert_eq!(lengths, [0, 44, 0, 45]);
    assert_eq!(vsock.stats().small_buffers, 2);
}

#[test]
fn a_hostile_driver_is_survived() {
    let directory = Directory::new();
    let _listener = directory.listen(0);
    let vsock: Arc<dyn Device> = Arc::new(directory.vsock());
    torture(&vsock, 1, 150).unwrap();
    let small = Options {
        ram: RamConfig {
            size: RamSize::mebibytes(16),
            ..RamConfig::default()
        },
        ..Options::default()
    };
    let mut guest = Guest::start_with(vsock, &small);
    let listener = directory.listen(80);
    let key = guest.connect(1, 80);
    assert!(guest.peer(key).is_open);
    drop(listener);
}
