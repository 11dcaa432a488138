//! The saved form of a network device, besides its transport and its queues.

use serde::{Deserialize, Serialize};
use vmmkit_device_bus::{SaveState, SavedState, StateError, StateForm};

use super::{Identity, Net};

/// The bit of the first byte of an address that is for several stations (IEEE 802.3, 3.2.3).
const GROUP: u8 = 1;

/// The state of the device that the guest knows, and its settings.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NetForm {
    mac: [u8; 6],
    mtu: Option<u16>,
    is_plugged: bool,
    /// The pairs of queues that the driver uses.
    pub(super) pairs: u16,
    /// The offloads that the driver has left on, as feature bits.
    pub(super) offloads: u64,
}

impl StateForm for NetForm {
    const KIND: &'static str = "virtio-net";
    const VERSION: u32 = 1;
}

impl SaveState for Net {
    fn save_state(&self) -> Result<SavedState, StateError> {
        let Identity { mac, mtu } = *self.identity.lock();
        SavedState::new(&NetForm {
            mac,
            mtu,
            is_plugged: self.shared.is_plugged(),
            pairs: self.shared.pairs(),
            offloads: self.shared.offloads(),
        })
    }

    /// Pairs and offloads are set when the device works again.
    fn restore_state(&self, saved: &SavedState) -> Result<(), StateError> {
        let form: NetForm = saved.read()?;
        let [first, ..] = form.mac;
        StateError::check_bits(NetForm::KIND, "mac[0]", first, !GROUP)?;
        let pairs = self.shared.lines.len() as u64;
        StateError::check_max(NetForm::KIND, "pairs", form.pairs, pairs)?;
        *self.identity.lock() = Identity {
            mac: form.mac,
            mtu: form.mtu,
        };
        self.shared.set_plugged(form.is_plugged);
        *self.restored.lock() = Some(form);
        Ok(())
    }
}
