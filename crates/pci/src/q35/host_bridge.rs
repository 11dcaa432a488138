//! The host bridge, whose register says where the configuration spaces are in memory.

use std::fmt;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use vmmkit_device_bus::{AddressRange, Lifecycle, MmioBus};

use crate::config::touches;
use crate::spec::{class, header, q35};
use crate::{ConfigSpace, Ecam, Identity, PciBus, PciFunction};

const IDENTITY: Identity = Identity {
    vendor: q35::VENDOR,
    device: q35::HOST_BRIDGE,
    revision: 0,
    class: class::HOST_BRIDGE,
    subsystem_vendor: 0x1af4,
    subsystem: 0x1100,
};

/// A host bridge that puts the configuration spaces of its bus where the guest wants them in memory: nowhere at
/// first. Plug it in as device 0.
///
/// Lock order: what is plugged, its configuration space, the memory bus.
pub struct Q35HostBridge {
    config: Mutex<ConfigSpace>,
    /// The name of the configuration spaces on the memory bus.
    ecam_name: Arc<str>,
    // Not owned: it owns this function, by the configuration spaces that are plugged into it.
    memory: Weak<MmioBus>,
    bus: Weak<PciBus>,
    /// Where the configuration spaces are.
    plugged: Mutex<Option<AddressRange>>,
}

impl Q35HostBridge {
    /// Its name on the bus.
    pub const NAME: &'static str = "pci host bridge";

    /// The bridge of `bus`, whose configuration spaces are on `memory` as `ecam_name`.
    pub fn new(bus: &Arc<PciBus>, memory: &Arc<MmioBus>, ecam_name: &str) -> Self {
        let mut config = ConfigSpace::new(&IDENTITY);
        let writable = q35::ECAM_USED.to_le_bytes();
        config.set_register(q35::ECAM, &[0; 8], &writable);
        Self {
            config: Mutex::new(config),
            ecam_name: ecam_name.into(),
            memory: Arc::downgrade(memory),
            bus: Arc::downgrade(bus),
            plugged: Mutex::default(),
        }
    }

    /// Where the guest wants the configuration spaces.
    fn wanted(&self) -> Option<AddressRange> {
        let mut bytes = [0; 8];
        self.config.lock().read(q35::ECAM, &mut bytes);
        let value = u64::from_le_bytes(bytes);
        if value & q35::ECAM_ENABLE == 0 {
            return None;
        }
        let size: u64 = match (value & q35::ECAM_LENGTH) >> 1 {
            0 => 256 << 20,
            1 => 128 << 20,
            2 => 64 << 20,
            _ => return None, // reserved
        };
        let base = value & q35::ECAM_USED & !(size - 1);
        (base != 0).then(|| AddressRange::new(base, size))
    }

    /// Puts the configuration spaces where they are wanted. What is in their way stays there, and they are nowhere.
    pub fn settle(&self) {
        let (Some(memory), Some(bus)) = (self.memory.upgrade(), self.bus.upgrade()) else {
            return;
        };
        let mut plugged = self.plugged.lock();
        let wanted = self.wanted();
        if *plugged == wanted {
            return;
        }
        if let Some(range) = plugged.take() {
            memory.unplug(range.base);
        }
        *plugged = wanted.filter(|range| {
            let ecam = Arc::new(Ecam::new(bus));
            memory.plug(&*self.ecam_name, *range, ecam).is_ok()
        });
    }

    /// Where the configuration spaces are in memory.
    pub fn ecam(&self) -> Option<AddressRange> {
        *self.plugged.lock()
    }
}

impl PciFunction for Q35HostBridge {
    fn name(&self) -> Arc<str> {
        Self::NAME.into()
    }

    fn config(&self) -> &Mutex<ConfigSpace> {
        &self.config
    }

    fn write_config(&self, register: usize, data: &[u8]) {
        self.config.lock().write(register, data);
        if touches(register, data.len(), &(q35::ECAM..q35::ECAM + 8)) {
            self.settle();
        }
    }
}

impl Lifecycle for Q35HostBridge {
    fn reset(&self) {
        self.config.lock().reset();
        self.settle();
    }
}

impl fmt::Debug for Q35HostBridge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Q35HostBridge")
            .field("ecam", &self.ecam())
            .finish_non_exhaustive()
    }
}

const _: () = assert!(q35::ECAM >= header::END);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PciLayout;

    fn machine() -> (Arc<MmioBus>, Arc<PciBus>, Arc<Q35HostBridge>) {
        let memory = Arc::new(MmioBus::new());
        let bus = Arc::new(PciBus::new(&memory, PciLayout::default()));
        let bridge = Arc::new(Q35HostBridge::new(&bus, &memory, "ecam"));
        bus.plug(bridge.clone()).unwrap();
        (memory, bus, bridge)
    }

    fn set(bus: &PciBus, value: u64) {
        // As firmware does: off, the high half, the low half.
        bus.write_config(0, q35::ECAM, &[0]);
        let [low, high] = [value as u32, (value >> 32) as u32].map(u32::to_le_bytes);
        bus.write_config(0, q35::ECAM + 4, &high);
        bus.write_config(0, q35::ECAM, &low);
    }

    fn id_at(memory: &MmioBus, address: u64) -> u32 {
        let mut bytes = [0xff; 4];
        memory.read(address, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    #[test]
    fn the_configuration_spaces_are_where_the_guest_wants_them() {
        let (memory, bus, bridge) = machine();
        assert_eq!(bridge.ecam(), None);
        for base in [0xb000_0000, 0xe000_0000] {
            set(&bus, base | q35::ECAM_ENABLE);
            assert_eq!(bridge.ecam(), Some(AddressRange::new(base, 256 << 20)));
            assert_eq!(id_at(&memory, base), 0x29c0_8086);
            assert_eq!(id_at(&memory, base + (5 << 15)), u32::MAX, "no device 5");
            assert_eq!(id_at(&memory, base + (1 << 20)), u32::MAX, "no bus 1");
        }
        assert_eq!(id_at(&memory, 0xb000_0000), u32::MAX);
        bridge.reset();
        assert_eq!(bridge.ecam(), None);
    }

    #[test]
    fn they_are_as_large_as_the_guest_wants_them() {
        let (_memory, bus, bridge) = machine();
        set(&bus, 0xb400_0000 | 4 | q35::ECAM_ENABLE);
        assert_eq!(
            bridge.ecam(),
            Some(AddressRange::new(0xb400_0000, 64 << 20))
        );
        set(&bus, 0xbc00_0000 | 2 | q35::ECAM_ENABLE);
        assert_eq!(
            bridge.ecam(),
            Some(AddressRange::new(0xb800_0000, 128 << 20))
        );
        for nowhere in [
            0xb000_0000 | 6 | q35::ECAM_ENABLE,
            q35::ECAM_ENABLE,
            0xb000_0000,
        ] {
            set(&bus, nowhere);
            assert_eq!(bridge.ecam(), None, "{nowhere:#x}");
        }
    }

    #[test]
    fn what_is_in_their_way_stays() {
        let (memory, bus, bridge) = machine();
        let range = AddressRange::new(0xb000_1000, 4);
        let other = Arc::new(Ecam::new(bus.clone()));
        memory.plug("other", range, other).unwrap();
        set(&bus, 0xb000_0000 | q35::ECAM_ENABLE);
        assert_eq!(bridge.ecam(), None);
        set(&bus, 0xc000_0000 | q35::ECAM_ENABLE);
        assert!(bridge.ecam().is_some());
    }
}
