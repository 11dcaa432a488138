//! The terminal's keys: always read, whatever the guest does with what is for it.
//!
//! ```text
//! terminal -> Keyboard: commands are carried out at once
//!                  \-> queue (64 KiB) -> TerminalInput -> as much as the guest's port has room for
//! ```
//!
//! The rule that keeps both promises, "no byte is lost for a guest that reads" and "the VMM's keys work
//! always": while the queue is full, the terminal is left unread, and its own buffer holds the writer up.
//! A guest that takes nothing for [`PATIENCE`] with the queue full is not reading: from then on the
//! terminal is read on, for the sake of the VMM's keys; what is for the guest is dropped, with a bell,
//! until the guest takes something.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};
use vmmkit_host_io::{InputRead, Interest, Poller, TimerFd, is_foreground, read_ready, ring_bell};

use crate::input::{Queue, TerminalInput};
use crate::keys::Key;
use crate::{Command, EscapeKey, Job, Keys};

/// How long a guest may take nothing with the queue full, and count as one that reads.
const PATIENCE: Duration = Duration::from_secs(2);
/// The least time between two bells.
const BELL_PACE: Duration = Duration::from_secs(1);
/// The bytes of one read.
const CHUNK: usize = 1024;

/// Reads the terminal that the machine is run from, on the event loop.
///
/// In the background it reads nothing, so that the process is neither stopped nor takes another job's
/// keys; it goes on when the terminal is this job's again.
pub struct Keyboard {
    tty: OwnedFd,
    job: Arc<Job>,
    keys: Keys,
    act: Box<dyn FnMut(Command) + Send>,
    queue: Arc<Queue>,
    /// Readable when there are keys, or the terminal is taken back.
    ready: Poller,
    /// The terminal is in `ready`.
    is_watched: bool,
    /// Runs while the queue is full.
    patience: TimerFd,
    is_waiting: bool,
    /// The guest does not read: what is typed for it is dropped.
    is_deaf: bool,
    rung: Option<Instant>,
}

impl Keyboard {
    /// The keys of `tty`, and a console's input with what is for the guest; the job hears keys from now on.
    /// Commands begin with `escape`; each is for `act`, on the event loop's thread.
    ///
    /// # Errors
    /// The host's, when it has no descriptor left.
    pub fn new(
        tty: OwnedFd,
        job: Arc<Job>,
        escape: EscapeKey,
        act: Box<dyn FnMut(Command) + Send>,
    ) -> io::Result<(Self, TerminalInput)> {
        job.hear_keys();
        let ready = Poller::new()?;
        ready.add(job.taken(), 0, Interest::EachArrival)?;
        ready.add(&tty, 1, Interest::Readable)?;
        let queue = Arc::new(Queue::new()?);
        let input = TerminalInput::new(queue.clone());
        let keyboard = Self {
            tty,
            job,
            keys: Keys::new(escape),
            act,
            queue,
            ready,
            is_watched: true,
            patience: TimerFd::new()?,
            is_waiting: false,
            is_deaf: false,
            rung: None,
        };
        Ok((keyboard, input))
    }

    /// Does what is due; whether the terminal may have more.
    fn pump(&mut self) -> bool {
        if self.queue.was_taken_from() {
            self.is_deaf = false;
            self.stop_waiting();
        }
        if self.patience.drain() {
            self.is_waiting = false;
            self.is_deaf = true;
        }
        if self.queue.is_full() && !self.is_deaf {
            self.watch(false);
            if !self.is_waiting {
                self.is_waiting = true;
                self.patience.arm_once(PATIENCE);
            }
            return true;
        }
        if !self.may_read() {
            return true;
        }
        let mut bytes = [0; CHUNK];
        match read_ready(self.tty.as_fd(), &mut bytes) {
            Ok(InputRead::NotReady) => true,
            Ok(InputRead::Bytes(length)) => {
                self.sort(bytes.get(..length).unwrap_or_default());
                true
            }
            // EIO: another job has been given the terminal just now.
            Ok(InputRead::End) if !self.may_read() => true,
            Ok(InputRead::End) | Err(_) => {
                self.queue.end();
                false
            }
        }
    }

    /// Carries out the commands in `typed`; the rest is the guest's.
    fn sort(&mut self, typed: &[u8]) {
        let mut bytes = Vec::with_capacity(typed.len());
        for byte in typed {
            match self.keys.next(*byte) {
                Key::Guest(byte) => bytes.push(byte),
                Key::Command(command) => {
                    if command == Command::Break {
                        bytes.clear();
                        self.queue.clear();
                    }
                    (self.act)(command);
                }
                Key::Nothing => {}
            }
        }
        if !self.queue.push(&bytes) {
            self.ring();
        }
    }

    fn ring(&mut self) {
        if self.rung.is_none_or(|rung| rung.elapsed() >= BELL_PACE) {
            self.rung = Some(Instant::now());
            ring_bell(self.tty.as_fd());
        }
    }

    fn stop_waiting(&mut self) {
        self.is_waiting = false;
        self.patience.disarm();
    }

    /// Whether the terminal is this job's. Where it is not, nothing is waited for but that.
    fn may_read(&mut self) -> bool {
        let may_read = is_foreground(self.tty.as_fd());
        self.watch(may_read);
        if !may_read {
            self.job.leave_terminal();
        }
        may_read
    }

    fn watch(&mut self, watched: bool) {
        if watched && !self.is_watched {
            self.is_watched = self.ready.add(&self.tty, 1, Interest::Readable).is_ok();
        } else if !watched && self.is_watched {
            let _ = self.ready.remove(&self.tty);
            self.is_watched = false;
        }
    }
}

impl MutEventSubscriber for Keyboard {
    fn process(&mut self, _events: Events, ops: &mut EventOps<'_>) {
        // Takes back that the terminal was taken.
        let mut ready = Vec::new();
        let is_open = self.ready.look(&mut ready).is_ok() && self.pump();
        if !is_open {
            self.queue.end();
            for fd in [
                self.ready.as_fd(),
                self.patience.as_fd(),
                self.queue.room().as_fd(),
            ] {
                let _ = ops.remove(Events::empty_raw(fd.as_raw_fd()));
            }
        }
    }

    fn init(&mut self, ops: &mut EventOps<'_>) {
        // Refused only by a host out of memory: there are no keys then.
        for fd in [
            self.ready.as_fd(),
            self.patience.as_fd(),
            self.queue.room().as_fd(),
        ] {
            let _ = ops.add(Events::new_raw(fd.as_raw_fd(), EventSet::IN));
        }
    }
}

impl fmt::Debug for Keyboard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyboard")
            .field("keys", &self.keys)
            .field("is_watched", &self.is_watched)
            .field("is_deaf", &self.is_deaf)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
