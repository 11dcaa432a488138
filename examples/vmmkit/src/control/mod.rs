//! The running machine for others: by its name among the user's machines, and by its API.

mod presence;

use std::sync::Arc;

use vmmkit_control::{Controlled, InstanceError, MachineInfo, MachineState, RuntimeFolder};
use vmmkit_controlled::{ControlledMachine, Door, Manner};

use vmmkit_machine_spec::{DeviceSpec, path_text};

use crate::failure::Failure;
use crate::messages;
use crate::reports::Publisher;
use crate::settings::Settings;
pub(crate) use presence::{Choice, Presence};

/// The folder of this user's running guests.
pub(crate) fn runtime_folder() -> Result<RuntimeFolder, InstanceError> {
    RuntimeFolder::of_this_user("vmmkit")
}

/// Makes the machine of `settings` known: its entry, the machine as the API has it, and the API's
/// sockets for the event loop.
pub(crate) fn open(
    settings: &Settings,
    publisher: Publisher,
) -> Result<(Presence, Arc<ControlledMachine>, Door), Failure> {
    let (presence, places) = Presence::claim(&settings.control, settings.quiet)?;
    let name = presence.name().unwrap_or(&settings.machine.name);
    let (about, manner) = about(settings, name);
    let machine = Arc::new(ControlledMachine::new(about, manner, Arc::new(publisher)));
    presence.describe(&machine.machine());
    let door = Door::new(places, machine.clone(), presence.server(), |error| {
        messages::say(&format!(
            "warning: the control API cannot be served now: {error}\n  next: raise the limits of \
             processes and open files (ulimit -u, ulimit -n)"
        ));
    });
    Ok((presence, machine, door))
}

/// The socket of a vsock device, for programs in any folder.
fn vsock_socket(device: &DeviceSpec) -> Option<String> {
    let DeviceSpec::Vsock(vsock) = device else {
        return None;
    };
    let path = std::path::absolute(&vsock.socket).ok()?;
    Some(path_text::of_path(&path))
}

fn about(settings: &Settings, name: &str) -> (MachineInfo, Manner) {
    let machine = &settings.machine;
    let kernel = machine.boot.as_kernel();
    let about = MachineInfo {
        name: name.to_owned(),
        state: MachineState::Created,
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        age_milliseconds: 0,
        vcpus: machine.vcpus,
        memory_bytes: machine.ram.size.bytes(),
        kernel: kernel.map_or(String::new(), |kernel| kernel.image.to_string()),
        vsock_socket: settings.spec.devices.iter().find_map(vsock_socket),
    };
    let manner = Manner {
        stop_timeout: u32::try_from(settings.stop_timeout.as_secs()).unwrap_or(u32::MAX),
        has_acpi: machine.acpi,
        waits_for_boot: settings.paused,
    };
    (about, manner)
}
