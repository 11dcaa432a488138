//! The saved form of a console, besides its transport and its queues.

use serde::{Deserialize, Serialize};
use vmmkit_device_bus::{SaveState, SavedState, StateError, StateForm};

use super::Console;
use super::control::GuestPort;

/// The guest's announcements of each port, and those it has yet to be told.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConsoleForm {
    ports: Vec<PortForm>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PortForm {
    is_ready: bool,
    is_open: bool,
    /// A bit for each control message that the driver has yet to be told.
    pending: u8,
    /// Bytes of the next chain of output that its reader has taken.
    taken: u64,
}

impl StateForm for ConsoleForm {
    const KIND: &'static str = "virtio-console";
    const VERSION: u32 = 1;
}

impl SaveState for Console {
    fn save_state(&self) -> Result<SavedState, StateError> {
        let core = self.shared.lock();
        let ports = core.control.save().zip(&core.taken);
        SavedState::new(&ConsoleForm {
            ports: ports
                .map(|(guest, taken)| PortForm {
                    is_ready: guest.is_ready,
                    is_open: guest.is_open,
                    pending: guest.pending,
                    taken: *taken,
                })
                .collect(),
        })
    }

    /// The terminal's size is not part of it: call [`resize`](Self::resize), before or after.
    fn restore_state(&self, saved: &SavedState) -> Result<(), StateError> {
        let form: ConsoleForm = saved.read()?;
        let mut core = self.shared.lock();
        let (found, here) = (form.ports.len(), core.wires.len());
        StateError::check_same(ConsoleForm::KIND, "ports.length", found, here)?;
        for (index, port) in form.ports.iter().enumerate() {
            let field = format!("ports[{index}].pending");
            let all = GuestPort::ALL_PENDING;
            StateError::check_bits(ConsoleForm::KIND, &field, port.pending, all)?;
        }
        for (taken, port) in core.taken.iter_mut().zip(&form.ports) {
            *taken = port.taken;
        }
        let ports = form.ports.iter().map(|port| GuestPort {
            is_ready: port.is_ready,
            is_open: port.is_open,
            pending: port.pending,
        });
        core.control.restore(ports);
        Ok(())
    }
}
