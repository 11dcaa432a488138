//! Where each table lies, and the tables that only point to others.

use acpi_tables::Aml;
use acpi_tables::facs::FACS;
use acpi_tables::rsdp::Rsdp;
use acpi_tables::sdt::Sdt;
use acpi_tables::xsdt::XSDT;
use vmmkit_guest_memory::GuestAddress;

use super::header::{HEADER, OEM_REVISION};
use super::{AcpiConfig, AcpiError, aml, fadt, madt, pci, srat};

/// Every table starts at a multiple of this: the FACS must (ACPI 6.5, section 5.2.10).
pub(super) const ALIGNMENT: usize = 64;

/// All tables, the RSDP first.
pub(super) fn build(config: &AcpiConfig, at: GuestAddress) -> Result<Vec<u8>, AcpiError> {
    check(config, at)?;
    let mut tables = Tables {
        at: at.0,
        bytes: vec![0; ALIGNMENT], // for the RSDP
    };
    let placed = place(config, &mut tables)?;
    Ok(tables.finish(&Rsdp::new(config.oem.id, placed.xsdt)))
}

/// All tables but the RSDP, made to lie at address 0, and where those are that point to others.
pub(super) fn build_movable(config: &AcpiConfig) -> Result<(Vec<u8>, Placed), AcpiError> {
    check(config, GuestAddress(0))?;
    let mut tables = Tables {
        at: 0,
        bytes: Vec::new(),
    };
    let placed = place(config, &mut tables)?;
    Ok((tables.bytes, placed))
}

/// The addresses of the tables that point to others, or that those point to.
pub(super) struct Placed {
    pub(super) dsdt: u64,
    pub(super) fadt: u64,
    pub(super) xsdt: u64,
    /// The number of tables that the XSDT names.
    pub(super) entries: u64,
}

fn place(config: &AcpiConfig, tables: &mut Tables) -> Result<Placed, AcpiError> {
    let oem = config.oem;
    let facs = tables.put(&FACS::new())?;
    let dsdt = tables.put(&dsdt(config)?)?;
    let fadt = tables.put(&fadt::fadt(config, facs, dsdt))?;
    let mut named = vec![fadt, tables.put(&madt::madt(config))?];
    if let Some(srat) = srat::srat(config)? {
        named.push(tables.put(&srat)?);
    }
    if let Some(mcfg) = pci::mcfg(config)? {
        named.push(tables.put(&mcfg)?);
    }
    let mut xsdt = XSDT::new(oem.id, oem.table_id, OEM_REVISION);
    for table in &named {
        xsdt.add_entry(*table);
    }
    Ok(Placed {
        dsdt,
        fadt,
        xsdt: tables.put(&xsdt)?,
        entries: named.len() as u64,
    })
}

fn check(config: &AcpiConfig, at: GuestAddress) -> Result<(), AcpiError> {
    if !at.0.is_multiple_of(ALIGNMENT as u64) {
        return Err(AcpiError::Unaligned { at: at.0 });
    }
    if config.pm.sci > 15 {
        return Err(AcpiError::Sci { sci: config.pm.sci });
    }
    if config.pm.sleep_type_s5 > 7 {
        return Err(AcpiError::SleepType {
            sleep_type: config.pm.sleep_type_s5,
        });
    }
    Ok(())
}

/// DSDT of revision 2: integers have 64 bits (ACPI 6.5, section 5.2.11.1).
fn dsdt(config: &AcpiConfig) -> Result<Sdt, AcpiError> {
    let oem = config.oem;
    let mut dsdt = Sdt::new(*b"DSDT", HEADER, 2, oem.id, oem.table_id, OEM_REVISION);
    dsdt.append_slice(&aml::definitions(config)?);
    Ok(dsdt)
}

/// Tables one after the other.
struct Tables {
    at: u64,
    bytes: Vec<u8>,
}

impl Tables {
    /// Appends `table` and returns its address.
    fn put(&mut self, table: &dyn Aml) -> Result<u64, AcpiError> {
        let start = self.bytes.len().next_multiple_of(ALIGNMENT);
        self.bytes.resize(start, 0);
        table.to_aml_bytes(&mut self.bytes);
        let end = self.at.checked_add(self.bytes.len() as u64);
        end.ok_or(AcpiError::AddressSpace { at: self.at })?;
        Ok(self.at.saturating_add(start as u64))
    }

    fn finish(mut self, rsdp: &Rsdp) -> Vec<u8> {
        let mut first = Vec::with_capacity(Rsdp::len());
        rsdp.to_aml_bytes(&mut first);
        for (place, byte) in self.bytes.iter_mut().zip(first) {
            *place = byte;
        }
        self.bytes
    }
}
