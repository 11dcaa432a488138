//! The DSDT's definitions: names only, so that a kernel that boots has nothing to interpret, and one method that
//! an event of the VM's generation runs.

use acpi_tables::aml::{
    Device, EISAName, IO, Interrupt, Memory32Fixed, Method, Name, PackageBuilder, Path,
    ResourceTemplate, Scope, ZERO,
};
use acpi_tables::{Aml, AmlSink};

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
    let mut devices = Vec::new();
    for device in &config.devices {
        for entry in describe(device)? {
            entry.to_aml_bytes(&mut devices);
        }
    }
    if let Some(host) = &config.pci {
        for entry in pci::describe(host)? {
            entry.to_aml_bytes(&mut devices);
        }
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
        AcpiDevice::Generation { id, clock, gsi } => {
            return Ok(generation::describe(id, clock, gsi).into());
        }
    };
    Ok(vec![entry])
}

pub(super) fn numbered(what: &'static str, index: u32, most: u32) -> Result<u32, AcpiError> {
    if index > most {
        return Err(AcpiError::TooMany { what, index, most });
    }
    Ok(index)
}

/// Adds a range of memory: by the short form below 4 GiB.
pub(super) fn registers(
    entry: Entry,
    what: &'static str,
    index: u32,
    base: u64,
    size: u64,
) -> Result<Entry, AcpiError> {
    let error = AcpiError::Range {
        what,
        index,
        base,
        size,
    };
    let last = size.checked_sub(1).and_then(|size| base.checked_add(size));
    // The length of all 64 bits cannot be written; nothing can be that large.
    let last = last.filter(|_| size < u64::MAX).ok_or(error)?;
    match (
        u32::try_from(base),
        u32::try_from(size),
        u32::try_from(last),
    ) {
        (Ok(base), Ok(size), Ok(_)) => Ok(entry.with(&Memory32Fixed::new(true, base, size))),
        _ => Ok(entry.with(&HighMemory { base, last, size })),
    }
}

fn ports(first: u16, count: u8) -> IO {
    IO::new(first, first, 1, count)
}

/// An edge-triggered, active-high interrupt that is not shared.
pub(super) fn edge(gsi: u32) -> Interrupt {
    Interrupt::new(true, true, false, false, gsi)
}

/// A device that is being described.
pub(super) struct Entry {
    name: String,
    identity: Vec<u8>,
    resources: Vec<u8>,
}

impl Entry {
    /// A device of four letters: its _HID and _UID (ACPI 6.5, sections 6.1.5 and 6.1.12).
    pub(super) fn new(name: String, hid: &dyn Aml, uid: u32) -> Self {
        let mut identity = Vec::new();
        Name::new(Path::new("_HID"), hid).to_aml_bytes(&mut identity);
        Name::new(Path::new("_UID"), &uid).to_aml_bytes(&mut identity);
        Self {
            name,
            identity,
            resources: Vec::new(),
        }
    }

    /// Adds an object of its own.
    pub(super) fn named(mut self, name: &str, value: &dyn Aml) -> Self {
        Name::new(Path::new(name), value).to_aml_bytes(&mut self.identity);
        self
    }

    /// Adds a method.
    pub(super) fn method(mut self, method: &Method<'_>) -> Self {
        method.to_aml_bytes(&mut self.identity);
        self
    }

    /// Adds a resource to its _CRS (section 6.2.2).
    pub(super) fn with(mut self, resource: &dyn Aml) -> Self {
        resource.to_aml_bytes(&mut self.resources);
        self
    }
}

impl Aml for Entry {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        let resources = Bytes(&self.resources);
        let template = ResourceTemplate::new(vec![&resources]);
        let settings = Name::new(Path::new("_CRS"), &template);
        let identity = Bytes(&self.identity);
        let mut objects: Vec<&dyn Aml> = vec![&identity];
        if !self.resources.is_empty() {
            objects.push(&settings);
        }
        Device::new(Path::new(&self.name), objects).to_aml_bytes(sink);
    }
}

/// Encoded AML.
struct Bytes<'a>(&'a [u8]);

impl Aml for Bytes<'_> {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.vec(self.0);
    }
}

/// A device's own range of memory anywhere, uncached and writable (ACPI 6.5, section 6.4.3.5.1);
/// that of the acpi_tables crate is one which a bridge passes on.
struct HighMemory {
    base: u64,
    last: u64,
    size: u64,
}

impl Aml for HighMemory {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        const LENGTH: u16 = 43;
        const CONSUMED_AND_FIXED: u8 = 1 | 1 << 2 | 1 << 3;
        const WRITABLE: u8 = 1;
        sink.byte(0x8a);
        sink.word(LENGTH);
        sink.vec(&[0, CONSUMED_AND_FIXED, WRITABLE]);
        for value in [0, self.base, self.last, 0, self.size] {
            sink.qword(value);
        }
    }
}
