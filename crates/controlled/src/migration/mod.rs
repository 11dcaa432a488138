//! A machine on its way to another process: its memory while the guest runs, then what it has written since, and the
//! rest of the machine while it stands still.
//!
//! The guest is here until the commit is sent, and from then on never again, unless the target itself says that it does
//! not run it: see [`vmmkit_snapshot::stream`].

mod error;
mod files;
mod timed;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use vmmkit_control::{Migrated, MigrationProgress};
use vmmkit_guest_memory::{PAGE_SIZE, PageRuns, PageSet};
use vmmkit_snapshot::Writer;
use vmmkit_snapshot::stream::{Parting, Prepared, Sender};
use vmmkit_vmm::{Handle, RamSaver};

use crate::Standstill;
pub(crate) use error::MigrationError;
use files::GivenUp;
pub(crate) use files::{Missing, lock_all};
pub(crate) use timed::{Cancel, Timed};

/// Rounds after the first one.
const MAX_ROUNDS: u64 = 30;
/// Rounds one after the other that leave no less to be sent.
const MAX_IN_VAIN: u64 = 3;
/// So few pages need no estimate: 256 KiB.
const FEW: u64 = 64;
/// The guest stands still for so long at most, and then goes on here.
const STANDSTILL: Duration = Duration::from_secs(5);
/// The word that it runs there may take so long.
const LAST_WORD: Duration = Duration::from_secs(10);

/// Where a guest has gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Departure {
    /// The target has said that it runs there.
    Running,
    /// The target has it, and has not said that it runs, for this reason.
    Unknown(String),
}

/// The migration of a machine, as others see it.
#[derive(Debug, Default)]
pub(crate) struct Migration {
    /// Held while the machine is saved or moved.
    pub(crate) turn: Mutex<()>,
    /// Ends the stream, while there is one.
    pub(crate) cancel: Mutex<Option<Cancel>>,
    /// Once the guest has gone.
    pub(crate) departure: Mutex<Option<Departure>>,
    /// The guest stayed, and another process has its disks.
    pub(crate) is_without_disks: Mutex<bool>,
    // Ordering: numbers to look at alone.
    rounds: AtomicU64,
    sent: AtomicU64,
    left: AtomicU64,
}

impl Migration {
    /// How far it has come.
    pub(crate) fn progress(&self) -> MigrationProgress {
        MigrationProgress {
            under_way: self.cancel.lock().is_some(),
            rounds: self.rounds.load(Ordering::Relaxed),
            sent_bytes: self.sent.load(Ordering::Relaxed),
            left_bytes: self.left.load(Ordering::Relaxed),
        }
    }

    /// Gives up a migration that is under way, if the guest has not gone.
    pub(crate) fn cancel(&self) {
        if let Some(cancel) = &*self.cancel.lock() {
            cancel.now();
        }
    }
}

/// One migration.
pub(crate) struct Journey<'a, 'b> {
    pub(crate) handle: &'a Handle,
    pub(crate) migration: &'a Migration,
    pub(crate) standstill: &'a mut Standstill<'b>,
    /// The guest is to stand still for so long.
    pub(crate) downtime: Duration,
    /// The guest runs, and is to go on running there.
    pub(crate) runs: bool,
}

impl Journey<'_, '_> {
    /// Sends the machine, which `manifest` describes.
    pub(crate) fn make(
        mut self,
        stream: Timed,
        manifest: Writer,
    ) -> Result<Migrated, MigrationError> {
        let saver = self.handle.ram_saver()?;
        self.note(0, 0, self.handle.ram().size() / PAGE_SIZE);
        let ram = self.handle.ram().size();
        let sender = Sender::begin(stream, &manifest.finish(), ram)?;
        let moved = self.rounds_and_rest(&saver, sender);
        saver.end_unless_marked();
        moved
    }

    fn rounds_and_rest(
        &mut self,
        saver: &RamSaver<'_>,
        mut sender: Sender<Timed>,
    ) -> Result<Migrated, MigrationError> {
        let mut pages = saver.log_all()?;
        let (mut least, mut rounds, mut in_vain) = (u64::MAX, 0, 0);
        let left = loop {
            let (began, before) = (Instant::now(), sender.sent_bytes());
            // RAM is zero there before anything is sent of it.
            self.send(&mut sender, &pages, rounds > 0)?;
            sender.round()?;
            rounds += 1;
            let took = began.elapsed();
            let sent = sender.sent_bytes() - before;
            let left = saver.written()?;
            let count = left.len();
            self.note(rounds, sender.sent_bytes(), count);
            let expected = expected(count, sent, took);
            if count <= FEW || expected <= self.downtime {
                break left;
            }
            in_vain = if count < least { 0 } else { in_vain + 1 };
            if rounds > MAX_ROUNDS || in_vain > MAX_IN_VAIN {
                // No faster than the guest writes: the downtime is longer, or too long.
                if expected > STANDSTILL / 2 {
                    return Err(MigrationError::TooFast {
                        left: count * PAGE_SIZE,
                        expected,
                    });
                }
                break left;
            }
            least = least.min(count);
            pages = left.runs();
        };
        let began = Instant::now();
        self.standstill.begin().map_err(MigrationError::Runs)?;
        let sent = self.hand_over(sender, left)?;
        Ok(Migrated {
            pause: began.elapsed(),
            rounds,
            sent_bytes: sent,
            is_acknowledged: *self.migration.departure.lock() == Some(Departure::Running),
        })
    }

    /// Sends the rest of the guest, which stands still, and lets go of it. The bytes sent in all.
    fn hand_over(
        &mut self,
        mut sender: Sender<Timed>,
        mut left: PageSet,
    ) -> Result<u64, MigrationError> {
        sender.stream_mut().end_at(Instant::now() + STANDSTILL);
        let mut writer = Writer::new();
        // Nobody resumes the guest before the end of this.
        self.handle.save_as(&mut writer, |saver, writer| {
            left.insert_all(&saver.written()?);
            self.send(&mut sender, &left.runs(), true)?;
            let state = std::mem::take(writer).finish();
            let sent = sender.sent_bytes();
            let files = GivenUp::of(self.handle)?;
            let parting = sender.state(&state, self.runs).map(|it| self.commit(it));
            let failure = match parting {
                Ok(Ok(())) => {
                    files.leave();
                    return Ok(sent);
                }
                Ok(Err(failure)) => failure,
                Err(error) => error.into(),
            };
            match files.take_back() {
                Ok(()) => Err(failure),
                Err(error) => {
                    self.standstill.stay();
                    *self.migration.is_without_disks.lock() = true;
                    Err(MigrationError::Stuck {
                        failure: Box::new(failure),
                        error,
                    })
                }
            }
        })
    }

    /// Gives the guest to the target.
    fn commit(&self, mut prepared: Prepared<Timed>) -> Result<(), MigrationError> {
        if self.handle.has_ended() {
            return Err(MigrationError::Ended);
        }
        prepared.stream_mut().end_at(Instant::now() + LAST_WORD);
        let departure = match prepared.commit() {
            Parting::NotSent(error) => return Err(error.into()),
            Parting::Declined(reason) => return Err(MigrationError::Declined(reason)),
            Parting::Running => Departure::Running,
            Parting::Unknown(error) => Departure::Unknown(error.to_string()),
        };
        *self.migration.departure.lock() = Some(departure);
        self.handle.stop();
        Ok(())
    }

    /// Sends `pages`; zeros only where the target may have other bytes.
    fn send(
        &self,
        sender: &mut Sender<Timed>,
        pages: &PageRuns,
        with_zeros: bool,
    ) -> Result<(), MigrationError> {
        let ram = self.handle.ram();
        ram.copy_pages(pages, |first, count, bytes| match bytes {
            Some(bytes) => {
                sender.pages(first, bytes)?;
                let sent = sender.sent_bytes();
                self.migration.sent.store(sent, Ordering::Relaxed);
                Ok(())
            }
            None if with_zeros => Ok(sender.zeros(first, count)?),
            None => Ok(()),
        })
    }

    fn note(&self, rounds: u64, sent: u64, left: u64) {
        let migration = self.migration;
        migration.rounds.store(rounds, Ordering::Relaxed);
        migration.sent.store(sent, Ordering::Relaxed);
        migration.left.store(left * PAGE_SIZE, Ordering::Relaxed);
    }
}

/// How long `pages` pages take where `sent` bytes have taken `took`.
fn expected(pages: u64, sent: u64, took: Duration) -> Duration {
    let seconds = took.as_secs_f64() * (pages * PAGE_SIZE) as f64 / (sent.max(1)) as f64;
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_the_rest_is_that_of_what_was_sent() {
        let second = Duration::from_secs(1);
        assert_eq!(expected(256, 1 << 20, second), second);
        assert_eq!(expected(128, 1 << 20, second), second / 2);
        assert_eq!(expected(0, 0, second), Duration::ZERO);
        assert!(expected(1, 0, second) > second);
        assert_eq!(
            expected(u64::MAX / PAGE_SIZE, 0, Duration::MAX),
            Duration::MAX
        );
    }
}
