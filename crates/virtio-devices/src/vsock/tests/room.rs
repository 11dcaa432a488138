//! Resources that strangers may not use up.

use std::io::Read;
use std::io::Write;

use super::super::spec::op;
use super::super::{VsockLimits, VsockStats};
use super::*;

impl Directory {
    /// A device with these limits, and its driver.
    fn limited(&self, limits: VsockLimits) -> (Arc<Vsock>, Guest) {
        let vsock = Arc::new(self.vsock().limited(limits));
        (vsock.clone(), Guest::start(vsock))
    }
}

/// Refused, and of these for want of room.
fn refused(stats: VsockStats) -> (u64, u64) {
    (stats.refused, stats.out_of_room)
}

/// Whether the device has closed `stream`.
fn is_closed(stream: &mut UnixStream) -> bool {
    stream.read(&mut [0]).unwrap() == 0
}

#[test]
fn connections_are_limited_and_one_that_goes_makes_room() {
    let directory = Directory::new();
    let (vsock, mut guest) = directory.limited(VsockLimits {
        connections: 3,
        ..VsockLimits::default()
    });
    let listener = directory.listen(80);
    let keys: Vec<_> = (0..4).map(|port| guest.connect(port, 80)).collect();
    let open: Vec<_> = keys.iter().map(|key| guest.peer(*key).is_open).collect();
    assert_eq!(open, [true, true, true, false]);
    assert!(guest.peer(keys[3]).is_reset);
    assert!(is_closed(
        &mut UnixStream::connect(directory.socket()).unwrap()
    ));
    assert_eq!(refused(vsock.stats()), (2, 2));
    // Nobody was connected to the program and broken off.
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.incoming().map_while(Result::ok).count(), 3);
    guest.send(keys[0], op::RST);
    let key = guest.connect(9, 80);
    assert!(guest.peer(key).is_open);
}

#[test]
fn programs_that_say_nothing_do_not_keep_others_out() {
    let directory = Directory::new();
    let (vsock, mut guest) = directory.limited(VsockLimits {
        silent: 2,
        ..VsockLimits::default()
    });
    let silent: Vec<_> = (0..2)
        .map(|_| UnixStream::connect(directory.socket()).unwrap())
        .collect();
    assert!(is_closed(
        &mut UnixStream::connect(directory.socket()).unwrap()
    ));
    assert_eq!(refused(vsock.stats()), (1, 1));
    // The guest has room.
    let _listener = directory.listen(80);
    let key = guest.connect(1, 80);
    assert!(guest.peer(key).is_open);
    // One that speaks makes room, and so does one that goes.
    let mut silent = silent.into_iter();
    let mut speaks = silent.next().unwrap();
    writeln!(speaks, "CONNECT 5").unwrap();
    guest.accept(5);
    let _other = directory.connect(6);
    guest.accept(6);
    drop(silent);
    while vsock.stats().connections > 3 {
        std::thread::yield_now();
    }
    let _third = UnixStream::connect(directory.socket()).unwrap();
    let _last = directory.connect(7);
    guest.accept(7);
    // The one that went did not say where to.
    assert_eq!(refused(vsock.stats()), (2, 1));
}

#[test]
fn descriptors_are_left_to_the_rest_of_the_process() {
    let directory = Directory::new();
    let (vsock, mut guest) = directory.limited(VsockLimits {
        reserved_descriptors: u64::MAX,
        ..VsockLimits::default()
    });
    let listener = directory.listen(80);
    let key = guest.connect(1, 80);
    assert!(guest.peer(key).is_reset);
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "nobody was connected");
    assert!(is_closed(
        &mut UnixStream::connect(directory.socket()).unwrap()
    ));
    assert_eq!(refused(vsock.stats()), (2, 2));
}
