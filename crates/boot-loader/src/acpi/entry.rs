//! A device in the DSDT, and its resources.

use acpi_tables::aml::{Device, Interrupt, Memory32Fixed, Method, Name, Path, ResourceTemplate};
use acpi_tables::{Aml, AmlSink};

use super::AcpiError;

/// A device that is being described.
pub(super) struct Entry {
    pub(super) name: String,
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

/// An edge-triggered, active-high interrupt that is not shared.
pub(super) fn edge(gsi: u32) -> Interrupt {
    Interrupt::new(true, true, false, false, gsi)
}

/// Encoded AML.
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

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
