//! The SRAT (ACPI 6.5, section 5.2.16): which node processors and memory are of, which is node 0 for
//! all, and where memory may be plugged later. A kernel that knows that end of its memory beforehand
//! sees to it that devices with short addresses will reach all of it (Linux: swiotlb).

use acpi_tables::sdt::Sdt;

use super::config::MemoryRange;
use super::header::{HEADER, OEM_REVISION};
use super::madt::FIRST_X2APIC;
use super::{AcpiConfig, AcpiError};

/// As of ACPI 6.3.
const REVISION: u8 = 3;
/// Flags of all structures: it is to be used.
const ENABLED: u32 = 1;
/// Flags of memory: it may be plugged (table 5.61).
const HOT_PLUGGABLE: u32 = 1 << 1;

/// The most processors that are described: more of them would leave no room for other tables in
/// [`ACPI_TABLES_SIZE`](crate::memory_map::ACPI_TABLES_SIZE), and none has a node to be told.
const MAX_PROCESSORS: usize = 2048;

/// The SRAT of `config`, if that says anything of memory.
pub(super) fn srat(config: &AcpiConfig) -> Result<Option<Sdt>, AcpiError> {
    if config.memory.is_empty() || config.apic_ids.len() > MAX_PROCESSORS {
        return Ok(None);
    }
    // The first field was a revision once, and is 1 for ever (table 5.56).
    let mut body = 1_u32.to_le_bytes().to_vec();
    body.extend([0; 8]);
    for &id in &config.apic_ids {
        match u8::try_from(id) {
            Ok(id) if u32::from(id) < FIRST_X2APIC => body.extend(local_apic(id)),
            _ => body.extend(local_x2apic(id)),
        }
    }
    for (index, range) in (0..).zip(&config.memory) {
        body.extend(memory(index, range)?);
    }
    let mut srat = Sdt::new(
        *b"SRAT",
        HEADER,
        REVISION,
        config.oem.id,
        config.oem.table_id,
        OEM_REVISION,
    );
    srat.append_slice(&body);
    Ok(Some(srat))
}

/// Processor local APIC affinity (table 5.57): of node 0 and clock 0.
fn local_apic(id: u8) -> [u8; 16] {
    let [a, b, c, d] = ENABLED.to_le_bytes();
    [0, 16, 0, id, a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0]
}

/// Processor local x2APIC affinity (table 5.60).
fn local_x2apic(id: u32) -> Vec<u8> {
    let mut entry = vec![2, 24, 0, 0, 0, 0, 0, 0];
    entry.extend(id.to_le_bytes());
    entry.extend(ENABLED.to_le_bytes());
    entry.extend([0; 8]);
    entry
}

/// Memory affinity (table 5.59).
fn memory(index: u32, range: &MemoryRange) -> Result<Vec<u8>, AcpiError> {
    let MemoryRange { base, size, .. } = *range;
    if size == 0 || base.checked_add(size).is_none() {
        let what = "memory range";
        return Err(AcpiError::Range {
            what,
            index,
            base,
            size,
        });
    }
    let flags = match range.is_pluggable {
        true => ENABLED | HOT_PLUGGABLE,
        false => ENABLED,
    };
    let mut entry = vec![1, 40, 0, 0, 0, 0, 0, 0];
    entry.extend(base.to_le_bytes());
    entry.extend(size.to_le_bytes());
    entry.extend([0; 4]);
    entry.extend(flags.to_le_bytes());
    entry.extend([0; 8]);
    Ok(entry)
}
