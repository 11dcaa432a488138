//! A vhost-user back end of a disk, which answers what it is asked but for one question, and a guest that
//! drives it.
#![allow(clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::elf;

/// "Front-end message types" (the vhost-user protocol).
const GET_FEATURES: u32 = 1;
const GET_VRING_BASE: u32 = 11;
const GET_PROTOCOL_FEATURES: u32 = 15;
const GET_QUEUE_NUM: u32 = 17;
const GET_CONFIG: u32 = 24;
/// Bits of a message's flags: version 1, a reply, and that one is wanted.
const REPLY: u32 = 1 | 1 << 2;
const NEED_REPLY: u32 = 1 << 3;

/// A back end that drips: GET_VRING_BASE, by which a ring is stopped, it answers with a byte a second.
pub(crate) struct Dripping {
    is_asked: Arc<AtomicBool>,
}

impl Dripping {
    /// Serves one front end at `path`.
    pub(crate) fn at(path: &Path) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let is_asked = Arc::new(AtomicBool::new(false));
        let asked = is_asked.clone();
        thread::spawn(move || {
            let (front_end, _) = listener.accept().unwrap();
            // Nobody else is served: whoever looks for it again waits.
            serve(front_end, &asked);
            drop(listener);
        });
        Self { is_asked }
    }

    /// Whether it was asked to stop a ring.
    pub(crate) fn is_asked(&self) -> bool {
        self.is_asked.load(Ordering::SeqCst)
    }
}

/// Until the front end hangs up. Descriptors that come along are closed by the kernel.
fn serve(mut front_end: UnixStream, asked: &AtomicBool) -> Option<()> {
    loop {
        let mut header = [0; 12];
        front_end.read_exact(&mut header).ok()?;
        let word = |at: usize| u32::from_ne_bytes(header[at..at + 4].try_into().unwrap());
        let (request, flags) = (word(0), word(4));
        let mut payload = vec![0; word(8) as usize];
        front_end.read_exact(&mut payload).ok()?;
        let answer = match request {
            // VERSION_1, protocol features, and BLK_F_FLUSH.
            GET_FEATURES => (1_u64 << 32 | 1 << 30 | 1 << 9).to_ne_bytes().to_vec(),
            // MQ, REPLY_ACK and CONFIG.
            GET_PROTOCOL_FEATURES => (1_u64 | 1 << 3 | 1 << 9).to_ne_bytes().to_vec(),
            GET_QUEUE_NUM => 1_u64.to_ne_bytes().to_vec(),
            // 1 MiB of sectors, and zeroes.
            GET_CONFIG => {
                let mut config = payload.clone();
                config[12..20].copy_from_slice(&2048_u64.to_le_bytes());
                config
            }
            GET_VRING_BASE => payload.clone(),
            _ if flags & NEED_REPLY != 0 => vec![0; 8],
            _ => continue,
        };
        let mut message = [request, REPLY, answer.len() as u32]
            .map(u32::to_ne_bytes)
            .concat();
        message.extend(answer);
        if request == GET_VRING_BASE {
            asked.store(true, Ordering::SeqCst);
            for byte in message {
                front_end.write_all(&[byte]).ok()?;
                thread::sleep(Duration::from_secs(1));
            }
        } else {
            front_end.write_all(&message).ok()?;
        }
    }
}

/// A guest that drives the first virtio device as far as DRIVER_OK (virtio 1.2, sections 3.1.1 and 4.2.2),
/// resets it then if it `resets`, and waits for ever.
pub(crate) fn driving_guest(resets: bool) -> Vec<u8> {
    let mut writes = vec![(0x70, 1), (0x70, 3), (0x24, 1), (0x20, 1), (0x70, 11)];
    let ring = [0x20_0000_u32, 0x20_1000, 0x20_2000];
    writes.extend([(0x30, 0), (0x38, 8)]);
    writes.extend([(0x80, ring[0]), (0x90, ring[1]), (0xa0, ring[2])]);
    writes.extend([(0x44, 1), (0x70, 15)]);
    if resets {
        writes.push((0x70, 0));
    }
    let mut code = vec![0xbf]; // mov edi, 0xd0000000
    code.extend(0xd000_0000_u32.to_le_bytes());
    for (offset, value) in writes {
        code.extend([0xc7, 0x87]); // mov dword [rdi + offset], value
        code.extend([offset, value].map(u32::to_le_bytes).concat());
    }
    code.extend([0xf4, 0xeb, 0xfd]); // hlt; jmp to it
    elf(&code)
}
