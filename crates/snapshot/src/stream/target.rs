//! The side that takes the machine.

use std::io::{Read, Write};

use super::message::{
    self, ACCEPTED, COMMIT, MANIFEST, NUMBER, PAGES, READY, RECEIVED, ROUND, RUNNING, RUNS, STATE,
    ZEROS,
};
use super::{PAGE, PageStore, StreamError};

/// A machine that a source offers.
#[derive(Debug)]
pub struct Offer<S> {
    stream: S,
    manifest: Vec<u8>,
    ram_bytes: u64,
}

/// A machine that is being received.
#[derive(Debug)]
pub struct Receiving<S> {
    stream: S,
    pages: u64,
}

/// A machine of which all has arrived: the guest is the source's until the commit.
#[derive(Debug)]
pub struct Received<S> {
    stream: S,
    state: Vec<u8>,
    runs: bool,
}

/// The guest is this side's, which is to say whether it runs.
#[derive(Debug)]
#[must_use]
pub struct Committed<S> {
    stream: S,
}

impl<S: Read + Write> Offer<S> {
    /// Waits for the offer of a source.
    ///
    /// # Errors
    /// [`StreamError`].
    pub fn read(mut stream: S) -> Result<Self, StreamError> {
        message::write_start(&mut stream)?;
        message::read_start(&mut stream)?;
        let mut contents = Vec::new();
        message::read(&mut stream, &[MANIFEST], "a manifest", &mut contents)?;
        let (ram_bytes, _) = message::numbers(&contents);
        if ram_bytes == 0 || !ram_bytes.is_multiple_of(PAGE as u64) {
            let error = StreamError::RamSize(ram_bytes);
            let _ = message::refuse(&mut stream, &error.to_string());
            return Err(error);
        }
        Ok(Self {
            stream,
            manifest: contents.split_off(NUMBER),
            ram_bytes,
        })
    }

    /// The description of the machine: bytes of a stranger.
    pub fn manifest(&self) -> &[u8] {
        &self.manifest
    }

    /// Bytes of RAM, whole pages: a stranger's number.
    pub fn ram_bytes(&self) -> u64 {
        self.ram_bytes
    }

    /// Has the source send the machine.
    ///
    /// # Errors
    /// [`StreamError`].
    pub fn accept(mut self) -> Result<Receiving<S>, StreamError> {
        message::write(&mut self.stream, ACCEPTED, 0, &[])?;
        Ok(Receiving {
            stream: self.stream,
            pages: self.ram_bytes / PAGE as u64,
        })
    }

    /// Tells the source why this side does not take the machine.
    pub fn refuse(mut self, reason: &str) {
        // The source may be gone.
        let _ = message::refuse(&mut self.stream, reason);
    }
}

impl<S: Read + Write> Receiving<S> {
    /// Writes RAM to `store`, which is zero before, until the state has arrived.
    ///
    /// # Errors
    /// [`StreamError`], which the source is told where that can be.
    pub fn receive(mut self, store: &mut impl PageStore) -> Result<Received<S>, StreamError> {
        let received = self.receive_all(store);
        match received {
            Ok((state, runs)) => Ok(Received {
                stream: self.stream,
                state,
                runs,
            }),
            Err(error) => {
                // The source may be gone.
                let _ = message::refuse(&mut self.stream, &error.to_string());
                Err(error)
            }
        }
    }

    fn receive_all(&mut self, store: &mut impl PageStore) -> Result<(Vec<u8>, bool), StreamError> {
        let mut contents = Vec::new();
        loop {
            let kinds = [PAGES, ZEROS, ROUND, STATE];
            let stream = &mut self.stream;
            let head = message::read(stream, &kinds, "pages or a state", &mut contents)?;
            let (first, count) = message::numbers(&contents);
            match head.kind {
                PAGES => {
                    let bytes = contents.get(NUMBER..).unwrap_or_default();
                    let count = message::pages_of(bytes).map_err(|_| StreamError::Length {
                        kind: PAGES,
                        // At most MAX_PAGES pages.
                        length: contents.len() as u32,
                    })?;
                    let offset = self.place(first, count)?;
                    store.write(offset, bytes).map_err(StreamError::Store)?;
                }
                ZEROS => {
                    let offset = self.place(first, count)?;
                    let length = count * PAGE as u64;
                    store.zero(offset, length).map_err(StreamError::Store)?;
                }
                ROUND => message::write(&mut self.stream, RECEIVED, 0, &[])?,
                _ => return Ok((contents, head.flags & RUNS != 0)),
            }
        }
    }

    /// Where `count` pages from `first` on lie in RAM, in bytes.
    fn place(&self, first: u64, count: u64) -> Result<u64, StreamError> {
        let end = first.saturating_add(count);
        match end <= self.pages && count > 0 {
            true => Ok(first * PAGE as u64),
            false => Err(StreamError::Outside {
                end,
                pages: self.pages,
            }),
        }
    }
}

impl<S: Read + Write> Received<S> {
    /// The state: a container, of a stranger.
    pub fn state(&self) -> &[u8] {
        &self.state
    }

    /// The same, which is not here any more then.
    pub fn take_state(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.state)
    }

    /// The stream, to change how long it may take.
    pub fn stream_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Whether the guest runs; otherwise it is paused, and is to stay so.
    pub fn runs(&self) -> bool {
        self.runs
    }

    /// Says that this side could run the guest, and waits for the commit. On an error the guest is not this side's:
    /// it must not run here. The source is told, in case the commit is still to come.
    ///
    /// # Errors
    /// [`StreamError`].
    pub fn ready(mut self) -> Result<Committed<S>, StreamError> {
        match self.wait_for_commit() {
            Ok(()) => Ok(Committed {
                stream: self.stream,
            }),
            Err(error) => {
                let _ = message::refuse(&mut self.stream, &error.to_string());
                Err(error)
            }
        }
    }

    fn wait_for_commit(&mut self) -> Result<(), StreamError> {
        message::write(&mut self.stream, READY, 0, &[])?;
        let mut contents = Vec::new();
        message::read(&mut self.stream, &[COMMIT], "a commit", &mut contents).map(drop)
    }

    /// Tells the source why this side cannot run the guest.
    pub fn refuse(mut self, reason: &str) {
        // The source may be gone.
        let _ = message::refuse(&mut self.stream, reason);
    }
}

impl<S: Read + Write> Committed<S> {
    /// Says that the guest runs. The source may be gone: it runs nevertheless.
    pub fn running(mut self) {
        let _ = message::write(&mut self.stream, RUNNING, 0, &[]);
    }

    /// Says that the guest does not run here and will not: the source may have it again.
    pub fn refuse(mut self, reason: &str) {
        let _ = message::refuse(&mut self.stream, reason);
    }
}
