//! The PCI host bridge: its windows in the DSDT, and the MCFG that says where the configuration
//! spaces are in memory (PCI Firmware Specification 3.3, section 4.1.2).

use acpi_tables::aml::{AddressSpace, AddressSpaceCacheable, EISAName, IO, ZERO};
use acpi_tables::mcfg::MCFG;

use super::config::{AddressWindow, PciHost};
use super::entry::{Entry, numbered, registers};
use super::header::OEM_REVISION;
use super::{AcpiConfig, AcpiError};

/// The ports of configuration mechanism 1 (PCI 3.0, section 3.2.2.3.2).
const CONFIG_PORTS: u16 = 0xcf8;
const CONFIG_PORT_COUNT: u8 = 8;
/// Buses of a segment.
const LAST_BUS: u32 = 255;
/// Bytes of the configuration spaces of one bus.
const BUS_SIZE: u64 = 1 << 20;

impl PciHost {
    /// Bytes of the configuration spaces in memory.
    pub(crate) fn ecam_size(&self) -> u64 {
        u64::from(self.buses) * BUS_SIZE
    }

    fn last_bus(&self) -> Result<u8, AcpiError> {
        let last = u32::from(self.buses).wrapping_sub(1);
        numbered("PCI bus", last, LAST_BUS)?;
        Ok(last as u8)
    }
}

/// The bridge, and a device that keeps the configuration spaces reserved: a kernel does not use an
/// MCFG whose addresses nobody reserves.
pub(super) fn describe(host: &PciHost) -> Result<Vec<Entry>, AcpiError> {
    let buses = AddressSpace::<u16>::new_bus_number(0, host.last_bus()?.into());
    let below = AddressSpace::<u16>::new_io(0, CONFIG_PORTS - 1, None);
    let above =
        AddressSpace::<u16>::new_io(CONFIG_PORTS + u16::from(CONFIG_PORT_COUNT), u16::MAX, None);
    let mut bridge = Entry::new("PCI0".to_owned(), &EISAName::new("PNP0A08"), 0)
        .named("_CID", &EISAName::new("PNP0A03"))
        .named("_BBN", &ZERO)
        .with(&buses)
        .with(&IO::new(CONFIG_PORTS, CONFIG_PORTS, 1, CONFIG_PORT_COUNT))
        .with(&below)
        .with(&above)
        .with(&low_window(host.window)?);
    if let Some(window) = host.high_window {
        bridge = bridge.with(&high_window(window)?);
    }
    let Some(ecam) = host.ecam else {
        return Ok(vec![bridge]);
    };
    let board = Entry::new("ECAM".to_owned(), &EISAName::new("PNP0C02"), 0);
    let board = registers(board, "PCI configuration space", 0, ecam, host.ecam_size())?;
    Ok(vec![bridge, board])
}

/// The MCFG of `config`, if it has PCI.
pub(super) fn mcfg(config: &AcpiConfig) -> Result<Option<MCFG>, AcpiError> {
    let host = config.pci.as_ref();
    let Some((host, ecam)) = host.and_then(|host| Some((host, host.ecam?))) else {
        return Ok(None);
    };
    let mut mcfg = MCFG::new(config.oem.id, config.oem.table_id, OEM_REVISION);
    mcfg.add_ecam(ecam, 0, 0, host.last_bus()?);
    Ok(Some(mcfg))
}

fn low_window(window: AddressWindow) -> Result<AddressSpace<u32>, AcpiError> {
    let (first, last) = ends(window, 0)?;
    let (Ok(first), Ok(last)) = (u32::try_from(first), u32::try_from(last)) else {
        return Err(range_error(window, 0));
    };
    let cacheable = AddressSpaceCacheable::NotCacheable;
    Ok(AddressSpace::<u32>::new_memory(
        cacheable, true, first, last, None,
    ))
}

fn high_window(window: AddressWindow) -> Result<AddressSpace<u64>, AcpiError> {
    let (first, last) = ends(window, 1)?;
    let cacheable = AddressSpaceCacheable::NotCacheable;
    Ok(AddressSpace::<u64>::new_memory(
        cacheable, true, first, last, None,
    ))
}

/// First and last address; a window at address 0 is none.
fn ends(window: AddressWindow, index: u32) -> Result<(u64, u64), AcpiError> {
    let steps = window.size.checked_sub(1);
    let last = steps.and_then(|steps| window.base.checked_add(steps));
    match last {
        Some(last) if window.base > 0 => Ok((window.base, last)),
        _ => Err(range_error(window, index)),
    }
}

fn range_error(window: AddressWindow, index: u32) -> AcpiError {
    AcpiError::Range {
        what: "PCI window",
        index,
        base: window.base,
        size: window.size,
    }
}
