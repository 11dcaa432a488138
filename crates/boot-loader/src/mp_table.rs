//! The MP table (Intel MultiProcessor Specification 1.4, chapter 4): what kernels without ACPI
//! know their CPUs and interrupts by.

use thiserror::Error;
use vmmkit_guest_memory::{AccessError, GuestAddress, GuestRam};

use crate::Oem;

/// The most vCPUs: more do not fit into the first KiB of the EBDA, where kernels look for the table.
pub const MAX_VCPUS: u32 = 40;

/// Whether there is an MP table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum MpTable {
    /// Where one can describe the vCPUs. A kernel that has ACPI does not use it, but looks for it all
    /// the same: Linux maps and unmaps memory 4,000 times where it finds none.
    #[default]
    Auto,
    /// Always: an error where it cannot describe the vCPUs.
    Always,
    /// Never.
    Never,
}

impl MpTable {
    /// Whether a machine of `vcpus` vCPUs gets one.
    pub fn is_for(self, vcpus: u32) -> bool {
        match self {
            Self::Auto => vcpus <= MAX_VCPUS,
            Self::Always => true,
            Self::Never => false,
        }
    }
}

/// Bytes of the floating pointer structure (table 4-1).
const POINTER: u64 = 16;
/// Bytes of the configuration table's header (table 4-2).
const HEADER: u16 = 44;
/// Specification revision 1.4, in both structures.
const REVISION: u8 = 4;
/// Version of an integrated APIC (Intel SDM vol. 3A, 11.4.8).
const APIC_VERSION: u8 = 0x14;
/// Version of the 82093AA, and of KVM's I/O APIC.
const IOAPIC_VERSION: u8 = 0x11;
const LOCAL_APIC: u32 = 0xfee0_0000;
const IOAPIC: u32 = 0xfec0_0000;
/// The interrupts of ISA.
const INTERRUPTS: u8 = 16;
/// The pin of the I/O APIC that interrupt 0, the timer, is wired to; interrupt 2 has none.
const TIMER_PIN: u8 = 2;
/// Destination of a local interrupt: all local APICs.
const ALL: u8 = 0xff;

/// Why there is no MP table.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MpTableError {
    /// The number of vCPUs cannot be described.
    #[error("an MP table of {vcpus} vCPUs: there must be 1 to {MAX_VCPUS}")]
    Vcpus {
        /// The number.
        vcpus: usize,
    },
    /// An APIC ID has 8 bits there, and the I/O APIC takes the one after the last.
    #[error("an MP table with APIC ID {id}: it must be below 254")]
    ApicId {
        /// The ID.
        id: u32,
    },
    /// The table cannot lie there.
    #[error("an MP table at {at:#x}: the address must be a multiple of 16 below 4 GiB")]
    Place {
        /// The address.
        at: u64,
    },
    /// Guest RAM could not be written.
    #[error("cannot write the MP table at {at:#x}")]
    Write {
        /// The address.
        at: u64,
        /// The reason.
        #[source]
        source: AccessError,
    },
}

/// Writes the floating pointer to `at`, a multiple of 16 below 4 GiB, and right after it the table
/// of the vCPUs with `apic_ids`, of which the first one starts. Returns the number of bytes written:
/// 212 and 20 for each vCPU. A kernel looks for the pointer in the first KiB of the EBDA, in the
/// last KiB below 640 KiB, and from 0xf0000 to 1 MiB (section 4).
///
/// # Errors
/// [`MpTableError`] names the number or address.
pub fn write(
    ram: &GuestRam,
    apic_ids: &[u32],
    oem: Oem,
    at: GuestAddress,
) -> Result<u64, MpTableError> {
    let bytes = bytes(apic_ids, oem, at)?;
    ram.write_bytes(at, &bytes)
        .map_err(|source| MpTableError::Write { at: at.0, source })?;
    Ok(bytes.len() as u64)
}

/// Floating pointer and table, to lie at `at`.
fn bytes(apic_ids: &[u32], oem: Oem, at: GuestAddress) -> Result<Vec<u8>, MpTableError> {
    let vcpus = apic_ids.len();
    if vcpus == 0 || vcpus > MAX_VCPUS as usize {
        return Err(MpTableError::Vcpus { vcpus });
    }
    let narrow = |&id: &u32| match u8::try_from(id) {
        Ok(id @ 0..254) => Ok(id),
        _ => Err(MpTableError::ApicId { id }),
    };
    let apic_ids: Vec<u8> = apic_ids.iter().map(narrow).collect::<Result<_, _>>()?;
    let table_address = at.0.checked_add(POINTER).filter(|at| at.is_multiple_of(16));
    let table_address = table_address.and_then(|at| u32::try_from(at).ok());
    let table_address = table_address.ok_or(MpTableError::Place { at: at.0 })?;
    let mut bytes = floating_pointer(table_address).to_vec();
    bytes.extend(configuration(&apic_ids, oem));
    Ok(bytes)
}

/// Table 4-1. No feature bytes: the table describes the machine, which starts in virtual wire mode.
fn floating_pointer(table: u32) -> [u8; 16] {
    let [a, b, c, d] = table.to_le_bytes();
    let mut pointer = [
        b'_', b'M', b'P', b'_', a, b, c, d, 1, REVISION, 0, 0, 0, 0, 0, 0,
    ];
    let sum = checksum(&pointer);
    if let Some(place) = pointer.get_mut(10) {
        *place = sum;
    }
    pointer
}

/// Table 4-2 and the entries after it.
fn configuration(apic_ids: &[u8], oem: Oem) -> Vec<u8> {
    let entries = entries(apic_ids);
    let count: usize = entries.iter().map(Vec::len).sum();
    let length = u16::try_from(count)
        .unwrap_or(u16::MAX)
        .saturating_add(HEADER);
    let entry_count = u16::try_from(entries.len()).unwrap_or(u16::MAX);
    let mut table = b"PCMP".to_vec();
    table.extend(length.to_le_bytes());
    table.extend([REVISION, 0]); // the sum is set below
    table.extend(oem.id);
    table.extend(b"  ");
    table.extend(b"PC          ");
    table.extend([0; 6]); // no OEM table
    table.extend(entry_count.to_le_bytes());
    table.extend(LOCAL_APIC.to_le_bytes());
    table.extend([0; 4]); // no extended table
    table.extend(entries.into_iter().flatten());
    let sum = checksum(&table);
    if let Some(place) = table.get_mut(7) {
        *place = sum;
    }
    table
}

/// Entries by type, as the specification has them sorted; the I/O APIC's ID is the one after the vCPUs'.
fn entries(apic_ids: &[u8]) -> Vec<Vec<u8>> {
    let ioapic_id = apic_ids
        .iter()
        .max()
        .map_or(0, |last| last.saturating_add(1));
    let processors = apic_ids.iter().enumerate();
    let mut entries: Vec<_> = processors
        .map(|(number, &id)| processor(id, number == 0))
        .collect();
    entries.push(b"\x01\x00ISA   ".to_vec()); // bus 0, table 4-6
    let mut ioapic = vec![2, ioapic_id, IOAPIC_VERSION, 1]; // table 4-8: usable
    ioapic.extend(IOAPIC.to_le_bytes());
    entries.push(ioapic);
    for interrupt in (0..INTERRUPTS).filter(|&interrupt| interrupt != TIMER_PIN) {
        let pin = if interrupt == 0 { TIMER_PIN } else { interrupt };
        // Table 4-9: an ordinary interrupt of bus 0, as ISA has it.
        entries.push(vec![3, 0, 0, 0, 0, interrupt, ioapic_id, pin]);
    }
    // Table 4-10: the 8259 at LINT0, NMI at LINT1.
    entries.push(vec![4, 3, 0, 0, 0, 0, ALL, 0]);
    entries.push(vec![4, 1, 0, 0, 0, 0, ALL, 1]);
    entries
}

/// Table 4-3: usable, the first one starts; a CPU of family 6 with an FPU and an APIC.
fn processor(id: u8, starts: bool) -> Vec<u8> {
    let flags = if starts { 3 } else { 1 };
    let mut entry = vec![0, id, APIC_VERSION, flags];
    entry.extend(0x600_u32.to_le_bytes());
    entry.extend(0x201_u32.to_le_bytes());
    entry.extend([0; 8]);
    entry
}

/// The byte that makes the sum of `bytes` zero.
pub(crate) fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_sub(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory_map::EBDA;
    use crate::testing::ram;

    fn entries_of(table: &[u8]) -> Vec<&[u8]> {
        let mut rest = &table[HEADER.into()..];
        let mut entries = Vec::new();
        while !rest.is_empty() {
            let (entry, after) = rest.split_at(if rest[0] == 0 { 20 } else { 8 });
            entries.push(entry);
            rest = after;
        }
        entries
    }

    #[test]
    fn the_sums_of_pointer_and_table_are_zero() {
        let bytes = bytes(&[0, 1, 2], Oem::default(), EBDA).unwrap();

        assert_eq!(checksum(&bytes[..16]), 0);
        assert_eq!(checksum(&bytes[16..]), 0);
        assert_eq!(bytes[..4], *b"_MP_");
        assert_eq!(bytes[4..8], 0x9_fc10_u32.to_le_bytes());
    }

    #[test]
    fn the_header_counts_bytes_and_entries() {
        let bytes = bytes(&[0, 1, 2], Oem::default(), EBDA).unwrap();
        let table = &bytes[16..];

        assert_eq!(table[..4], *b"PCMP");
        assert_eq!(
            usize::from(u16::from_le_bytes([table[4], table[5]])),
            table.len()
        );
        let entries = entries_of(table);
        assert_eq!(usize::from(table[34]), entries.len());
        let of = |kind| entries.iter().filter(|entry| entry[0] == kind).count();
        assert_eq!([of(0), of(1), of(2), of(3), of(4)], [3, 1, 1, 15, 2]);
    }

    #[test]
    fn the_first_cpu_starts_and_the_timer_comes_by_pin_2() {
        let bytes = bytes(&[0, 1], Oem::default(), EBDA).unwrap();
        let entries = entries_of(&bytes[16..]);

        assert_eq!(entries[0][..4], [0, 0, 0x14, 3]);
        assert_eq!(entries[1][..4], [0, 1, 0x14, 1]);
        assert_eq!(entries[3], [2, 2, 0x11, 1, 0, 0, 0xc0, 0xfe]);
        assert_eq!(entries[4], [3, 0, 0, 0, 0, 0, 2, 2]);
        assert_eq!(entries[5], [3, 0, 0, 0, 0, 1, 2, 1]);
    }

    #[test]
    fn ram_holds_what_was_written() {
        let ram = ram(16);

        let length = write(&ram, &[0, 1, 4, 5], Oem::default(), EBDA).unwrap();

        let mut read = vec![0; usize::try_from(length).unwrap()];
        ram.read_bytes(EBDA, &mut read).unwrap();
        assert_eq!(read, bytes(&[0, 1, 4, 5], Oem::default(), EBDA).unwrap());
        assert_eq!(length, 212 + 4 * 20);
    }

    #[test]
    fn what_cannot_be_described_is_refused() {
        let ram = ram(16);
        let refused =
            |ids: &[u32], at| write(&ram, ids, Oem::default(), GuestAddress(at)).unwrap_err();
        let many: Vec<u32> = (0..=MAX_VCPUS).collect();

        assert!(bytes(&many[1..], Oem::default(), EBDA).is_ok());
        assert!(matches!(
            refused(&many, EBDA.0),
            MpTableError::Vcpus { vcpus: 41 }
        ));
        assert!(matches!(
            refused(&[], EBDA.0),
            MpTableError::Vcpus { vcpus: 0 }
        ));
        assert!(matches!(
            refused(&[0, 254], EBDA.0),
            MpTableError::ApicId { id: 254 }
        ));
        assert!(matches!(refused(&[0], 8), MpTableError::Place { at: 8 }));
        assert!(matches!(refused(&[0], 1 << 32), MpTableError::Place { .. }));
        assert!(matches!(
            refused(&[0], 16 << 20),
            MpTableError::Write { .. }
        ));
    }
}
