//! A device on a transport, as its driver reaches it.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use vmmkit_device_bus::{
    DeviceMmio, Lifecycle, MmioAddress, SaveState, SavedState, StateError, StateReason,
};
use vmmkit_guest_memory::GuestRam;

use super::bell::Bell;
use super::pci::PciSlot;
use crate::spec::mmio;
use crate::{Device, MmioTransport, Transport};

/// Which transport a driver drives its device by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransportKind {
    /// Memory-mapped registers (virtio 1.2, section 4.2).
    #[default]
    Mmio,
    /// PCI (section 4.1).
    Pci,
}

impl TransportKind {
    /// PCI where the environment variable `VMMKIT_FAKE_TRANSPORT` is `pci`, so that the tests of every
    /// device can be run on it; MMIO otherwise.
    pub fn chosen() -> Self {
        match std::env::var("VMMKIT_FAKE_TRANSPORT") {
            Ok(name) if name == "pci" => Self::Pci,
            _ => Self::Mmio,
        }
    }
}

/// A device on its transport, whose registers have the names and places of MMIO's on every one.
#[derive(Debug)]
#[non_exhaustive]
pub enum Attachment {
    /// By memory-mapped registers.
    Mmio(MmioTransport),
    /// By PCI, in a machine of its own.
    Pci(PciSlot),
}

impl Attachment {
    pub(super) fn new(
        kind: TransportKind,
        device: Arc<dyn Device>,
        ram: &GuestRam,
        bell: &Arc<Bell>,
    ) -> io::Result<Self> {
        let name = format!("{}0", device.kind().name());
        Ok(match kind {
            TransportKind::Mmio => {
                Self::Mmio(MmioTransport::new(&name, device, ram, bell.clone())?)
            }
            TransportKind::Pci => Self::Pci(PciSlot::new(&name, device, ram, bell)?),
        })
    }

    /// The common part of every transport.
    pub fn transport(&self) -> &Transport {
        match self {
            Self::Mmio(transport) => transport.transport(),
            Self::Pci(slot) => slot.transport().transport(),
        }
    }

    /// The device's place on the PCI bus, where it has one.
    pub fn pci(&self) -> Option<&PciSlot> {
        match self {
            Self::Mmio(_) => None,
            Self::Pci(slot) => Some(slot),
        }
    }

    /// Which transport it is.
    pub fn kind(&self) -> TransportKind {
        match self {
            Self::Mmio(_) => TransportKind::Mmio,
            Self::Pci(_) => TransportKind::Pci,
        }
    }

    /// Finds the device, as a driver does before all else.
    pub(super) fn probe(&self) {
        if let Self::Pci(slot) = self {
            slot.probe();
        }
    }

    /// Wants interrupts, after a reset.
    pub(super) fn bind(&self) {
        if let Self::Pci(slot) = self {
            slot.bind();
        }
    }

    pub(super) fn read(&self, offset: u64) -> u32 {
        match self {
            Self::Mmio(transport) => {
                let mut bytes = [0; 4];
                transport.mmio_read(MmioAddress(0), offset, &mut bytes);
                u32::from_le_bytes(bytes)
            }
            Self::Pci(slot) => slot.read_register(offset),
        }
    }

    pub(super) fn write(&self, offset: u64, value: u32) {
        match self {
            Self::Mmio(transport) => {
                transport.mmio_write(MmioAddress(0), offset, &value.to_le_bytes());
            }
            Self::Pci(slot) => slot.write_register(offset, value),
        }
    }

    pub(super) fn read_config(&self, offset: u64, bytes: &mut [u8]) {
        match self {
            Self::Mmio(transport) => {
                transport.mmio_read(MmioAddress(0), mmio::CONFIG + offset, bytes);
            }
            Self::Pci(slot) => slot.read_device_config(offset, bytes),
        }
    }

    pub(super) fn write_config(&self, offset: u64, bytes: &[u8]) {
        match self {
            Self::Mmio(transport) => {
                transport.mmio_write(MmioAddress(0), mmio::CONFIG + offset, bytes);
            }
            Self::Pci(slot) => slot.write_device_config(offset, bytes),
        }
    }

    /// Saves the device at rest, and restores it in `other`, which is at rest then.
    pub(super) fn hand_over(&self, other: &Self) -> Result<SavedState, StateError> {
        match (self, other) {
            (Self::Pci(before), Self::Pci(after)) => before.hand_over(after),
            (Self::Mmio(before), Self::Mmio(after)) => {
                let state = before.save_state()?;
                after.restore_state(&state)?;
                Ok(state)
            }
            _ => Err(StateError::whole("transport", StateReason::Unexpected)),
        }
    }

    #[cfg(test)]
    pub(crate) fn save(&self) -> Result<SavedState, StateError> {
        match self {
            Self::Mmio(transport) => transport.save_state(),
            Self::Pci(slot) => slot.transport().save_state(),
        }
    }

    /// Restores the device alone, which is at rest then.
    #[cfg(test)]
    pub(crate) fn restore(&self, saved: &SavedState) -> Result<(), StateError> {
        match self {
            Self::Mmio(transport) => transport.restore_state(saved),
            Self::Pci(slot) => slot.transport().restore_state(saved),
        }
    }

    fn life(&self) -> &dyn Lifecycle {
        match self {
            Self::Mmio(transport) => transport,
            Self::Pci(slot) => slot.bus(),
        }
    }
}

impl Lifecycle for Attachment {
    fn start(&self) -> io::Result<()> {
        self.life().start()
    }

    fn pause(&self) {
        self.life().pause();
    }

    fn wait_paused(&self) {
        self.life().wait_paused();
    }

    fn wait_paused_until(&self, deadline: Instant) -> bool {
        self.life().wait_paused_until(deadline)
    }

    fn resume(&self) {
        self.life().resume();
    }

    fn reset(&self) {
        self.life().reset();
    }

    fn stop(&self) {
        self.life().stop();
    }
}
