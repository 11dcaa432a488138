//! The saved forms: configuration spaces.

use serde::{Deserialize, Serialize};
use vmmkit_device_bus::{SaveState, SavedState, StateError, StateForm};

use super::{IsaBridge, Q35HostBridge};
use crate::PciFunction;

macro_rules! config_form {
    ($form:ident, $kind:literal, $bridge:ty, $restored:expr) => {
        #[derive(Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct $form {
            config: Vec<u8>,
        }

        impl StateForm for $form {
            const KIND: &'static str = $kind;
            const VERSION: u32 = 1;
        }

        impl SaveState for $bridge {
            fn save_state(&self) -> Result<SavedState, StateError> {
                let config = self.config().lock().save();
                SavedState::new(&$form { config })
            }

            fn restore_state(&self, saved: &SavedState) -> Result<(), StateError> {
                let form: $form = saved.read()?;
                let restored = self.config().lock().restore($form::KIND, &form.config);
                restored.map_err(|error| error.within("config"))?;
                $restored(self);
                Ok(())
            }
        }
    };
}

config_form!(
    HostBridgeForm,
    "pci-q35-host-bridge",
    Q35HostBridge,
    Q35HostBridge::settle
);
config_form!(
    IsaBridgeForm,
    "pci-isa-bridge",
    IsaBridge,
    |_: &IsaBridge| ()
);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use vmmkit_device_bus::{MmioBus, check_golden};

    use super::*;
    use crate::spec::q35;
    use crate::{PciBus, PciLayout};

    macro_rules! golden {
        ($name:literal) => {
            include_str!(concat!("../../goldens/", $name, ".json"))
        };
    }

    fn host_bridge() -> (Arc<MmioBus>, Arc<PciBus>, Arc<Q35HostBridge>) {
        let memory = Arc::new(MmioBus::new());
        let bus = Arc::new(PciBus::new(&memory, PciLayout::default()));
        let bridge = Arc::new(Q35HostBridge::new(&bus, &memory, "ecam"));
        bus.plug(bridge.clone()).unwrap();
        (memory, bus, bridge)
    }

    #[test]
    fn states_of_earlier_builds_load() {
        let (_memory, _bus, bridge) = host_bridge();
        check_golden(&*bridge, golden!("pci-q35-host-bridge.v1")).unwrap();
        check_golden(&IsaBridge::new(0x600), golden!("pci-isa-bridge.v1")).unwrap();
    }

    #[test]
    fn the_configuration_spaces_are_where_they_were() {
        let (_memory, bus, old) = host_bridge();
        bus.write_config(0, q35::ECAM, &0xb000_0001_u32.to_le_bytes());
        assert!(old.ecam().is_some());
        let (_memory, _bus, new) = host_bridge();
        new.restore_state(&old.save_state().unwrap()).unwrap();
        assert_eq!(new.ecam(), old.ecam());
    }
}
