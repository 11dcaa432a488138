//! The side that has the machine.

use std::io::{Read, Write};

use super::message::{
    self, ACCEPTED, COMMIT, MANIFEST, PAGES, READY, RECEIVED, ROUND, RUNNING, RUNS, STATE, ZEROS,
};
use super::{MAX_MANIFEST, MAX_PAGES, MAX_STATE, PAGE, StreamError};

/// The source of a machine. Dropping it, or an error of any of its calls, leaves the guest with the source.
#[derive(Debug)]
pub struct Sender<S> {
    stream: S,
    sent: u64,
}

/// The target has all of the machine, and could run it: the guest is the source's until the
/// [commit](Self::commit).
#[derive(Debug)]
pub struct Prepared<S> {
    stream: S,
}

/// Where the guest is after a commit.
#[derive(Debug)]
#[must_use]
pub enum Parting {
    /// With the source: the commit was not sent whole.
    NotSent(StreamError),
    /// With the source: the target has the commit, and says that it does not run the guest and will not.
    Declined(String),
    /// With the target, which runs it.
    Running,
    /// With the target, which has not said that it runs: the source must not run the guest any more, and nobody knows
    /// here whether the target does.
    Unknown(StreamError),
}

impl<S: Read + Write> Sender<S> {
    /// Offers a machine of `ram_bytes` bytes of RAM, which `manifest` describes, and waits until it is accepted.
    ///
    /// # Errors
    /// [`StreamError`]; [`StreamError::Refused`] with the target's reason.
    pub fn begin(mut stream: S, manifest: &[u8], ram_bytes: u64) -> Result<Self, StreamError> {
        check("a manifest", manifest.len(), MAX_MANIFEST)?;
        message::write_start(&mut stream)?;
        let parts = [&ram_bytes.to_le_bytes()[..], manifest];
        message::write(&mut stream, MANIFEST, 0, &parts)?;
        message::read_start(&mut stream)?;
        message::read_answer(&mut stream, ACCEPTED, "an answer to the manifest")?;
        Ok(Self { stream, sent: 0 })
    }

    /// Sends `bytes`, whole pages from the page `first` on.
    ///
    /// # Errors
    /// [`StreamError`].
    pub fn pages(&mut self, first: u64, bytes: &[u8]) -> Result<(), StreamError> {
        message::pages_of(bytes)?;
        let pieces = bytes.chunks(MAX_PAGES * PAGE);
        for (number, piece) in (first..).step_by(MAX_PAGES).zip(pieces) {
            let parts = [&number.to_le_bytes()[..], piece];
            message::write(&mut self.stream, PAGES, 0, &parts)?;
            self.sent += piece.len() as u64;
        }
        Ok(())
    }

    /// Says that `count` pages from `first` on are zero.
    ///
    /// # Errors
    /// [`StreamError`].
    pub fn zeros(&mut self, first: u64, count: u64) -> Result<(), StreamError> {
        let parts = [&first.to_le_bytes()[..], &count.to_le_bytes()];
        message::write(&mut self.stream, ZEROS, 0, &parts)
    }

    /// Waits until the target has all that was sent.
    ///
    /// # Errors
    /// [`StreamError`].
    pub fn round(&mut self) -> Result<(), StreamError> {
        message::write(&mut self.stream, ROUND, 0, &[])?;
        message::read_answer(&mut self.stream, RECEIVED, "an answer to the round")
    }

    /// Bytes of pages that were sent.
    pub fn sent_bytes(&self) -> u64 {
        self.sent
    }

    /// The stream, to change how long it may take.
    pub fn stream_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Sends the state of the paused machine, a container, and waits until the target could run the guest; `runs` says
    /// whether it is to.
    ///
    /// # Errors
    /// [`StreamError`].
    pub fn state(mut self, state: &[u8], runs: bool) -> Result<Prepared<S>, StreamError> {
        check("a state", state.len(), MAX_STATE)?;
        let flags = if runs { RUNS } else { 0 };
        message::write(&mut self.stream, STATE, flags, &[state])?;
        message::read_answer(&mut self.stream, READY, "an answer to the state")?;
        Ok(Prepared {
            stream: self.stream,
        })
    }
}

impl<S: Read + Write> Prepared<S> {
    /// The stream, to change how long it may take.
    pub fn stream_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Gives the guest to the target.
    pub fn commit(mut self) -> Parting {
        // A message that was not written whole is none for the target.
        if let Err(error) = message::write(&mut self.stream, COMMIT, 0, &[]) {
            return Parting::NotSent(error);
        }
        match message::read_answer(&mut self.stream, RUNNING, "the word that the guest runs") {
            Ok(()) => Parting::Running,
            Err(StreamError::Refused(reason)) => Parting::Declined(reason),
            Err(error) => Parting::Unknown(error),
        }
    }
}

fn check(what: &'static str, length: usize, most: usize) -> Result<(), StreamError> {
    match length <= most {
        true => Ok(()),
        false => Err(StreamError::TooLong { what, length, most }),
    }
}
