//! Keys of a terminal, as long as it is this job's.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use vmmkit_host_io::{
    ConsoleInput, ConsoleRead, InputRead, Interest, Poller, is_foreground, read_ready,
};

use crate::{Command, Job, Keys};

/// A console's input from the terminal that the machine is run from: what is typed, without the keys
/// that are for the VMM.
///
/// In the background it reads nothing, so that the process is neither stopped nor takes another job's
/// keys; its descriptor becomes readable when the terminal is this job's again.
pub struct TerminalInput {
    tty: OwnedFd,
    job: Arc<Job>,
    keys: Keys,
    act: Box<dyn FnMut(Command) + Send>,
    /// Readable when there is something to do: keys, or the terminal is taken back.
    ready: Poller,
    /// The terminal is in `ready`.
    is_watched: bool,
}

impl TerminalInput {
    /// Input from `tty`; the job hears keys from now on. Each command is for `act`, on the thread
    /// that reads.
    ///
    /// # Errors
    /// The host's, when it has no descriptor left.
    pub fn new(
        tty: OwnedFd,
        job: Arc<Job>,
        act: Box<dyn FnMut(Command) + Send>,
    ) -> io::Result<Self> {
        job.hear_keys();
        let ready = Poller::new()?;
        ready.add(job.taken(), 0, Interest::EachArrival)?;
        ready.add(&tty, 1, Interest::Readable)?;
        Ok(Self {
            tty,
            job,
            keys: Keys::default(),
            act,
            ready,
            is_watched: true,
        })
    }

    /// Whether the terminal is this job's. Where it is not, nothing is waited for but that.
    fn may_read(&mut self) -> bool {
        let may_read = is_foreground(self.tty.as_fd());
        if may_read && !self.is_watched {
            self.is_watched = self.ready.add(&self.tty, 1, Interest::Readable).is_ok();
        } else if !may_read && self.is_watched {
            let _ = self.ready.remove(&self.tty);
            self.is_watched = false;
        }
        if !may_read {
            self.job.leave_terminal();
        }
        may_read
    }
}

impl AsFd for TerminalInput {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ready.as_fd()
    }
}

impl ConsoleInput for TerminalInput {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<ConsoleRead> {
        // Takes back that the terminal was taken.
        let mut ready = Vec::new();
        self.ready.look(&mut ready)?;
        if !self.may_read() {
            return Ok(ConsoleRead::NotReady);
        }
        match read_ready(self.tty.as_fd(), bytes)? {
            InputRead::NotReady => Ok(ConsoleRead::NotReady),
            InputRead::Bytes(length) => {
                let typed = bytes.get_mut(..length).unwrap_or_default();
                Ok(ConsoleRead::Bytes(self.keys.filter(typed, &mut self.act)))
            }
            // EIO: another job has been given the terminal just now.
            InputRead::End if !self.may_read() => Ok(ConsoleRead::NotReady),
            InputRead::End => Ok(ConsoleRead::End),
        }
    }
}

impl fmt::Debug for TerminalInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TerminalInput")
            .field("keys", &self.keys)
            .field("is_watched", &self.is_watched)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn keys_for_the_vmm_are_taken_out_and_the_rest_is_read() {
        let pty = vmmkit_host_io::open_pty().unwrap();
        let job = Arc::new(Job::new().unwrap());
        let commands = Arc::new(Mutex::new(Vec::new()));
        let seen = commands.clone();
        let act = Box::new(move |command| seen.lock().unwrap().push(command));
        let tty = pty.slave.try_clone().unwrap();
        let mut input = TerminalInput::new(tty, job.clone(), act).unwrap();
        assert!(job.take_terminal(pty.slave.as_fd()));
        let mut bytes = [0; 16];
        assert_eq!(input.read(&mut bytes).unwrap(), ConsoleRead::NotReady);
        let mut keyboard = File::from(pty.master.try_clone().unwrap());
        keyboard.write_all(b"a\x01\x01\x01x\x03").unwrap();
        assert_eq!(input.read(&mut bytes).unwrap(), ConsoleRead::Bytes(3));
        assert_eq!(&bytes[..3], b"a\x01\x03");
        assert_eq!(*commands.lock().unwrap(), [Command::Quit]);
    }

    #[test]
    fn a_terminal_that_is_hung_up_is_the_end() {
        let pty = vmmkit_host_io::open_pty().unwrap();
        let job = Arc::new(Job::new().unwrap());
        let mut input = TerminalInput::new(pty.slave, job, Box::new(|_| {})).unwrap();
        drop(pty.master);
        assert_eq!(input.read(&mut [0; 4]).unwrap(), ConsoleRead::End);
    }
}
