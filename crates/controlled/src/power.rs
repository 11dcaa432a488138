//! How a guest is asked to power off.

use std::time::Duration;

use vmmkit_telemetry::Milestone;
use vmmkit_vmm::{Handle, MachineState};

/// How long devices may take to come to rest before a pause is refused.
pub const PAUSE_TIME: Duration = Duration::from_millis(1500);

/// Asks the guest to power off, by the button that it can hear: that of ACPI, or the keys of its keyboard.
pub fn ask_to_power_off(machine: &Handle, has_acpi: bool) {
    match has_acpi {
        true => machine.power_button(),
        false => machine.ctrl_alt_del(),
    }
}

/// Whether a guest can hear that it is asked: it has run, and has not crashed.
pub fn can_hear(machine: &Handle) -> bool {
    let has_run = machine.boot_log().milestones().reached(Milestone::Entry);
    let state = machine.state();
    has_run.is_some() && matches!(state, MachineState::Running | MachineState::Paused)
}
