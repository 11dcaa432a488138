//! The running machine for others: by its name among the user's machines, and by its API.

mod disk;
mod door;
mod guest;
mod happenings;
mod presence;

use std::sync::Arc;

use vmmkit_control::{Controlled, InstanceError, RuntimeFolder};

use crate::failure::Failure;
use crate::settings::Settings;
pub(crate) use door::Door;
pub(crate) use guest::{Guest, PAUSE_TIME};
pub(crate) use presence::{Choice, Presence};

/// The folder of this user's running guests.
pub(crate) fn runtime_folder() -> Result<RuntimeFolder, InstanceError> {
    RuntimeFolder::of_this_user("vmmkit")
}

/// Makes the machine of `settings` known: its entry, the machine as the API has it, and the API's
/// sockets for the event loop.
pub(crate) fn open(settings: &Settings) -> Result<(Presence, Arc<Guest>, Door), Failure> {
    let (presence, places) = Presence::claim(&settings.control, settings.quiet)?;
    let name = presence.name().unwrap_or(&settings.machine.name);
    let guest = Arc::new(Guest::new(settings, name));
    presence.describe(&guest.machine());
    let door = Door::new(places, guest.clone(), presence.server());
    Ok((presence, guest, door))
}
