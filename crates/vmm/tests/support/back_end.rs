//! A vhost-user back end of a disk that answers whatever it is asked, and works on no queue.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;

/// "Front-end message types" (the vhost-user protocol).
const GET_FEATURES: u32 = 1;
const GET_VRING_BASE: u32 = 11;
const GET_PROTOCOL_FEATURES: u32 = 15;
const GET_QUEUE_NUM: u32 = 17;
const GET_CONFIG: u32 = 24;
/// Bits of a message's flags: version 1, a reply, and that one is wanted.
const REPLY: u32 = 1 | 1 << 2;
const NEED_REPLY: u32 = 1 << 3;

/// Serves one front end at `path`, on a thread that ends with it.
pub(crate) fn serve_at(path: &Path) {
    let listener = UnixListener::bind(path).unwrap();
    thread::spawn(move || {
        let (front_end, _) = listener.accept().unwrap();
        serve(front_end)
    });
}

/// Until the front end hangs up. Descriptors that come along are closed by the kernel.
fn serve(mut front_end: UnixStream) -> Option<()> {
    loop {
        let mut header = [0; 12];
        front_end.read_exact(&mut header).ok()?;
        let word = |at: usize| u32::from_ne_bytes(header[at..at + 4].try_into().unwrap());
        let (request, flags) = (word(0), word(4));
        let mut payload = vec![0; word(8) as usize];
        front_end.read_exact(&mut payload).ok()?;
        let answer = match request {
            // VERSION_1, protocol features.
            GET_FEATURES => (1_u64 << 32 | 1 << 30).to_ne_bytes().to_vec(),
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
        let length = u32::try_from(answer.len()).unwrap();
        let mut message = [request, REPLY, length].map(u32::to_ne_bytes).concat();
        message.extend(answer);
        front_end.write_all(&message).ok()?;
    }
}
