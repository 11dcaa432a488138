//! The server's thread: it waits for clients, and serves one after the other.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use vmmkit_host_io::{Interest, Poller, ThreadRole, ThreadSpec};

use crate::notices::{Ended, Notice};
use crate::session::{self, End};
use crate::stream::Listener;
use crate::target::Guest;
use crate::{Debugged, Notices, Place, Supported};

/// A GDB server: a place that clients come to, and from [`start`](Self::start) on a thread, `gdb`, that
/// serves them, one at a time.
///
/// A guest that was halted before its start stays halted until the first client lets it run. When a
/// client comes, the guest is halted; when it goes, its breakpoints are taken away and the guest runs.
#[derive(Debug)]
pub struct Server {
    listener: Listener,
    place: Place,
}

/// A server that runs.
#[derive(Debug)]
pub struct RunningServer {
    notices: Arc<Notices>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens at `place`.
    ///
    /// # Errors
    /// The host's: another process listens there, the port needs privileges, there is no such folder.
    pub fn bind(place: &Place) -> io::Result<Self> {
        let listener = Listener::bind(place)?;
        let place = listener.place(place);
        Ok(Self { listener, place })
    }

    /// Where it listens, with the port that was free where 0 was asked for.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Serves `machine`, whose hypervisor can what `can` says, and whose VMM tells `notices` what happens. Clients are let in once it has
    /// [started](Notices::started).
    ///
    /// # Errors
    /// The host's, when it has no thread or descriptor left.
    pub fn start(
        self,
        machine: impl Debugged,
        can: Supported,
        notices: Arc<Notices>,
    ) -> io::Result<RunningServer> {
        let poller = Poller::new()?;
        poller.add(&*notices, 0, Interest::Readable)?;
        poller.add(&self.listener, 1, Interest::Readable)?;
        let told = notices.clone();
        let thread = ThreadSpec::new(ThreadRole::Server, "gdb").spawn(move || {
            // It ends with the run; whatever fails, the guest must not wait for a client for ever.
            let mut guest = Guest::new(machine, can);
            if self.serve(&mut guest, &told, &poller).is_err() {
                guest.let_go();
            }
        })?;
        Ok(RunningServer {
            notices,
            thread: Some(thread),
        })
    }

    fn serve<M: Debugged>(
        &self,
        guest: &mut Guest<M>,
        notices: &Notices,
        poller: &Poller,
    ) -> io::Result<()> {
        let mut ready = Vec::new();
        let (mut has_started, mut had_client) = (false, false);
        loop {
            poller.wait(&mut ready)?;
            while let Some(notice) = notices.next() {
                match notice {
                    Notice::Started => has_started = true,
                    Notice::Ended(_) => return Ok(()),
                    // Before the first client nothing is asked for, and none is left of the last one.
                    Notice::Reset | Notice::Stopped(..) => {}
                }
            }
            if !has_started {
                // Until then only the notices are of interest.
                wait_for(notices)?;
                continue;
            }
            let Some(client) = self.listener.accept() else {
                continue;
            };
            guest.machine.halt();
            match session::serve(guest, notices, client)? {
                End::Over => return Ok(()),
                End::Killed => guest.machine.stop(),
                End::Silent if !had_client => {}
                End::Silent | End::Left => guest.let_go(),
            }
            had_client = true;
        }
    }
}

fn wait_for(notices: &Notices) -> io::Result<()> {
    let poller = Poller::new()?;
    poller.add(notices, 0, Interest::Readable)?;
    poller.wait(&mut Vec::new())
}

impl RunningServer {
    /// The run has ended: a client is told how, and the thread is done when this returns.
    pub fn finish(mut self, how: Ended) {
        self.end(how);
    }

    fn end(&mut self, how: Ended) {
        if let Some(thread) = self.thread.take() {
            self.notices.ended(how);
            // A panic was told of by the hook of the process.
            let _ = thread.join();
        }
    }
}

impl Drop for RunningServer {
    fn drop(&mut self) {
        self.end(Ended::Aborted);
    }
}
