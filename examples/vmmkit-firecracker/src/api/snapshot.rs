//! Snapshots: one of a machine that is paused, and a machine of one.

use super::answer::{Done, Refused};
use super::route::Request;
use super::{Firecracker, State};
use crate::check::lacks;
use crate::snapshot::{CreateSnapshot, LoadSnapshot};

/// The reason that the save of a running guest is refused with.
const RUNS: &str = "Create snapshot error: Cannot save the microVM state: Operation not allowed: \
                    save/restore unavailable while running";
const CONFIGURED: &str = "Load snapshot error: Loading a microVM snapshot not allowed after \
                          configuring boot-specific resources.";

pub(super) fn create(state: &State, request: &Request<'_>) -> Result<Done, Refused> {
    let to: CreateSnapshot = request.json()?;
    let guest = state.running()?;
    if !state.is_paused {
        return Err(RUNS.to_owned().into());
    }
    let saved = guest.save(&state.resources, &to);
    saved.map_err(|reason| format!("Create snapshot error: {reason}"))?;
    Ok(Done::Nothing)
}

impl Firecracker {
    /// Makes the machine of a snapshot. Where that fails the process ends: nobody knows how far it came.
    pub(super) fn load(&self, state: &mut State, request: &Request<'_>) -> Result<Done, Refused> {
        let from: LoadSnapshot = request.json()?;
        let memory = from.memory().map_err(Refused::malformed)?;
        state.only_before()?;
        if from.clock_realtime {
            return Err(lacks("clock_realtime").into());
        }
        if state.is_configured {
            return Err(CONFIGURED.to_owned().into());
        }
        let loaded = from.open(memory, state.resources.serial.clone());
        let loaded = loaded.and_then(|(resources, origin)| {
            let guest = self.launcher.launch(&resources, Some(&origin))?;
            let _ = state.guest.set(guest);
            state.resources = resources;
            state.is_paused = !origin.runs;
            Ok(())
        });
        if let Err(reason) = loaded {
            let said = format!("Load snapshot error: Failed to restore from snapshot: {reason}");
            self.launcher.give_up(&said);
            return Err(said.into());
        }
        match from.mem_file_path.is_some() || from.enable_diff_snapshots.is_some() {
            true => Ok(Done::Deprecated),
            false => Ok(Done::Nothing),
        }
    }
}
