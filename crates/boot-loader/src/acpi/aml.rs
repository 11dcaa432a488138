//! The DSDT's definitions: names only, so that a kernel that boots has nothing to interpret, and one method that
//! an event of the VM's generation runs.

use std::collections::HashSet;

use acpi_tables::Aml;
use acpi_tables::aml::{EISAName, IO, Name, PackageBuilder, Path, Scope, ZERO};

use super::entry::{Entry, edge, numbered, registers};
use super::{AcpiConfig, AcpiDevice, AcpiError, generation, pci};

/// Devices of one kind are told apart by the last letters of a name, in hexadecimal.
const LAST_SERIAL: u32 = 0xe;
const LAST_VIRTIO: u32 = 0xfff;
const LAST_OWN: u32 = 0xfff;
/// A device of the embedder's own, in errors.
const OWN: &str = "device of the embedder's own";

/// `\_S5` and every device under `\_SB`.
pub(super) fn definitions(config: &AcpiConfig) -> Result<Vec<u8>, AcpiError> {
    let mut bytes = Vec::new();
    // SLP_TYP for PM1a, and for PM1b, which is not there (ACPI 6.5, section 7.4.2).
    let mut sleep = PackageBuilder::new();
    sleep.add_element(&config.pm.sleep_type_s5);
    for _ in 0..3 {
        sleep.add_element(&ZERO);
    }
    Name::new(Path::new("_S5_"), &sleep).to_aml_bytes(&mut bytes);
    let mut entries = Vec::new();
    for device in &config.devices {
        entries.extend(describe(device)?);
    }
    if let Some(host) = &config.pci {
        entries.extend(pci::describe(host)?);
    }
    let mut devices = Vec::new();
    let mut names: HashSet<&str> = entries.iter().map(|entry| &*entry.name).collect();
    for object in &config.objects {
        if !names.insert(object.name()) {
            let name = object.name().to_owned();
            return Err(AcpiError::Twice { name });
        }
    }
    for entry in &entries {
        entry.to_aml_bytes(&mut devices);
    }
    for object in &config.objects {
        object.to_aml_bytes(&mut devices);
    }
    bytes.extend(Scope::raw(Path::new("_SB_"), devices));
    Ok(bytes)
}

fn describe(device: &AcpiDevice) -> Result<Vec<Entry>, AcpiError> {
    let entry = match *device {
        AcpiDevice::Serial { index, port, gsi } => {
            let index = numbered("serial port", index, LAST_SERIAL)?;
            // COM1 has the number 0.
            let name = format!("COM{:X}", index.saturating_add(1));
            let entry = Entry::new(name, &EISAName::new("PNP0501"), index);
            entry.with(&ports(port, 8)).with(&edge(gsi))
        }
        AcpiDevice::Keyboard => {
            let entry = Entry::new("KBD_".to_owned(), &EISAName::new("PNP0303"), 0);
            entry
                .with(&ports(0x60, 1))
                .with(&ports(0x64, 1))
                .with(&edge(1))
        }
        AcpiDevice::Rtc => {
            let entry = Entry::new("RTC_".to_owned(), &EISAName::new("PNP0B00"), 0);
            entry.with(&ports(0x70, 2))
        }
        AcpiDevice::VirtioMmio {
            index,
            base,
            size,
            gsi,
        } => {
            let index = numbered("virtio device", index, LAST_VIRTIO)?;
            let entry = Entry::new(format!("V{index:03X}"), &"LNRO0005", index);
            registers(entry, "virtio device", index, base, size)?.with(&edge(gsi))
        }
        AcpiDevice::Own {
            index,
            id,
            ports: range,
            memory,
            gsi,
        } => {
            let index = numbered(OWN, index, LAST_OWN)?;
            let mut entry = Entry::new(format!("E{index:03X}"), &id.as_str().to_owned(), index);
            if let Some((first, count)) = range {
                entry = entry.with(&ports(first, count));
            }
            if let Some((base, size)) = memory {
                entry = registers(entry, OWN, index, base, size)?;
            }
            match gsi {
                Some(gsi) => entry.with(&edge(gsi)),
                None => entry,
            }
        }
        AcpiDevice::Pvpanic { port } => {
            let entry = Entry::new("PEVT".to_owned(), &"QEMU0001", 0);
            entry.with(&ports(port, 1))
        }
        AcpiDevice::FwCfg { port, count } => {
            let entry = Entry::new("FWCF".to_owned(), &"QEMU0002", 0);
            entry.with(&ports(port, count))
        }
        AcpiDevice::Generation { id, clock, gsi } => {
            return Ok(generation::describe(id, clock, gsi).into());
        }
    };
    Ok(vec![entry])
}

fn ports(first: u16, count: u8) -> IO {
    IO::new(first, first, 1, count)
}
