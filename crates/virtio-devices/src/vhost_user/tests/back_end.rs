//! A back end in this process: it speaks the protocol from its own side, maps the descriptors that
//! it is given and nothing else, and writes back what it reads from every queue.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use vmmkit_guest_memory::{Backing, GuestAddress, GuestRam, RamConfig, RamSize};
use vmmkit_host_io::{Deadline, FdSocket, Interest, Poller};
use vmmkit_virtio::spec::feature;
use vmmkit_virtio::{Chain, QueueLayout, QueueState, SplitRing};

use super::super::message::{Header, message, u32_at};
use super::super::spec;

/// The behaviour of the back end.
#[derive(Clone, Debug)]
pub(super) struct Manner {
    pub(super) features: u64,
    pub(super) protocol: u64,
    pub(super) queues: u64,
    pub(super) config: Vec<u8>,
    /// A request that asks for its end is one like others.
    pub(super) is_immortal: bool,
    /// A request that is answered oddly.
    pub(super) oddity: Option<(u32, Oddity)>,
    /// The lock it waits for where it answers late.
    pub(super) gate: Arc<Mutex<()>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Oddity {
    /// Not at all: the back end ends.
    End,
    /// With a refusal.
    Refuse,
    /// With the answer to something else.
    Other,
    /// With more than there is to say.
    Long,
    /// With nothing, while the connection stays.
    Silent,
    /// A byte now and then.
    Drip,
    /// Not before [`Manner::gate`] can be locked.
    Late,
}

fn patience() -> Deadline {
    Deadline::after(Duration::from_secs(600))
}

pub(super) const ALL_FEATURES: u64 = feature::VERSION_1
    | feature::INDIRECT_DESC
    | feature::EVENT_IDX
    | feature::RING_RESET
    | spec::F_PROTOCOL_FEATURES;

impl Default for Manner {
    fn default() -> Self {
        use spec::protocol::{BACKEND_REQ, CONFIG, MQ, REPLY_ACK};
        Self {
            features: ALL_FEATURES,
            // With some that the front end does not know.
            protocol: MQ | REPLY_ACK | CONFIG | BACKEND_REQ | 1 << 12 | 1 << 40,
            queues: 8,
            config: vec![0; 60],
            is_immortal: false,
            oddity: None,
            gate: Arc::default(),
        }
    }
}

/// Requests with their payloads.
type Log = Arc<Mutex<Vec<(u32, Vec<u8>)>>>;

/// A back end that waits for its front end.
pub(super) struct Fake {
    pub(super) path: PathBuf,
    log: Log,
}

impl Fake {
    pub(super) fn new(manner: Manner) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("vmmkit-vhost-user-{}-{count}.sock", std::process::id());
        Self::at(std::env::temp_dir().join(name), manner)
    }

    /// Another one where one was before, perhaps.
    pub(super) fn at(path: PathBuf, manner: Manner) -> Self {
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let log = Arc::new(Mutex::default());
        let session = Session {
            manner,
            log: Arc::clone(&log),
            socket: None,
            requests: None,
            poller: Poller::new().unwrap(),
            memory: None,
            features: 0,
            vrings: BTreeMap::new(),
            is_acknowledged: false,
            ends: false,
        };
        std::thread::spawn(move || session.run(&listener));
        Self { path, log }
    }

    /// The requests so far.
    pub(super) fn requests(&self) -> Vec<u32> {
        let log = self.log.lock();
        log.iter().map(|(request, _)| *request).collect()
    }

    /// The payload of the last `request`.
    pub(super) fn last(&self, request: u32) -> Vec<u8> {
        let log = self.log.lock();
        let found = log.iter().rev().find(|(number, _)| *number == request);
        found.unwrap().1.clone()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The memory shared by the front end: the RAM, and where its regions are in the front end.
struct Memory {
    ram: GuestRam,
    regions: Vec<[u64; 4]>,
}

#[derive(Default)]
struct Vring {
    size: u16,
    base: u16,
    /// Descriptors, used, available: in the front end.
    places: [u64; 3],
    kick: Option<OwnedFd>,
    call: Option<OwnedFd>,
    error: Option<OwnedFd>,
    is_enabled: bool,
    ring: Option<SplitRing>,
}

struct Session {
    manner: Manner,
    log: Log,
    socket: Option<FdSocket>,
    requests: Option<FdSocket>,
    poller: Poller,
    memory: Option<Memory>,
    features: u64,
    vrings: BTreeMap<u32, Vring>,
    is_acknowledged: bool,
    ends: bool,
}

const SOCKET: u64 = u64::MAX;

impl Session {
    /// Until the front end goes, or an oddity.
    fn run(mut self, listener: &UnixListener) {
        let (stream, _) = listener.accept().unwrap();
        self.socket = Some(stream.into());
        let socket = self.socket.as_ref().unwrap();
        self.poller.add(socket, SOCKET, Interest::Readable).unwrap();
        let mut ready = Vec::new();
        while !self.ends {
            self.poller.wait(&mut ready).unwrap();
            for event in ready.drain(..) {
                if event.token != SOCKET {
                    self.kicked(event.token as u32);
                } else if self.message().is_err() {
                    return;
                }
            }
        }
    }

    fn message(&mut self) -> io::Result<()> {
        let socket = self.socket.as_ref().unwrap();
        let (mut header, mut fds) = ([0; Header::BYTES], Vec::new());
        socket.receive(&mut header, &mut fds, &patience())?;
        let header = Header::parse(&header);
        assert_eq!(header.flags & spec::VERSION_MASK, spec::VERSION);
        let mut payload = vec![0; header.size as usize];
        socket.receive(&mut payload, &mut fds, &patience())?;
        let log = (header.request, payload.clone());
        self.log.lock().push(log);
        let oddity = self.manner.oddity;
        let oddity = oddity.filter(|(request, _)| *request == header.request);
        let reply = spec::VERSION | spec::REPLY;
        let odd = match oddity.map(|(_, oddity)| oddity) {
            None => None,
            Some(Oddity::End) => return Err(io::ErrorKind::ConnectionAborted.into()),
            Some(Oddity::Refuse) if header.request == spec::GET_CONFIG.0 => {
                Some(message(header.request, reply, &[]))
            }
            Some(Oddity::Refuse) => Some(message(header.request, reply, &1_u64.to_ne_bytes())),
            Some(Oddity::Other) => Some(message(99, reply, &[0; 8])),
            Some(Oddity::Long) => Some(message(header.request, reply, &[0; 4096])),
            Some(Oddity::Silent) => return Ok(()),
            Some(Oddity::Late) => {
                drop(self.manner.gate.lock());
                None
            }
            Some(Oddity::Drip) => {
                for byte in message(header.request, reply, &[0; 8]) {
                    self.socket
                        .as_ref()
                        .unwrap()
                        .send(&[byte], &[], &patience())?;
                    std::thread::sleep(Duration::from_secs(1));
                }
                return Ok(());
            }
        };
        if let Some(odd) = odd {
            return self.socket.as_ref().unwrap().send(&odd, &[], &patience());
        }
        let needs_reply = header.flags & spec::NEED_REPLY != 0;
        assert!(self.is_acknowledged || !needs_reply);
        let answer = self.obey(header.request, &payload, fds);
        let answer = answer.or(needs_reply.then(|| vec![0; 8]));
        if let Some(answer) = answer {
            let answer = message(header.request, reply, &answer);
            self.socket
                .as_ref()
                .unwrap()
                .send(&answer, &[], &patience())?;
        }
        Ok(())
    }

    /// Does what is asked; the answer, where there is one.
    fn obey(&mut self, request: u32, payload: &[u8], mut fds: Vec<OwnedFd>) -> Option<Vec<u8>> {
        let number = |value: u64| Some(value.to_ne_bytes().to_vec());
        let value = u64::from(u32_at(payload, 0)) | u64::from(u32_at(payload, 4)) << 32;
        let has_ring = (8..=14).contains(&request) || request == spec::SET_VRING_ENABLE.0;
        if has_ring {
            return self.obey_for_ring(request, payload, fds);
        }
        match request {
            1 => return number(self.manner.features),
            2 => {
                assert_eq!(value & !self.manner.features, 0);
                self.features = value;
            }
            5 => self.memory = Some(Memory::map(payload, fds)),
            15 => return number(self.manner.protocol),
            16 => {
                assert_eq!(value & !self.manner.protocol, 0);
                self.is_acknowledged = value & spec::protocol::REPLY_ACK != 0;
            }
            17 => return number(self.manner.queues),
            21 => {
                let stream = std::os::unix::net::UnixStream::from(fds.remove(0));
                self.requests = Some(stream.into());
            }
            24 | 25 => {
                let (offset, size) = (u32_at(payload, 0) as usize, u32_at(payload, 4) as usize);
                let config = &mut self.manner.config[offset..offset + size];
                if request == spec::SET_CONFIG.0 {
                    config.copy_from_slice(&payload[12..]);
                    return None;
                }
                return Some([&payload[..12], config].concat());
            }
            _ => assert_eq!(request, spec::SET_OWNER.0),
        }
        None
    }

    fn obey_for_ring(
        &mut self,
        request: u32,
        payload: &[u8],
        mut fds: Vec<OwnedFd>,
    ) -> Option<Vec<u8>> {
        let (index, value) = (u32_at(payload, 0), u32_at(payload, 4));
        let vring = self.vrings.entry(index).or_default();
        match request {
            8 => vring.size = value as u16,
            9 => {
                let long = |at| u64::from_ne_bytes(payload[at..at + 8].try_into().unwrap());
                vring.places = [long(8), long(16), long(24)];
            }
            10 => vring.base = value as u16,
            11 => {
                if let Some(ring) = vring.ring.take() {
                    vring.base = ring.state().next_available;
                }
                // As others do: the descriptors are of no use any more.
                if let Some(kick) = vring.kick.take() {
                    self.poller.remove(&kick).unwrap();
                }
                vring.call = None;
                let base = u32::from(vring.base);
                return Some([index, base].map(u32::to_ne_bytes).concat());
            }
            12 => {
                let kick = fds.remove(0);
                self.poller
                    .add(&kick, index.into(), Interest::Readable)
                    .unwrap();
                vring.kick = Some(kick);
                if self.features & spec::F_PROTOCOL_FEATURES == 0 {
                    vring.is_enabled = true;
                }
            }
            13 => vring.call = Some(fds.remove(0)),
            14 => vring.error = Some(fds.remove(0)),
            _ => vring.is_enabled = value == 1,
        }
        None
    }

    fn kicked(&mut self, index: u32) {
        let Some(vring) = self.vrings.get_mut(&index) else {
            return;
        };
        let Some(kick) = &vring.kick else { return };
        let _ = rustix::io::read(kick, &mut [0; 8]);
        if !vring.is_enabled {
            return;
        }
        if vring.ring.is_none() {
            vring.start(self.memory.as_ref().unwrap(), self.features);
        }
        let (Some(ring), mut chain) = (&mut vring.ring, Chain::new()) else {
            return;
        };
        loop {
            match ring.pop(&mut chain) {
                Ok(true) => {}
                Ok(false) => break,
                Err(_) => {
                    raise(&vring.error);
                    vring.ring = None;
                    return;
                }
            }
            let mut bytes = vec![0; chain.readable_bytes().min(1 << 16) as usize];
            chain.reader(ring.ram()).read(&mut bytes);
            match &bytes[..] {
                b"end" => self.ends = !self.manner.is_immortal,
                b"grow" => {
                    self.manner.config[0] += 1;
                    let flags = spec::VERSION | spec::NEED_REPLY;
                    let change = message(spec::BACKEND_CONFIG_CHANGE_MSG, flags, &[]);
                    self.requests
                        .as_ref()
                        .unwrap()
                        .send(&change, &[], &patience())
                        .unwrap();
                }
                _ => {}
            }
            if self.ends {
                return;
            }
            let mut writer = chain.writer(ring.ram());
            writer.write(&bytes);
            let written = writer.written();
            ring.complete(&chain, written);
        }
        if ring.publish() {
            raise(&vring.call);
        }
    }
}

fn raise(event: &Option<OwnedFd>) {
    rustix::io::write(event.as_ref().unwrap(), &1_u64.to_ne_bytes()).unwrap();
}

impl Vring {
    fn start(&mut self, memory: &Memory, features: u64) {
        let [descriptors, used, available] = self.places.map(|place| memory.guest_address(place));
        let next_used = memory.ram.read(GuestAddress(used + 2)).unwrap();
        let state = QueueState {
            layout: QueueLayout {
                size: self.size,
                descriptors,
                available,
                used,
            },
            next_available: self.base,
            next_used,
        };
        self.ring = Some(SplitRing::resume(&memory.ram, state, features).unwrap());
    }
}

impl Memory {
    fn map(payload: &[u8], fds: Vec<OwnedFd>) -> Self {
        assert_eq!(u32_at(payload, 0) as usize, fds.len());
        let longs = payload[8..].chunks(8);
        let longs: Vec<u64> = longs
            .map(|bytes| u64::from_ne_bytes(bytes.try_into().unwrap()))
            .collect();
        let regions: Vec<[u64; 4]> = longs.chunks(4).map(|r| r.try_into().unwrap()).collect();
        let mut size = 0;
        for region in &regions {
            assert_eq!(region[3], size, "the regions follow each other in the file");
            size += region[1];
        }
        // All are of one file.
        let path = format!("/proc/self/fd/{}", fds[0].as_raw_fd());
        let config = RamConfig {
            size: RamSize::new(size).unwrap(),
            backing: Backing::File(path.into()),
            ..RamConfig::default()
        };
        Self {
            ram: GuestRam::new(&config).unwrap(),
            regions,
        }
    }

    fn guest_address(&self, place: u64) -> u64 {
        let in_region = |[_, size, user, _]: &&[u64; 4]| (*user..user + size).contains(&place);
        let [guest, _, user, _] = self.regions.iter().find(in_region).unwrap();
        guest + place - user
    }
}
