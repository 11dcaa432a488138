//! The guest's side of the protocol, over the fake driver.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use vmmkit_device_bus::Lifecycle;
use vmmkit_virtio::Device;
use vmmkit_virtio::fake::{Driver, Options};

use super::super::credit::BUF_ALLOC;
use super::super::link::Key;
use super::super::spec::{HOST_CID, RX, TX, TYPE_STREAM, op};
use super::*;

/// Packets that the device may send before it must wait.
const BUFFERS: usize = 64;
/// As of Linux.
const BUFFER: usize = 4096;

/// A connection as the guest knows it.
#[derive(Clone, Debug, Default)]
pub(super) struct Peer {
    pub(super) is_open: bool,
    pub(super) is_reset: bool,
    /// The directions that the host shut down.
    pub(super) shut: u32,
    /// The data that came, and its length in bytes.
    pub(super) data: Vec<u8>,
    pub(super) rx_cnt: u32,
    /// The host may still send this less the bytes it has sent.
    pub(super) buf_alloc: u32,
    pub(super) fwd_cnt: u32,
    pub(super) tx_cnt: u32,
    pub(super) host_buf: u32,
    pub(super) host_fwd: u32,
    pub(super) credit_updates: u32,
    pub(super) credit_requests: u32,
}

impl Peer {
    pub(super) fn credit(&self) -> u32 {
        self.host_buf - self.tx_cnt.wrapping_sub(self.host_fwd)
    }
}

pub(super) struct Guest {
    pub(super) driver: Driver,
    posted: usize,
    /// No buffers are given to the device.
    pub(super) is_closed: bool,
    pub(super) peers: HashMap<(u32, u32), Peer>,
    /// The credit of new connections that is sent without being taken.
    pub(super) buf_alloc: u32,
}

impl Guest {
    pub(super) fn start(device: Arc<dyn Device>) -> Self {
        Self::start_with(device, &Options::default())
    }

    pub(super) fn start_with(device: Arc<dyn Device>, options: &Options) -> Self {
        Self {
            driver: Driver::start_with(device, options).unwrap(),
            posted: 0,
            is_closed: false,
            peers: HashMap::new(),
            buf_alloc: 256 << 10,
        }
    }

    /// Forgets everything, as after a reset.
    pub(super) fn restart(&mut self) {
        self.driver.initialise(&Options::default()).unwrap();
        self.posted = 0;
        self.peers.clear();
    }

    /// Gives the device buffers. Memory for them is had back only when all are.
    pub(super) fn post(&mut self) {
        if self.posted == 0 && !self.is_closed {
            for _ in 0..BUFFERS {
                self.driver.add(RX, &[], &[BUFFER]).unwrap();
            }
            self.posted = BUFFERS;
            self.driver.kick(RX);
        }
    }

    /// The next packet of the device, however it ends.
    fn packet(&mut self, limit: Duration) -> Option<(VsockHeader, Vec<u8>)> {
        self.post();
        let (_, mut bytes) = self.driver.wait_for(RX, limit).unwrap()?;
        self.posted -= 1;
        let header = VsockHeader::parse(&bytes).unwrap();
        let data = bytes.split_off(VsockHeader::SIZE);
        assert_eq!(data.len(), header.len as usize);
        assert_eq!((header.src_cid, header.dst_cid), (HOST_CID, CID));
        Some((header, data))
    }

    fn note(&mut self, header: &VsockHeader, data: &[u8]) {
        let key = (header.dst_port, header.src_port);
        if !self.peers.contains_key(&key) && header.op == op::RST {
            // An answer to what never was a connection.
            self.peers.entry(key).or_default().is_reset = true;
            return;
        }
        let buf_alloc = self.buf_alloc;
        let peer = self.peers.entry(key).or_insert_with(|| Peer {
            buf_alloc,
            ..Peer::default()
        });
        assert!(!peer.is_reset, "a packet after the end: {header:?}");
        match header.op {
            op::REQUEST => assert!(!peer.is_open),
            op::RESPONSE => peer.is_open = true,
            op::RST => (peer.is_reset, peer.is_open) = (true, false),
            op::SHUTDOWN => peer.shut |= header.flags,
            op::RW => {
                assert!(peer.is_open && !data.is_empty());
                peer.rx_cnt = peer.rx_cnt.wrapping_add(header.len);
                let held = peer.rx_cnt.wrapping_sub(peer.fwd_cnt);
                assert!(held <= peer.buf_alloc, "the device sent more than fits");
                peer.data.extend(data);
            }
            op::CREDIT_UPDATE => peer.credit_updates += 1,
            op::CREDIT_REQUEST => peer.credit_requests += 1,
            other => panic!("operation {other}"),
        }
        if header.op != op::RST {
            peer.host_buf = header.buf_alloc;
            peer.host_fwd = header.fwd_cnt;
            assert_eq!(header.buf_alloc, BUF_ALLOC);
        }
    }

    /// Waits for the next packet and notes it.
    pub(super) fn next(&mut self) -> (VsockHeader, Vec<u8>) {
        let (header, data) = self.packet(Duration::from_secs(60)).expect("a packet");
        self.note(&header, &data);
        (header, data)
    }

    /// The next packet, which is not noted.
    pub(super) fn next_quietly(&mut self) -> (VsockHeader, Vec<u8>) {
        self.packet(Duration::from_secs(60)).expect("a packet")
    }

    /// The packet that is there, which is not noted.
    pub(super) fn look_quietly(&mut self) -> Option<(VsockHeader, Vec<u8>)> {
        self.packet(Duration::ZERO)
    }

    /// Notes what is there.
    pub(super) fn look(&mut self) -> Option<(VsockHeader, Vec<u8>)> {
        let (header, data) = self.packet(Duration::ZERO)?;
        self.note(&header, &data);
        Some((header, data))
    }

    /// Takes packets until `done` of the connection.
    pub(super) fn until(&mut self, key: (u32, u32), done: impl Fn(&Peer) -> bool) -> Peer {
        loop {
            if let Some(peer) = self.peers.get(&key).filter(|peer| done(peer)) {
                return peer.clone();
            }
            self.next();
        }
    }

    pub(super) fn pause(&self) {
        self.driver.transport().pause();
        self.driver.transport().wait_paused();
    }

    pub(super) fn resume(&self) {
        self.driver.transport().resume();
    }

    /// Resets the queue of packets to the guest alone.
    pub(super) fn reset_rx(&mut self) {
        self.driver.reset_queue(RX);
        self.posted = 0;
    }

    /// Makes data available to the device without waiting for it.
    pub(super) fn add_data(&mut self, key: (u32, u32), data: &[u8]) {
        let mut header = self.header(key, op::RW);
        header.len = data.len() as u32;
        self.driver
            .add(TX, &[&header.to_bytes(), data], &[])
            .unwrap();
        self.driver.kick(TX);
    }

    /// The header of a packet of this guest.
    pub(super) fn header(&self, key: (u32, u32), op: u16) -> VsockHeader {
        let peer = self.peers.get(&key);
        VsockHeader {
            src_cid: CID,
            dst_cid: HOST_CID,
            src_port: key.0,
            dst_port: key.1,
            kind: TYPE_STREAM,
            op,
            buf_alloc: peer.map_or(self.buf_alloc, |peer| peer.buf_alloc),
            fwd_cnt: peer.map_or(0, |peer| peer.fwd_cnt),
            ..VsockHeader::default()
        }
    }

    /// Has the device use up the buffers that it has, by packets that are answered.
    pub(super) fn drain(&mut self) {
        self.is_closed = true;
        while self.posted > 0 {
            let key = (u32::MAX, u32::MAX - 1);
            self.peers.remove(&key);
            self.send(key, op::RW);
            self.next();
        }
        self.peers.remove(&(u32::MAX, u32::MAX - 1));
    }

    /// Sends a packet as it is, and waits until the device has taken it.
    pub(super) fn send_raw(&mut self, header: &VsockHeader, data: &[u8]) {
        let bytes = header.to_bytes();
        let parts: &[&[u8]] = if data.is_empty() {
            &[&bytes]
        } else {
            &[&bytes, data]
        };
        self.driver.request(TX, parts, &[]).unwrap();
    }

    pub(super) fn send(&mut self, key: (u32, u32), op: u16) {
        self.send_raw(&self.header(key, op), &[]);
    }

    pub(super) fn shut(&mut self, key: (u32, u32), flags: u32) {
        let mut header = self.header(key, op::SHUTDOWN);
        header.flags = flags;
        self.send_raw(&header, &[]);
    }

    /// Sends data, whatever the credit.
    pub(super) fn send_data(&mut self, key: (u32, u32), data: &[u8]) {
        let mut header = self.header(key, op::RW);
        header.len = data.len() as u32;
        self.send_raw(&header, data);
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.tx_cnt = peer.tx_cnt.wrapping_add(header.len);
        }
    }

    /// All that has come of the connection is taken: there is room again.
    pub(super) fn take(&mut self, key: (u32, u32)) -> Vec<u8> {
        let peer = self.peers.get_mut(&key).unwrap();
        peer.fwd_cnt = peer.rx_cnt;
        let data = std::mem::take(&mut peer.data);
        self.send(key, op::CREDIT_UPDATE);
        data
    }

    /// Connects to the host's `port` from the guest's port.
    pub(super) fn connect(&mut self, from: u32, port: u32) -> (u32, u32) {
        let key = (from, port);
        self.peers.remove(&key);
        let buf_alloc = self.buf_alloc;
        let peer = Peer {
            buf_alloc,
            ..Peer::default()
        };
        self.peers.insert(key, peer);
        self.send(key, op::REQUEST);
        self.until(key, |peer| peer.is_open || peer.is_reset);
        key
    }

    /// Waits for a REQUEST for `port`, and grants it.
    pub(super) fn accept(&mut self, port: u32) -> (u32, u32) {
        let header = loop {
            let (header, _) = self.next();
            if header.op == op::REQUEST && header.dst_port == port {
                break header;
            }
        };
        let key = Key {
            guest: header.dst_port,
            host: header.src_port,
        };
        let key = (key.guest, key.host);
        self.send(key, op::RESPONSE);
        self.peers.get_mut(&key).unwrap().is_open = true;
        key
    }

    pub(super) fn peer(&self, key: (u32, u32)) -> &Peer {
        &self.peers[&key]
    }

    /// Has the device answer something, so that it has dealt with all that was sent before, and
    /// notes what comes before that.
    pub(super) fn sync(&mut self) {
        let key = (u32::MAX, u32::MAX);
        self.peers.remove(&key);
        self.send(key, op::RW);
        self.until(key, |peer| peer.is_reset);
        while self.look().is_some() {}
        self.peers.remove(&key);
    }
}
