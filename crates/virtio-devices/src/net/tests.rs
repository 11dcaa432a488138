mod commands;
mod configuration;
mod life;
mod received;
mod sent;

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
