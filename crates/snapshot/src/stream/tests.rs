//! Both sides over a socket that breaks anywhere, and a target that is told nonsense.

use std::io::{self, Cursor, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::thread;

use proptest::prelude::*;

use super::*;

/// Pages of the RAM of these tests.
const RAM: usize = 8;

/// RAM in a vector.
struct Memory(Vec<u8>);

impl PageStore for Memory {
    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let start = offset as usize;
        self.0[start..start + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn zero(&mut self, offset: u64, length: u64) -> io::Result<()> {
        self.0[offset as usize..(offset + length) as usize].fill(0);
        Ok(())
    }
}

fn memory() -> Memory {
    Memory(vec![0; RAM * PAGE])
}

/// A socket that breaks when so many bytes have been written to it.
struct Breaking {
    stream: UnixStream,
    left: usize,
    written: usize,
}

impl Breaking {
    fn new(stream: UnixStream, left: usize) -> Self {
        Self {
            stream,
            left,
            written: 0,
        }
    }
}

impl Read for Breaking {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }
}

impl Write for Breaking {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.left == 0 {
            let _ = self.stream.shutdown(Shutdown::Both);
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let length = bytes.len().min(self.left);
        let written = self.stream.write(&bytes[..length])?;
        self.left -= written;
        self.written += written;
        if self.left == 0 {
            let _ = self.stream.shutdown(Shutdown::Both);
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The source's view of the end: an error of before the commit counts as one that was not sent.
fn source(stream: &mut Breaking) -> Parting {
    let send = |stream| {
        let mut sender = Sender::begin(stream, b"manifest", (RAM * PAGE) as u64)?;
        sender.pages(1, &[1; PAGE])?;
        sender.pages(2, &[7; PAGE])?;
        sender.round()?;
        sender.pages(4, &[3; PAGE])?;
        sender.zeros(2, 1)?;
        sender.state(b"state", true)
    };
    match send(stream) {
        Ok(prepared) => prepared.commit(),
        Err(error) => Parting::NotSent(error),
    }
}

/// Whether the target runs the guest; its RAM and the bytes that it has written.
fn target(stream: &mut Breaking, is_declined: bool) -> (bool, Memory) {
    let mut memory = memory();
    let take = |stream, memory: &mut Memory| -> Result<bool, StreamError> {
        let offer = Offer::read(stream)?;
        assert_eq!(offer.manifest(), b"manifest");
        assert_eq!(offer.ram_bytes(), (RAM * PAGE) as u64);
        let received = offer.accept()?.receive(memory)?;
        assert_eq!((received.state(), received.runs()), (&b"state"[..], true));
        let committed = received.ready()?;
        match is_declined {
            true => committed.refuse("no\nthreads"),
            false => committed.running(),
        }
        Ok(!is_declined)
    };
    let runs = take(stream, &mut memory).unwrap_or(false);
    (runs, memory)
}

/// Both sides, each of which breaks after so many bytes; how many each has written.
fn both(source_bytes: usize, target_bytes: usize) -> ((Parting, bool), (usize, usize)) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let other = thread::spawn(move || {
        let mut stream = Breaking::new(theirs, target_bytes);
        let (runs, memory) = target(&mut stream, false);
        (runs, memory, stream.written)
    });
    let mut stream = Breaking::new(ours, source_bytes);
    let parting = source(&mut stream);
    let written = stream.written;
    drop(stream);
    let (runs, memory, answered) = other.join().unwrap();
    if runs {
        let pages: Vec<u8> = memory.0.chunks(PAGE).map(|page| page[0]).collect();
        assert_eq!(pages, [0, 1, 0, 0, 3, 0, 0, 0]);
    }
    ((parting, runs), (written, answered))
}

#[test]
fn a_machine_arrives() {
    let ((parting, runs), _) = both(usize::MAX, usize::MAX);
    assert!(runs && matches!(parting, Parting::Running), "{parting:?}");
}

#[test]
fn wherever_the_stream_breaks_one_side_has_the_guest() {
    let (_, (sent, answered)) = both(usize::MAX, usize::MAX);
    for left in 0..sent {
        let ((parting, runs), _) = both(left, usize::MAX);
        let is_here = matches!(parting, Parting::NotSent(_));
        assert!(is_here && !runs, "after {left} of {sent}: {parting:?}");
    }
    for left in 0..answered {
        let ((parting, runs), _) = both(usize::MAX, left);
        match parting {
            Parting::NotSent(_) => assert!(!runs, "after {left} of {answered}"),
            // The word that it runs is the last that is said: nothing else is not known.
            Parting::Unknown(_) => assert!(left >= answered - 12, "after {left} of {answered}"),
            other => panic!("after {left} of {answered}: {other:?}"),
        }
    }
}

#[test]
fn a_target_that_cannot_run_it_gives_it_back() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let other = thread::spawn(move || target(&mut Breaking::new(theirs, usize::MAX), true).0);
    let parting = source(&mut Breaking::new(ours, usize::MAX));
    let Parting::Declined(reason) = parting else {
        panic!("{parting:?}");
    };
    // No control characters of a stranger's.
    assert_eq!(reason, "no threads");
    assert!(!other.join().unwrap());
}

/// A stream with these bytes to read.
struct Told(Cursor<Vec<u8>>);

impl Read for Told {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Told {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn told(bytes: Vec<u8>) -> Result<(), StreamError> {
    let offer = Offer::read(Told(Cursor::new(bytes)))?;
    let received = offer.accept()?.receive(&mut memory())?;
    received.ready().map(drop)
}

/// The start of a stream, and messages behind it.
fn stream(messages: &[(u16, u16, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    message::write_start(&mut bytes).unwrap();
    for (kind, flags, contents) in messages {
        let split = contents.len().min(8);
        let parts = [&contents[..split], &contents[split..]];
        message::write(&mut bytes, *kind, *flags, &parts).unwrap();
    }
    bytes
}

fn manifest() -> Vec<u8> {
    ((RAM * PAGE) as u64).to_le_bytes().to_vec()
}

#[test]
fn a_stranger_is_refused() {
    let manifest = manifest();
    let manifest = (1, 0, &manifest[..]);
    let zeros = |first: u64, count: u64| [first.to_le_bytes(), count.to_le_bytes()].concat();
    let page = |first: u64| [&first.to_le_bytes()[..], &[1; PAGE]].concat();
    for (bytes, expected) in [
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "does not speak"),
        ([&MAGIC[..], &[9, 0, 0, 0]].concat(), "version 9"),
        (stream(&[]), "closed"),
        (
            stream(&[(2, 0, &page(0))]),
            "kind 2 in the place of a manifest",
        ),
        (stream(&[(1, 0, &[0; 8])]), "RAM of 0 bytes"),
        (
            stream(&[(1, 0, &[1, 0, 0, 0, 0, 0, 0, 0])]),
            "RAM of 1 bytes",
        ),
        (stream(&[manifest, (2, 0, &page(8))]), "up to number 9"),
        (stream(&[manifest, (2, 0, &page(u64::MAX))]), "RAM has 8"),
        (stream(&[manifest, (3, 0, &zeros(7, 2))]), "up to number 9"),
        (stream(&[manifest, (3, 0, &zeros(7, 0))]), "RAM has 8"),
        (
            stream(&[manifest, (3, 0, &zeros(1, u64::MAX))]),
            "RAM has 8",
        ),
        (stream(&[manifest, (2, 0, &[0; 9])]), "kind 2 with 9 bytes"),
        (
            stream(&[manifest, (2, 0, &[0; 8 + PAGE + 1])]),
            "kind 2 with",
        ),
        (stream(&[manifest, (4, 0, &[0])]), "kind 4 with 1 bytes"),
        (stream(&[manifest, (4, 1, &[])]), "kind 4 is damaged"),
        (stream(&[manifest, (5, 2, &[])]), "kind 5 is damaged"),
        (stream(&[manifest, (6, 0, &[])]), "kind 6 in the place of"),
        (
            stream(&[manifest, (5, 1, &[]), (4, 0, &[])]),
            "kind 4 in the place of a commit",
        ),
        (stream(&[manifest, (5, 1, b"state")]), "closed"),
    ] {
        let error = told(bytes).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}: {expected}");
    }
    assert!(told(stream(&[manifest, (5, 1, b"state"), (6, 0, &[])])).is_ok());
}

#[test]
fn a_length_allocates_nothing() {
    let mut bytes = stream(&[(1, 0, &manifest())]);
    bytes.extend([5, 0, 0, 0]);
    bytes.extend((MAX_STATE as u32).to_le_bytes());
    bytes.extend([0; 4]);
    assert!(matches!(told(bytes.clone()), Err(StreamError::Closed)));
    let length = bytes.len();
    bytes[length - 8..length - 4].copy_from_slice(&(MAX_STATE as u32 + 1).to_le_bytes());
    assert!(matches!(
        told(bytes),
        Err(StreamError::Length { kind: 5, .. })
    ));
}

proptest! {
    #[test]
    fn any_change_of_a_stream_is_an_error_or_is_in_a_page(place in 0_usize..200, bit in 0_u8..8) {
        let zeros = [1_u64.to_le_bytes(), 2_u64.to_le_bytes()].concat();
        let manifest = manifest();
        let mut bytes = stream(&[(1, 0, &manifest), (3, 0, &zeros), (4, 0, &[]), (5, 1, b"state"), (6, 0, &[])]);
        let place = place % bytes.len();
        bytes[place] ^= 1 << bit;
        prop_assert!(told(bytes).is_err());
    }
}
