//! A chain of buffers that a driver has made available, checked.

use vmmkit_guest_memory::{ByteValued, GuestRam, Segment};

/// A request of the driver: buffers to read, then buffers to write. Every one of them lies in RAM;
/// there is no way to have one that does not.
///
/// A chain is made once and filled by [`Queue::pop`](crate::Queue::pop) again and again, so that the
/// hot path takes nothing from the heap.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    pub(super) head: u16,
    pub(super) segments: Vec<Segment>,
    pub(super) readable: usize,
    pub(super) readable_bytes: u64,
    pub(super) writable_bytes: u64,
}

impl Chain {
    /// A chain without buffers.
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of its first descriptor, or its ID in a packed queue, which tells it from every
    /// other chain that is not completed; below the queue's size.
    pub fn head(&self) -> u16 {
        self.head
    }

    /// The buffers to read.
    pub fn readable(&self) -> &[Segment] {
        self.segments.get(..self.readable).unwrap_or_default()
    }

    /// The buffers to write.
    pub fn writable(&self) -> &[Segment] {
        self.segments.get(self.readable..).unwrap_or_default()
    }

    /// Bytes in the buffers to read.
    pub fn readable_bytes(&self) -> u64 {
        self.readable_bytes
    }

    /// Bytes in the buffers to write.
    pub fn writable_bytes(&self) -> u64 {
        self.writable_bytes
    }

    /// Reads the buffers to read, from their start.
    pub fn reader<'a>(&'a self, ram: &'a GuestRam) -> Reader<'a> {
        Reader(Cursor::new(ram, self.readable(), self.readable_bytes))
    }

    /// Writes the buffers to write, from their start.
    pub fn writer<'a>(&'a self, ram: &'a GuestRam) -> Writer<'a> {
        let total = self.writable_bytes;
        Writer {
            cursor: Cursor::new(ram, self.writable(), total),
            total,
        }
    }
}

/// A place in a list of buffers.
#[derive(Clone, Debug)]
struct Cursor<'a> {
    ram: &'a GuestRam,
    segments: &'a [Segment],
    /// Bytes of the first segment that are behind.
    done: u32,
    left: u64,
}

impl<'a> Cursor<'a> {
    fn new(ram: &'a GuestRam, segments: &'a [Segment], left: u64) -> Self {
        Self {
            ram,
            segments,
            done: 0,
            left,
        }
    }

    /// The next piece of at most `most` bytes, which is then behind.
    fn take(&mut self, most: usize) -> Option<Segment> {
        let first = self.segments.first()?;
        let room = first.length - self.done;
        let length = room.min(u32::try_from(most).unwrap_or(u32::MAX));
        let piece = Segment {
            address: vmmkit_guest_memory::GuestAddress(first.address.0 + u64::from(self.done)),
            length,
        };
        self.done += length;
        self.left -= u64::from(length);
        if length == room {
            self.segments = self.segments.get(1..).unwrap_or_default();
            self.done = 0;
        }
        Some(piece)
    }

    /// Moves on by up to `bytes`.
    fn skip(&mut self, bytes: u64) {
        let mut bytes = bytes.min(self.left);
        while bytes > 0 {
            let step = usize::try_from(bytes).unwrap_or(usize::MAX);
            let Some(piece) = self.take(step) else { return };
            bytes -= u64::from(piece.length);
        }
    }

    /// Puts what is left, up to `most` bytes, into `pieces`.
    fn rest(&self, mut most: u64, pieces: &mut Vec<Segment>) {
        pieces.clear();
        let mut cursor = self.clone();
        while most > 0 {
            let step = usize::try_from(most).unwrap_or(usize::MAX);
            let Some(piece) = cursor.take(step) else {
                return;
            };
            most -= u64::from(piece.length);
            pieces.push(piece);
        }
    }
}

/// Reads what the driver has written, once, from front to back.
#[derive(Clone, Debug)]
pub struct Reader<'a>(Cursor<'a>);

impl Reader<'_> {
    /// Bytes that are left.
    pub fn left(&self) -> u64 {
        self.0.left
    }

    /// Reads up to `bytes.len()` bytes; how many.
    pub fn read(&mut self, bytes: &mut [u8]) -> usize {
        let mut done = 0;
        while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let Some(piece) = self.0.take(rest.len()) else {
                break;
            };
            let length = piece.length as usize;
            let Some(part) = rest.get_mut(..length) else {
                break;
            };
            if self.0.ram.read_bytes(piece.address, part).is_err() {
                break;
            }
            done += length;
        }
        done
    }

    /// Reads a value; `None` where too little is left, which is then behind.
    pub fn read_value<T: ByteValued>(&mut self) -> Option<T> {
        let mut value = T::zeroed();
        let size = size_of::<T>();
        (self.read(value.as_mut_slice()) == size).then_some(value)
    }

    /// Moves on by up to `bytes`.
    pub fn skip(&mut self, bytes: u64) {
        self.0.skip(bytes);
    }

    /// Puts the buffers that are left, up to `most` bytes, into `pieces`, in place of what was there.
    pub fn rest(&self, most: u64, pieces: &mut Vec<Segment>) {
        self.0.rest(most, pieces);
    }
}

/// Writes what the driver will read, from front to back.
#[derive(Clone, Debug)]
pub struct Writer<'a> {
    cursor: Cursor<'a>,
    total: u64,
}

impl Writer<'_> {
    /// Bytes of room that are left.
    pub fn left(&self) -> u64 {
        self.cursor.left
    }

    /// Bytes written or skipped so far: the length to [complete](crate::Queue::complete) with.
    pub fn written(&self) -> u32 {
        u32::try_from(self.total - self.cursor.left).unwrap_or(u32::MAX)
    }

    /// Writes as many of `bytes` as there is room for; how many.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        let mut done = 0;
        while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
            let Some(piece) = self.cursor.take(rest.len()) else {
                break;
            };
            let length = piece.length as usize;
            let Some(part) = rest.get(..length) else {
                break;
            };
            if self.cursor.ram.write_bytes(piece.address, part).is_err() {
                break;
            }
            done += length;
        }
        done
    }

    /// Writes a value; whether there was room for all of it.
    pub fn write_value<T: ByteValued>(&mut self, value: T) -> bool {
        self.write(value.as_slice()) == size_of::<T>()
    }

    /// Moves on by up to `bytes`, which something else fills.
    pub fn skip(&mut self, bytes: u64) {
        self.cursor.skip(bytes);
    }

    /// Puts the buffers that are left, up to `most` bytes, into `pieces`, in place of what was there.
    pub fn rest(&self, most: u64, pieces: &mut Vec<Segment>) {
        self.cursor.rest(most, pieces);
    }
}
