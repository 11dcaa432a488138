//! The host's end of a port: input, output, and its clients.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use vmmkit_host_io::{
    FdInput, InputRead, InputSource, Interest, Listener, LostOutput, Poller, Sink, TimerFd, Written,
};

use super::backlog::Backlog;
use super::watch::Watch;

/// The descriptors of a port, as tokens of the poller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Input,
    Output,
    Listener,
    /// The reader's time is up.
    Timer,
}

impl End {
    pub(super) fn token(self, port: usize) -> u64 {
        (port as u64) << 2 | self as u64
    }

    pub(super) fn of_token(token: u64) -> Option<(usize, Self)> {
        let end = match token & 3 {
            0 => Self::Input,
            1 => Self::Output,
            2 => Self::Listener,
            _ => Self::Timer,
        };
        Some((usize::try_from(token >> 2).ok()?, end))
    }
}

/// Hears a port's output too.
pub(super) type Ear = Box<dyn Fn(&[u8]) + Send + Sync>;

/// Is told of the first output that is lost.
pub(super) type OnLostOutput = Box<dyn FnOnce(LostOutput) + Send + Sync>;

/// The host's end of a port.
#[derive(Default)]
pub(super) struct Wire {
    input: Option<Box<dyn InputSource>>,
    output: Option<Sink>,
    /// Nobody reads the output any more; `settle` lets go of it.
    is_gone: bool,
    /// Clients come and go, and are input and output then.
    listener: Option<Listener>,
    /// Goes out before anything else: what there was nobody for, and what could not wait.
    backlog: Backlog,
    watches: Watches,
    /// Hears what the reader is given.
    pub(super) ear: Option<Ear>,
    pub(super) on_lost_output: Option<OnLostOutput>,
    /// Without it the guest waits for the reader as long as it takes.
    patience: Option<Patience>,
    /// Bytes of output that were dropped.
    pub(super) dropped: u64,
    /// Clients that came.
    pub(super) clients: u64,
}

/// How long the reader may take nothing.
struct Patience {
    limit: Duration,
    timer: TimerFd,
    /// Since when he has taken nothing.
    since: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Watches {
    input: Watch,
    output: Watch,
    listener: Watch,
}

impl Wire {
    pub(super) fn streams(input: Option<Box<dyn InputSource>>, output: Option<Sink>) -> Self {
        Self {
            input,
            output,
            ..Self::default()
        }
    }

    pub(super) fn listening(listener: Listener) -> Self {
        Self {
            listener: Some(listener),
            ..Self::default()
        }
    }

    /// Has the guest go on without a reader who takes nothing for `limit`.
    pub(super) fn set_patience(&mut self, limit: Duration) -> io::Result<()> {
        self.patience = Some(Patience {
            limit,
            timer: TimerFd::new()?,
            since: None,
        });
        Ok(())
    }

    fn tell_lost(&mut self, lost: LostOutput) {
        if let Some(tell) = self.on_lost_output.take() {
            tell(lost);
        }
    }

    /// The reader takes nothing now: whether the guest is to wait for him.
    fn must_wait(&mut self) -> bool {
        let Some(patience) = &mut self.patience else {
            return true;
        };
        let since = *patience.since.get_or_insert_with(Instant::now);
        let left = patience.limit.saturating_sub(since.elapsed());
        if !left.is_zero() {
            patience.timer.arm_once(left);
            return true;
        }
        self.tell_lost(LostOutput::NotRead);
        false
    }

    /// The reader has taken something, or is another one.
    fn renew_patience(&mut self) {
        if let Some(patience) = &mut self.patience {
            patience.since = None;
        }
    }

    /// The reader's time is up, if it still is.
    pub(super) fn note_time(&self) {
        if let Some(patience) = &self.patience {
            patience.timer.drain();
        }
    }

    /// Nobody can come any more.
    pub(super) fn close(&mut self) {
        if let Some(listener) = &mut self.listener {
            listener.remove_file();
        }
    }

    /// Whether there is something at this end. Where nobody comes, there is always.
    pub(super) fn is_connected(&self) -> bool {
        self.listener.is_none() || self.reader().is_some()
    }

    /// The output, if somebody reads it.
    fn reader(&self) -> Option<&Sink> {
        self.output.as_ref().filter(|_| !self.is_gone)
    }

    /// Whether there may be input.
    pub(super) fn has_input(&self) -> bool {
        self.input.is_some()
    }

    /// A new poller, which waits for nothing yet.
    pub(super) fn start(&mut self, poller: &Poller, port: usize) {
        self.watches = Watches::default();
        if let Some(patience) = &self.patience {
            // Refused only by a host out of memory: the guest then waits for the reader.
            let _ = poller.add(&patience.timer, End::Timer.token(port), Interest::Readable);
        }
        self.settle(poller, port, false);
    }

    /// Reads input. At its end, and after an error, there is none any more.
    pub(super) fn read(&mut self, poller: &Poller, port: usize, bytes: &mut [u8]) -> InputRead {
        let Some(input) = &mut self.input else {
            return InputRead::End;
        };
        match input.read(bytes) {
            Ok(InputRead::Bytes(length)) => InputRead::Bytes(length.min(bytes.len())),
            Ok(InputRead::NotReady) => InputRead::NotReady,
            Ok(InputRead::End) | Err(_) => {
                self.watch_input(poller, port, false);
                self.input = None;
                InputRead::End
            }
        }
    }

    /// Waits for input, or does not; whether it is there without waiting.
    pub(super) fn watch_input(&mut self, poller: &Poller, port: usize, wanted: bool) -> bool {
        let watch = &mut self.watches.input;
        if let Some(input) = &self.input {
            let interest = wanted.then_some(Interest::Readable);
            watch.set(poller, input, End::Input.token(port), interest);
        }
        wanted && *watch == Watch::Refused
    }

    /// Writes what is to go first; whether more may come: all of it went, or the reader's time is up.
    pub(super) fn flush(&mut self) -> bool {
        while let Some(output) = self.reader()
            && !self.backlog.is_empty()
        {
            match output.write(self.backlog.first()) {
                Ok(Written::Bytes(length)) => {
                    self.backlog.taken(length);
                    self.renew_patience();
                }
                Ok(Written::Full) => return !self.must_wait(),
                Ok(Written::Gone) => self.is_gone = true,
                Err(error) => {
                    let length = self.backlog.first().len();
                    self.dropped += length as u64;
                    self.backlog.taken(length);
                    self.tell_lost(LostOutput::Failed(error));
                }
            }
        }
        true
    }

    /// Writes what the reader takes of `bytes`, after all that is to go first; how many bytes need
    /// not be written again, which is all of them where there is nobody.
    pub(super) fn write(&mut self, bytes: &[u8]) -> usize {
        if !self.flush() {
            return 0;
        }
        if self.reader().is_some() && !self.backlog.is_empty() {
            self.dropped += self.backlog.keep(bytes);
            return bytes.len();
        }
        let mut done = 0;
        while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
            let Some(output) = self.reader() else {
                self.keep(rest);
                break;
            };
            match output.write(rest) {
                Ok(Written::Bytes(length)) => {
                    done += length;
                    self.renew_patience();
                }
                Ok(Written::Full) if self.must_wait() => return done,
                Ok(Written::Full) => {
                    self.dropped += self.backlog.keep(rest);
                    break;
                }
                Ok(Written::Gone) => self.is_gone = true,
                // A full disk, for one: the guest goes on without these.
                Err(error) => {
                    self.dropped += rest.len() as u64;
                    self.tell_lost(LostOutput::Failed(error));
                    break;
                }
            }
        }
        bytes.len()
    }

    /// Writes a byte that cannot wait in the guest; whether it went out.
    pub(super) fn write_now(&mut self, byte: u8) -> bool {
        if self.write(&[byte]) == 1 {
            return true;
        }
        self.dropped += self.backlog.keep(&[byte]);
        false
    }

    /// There is nobody: the last bytes are kept for who comes, if somebody can.
    fn keep(&mut self, bytes: &[u8]) {
        if self.listener.is_some() {
            self.dropped += self.backlog.keep(bytes);
        } else {
            self.dropped += bytes.len() as u64;
            self.tell_lost(LostOutput::NoReader);
        }
    }

    /// Waits for what the last writes leave to be waited for: room where the reader `is_full`, the
    /// end of a client who is idle, the next client.
    pub(super) fn settle(&mut self, poller: &Poller, port: usize, is_full: bool) {
        let watches = &mut self.watches;
        if let Some(output) = &self.output {
            let interest = if self.is_gone {
                None
            } else if is_full || !self.backlog.is_empty() {
                Some(Interest::Writable)
            } else {
                self.listener.as_ref().map(|_| Interest::None)
            };
            watches
                .output
                .set(poller, output, End::Output.token(port), interest);
        }
        if self.is_gone {
            (self.output, self.is_gone) = (None, false);
            watches.output = Watch::Off;
        }
        if let Some(listener) = &self.listener {
            let interest = self.output.is_none().then_some(Interest::Readable);
            watches
                .listener
                .set(poller, listener, End::Listener.token(port), interest);
        }
    }

    /// The output is ready: where nothing waits for room, its client has left.
    pub(super) fn note_hang_up(&mut self) {
        self.is_gone |= self.watches.output == Watch::On(Interest::None) && self.output.is_some();
    }

    /// Takes the next client; whether there was one. What the last one sent and the guest has not
    /// taken is lost then: it may be that the guest never takes it.
    pub(super) fn accept(&mut self, poller: &Poller, port: usize) -> bool {
        let client = self.listener.as_ref().and_then(Listener::accept);
        let Some((input, output)) = client.and_then(|it| Some((it.try_clone().ok()?, it))) else {
            return false;
        };
        self.watch_input(poller, port, false);
        self.watches.input = Watch::Off;
        self.input = Some(Box::new(FdInput::new(input.into())));
        self.output = Some(Sink::new(OwnedFd::from(output)));
        self.clients += 1;
        self.renew_patience();
        true
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire")
            .field("input", &self.input.is_some())
            .field("output", &self.output)
            .field("listener", &self.listener)
            .finish_non_exhaustive()
    }
}
