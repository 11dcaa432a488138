//! The tables for firmware that puts them where it has room, and a script that tells it how (QEMU,
//! hw/acpi/bios-linker-loader.c). SeaBIOS, OVMF and qboot carry it out; they read all three as files of fw_cfg.

use acpi_tables::Aml;
use acpi_tables::rsdp::Rsdp;

use super::layout::{self, ALIGNMENT, Placed};
use super::{AcpiConfig, AcpiError};

/// Bytes of a command; those after its fields are 0.
const COMMAND: usize = 128;
/// Bytes of a file's name in it.
const NAME: usize = 56;

/// Command 1: put a file into memory, aligned, in a zone.
const ALLOCATE: u32 = 1;
/// Command 2: add the address of a file to a number in another.
const ADD_POINTER: u32 = 2;
/// Command 3: have the bytes of a range add up to 0.
const ADD_CHECKSUM: u32 = 3;

/// Zone: anywhere below 4 GiB.
const ZONE_HIGH: u8 = 1;
/// Zone: 0xf0000 to 0xfffff, where the RSDP is looked for (ACPI 6.5, section 5.2.5.1).
const ZONE_F_SEGMENT: u8 = 2;

/// Where checksums are, and addresses of tables in tables (ACPI 6.5, sections 5.2.5.3, 5.2.6, 5.2.8, 5.2.9).
const CHECKSUM: u64 = 9;
const LENGTH: u64 = 4;
const RSDP_CHECKSUM: u64 = 8;
const RSDP_CHECKED: u64 = 20;
const RSDP_XSDT: u64 = 24;
const RSDP_EXTENDED_CHECKSUM: u64 = 32;
const FADT_DSDT: u64 = 40;
const FADT_X_FIRMWARE_CTRL: u64 = 132;
const FADT_X_DSDT: u64 = 140;
const XSDT_ENTRIES: u64 = 36;

/// Tables and the script by which firmware links them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkedTables {
    /// All tables but the RSDP, for the file [`TABLES`](Self::TABLES). Addresses in them are offsets into the
    /// file, and the sums of tables with addresses are open.
    pub tables: Vec<u8>,
    /// The RSDP, for the file [`RSDP`](Self::RSDP), likewise.
    pub rsdp: Vec<u8>,
    /// The commands, for the file [`SCRIPT`](Self::SCRIPT).
    pub script: Vec<u8>,
}

impl LinkedTables {
    /// The file that the script calls the tables.
    pub const TABLES: &str = "etc/acpi/tables";
    /// The file that the script calls the RSDP.
    pub const RSDP: &str = "etc/acpi/rsdp";
    /// The file that firmware finds the script in.
    pub const SCRIPT: &str = "etc/table-loader";

    /// Those that describe `config`.
    ///
    /// # Errors
    /// [`AcpiError`] if `config` cannot be described.
    pub fn new(config: &AcpiConfig) -> Result<Self, AcpiError> {
        let (mut tables, placed) = layout::build_movable(config)?;
        let Placed {
            dsdt, fadt, xsdt, ..
        } = placed;
        let mut rsdp = Vec::new();
        Rsdp::new(config.oem.id, xsdt).to_aml_bytes(&mut rsdp);
        // Firmware that knows only this one, such as SeaBIOS, finds the DSDT by it.
        put(&mut tables, fadt + FADT_DSDT, &(dsdt as u32).to_le_bytes());
        let mut script = Script::default();
        script.allocate(Self::TABLES, ALIGNMENT as u32, ZONE_HIGH);
        script.allocate(Self::RSDP, 16, ZONE_F_SEGMENT);

        script.add_pointer(Self::TABLES, fadt + FADT_DSDT, 4);
        script.add_pointer(Self::TABLES, fadt + FADT_X_FIRMWARE_CTRL, 8);
        script.add_pointer(Self::TABLES, fadt + FADT_X_DSDT, 8);
        for entry in 0..placed.entries {
            script.add_pointer(Self::TABLES, xsdt + XSDT_ENTRIES + 8 * entry, 8);
        }
        script.add_pointer(Self::RSDP, RSDP_XSDT, 8);

        for table in [fadt, xsdt] {
            // Firmware may take the sum as it is for a part of what it adds up.
            put(&mut tables, table + CHECKSUM, &[0]);
            let length = length(&tables, table);
            script.add_checksum(Self::TABLES, table + CHECKSUM, table, length);
        }
        put(&mut rsdp, RSDP_CHECKSUM, &[0]);
        put(&mut rsdp, RSDP_EXTENDED_CHECKSUM, &[0]);
        let whole = rsdp.len() as u64;
        script.add_checksum(Self::RSDP, RSDP_CHECKSUM, 0, RSDP_CHECKED);
        script.add_checksum(Self::RSDP, RSDP_EXTENDED_CHECKSUM, 0, whole);
        let script = script.0;
        Ok(Self {
            tables,
            rsdp,
            script,
        })
    }
}

/// The length of the table at `at`, in bytes.
fn length(tables: &[u8], at: u64) -> u64 {
    let field = tables.iter().skip((at + LENGTH) as usize).take(4);
    let add = |length, byte: &u8| length << 8 | u64::from(*byte);
    field.rev().fold(0, add)
}

fn put(bytes: &mut [u8], at: u64, value: &[u8]) {
    for (place, byte) in bytes.iter_mut().skip(at as usize).zip(value) {
        *place = *byte;
    }
}

/// Commands one after the other. Offsets and lengths are of tables, which are far below 4 GiB.
#[derive(Default)]
struct Script(Vec<u8>);

impl Script {
    fn allocate(&mut self, file: &str, alignment: u32, zone: u8) {
        self.push(ALLOCATE, &[&name(file), &alignment.to_le_bytes(), &[zone]]);
    }

    /// The `size` bytes at `offset` of `file` point into the tables.
    fn add_pointer(&mut self, file: &str, offset: u64, size: u8) {
        let tables = name(LinkedTables::TABLES);
        let offset = (offset as u32).to_le_bytes();
        self.push(ADD_POINTER, &[&name(file), &tables, &offset, &[size]]);
    }

    /// The byte at `offset` of `file` makes up for the `length` bytes at `start`.
    fn add_checksum(&mut self, file: &str, offset: u64, start: u64, length: u64) {
        let [offset, start, length] = [offset, start, length].map(|it| (it as u32).to_le_bytes());
        self.push(ADD_CHECKSUM, &[&name(file), &offset, &start, &length]);
    }

    fn push(&mut self, command: u32, fields: &[&[u8]]) {
        let end = self.0.len() + COMMAND;
        self.0.extend(command.to_le_bytes());
        self.0.extend(fields.concat());
        self.0.resize(end, 0);
    }
}

fn name(file: &str) -> Vec<u8> {
    let mut name = file.as_bytes().to_vec();
    name.resize(NAME, 0);
    name
}

#[cfg(test)]
mod tests;
