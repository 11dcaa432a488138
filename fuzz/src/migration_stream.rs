//! Any bytes as what either side of a migration is told: each comes to an end, no page lies outside of RAM, and the
//! target takes no guest without a commit. The first byte says which side.

use std::io::{self, Cursor, Read, Write};

use vmmkit_snapshot::stream::{Offer, PAGE, PageStore, Parting, Sender};

/// A stream with these bytes to read.
struct Told<'a>(Cursor<&'a [u8]>);

impl Read for Told<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Told<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// RAM of so many bytes.
struct Bounds(u64);

impl Bounds {
    fn check(&self, offset: u64, length: u64) -> io::Result<()> {
        assert!(offset.is_multiple_of(PAGE as u64) && length.is_multiple_of(PAGE as u64));
        assert!(length > 0 && offset.checked_add(length).expect("an end") <= self.0);
        Ok(())
    }
}

impl PageStore for Bounds {
    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.check(offset, bytes.len() as u64)
    }

    fn zero(&mut self, offset: u64, length: u64) -> io::Result<()> {
        self.check(offset, length)
    }
}

/// One run.
pub fn run(data: &[u8]) {
    let Some((side, bytes)) = data.split_first() else {
        return;
    };
    let stream = Told(Cursor::new(bytes));
    match side % 2 {
        0 => target(stream),
        _ => source(stream),
    }
}

fn target(stream: Told<'_>) {
    let Ok(offer) = Offer::read(stream) else {
        return;
    };
    let mut bounds = Bounds(offer.ram_bytes());
    let receiving = offer.accept().expect("nothing is read");
    let received = receiving.receive(&mut bounds);
    if let Ok(committed) = received.and_then(|received| received.ready()) {
        committed.running();
    }
}

fn source(stream: Told<'_>) {
    let Ok(mut sender) = Sender::begin(stream, b"manifest", PAGE as u64) else {
        return;
    };
    sender.pages(0, &[1; PAGE]).expect("nothing is read");
    if sender.round().is_err() {
        return;
    }
    if let Ok(prepared) = sender.state(b"state", true) {
        let parting = prepared.commit();
        assert!(!matches!(parting, Parting::NotSent(_)), "all writes succeed");
    }
}
