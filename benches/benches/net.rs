//! A tap interface by the network device, from the driver's ring through the device's thread and back,
//! beside a plain thread that reads and writes such an interface itself, by turns.
//!
//! `cargo bench --bench net -- [PART]`, as root: the interfaces are in a network namespace of the bench's
//! own. Packets per second, and Gbit/s of both sides. What is received waits in the interface before the
//! time begins, so that the sender takes none of it.
#![expect(
    clippy::print_stdout,
    reason = "the figures are what the program is for"
)]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use vmmkit_benches::driver::{BUFFERS, Driver, Failure, Part};
use vmmkit_benches::side_by_side::{Amount, Turns, compare, thread_time};
use vmmkit_guest_memory::GuestAddress;
use vmmkit_host_io::{Tap, TapOffloads};
use vmmkit_virtio_devices::{Net, NetAttachment, NetConfig, NetOptions};

const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;
/// Bytes of the header before a frame (virtio 1.2, section 5.1.6), and of that of a packet socket.
const HEADER: usize = 12;
const PACKET_HEADER: usize = 10;
/// Bytes that wait at once, and the most packets; an interface holds QUEUE_LENGTH.
const BURST_BYTES: usize = 32 << 20;
const BURST: usize = 4096;
const QUEUE_LENGTH: &str = "5000";
/// Packets under way to the device: all that the queue has room for.
const UNDER_WAY: u16 = 256;
/// Bytes to receive into.
const ROOM: usize = 1 << 20;
/// How far buffers are apart.
const SHARE: u64 = 128 << 10;

/// A header and a frame that nobody takes: an IPv4 packet for another machine; a large one is to be cut.
fn packet(header: usize, size: usize) -> Vec<u8> {
    let mut frame = vec![0; header + size];
    let ethernet = [2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 8, 0];
    let length = (size - ethernet.len()) as u16;
    let mut ip = [
        0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
    ];
    ip[2..4].copy_from_slice(&length.to_be_bytes());
    let mut put = |at: usize, bytes: &[u8]| {
        if let Some(place) = frame.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    };
    put(header, &ethernet);
    put(header + 14, &ip);
    // The length of TCP's header.
    put(header + 46, &[0x50]);
    if size > 1514 {
        // NEEDS_CSUM, TCPV4, hdr_len, gso_size, csum_start, csum_offset.
        let [a, b] = 1448_u16.to_le_bytes();
        put(0, &[1, 1, 54, 0, a, b, 34, 0, 16, 0]);
    }
    frame
}

/// Sends frames out of an interface, to whoever reads it.
struct Sender {
    socket: OwnedFd,
    packet: Vec<u8>,
    /// Packets at once.
    burst: u64,
}

impl Sender {
    fn new(interface: &str, size: usize) -> Result<Self, Failure> {
        let words = ["link", "set", interface, "txqueuelen", QUEUE_LENGTH];
        if !Command::new("ip").args(words).status()?.success() {
            return Err("ip(8) failed".into());
        }
        // SAFETY: no pointers.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        check(fd.into())?;
        // SAFETY: it was just made, and nobody else has it.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        for (level, option, value) in [
            (libc::SOL_PACKET, libc::PACKET_VNET_HDR, 1_i32),
            (libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, 1),
            (libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, 64 << 20),
        ] {
            // SAFETY: `value` is four bytes, as is said, and is only read.
            check(i64::from(unsafe {
                libc::setsockopt(fd, level, option, (&raw const value).cast(), 4)
            }))?;
        }
        let name = std::ffi::CString::new(interface)?;
        // SAFETY: `name` ends with a zero and is only read.
        let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
        let address = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: 0,
            sll_ifindex: index as i32,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        };
        let length = size_of::<libc::sockaddr_ll>() as u32;
        // SAFETY: `address` has `length` bytes and is only read.
        check(i64::from(unsafe {
            libc::bind(fd, (&raw const address).cast(), length)
        }))?;
        Ok(Self {
            socket,
            packet: packet(PACKET_HEADER, size),
            burst: BURST.min(BURST_BYTES / size) as u64,
        })
    }

    fn burst(&self) -> Result<(), Failure> {
        for _ in 0..self.burst {
            let (data, length) = (self.packet.as_ptr(), self.packet.len());
            // SAFETY: `packet` has `length` bytes and is only read.
            check(unsafe { libc::send(self.socket.as_raw_fd(), data.cast(), length, 0) } as i64)?;
        }
        Ok(())
    }
}

fn check(answer: i64) -> io::Result<()> {
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Receives bursts until `length` is over, of which only the receiving counts.
fn bursts(
    length: Duration,
    sender: &Sender,
    mut receive: impl FnMut(&Sender) -> Result<Amount, Failure>,
) -> Result<Amount, Failure> {
    let mut total = receive(sender)?;
    while total.time < length {
        let burst = receive(sender)?;
        total.time += burst.time;
        total.count += burst.count;
        total.busy = total.busy.zip(burst.busy).map(|(a, b)| a + b);
    }
    Ok(total)
}

/// The device and its driver.
struct Ours {
    driver: Driver,
    size: usize,
    /// Bytes of each buffer to receive into: as Linux chooses them for such packets.
    room: u32,
}

impl Ours {
    fn start(interface: &str, size: usize) -> Result<Self, Failure> {
        let net = Net::new(&NetConfig {
            attachment: NetAttachment::Tap {
                interface: interface.to_owned(),
            },
            options: NetOptions::default(),
        })?;
        let mut driver = Driver::start(Arc::new(net), 0, 64)?;
        let room = if size > 1514 { 4096 } else { 1536 };
        let packet = packet(HEADER, size);
        for slot in 0..UNDER_WAY {
            let address = BUFFERS + SHARE * u64::from(slot);
            driver.ram.write_bytes(GuestAddress(address), &packet)?;
            let part = Part {
                address,
                length: packet.len() as u32,
                writable: false,
            };
            driver.queue(TRANSMIT)?.describe(slot, &[part]);
        }
        driver.queue(TRANSMIT)?.interrupt_after = UNDER_WAY * 3 / 4;
        let queue = driver.queue(RECEIVE)?;
        for slot in 0..queue.size() {
            let part = Part {
                address: BUFFERS + SHARE * u64::from(UNDER_WAY) + 4096 * u64::from(slot),
                length: room,
                writable: true,
            };
            queue.describe(slot, &[part]);
            queue.offer(slot);
        }
        queue.publish();
        Ok(Self { driver, size, room })
    }

    fn transmit(&mut self, length: Duration) -> Result<Amount, Failure> {
        let queue = self.driver.queue(TRANSMIT)?;
        (0..UNDER_WAY).for_each(|slot| queue.offer(slot));
        queue.publish();
        let mut under_way = UNDER_WAY;
        let amount = Amount::of(length, || {
            self.driver.wait(&[TRANSMIT])?;
            let queue = self.driver.queue(TRANSMIT)?;
            let mut count = 0;
            while let Some((head, _)) = queue.take() {
                queue.offer(head);
                count += 1;
            }
            queue.publish();
            Ok(count)
        })?;
        let all = self.driver.queue(TRANSMIT)?.interrupt_after;
        self.driver.queue(TRANSMIT)?.interrupt_after = 1;
        while under_way > 0 {
            self.driver.wait(&[TRANSMIT])?;
            while self.driver.queue(TRANSMIT)?.take().is_some() {
                under_way -= 1;
            }
        }
        self.driver.queue(TRANSMIT)?.interrupt_after = all;
        Ok(amount)
    }

    fn receive(&mut self, sender: &Sender) -> Result<Amount, Failure> {
        self.driver.pause();
        sender.burst()?;
        let started = Instant::now();
        self.driver.resume();
        let mut left = sender.burst * (HEADER + self.size).div_ceil(self.room as usize) as u64;
        while left > 0 {
            self.driver.wait(&[RECEIVE])?;
            let queue = self.driver.queue(RECEIVE)?;
            while let Some((head, _)) = queue.take() {
                queue.offer(head);
                left -= 1;
            }
            queue.publish();
        }
        Ok(Amount {
            count: sender.burst,
            time: started.elapsed(),
            busy: None,
        })
    }
}

/// Reads or writes packets, one by one.
struct Plain {
    tap: Tap,
    /// As many, and as large, as the driver's: no cache has more of them.
    packets: Vec<Vec<u8>>,
    buffers: Vec<Vec<u8>>,
}

impl Plain {
    fn start(interface: &str, size: usize) -> Result<Self, Failure> {
        let tap = Tap::open(interface, 1)?.pop().ok_or("no tap interface")?;
        tap.set_offloads(TapOffloads {
            checksum: true,
            tcp4: true,
            tcp6: true,
            ecn: true,
        })?;
        Ok(Self {
            tap,
            packets: vec![packet(HEADER, size); UNDER_WAY.into()],
            buffers: vec![vec![0; HEADER + size]; ROOM.div_ceil(HEADER + size)],
        })
    }

    fn transmit(&mut self, length: Duration) -> Result<Amount, Failure> {
        Amount::of(length, || {
            for packet in &self.packets {
                let (data, length) = (packet.as_ptr(), packet.len());
                // SAFETY: `packet` has `length` bytes and is only read.
                check(unsafe { libc::write(self.tap.as_raw_fd(), data.cast(), length) } as i64)?;
            }
            Ok(self.packets.len() as u64)
        })
    }

    fn receive(&mut self, sender: &Sender) -> Result<Amount, Failure> {
        sender.burst()?;
        let (started, before) = (Instant::now(), thread_time(0));
        let fd = self.tap.as_raw_fd();
        for place in 0..sender.burst as usize {
            let place = place % self.buffers.len();
            let Some(buffer) = self.buffers.get_mut(place) else {
                break;
            };
            let (data, length) = (buffer.as_mut_ptr(), buffer.len());
            // SAFETY: `buffer` has `length` bytes.
            check(unsafe { libc::read(fd, data.cast(), length) } as i64)?;
        }
        Ok(Amount {
            count: sender.burst,
            time: started.elapsed(),
            busy: Some(thread_time(0).saturating_sub(before)),
        })
    }
}

fn measure(name: &str, size: usize, part: &str) -> Result<(), Failure> {
    let gigabits = |rate: f64| rate * size as f64 * 8e-9;
    for direction in ["transmit", "receive"] {
        let line = format!("{direction} {name}");
        if !line.contains(part) {
            continue;
        }
        let (mut ours, mut plain) = (Ours::start("ours0", size)?, Plain::start("plain0", size)?);
        let outcome = if direction == "transmit" {
            compare(
                Turns::default(),
                |length| ours.transmit(length),
                |length| plain.transmit(length),
            )?
        } else {
            let (sender, other) = (Sender::new("ours0", size)?, Sender::new("plain0", size)?);
            compare(
                Turns::default(),
                |length| bursts(length, &sender, |sender| ours.receive(sender)),
                |length| bursts(length, &other, |sender| plain.receive(sender)),
            )?
        };
        println!(
            "{line:18} {outcome}  Gbit/s {:.2}, {:.2}",
            gigabits(outcome.ours),
            gigabits(outcome.other)
        );
    }
    Ok(())
}

fn main() -> Result<(), Failure> {
    let part = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    let part = part.unwrap_or_default();
    // SAFETY: no pointers; this is the only thread.
    if let Err(error) = check(i64::from(unsafe { libc::unshare(libc::CLONE_NEWNET) })) {
        println!("SKIPPED: net: a network namespace needs root: {error}");
        return Ok(());
    }
    // The host's own packets would be counted.
    let _ = std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
    measure("64 B", 64, &part)?;
    measure("1500 B", 1514, &part)?;
    measure("64 KiB", 65_214, &part)
}
