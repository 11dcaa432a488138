//! The machine of the control API, as it goes to another process.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use thiserror::Error;
use vmmkit_control::{MachineState, Migrated, Refusal};
use vmmkit_snapshot::Writer;

use crate::migration::{Departure, Journey, MigrationError, Missing, Timed, lock_all};
use crate::{ControlledMachine, Standstill};

/// One at a time.
#[derive(Debug, Error)]
#[error("it is being saved or moved already")]
struct UnderWay;

/// A guest that did not go, and whose disks another process has.
#[derive(Debug, Error)]
#[error("the guest cannot go on")]
struct NoDisk(#[source] Missing);

impl ControlledMachine {
    /// Where the guest has gone, if it has: its process is to end then.
    pub fn departure(&self) -> Option<Departure> {
        self.migration.departure.lock().clone()
    }

    /// Gives up a migration that is under way, unless the guest has gone: it goes on here. For whoever stops the machine.
    pub fn cancel_migration(&self) {
        self.migration.cancel();
    }

    /// Moves the guest to the process that listens at `to`.
    pub(crate) fn move_to(&self, to: &Path, downtime: Duration) -> Result<Migrated, Refusal> {
        let handle = self.handle()?;
        let runs = match self.state() {
            MachineState::Running => true,
            MachineState::Paused => false,
            _ => return Err(self.refused("cannot be moved")),
        };
        let turn = self.migration.turn.try_lock();
        let _turn = turn.ok_or_else(|| Refusal::busy(UnderWay))?;
        self.lock_disks()?;
        let mut standstill = Standstill::of(self, true);
        let journey = Journey {
            handle,
            migration: &self.migration,
            standstill: &mut standstill,
            downtime,
            runs,
        };
        let moved = self.make(journey, to);
        *self.migration.cancel.lock() = None;
        match moved {
            Ok(moved) => {
                standstill.finish(Ok(()))?;
                Ok(moved)
            }
            Err(error) => {
                let error = Refusal::unsupported(error);
                Err(standstill.give_up(error))
            }
        }
    }

    fn make(&self, journey: Journey<'_, '_>, to: &Path) -> Result<Migrated, MigrationError> {
        let stream = UnixStream::connect(to).and_then(|stream| {
            let stream = Timed::new(stream);
            let cancel = stream.cancel()?;
            *self.migration.cancel.lock() = Some(cancel);
            Ok(stream)
        });
        let stream = stream.map_err(|source| MigrationError::Connect {
            path: to.display().to_string(),
            source,
        })?;
        let mut manifest = Writer::new();
        self.embedder.describe(&mut manifest)?;
        journey.make(stream, manifest)
    }

    /// A guest that stayed without its disks has them again.
    pub(crate) fn lock_disks(&self) -> Result<(), Refusal> {
        let mut is_without = self.migration.is_without_disks.lock();
        if *is_without {
            lock_all(self.handle()?).map_err(|error| Refusal::busy(NoDisk(error)))?;
            *is_without = false;
        }
        Ok(())
    }
}
