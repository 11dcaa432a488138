//! The saved forms of the host bridge and of the ports of configuration mechanism 1.

use serde::{Deserialize, Serialize};
use vmmkit_device_bus::{SaveState, SavedState, StateError, StateForm};

use crate::spec::mechanism_1;
use crate::{ConfigPorts, HostBridge, PciFunction};

/// CONFIG_ADDRESS.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigPortsForm {
    address: u32,
}

impl StateForm for ConfigPortsForm {
    const KIND: &'static str = "pci-config-ports";
    const VERSION: u32 = 1;
}

impl SaveState for ConfigPorts {
    fn save_state(&self) -> Result<SavedState, StateError> {
        SavedState::new(&ConfigPortsForm {
            address: self.state(),
        })
    }

    fn restore_state(&self, saved: &SavedState) -> Result<(), StateError> {
        let ConfigPortsForm { address } = saved.read()?;
        let allowed = mechanism_1::USED;
        StateError::check_bits(ConfigPortsForm::KIND, "address", address, allowed)?;
        self.restore(address);
        Ok(())
    }
}

/// The configuration space.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HostBridgeForm {
    config: Vec<u8>,
}

impl StateForm for HostBridgeForm {
    const KIND: &'static str = "pci-host-bridge";
    const VERSION: u32 = 1;
}

impl SaveState for HostBridge {
    fn save_state(&self) -> Result<SavedState, StateError> {
        SavedState::new(&HostBridgeForm {
            config: self.config().lock().save(),
        })
    }

    fn restore_state(&self, saved: &SavedState) -> Result<(), StateError> {
        let form: HostBridgeForm = saved.read()?;
        let mut config = self.config().lock();
        config
            .restore(HostBridgeForm::KIND, &form.config)
            .map_err(|error| error.within("config"))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use vmmkit_device_bus::{DevicePio, MmioBus, PioAddress, check_golden};

    use super::*;
    use crate::{PciBus, PciLayout};

    macro_rules! golden {
        ($name:literal) => {
            include_str!(concat!("../goldens/", $name, ".json"))
        };
    }

    fn ports() -> ConfigPorts {
        let bus = PciBus::new(&Arc::new(MmioBus::new()), PciLayout::default());
        ConfigPorts::new(Arc::new(bus), None)
    }

    #[test]
    fn states_of_earlier_builds_load() {
        check_golden(&ports(), golden!("pci-config-ports.v1")).unwrap();
        check_golden(&HostBridge::new(), golden!("pci-host-bridge.v1")).unwrap();
    }

    #[test]
    fn a_bridge_goes_on_as_the_one_that_was_saved() {
        let (old, new) = (HostBridge::new(), HostBridge::new());
        for register in (0..256).step_by(4) {
            old.write_config(register, &[0xa5, 0x5a, register as u8, 0xff]);
        }
        new.restore_state(&old.save_state().unwrap()).unwrap();
        for register in (0..256).step_by(4) {
            let (mut before, mut after) = ([0; 4], [0; 4]);
            old.read_config(register, &mut before);
            new.read_config(register, &mut after);
            assert_eq!(before, after, "{register:#x}");
        }
    }

    #[test]
    fn the_address_is_restored_and_its_reserved_bits_are_refused() {
        let (old, new) = (ports(), ports());
        let base = PioAddress(mechanism_1::ADDRESS);
        old.pio_write(base, 0, &0x8000_f804_u32.to_le_bytes());
        new.restore_state(&old.save_state().unwrap()).unwrap();
        assert_eq!(new.state(), 0x8000_f804);
        let bad = golden!("pci-config-ports.v1").replace("2147485696", "3");
        let bad = SavedState::from_json(bad.as_bytes()).unwrap();
        let error = new.restore_state(&bad).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("pci-config-ports: address 0x3: ")
        );
    }
}
