//! The console's output path: from vCPU threads to a descriptor, without a system call per byte.

use std::io::{self, Write};
use std::mem;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use crate::TimerFd as Timer;
use crate::sink::Written;
use filling::Filling;
use outlet::{Calling, Outlet};

mod filling;
mod outlet;

/// Bytes in each of the two halves.
const HALF: usize = 32 * 1024;
/// How many bytes may wait before a flush is asked for at once.
const SOON: usize = HALF / 2;
/// How long the first byte of a burst may wait for the rest: short for a person, long beside the
/// time in which a guest prints a line.
const LINGER: Duration = Duration::from_millis(2);
/// How many of the last bytes are kept for a reader who takes nothing.
const KEPT: usize = 64 * 1024;

/// A bounded buffer between the guest's console and a file, pipe, socket or terminal, or anything else that takes
/// bytes.
///
/// Threads: any thread may [`push`](Self::push), and none of them ever waits for the reader; one
/// thread, the event loop's, waits for [`wake_fds`](Self::wake_fds) and calls
/// [`flush`](Self::flush).
///
/// Wake-ups: the first byte into an empty half arms a timer of 2 ms, a half that is half full
/// lets it fire at once; no other push makes a system call. After a write that the reader did not
/// take, an epoll descriptor of the buffer's own tells when it does. So whenever a byte waits, one
/// of `wake_fds` is readable or will be.
///
/// Bounds: two halves of 32 KiB, one filled while the other is written. A push into a full half
/// is refused; the guest's transmitter then waits, and no byte is lost.
///
/// That is right for a pipe, a file and a terminal, whose readers come back. Where there may be no reader
/// at all, [`with_patience`](Self::with_patience) bounds the wait: the guest goes on then.
///
/// Lock order: `writing`, then `filling`. `filling` is never held over a system call that can
/// block, `writing` is never taken by `push`.
#[derive(Debug)]
pub struct OutputBuffer {
    outlet: Outlet,
    timer: Timer,
    /// Holds the sink's descriptor while the reader takes nothing.
    stalled: OwnedFd,
    filling: Filling,
    writing: Mutex<Half>,
    /// No reader is left: what comes is dropped.
    // Ordering: this and the flags and counts below are each of their own; bytes go by the locks.
    gone: AtomicBool,
    /// Each line is to begin with the time.
    stamps_lines: AtomicBool,
    made: Instant,
    /// How long the reader may take nothing before the guest goes on without him.
    patience: Option<Duration>,
    /// He has taken nothing for so long.
    drops: AtomicBool,
    dropped: AtomicU64,
}

/// The half that is being written.
#[derive(Debug, Default)]
struct Half {
    bytes: Vec<u8>,
    /// How many of them went out.
    written: usize,
    /// Whether the sink is in the epoll descriptor.
    watched: bool,
    /// The last byte did not end a line.
    is_in_line: bool,
    /// Since when the reader has taken nothing.
    stalled: Option<Instant>,
}

/// The state after a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// Nothing; or bytes that came meanwhile and have armed the timer again.
    Done,
    /// The reader takes no more now. `wake_fds` tell when it does.
    Stalled,
    /// There is no reader any more; everything is dropped from now on.
    Gone,
}

impl OutputBuffer {
    /// A buffer in front of `fd`. The flags of its open file description are left alone. SIGPIPE
    /// must be ignored, as the Rust runtime does for every program.
    ///
    /// # Errors
    /// The host's, when it has no descriptor or memory left.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        Self::to_outlet(Outlet::of_descriptor(fd))
    }

    /// A buffer in front of `writer`, which is called, and flushed, on the event loop's thread and must not wait:
    /// one that has no room says [`WouldBlock`](io::ErrorKind::WouldBlock), and is tried again 2 ms later; one that
    /// takes 0 bytes, or says [`BrokenPipe`](io::ErrorKind::BrokenPipe), is done with.
    ///
    /// # Errors
    /// As of [`new`](Self::new).
    pub fn to_writer(writer: impl Write + Send + 'static) -> io::Result<Self> {
        Self::to_outlet(Outlet::Writer(Mutex::new(Box::new(writer))))
    }

    /// The same for a function, which is given each piece of output as it comes: up to 32 KiB, where lines and
    /// characters may be cut.
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use std::time::Duration;
    ///
    /// let (sender, output) = mpsc::channel();
    /// let buffer = vmmkit_host_io::OutputBuffer::to_fn(move |bytes| {
    ///     let _ = sender.send(bytes.to_vec());
    /// })?;
    /// assert!(b"hi".iter().all(|&byte| buffer.push(byte)));
    /// buffer.drain_blocking(Duration::from_secs(1))?;
    /// assert_eq!(output.recv().as_deref(), Ok(&b"hi"[..]));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// As of [`new`](Self::new).
    pub fn to_fn(take: impl FnMut(&[u8]) + Send + 'static) -> io::Result<Self> {
        Self::to_writer(Calling(take))
    }

    fn to_outlet(outlet: Outlet) -> io::Result<Self> {
        Ok(Self {
            outlet,
            timer: Timer::new()?,
            stalled: epoll::create(CreateFlags::CLOEXEC)?,
            filling: Filling::default(),
            writing: Mutex::default(),
            gone: AtomicBool::new(false),
            stamps_lines: AtomicBool::new(false),
            made: Instant::now(),
            patience: None,
            drops: AtomicBool::new(false),
            dropped: AtomicU64::new(0),
        })
    }

    /// The same for a reader who may not be there: a pseudo-terminal that nobody has opened, a socket's
    /// client who does not read. One who takes nothing for `limit` does not hold up the guest any longer:
    /// every push succeeds then, and of what he has not taken the last 64 KiB are kept, until he takes
    /// something.
    #[must_use]
    pub fn with_patience(mut self, limit: Duration) -> Self {
        self.patience = Some(limit);
        self
    }

    /// Whether the reader's time is up: what does not fit is dropped until he reads again.
    pub fn is_dropping(&self) -> bool {
        self.drops.load(Ordering::Relaxed)
    }

    /// How many bytes were dropped so, in all.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Appends a byte; `false` where there is no room until the next flush.
    #[inline]
    pub fn push(&self, byte: u8) -> bool {
        self.filling
            .push(byte, &self.timer, |filling| self.make_room(filling))
    }

    /// Makes room in a full half, if it may: seldom, and then for many bytes.
    #[cold]
    fn make_room(&self, filling: &mut Vec<u8>) -> bool {
        if !self.is_dropping() {
            return false;
        }
        if let Some(excess @ KEPT..) = filling.len().checked_sub(KEPT) {
            filling.drain(..excess);
            self.dropped.fetch_add(excess as u64, Ordering::Relaxed);
        }
        true
    }

    /// The descriptors to wait for; one that is readable asks for a [`flush`](Self::flush).
    pub fn wake_fds(&self) -> [BorrowedFd<'_>; 2] {
        [self.timer.as_fd(), self.stalled.as_fd()]
    }

    /// Writes what the reader takes, without waiting for it.
    ///
    /// # Errors
    /// The host's (a full disk, a closed descriptor). The bytes it was about are dropped, so that
    /// the guest goes on.
    pub fn flush(&self) -> io::Result<Flush> {
        self.timer.drain();
        let mut writing = self.writing.lock();
        self.unwatch(&mut writing);
        // The rest of one half and the whole of the other. More has armed the timer again, and
        // other events get their turn before it.
        for _ in 0..2 {
            if !self.refill(&mut writing) {
                return Ok(self.state());
            }
            match self.write_half(&mut writing) {
                Ok(Flush::Stalled) => {
                    self.note_stall(&mut writing);
                    self.watch(&mut writing);
                    return Ok(Flush::Stalled);
                }
                Ok(Flush::Done) => {}
                Ok(Flush::Gone) => return Ok(Flush::Gone),
                Err(error) => {
                    // The other half may hold bytes, whose wake-up was taken above.
                    self.timer.arm_once(LINGER);
                    return Err(error);
                }
            }
        }
        Ok(self.state())
    }

    /// Writes everything, waiting for the reader up to `limit` in all: the last act before exit,
    /// when nothing pushes any more.
    ///
    /// # Errors
    /// As for [`flush`](Self::flush).
    pub fn drain_blocking(&self, limit: Duration) -> io::Result<Flush> {
        let started = Instant::now();
        let mut writing = self.writing.lock();
        while self.refill(&mut writing) {
            match self.write_half(&mut writing)? {
                Flush::Done => {}
                Flush::Stalled => {
                    let left = limit.saturating_sub(started.elapsed());
                    if left.is_zero() || self.is_dropping() || !self.outlet.wait_for_room(left) {
                        return Ok(Flush::Stalled);
                    }
                }
                Flush::Gone => return Ok(Flush::Gone),
            }
        }
        Ok(self.state())
    }

    /// Begins each line with the seconds since the buffer was made, or ceases to; whether it does
    /// now. The time is that of the flush: up to 2 ms late where the reader is not slow.
    pub fn toggle_stamps(&self) -> bool {
        !self.stamps_lines.fetch_xor(true, Ordering::Relaxed)
    }

    /// Takes over the filled half if the other is written; whether there is anything to write.
    fn refill(&self, writing: &mut Half) -> bool {
        if writing.refill(&self.filling) && self.stamps_lines.load(Ordering::Relaxed) {
            writing.stamp_lines(self.made.elapsed());
        }
        writing.note_line();
        !writing.bytes.is_empty()
    }

    /// Whether the reader has gone away.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    fn state(&self) -> Flush {
        if self.is_gone() {
            Flush::Gone
        } else {
            Flush::Done
        }
    }

    /// Writes what is left of the half.
    fn write_half(&self, half: &mut Half) -> io::Result<Flush> {
        while let Some(rest) = half
            .bytes
            .get(half.written..)
            .filter(|rest| !rest.is_empty())
        {
            if self.is_gone() {
                half.clear();
                return Ok(Flush::Gone);
            }
            match self.outlet.write(rest) {
                Ok(Written::Bytes(length)) => {
                    half.written += length;
                    half.stalled = None;
                    self.drops.store(false, Ordering::Relaxed);
                }
                Ok(Written::Full) => return Ok(Flush::Stalled),
                Ok(Written::Gone) => self.gone.store(true, Ordering::Relaxed),
                Err(error) => {
                    half.clear();
                    return Err(error);
                }
            }
        }
        Ok(Flush::Done)
    }

    /// The reader takes nothing: looks again when his time is up, or lets the guest go on.
    fn note_stall(&self, half: &mut Half) {
        let since = *half.stalled.get_or_insert_with(Instant::now);
        let Some(patience) = self.patience.filter(|_| !self.is_dropping()) else {
            return;
        };
        match patience.checked_sub(since.elapsed()) {
            Some(left) if !left.is_zero() => self.timer.arm_once(left),
            _ => self.drops.store(true, Ordering::Relaxed),
        }
    }

    /// Lets `stalled` become readable when the reader takes bytes again.
    fn watch(&self, half: &mut Half) {
        let data = EventData::new_u64(0);
        let add = |fd| epoll::add(&self.stalled, fd, data, EventFlags::OUT).is_ok();
        half.watched = self.outlet.descriptor().is_some_and(add);
        if !half.watched {
            // A writer without a descriptor, or a host out of memory: look again soon.
            self.timer.arm_once(LINGER);
        }
    }

    /// Undoes [`watch`](Self::watch): a sink that has room all the time would wake the event loop
    /// all the time.
    fn unwatch(&self, half: &mut Half) {
        let is_watched = mem::take(&mut half.watched);
        if let Some(fd) = self.outlet.descriptor().filter(|_| is_watched) {
            // epoll_ctl(2) fails for a descriptor that was not added only.
            let _ = epoll::delete(&self.stalled, fd);
        }
    }
}

impl Half {
    /// Takes over the other half if this one is written; whether it did and there are bytes.
    fn refill(&mut self, filling: &Filling) -> bool {
        if self.written < self.bytes.len() {
            return false;
        }
        self.clear();
        filling.take_over(&mut self.bytes);
        !self.bytes.is_empty()
    }

    /// Puts `time` before each line that begins here.
    fn stamp_lines(&mut self, time: Duration) {
        let stamp = format!("[{:5}.{:06}] ", time.as_secs(), time.subsec_micros());
        let mut stamped = Vec::with_capacity(self.bytes.len() + 4 * stamp.len());
        for line in self.bytes.split_inclusive(|&byte| byte == b'\n') {
            if !self.is_in_line {
                stamped.extend_from_slice(stamp.as_bytes());
            }
            stamped.extend_from_slice(line);
            self.is_in_line = line.last() != Some(&b'\n');
        }
        self.bytes = stamped;
    }

    fn note_line(&mut self) {
        if let Some(last) = self.bytes.last() {
            self.is_in_line = *last != b'\n';
        }
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.written = 0;
    }
}

#[cfg(test)]
mod tests;
