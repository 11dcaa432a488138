//! The saved form of a machine as a whole.

use std::fmt::Display;

use serde::{Deserialize, Serialize};
use vmmkit_device_bus::{StateError, StateForm};

use crate::{PlatformConfig, VirtioTransport};

/// The properties that a machine must share with a saved one that it restores, beside its parts.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineForm {
    vcpus: u32,
    /// RAM from the start on, in bytes.
    memory: u64,
    irqchip: Box<str>,
    virtio: Box<str>,
    has_firmware: bool,
}

impl StateForm for MachineForm {
    const KIND: &'static str = "machine";
    const VERSION: u32 = 1;
}

impl MachineForm {
    /// The form of a machine with `vcpus` vCPUs and `memory` bytes of RAM on the platform of `config`.
    pub fn new(vcpus: u32, memory: u64, config: PlatformConfig) -> Self {
        let virtio = match config.virtio {
            VirtioTransport::Mmio => "mmio",
            VirtioTransport::Pci => "pci",
            VirtioTransport::Q35 => "q35",
        };
        Self {
            vcpus,
            memory,
            irqchip: config.irqchip.name().into(),
            virtio: virtio.into(),
            has_firmware: config.has_firmware,
        }
    }

    /// The number of vCPUs.
    pub fn vcpus(&self) -> u32 {
        self.vcpus
    }

    /// Checks that a machine of this form can be the saved one.
    ///
    /// # Errors
    /// [`StateReason::Differs`](vmmkit_device_bus::StateReason::Differs) with the first field that does.
    pub fn check(&self, saved: &Self) -> Result<(), StateError> {
        let fields: [(&str, &dyn Display, &dyn Display); 5] = [
            ("vcpus", &saved.vcpus, &self.vcpus),
            ("memory", &saved.memory, &self.memory),
            ("irqchip", &saved.irqchip, &self.irqchip),
            ("virtio", &saved.virtio, &self.virtio),
            ("has_firmware", &saved.has_firmware, &self.has_firmware),
        ];
        let mut fields = fields.into_iter();
        fields.try_for_each(|(field, saved, here)| {
            StateError::check_same(Self::KIND, field, saved, here)
        })
    }
}

#[cfg(test)]
mod tests {
    use vmmkit_device_bus::SavedState;
    use vmmkit_hypervisor::Irqchip;

    use super::*;

    fn config() -> PlatformConfig {
        PlatformConfig {
            irqchip: Irqchip::InKernel { pit: true },
            virtio: VirtioTransport::Mmio,
            has_firmware: false,
            acpi: true,
            oem: vmmkit_boot_loader::Oem::default(),
        }
    }

    #[test]
    fn a_machine_that_differs_is_refused_with_the_field() {
        let form = MachineForm::new(1, 1 << 24, config());
        assert!(form.check(&MachineForm::new(1, 1 << 24, config())).is_ok());
        let two = MachineForm::new(2, 1 << 24, config());
        let error = form.check(&two).unwrap_err().to_string();
        assert!(error.contains("vcpus") && error.contains('2'), "{error}");
    }

    #[test]
    fn its_form_is_that_of_version_1() {
        let golden = r#"{"kind":"machine","version":1,"state":{"has_firmware":false,"irqchip":"hypervisor-with-pit","memory":16777216,"vcpus":1,"virtio":"mmio"}}"#;
        let form = MachineForm::new(1, 1 << 24, config());
        assert_eq!(SavedState::new(&form).unwrap().to_json(), golden);
        let saved = SavedState::from_json(golden.as_bytes()).unwrap();
        assert_eq!(saved.read::<MachineForm>().unwrap(), form);
    }
}
