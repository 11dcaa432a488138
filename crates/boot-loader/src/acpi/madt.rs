//! The MADT (ACPI 6.5, section 5.2.12): who takes interrupts, and by which pins they come.

use acpi_tables::sdt::Sdt;

use super::AcpiConfig;
use super::header::{HEADER, OEM_REVISION};

/// As of ACPI 6.3.
const REVISION: u8 = 5;
/// Where every local APIC is.
const LOCAL_APIC: u32 = 0xfee0_0000;
/// Flags: there are two 8259 as well, which must be masked (table 5.20).
const PCAT_COMPAT: u32 = 1;
/// Flags of a processor: it may be used (table 5.23).
const ENABLED: u32 = 1;
/// From this APIC ID on an entry needs the x2APIC form (section 5.2.12.12).
pub(super) const FIRST_X2APIC: u32 = 255;

/// Interrupt flags (table 5.26): as the bus has it.
const CONFORMS: u16 = 0;
/// Interrupt flags: active high, edge-triggered.
const HIGH_EDGE: u16 = 1 | 1 << 2;
/// Interrupt flags: active high, level-triggered.
const HIGH_LEVEL: u16 = 1 | 3 << 2;

/// The pin that NMI comes by.
const NMI_PIN: u8 = 1;
/// The pin of the I/O APIC that the 8254 timer, interrupt 0 of ISA, is wired to.
const TIMER_GSI: u32 = 2;

/// The MADT. Its structures are written here: the acpi_tables crate has no x2APIC, interrupt
/// override or NMI among them.
pub(super) fn madt(config: &AcpiConfig) -> Sdt {
    let mut body = Vec::new();
    body.extend(LOCAL_APIC.to_le_bytes());
    let flags = if config.legacy.pic { PCAT_COMPAT } else { 0 };
    body.extend(flags.to_le_bytes());
    for &id in &config.apic_ids {
        match u8::try_from(id) {
            Ok(id) if u32::from(id) < FIRST_X2APIC => body.extend(local_apic(id)),
            _ => body.extend(local_x2apic(id)),
        }
    }
    body.extend(ioapic(config));
    if config.legacy.pit {
        body.extend(interrupt_override(0, TIMER_GSI, CONFORMS));
    }
    let sci = u8::try_from(config.pm.sci).unwrap_or_default();
    body.extend(interrupt_override(sci, config.pm.sci, HIGH_LEVEL));
    body.extend(nmi());
    if config.apic_ids.iter().any(|&id| id >= FIRST_X2APIC) {
        body.extend(x2apic_nmi());
    }
    let mut madt = Sdt::new(
        *b"APIC",
        HEADER,
        REVISION,
        config.oem.id,
        config.oem.table_id,
        OEM_REVISION,
    );
    madt.append_slice(&body);
    madt
}

/// Processor local APIC (table 5.22); the processor's UID is its APIC ID.
fn local_apic(id: u8) -> [u8; 8] {
    let [a, b, c, d] = ENABLED.to_le_bytes();
    [0, 8, id, id, a, b, c, d]
}

/// Processor local x2APIC (table 5.39).
fn local_x2apic(id: u32) -> Vec<u8> {
    let mut entry = vec![9, 16, 0, 0];
    entry.extend(id.to_le_bytes());
    entry.extend(ENABLED.to_le_bytes());
    entry.extend(id.to_le_bytes());
    entry
}

/// I/O APIC (table 5.24).
fn ioapic(config: &AcpiConfig) -> Vec<u8> {
    let mut entry = vec![1, 12, config.ioapic.id, 0];
    entry.extend(config.ioapic.address.to_le_bytes());
    entry.extend(config.ioapic.gsi_base.to_le_bytes());
    entry
}

/// Interrupt source override (table 5.25), of the bus 0, ISA.
fn interrupt_override(source: u8, gsi: u32, flags: u16) -> Vec<u8> {
    let mut entry = vec![2, 10, 0, source];
    entry.extend(gsi.to_le_bytes());
    entry.extend(flags.to_le_bytes());
    entry
}

/// Local APIC NMI (table 5.28), of all processors.
fn nmi() -> [u8; 6] {
    let [low, high] = HIGH_EDGE.to_le_bytes();
    [4, 6, 0xff, low, high, NMI_PIN]
}

/// Local x2APIC NMI (table 5.40), of all processors.
fn x2apic_nmi() -> [u8; 12] {
    let [low, high] = HIGH_EDGE.to_le_bytes();
    [0xa, 12, low, high, 0xff, 0xff, 0xff, 0xff, NMI_PIN, 0, 0, 0]
}
