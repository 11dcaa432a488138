//! A console's input with what is typed by the tap.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use super::ConsoleTap;
use crate::{InputRead, InputSource, Interest, Poller};

/// The tokens of the poller, which nobody looks at: only its readiness counts.
const TYPED: u64 = 0;
const OWN: u64 = 1;

/// The console's own input, and what is typed by a tap.
pub(super) struct TapInput {
    tap: Arc<ConsoleTap>,
    own: Option<Box<dyn InputSource>>,
    /// Readable while one of the two is.
    ready: Poller,
    /// `own` cannot be waited for, and is always ready: a regular file (epoll_ctl(2): EPERM). The tap's event
    /// stays raised until its end.
    is_own_always_ready: bool,
}

impl TapInput {
    pub(super) fn new(
        tap: Arc<ConsoleTap>,
        own: Option<Box<dyn InputSource>>,
        types: bool,
    ) -> io::Result<Self> {
        let ready = Poller::new()?;
        ready.add(&tap.typed, TYPED, Interest::Readable)?;
        let mut is_own_always_ready = false;
        tap.typing.lock().is_read = true;
        if let Some(own) = &own {
            is_own_always_ready = ready.add(own.as_fd(), OWN, Interest::Readable).is_err();
            tap.typing.lock().is_own = types;
        }
        if is_own_always_ready {
            tap.typed.notify();
        }
        Ok(Self {
            tap,
            own,
            ready,
            is_own_always_ready,
        })
    }

    /// The console's own input is at its end.
    fn end_own(&mut self) {
        if let Some(own) = self.own.take()
            && !std::mem::take(&mut self.is_own_always_ready)
        {
            let _ = self.ready.remove(own.as_fd());
        }
        self.tap.typing.lock().is_own = false;
    }
}

impl AsFd for TapInput {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ready.as_fd()
    }
}

impl InputSource for TapInput {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<InputRead> {
        match self.own.as_mut().map(|own| own.read(bytes)) {
            Some(Ok(InputRead::Bytes(count))) => return Ok(InputRead::Bytes(count)),
            Some(Ok(InputRead::End) | Err(_)) => self.end_own(),
            Some(Ok(InputRead::NotReady)) | None => {}
        }
        Ok(self.tap.pop(bytes, self.is_own_always_ready))
    }
}
