//! Where everything is: the identity, the capabilities, and the parts of the one base address.

use vmmkit_pci::spec::capability::VENDOR;
use vmmkit_pci::{ConfigError, ConfigSpace, Identity, Msix};

use crate::DeviceKind;
use crate::spec::pci::{self, capability, common};

/// The base address that everything is in.
pub(super) const BAR: u8 = 0;
/// Its size in bytes.
const BAR_SIZE: u64 = 0x1_0000;
/// Bytes of each part but the table of vectors. A part has pages of its own.
const PART: u64 = 0x1000;
/// Offsets of the parts.
const COMMON: u64 = 0x0000;
const ISR: u64 = 0x1000;
const DEVICE: u64 = 0x2000;
pub(super) const NOTIFY: u64 = 0x3000;
const TABLE: u64 = 0x4000;
/// After a table of 2048 entries.
const PENDING: u64 = 0xc000;
/// Bytes from the kicks of one queue to those of the next (4.1.4.4).
pub(super) const MULTIPLIER: u64 = 4;
/// The most queues: their kicks fill a part.
pub(super) const MAX_QUEUES: u16 = (PART / MULTIPLIER) as u16;

/// A part of the base address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Region {
    Common,
    Isr,
    Device,
    Notify,
    Table,
    Pending,
}

impl Region {
    /// The part that `offset` is in, and the offset there.
    pub(super) fn at(offset: u64) -> (Self, u64) {
        match offset {
            COMMON..ISR => (Self::Common, offset),
            ISR..DEVICE => (Self::Isr, offset - ISR),
            DEVICE..NOTIFY => (Self::Device, offset - DEVICE),
            NOTIFY..TABLE => (Self::Notify, offset - NOTIFY),
            TABLE..PENDING => (Self::Table, offset - TABLE),
            _ => (Self::Pending, offset.saturating_sub(PENDING)),
        }
    }
}

/// Where the capabilities are that the transport itself looks at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places {
    pub(super) msix: usize,
    pub(super) window: usize,
}

/// The configuration space of a device of `kind` with `queues` queues.
pub(super) fn config_space(
    kind: DeviceKind,
    queues: u16,
    msix: &Msix,
) -> Result<(ConfigSpace, Places), ConfigError> {
    let device = kind.pci_device();
    let mut config = ConfigSpace::new(&Identity {
        vendor: pci::VENDOR,
        device,
        revision: pci::REVISION,
        class: kind.pci_class(),
        subsystem_vendor: pci::VENDOR,
        // 0x40 or higher, so that no driver of transitional devices takes it (4.1.2.1).
        subsystem: device,
    });
    config.add_bar(BAR, BAR_SIZE, false)?;
    add(&mut config, capability::COMMON, COMMON, common::LENGTH, &[])?;
    add(&mut config, capability::ISR, ISR, 1, &[])?;
    add(&mut config, capability::DEVICE, DEVICE, PART, &[])?;
    let multiplier = (MULTIPLIER as u32).to_le_bytes();
    let length = MULTIPLIER * u64::from(queues.max(1));
    add(&mut config, capability::NOTIFY, NOTIFY, length, &multiplier)?;
    // Which base address, offset and length are the driver's to write (4.1.4.9).
    let mut writable = [0; 14];
    for (byte, mask) in writable.iter_mut().zip(WINDOW_WRITABLE) {
        *byte = mask;
    }
    let window = config.add_capability(VENDOR, &body(capability::PCI, 0, 0, &[0; 4]), &writable)?;
    let msix = msix.add_to(&mut config, BAR, TABLE as u32, PENDING as u32)?;
    let places = Places {
        msix: msix.into(),
        window: window.into(),
    };
    Ok((config, places))
}

/// The bytes behind ID and link: length and kind are fixed, then BAR, ID and padding, offset, length.
const WINDOW_WRITABLE: [u8; 14] = [
    0, 0, 0xff, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
];

fn add(
    config: &mut ConfigSpace,
    kind: u8,
    offset: u64,
    length: u64,
    more: &[u8],
) -> Result<u8, ConfigError> {
    // Offsets and lengths lie inside the base address.
    let body = body(kind, offset as u32, length as u32, more);
    config.add_capability(VENDOR, &body, &[])
}

/// A capability behind its ID and link (4.1.4).
fn body(kind: u8, offset: u32, length: u32, more: &[u8]) -> Vec<u8> {
    let size = 16 + more.len() as u8;
    let mut body = vec![size, kind, BAR, 0, 0, 0];
    body.extend(offset.to_le_bytes());
    body.extend(length.to_le_bytes());
    body.extend(more);
    body
}
