//! The description of a device in AML that an embedder wrote.

use std::fmt;

use acpi_tables::aml::{Device, Path};
use acpi_tables::{Aml, AmlSink};

use super::AcpiError;
use super::entry::Bytes;

/// A device under `\\_SB` in the DSDT whose contents are an embedder's AML (ACPI 6.5, section 20.2): whatever
/// [`AcpiDevice::Own`](super::AcpiDevice::Own) has no word for, such as a method, a _DSD or a _DEP.
///
/// The name is checked, the AML is not: an interpreter that cannot read it leaves out the rest of the table.
///
/// ```
/// use vmmkit_boot_loader::acpi::AcpiObject;
///
/// // Name (_HID, "VMKT0002"): NameOp, the name, and a string (ACPI 6.5, sections 20.2.5.1 and 20.2.3).
/// let aml = b"\x08_HID\x0dVMKT0002\0";
/// assert!(AcpiObject::device("ADDR", aml.to_vec()).is_ok());
/// assert!(AcpiObject::device("address", aml.to_vec()).is_err());
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct AcpiObject {
    name: String,
    aml: Vec<u8>,
}

impl AcpiObject {
    /// The most bytes of AML.
    pub const MAX_BYTES: usize = 16 << 10;

    /// A device called `name`: four capital letters, digits or underscores, the first not a digit (section 20.2.2).
    /// `aml` is what is defined in it, encoded; with the crate acpi_tables, the bytes of each `Name` and `Method`.
    ///
    /// # Errors
    /// [`AcpiError::Name`] and [`AcpiError::Object`] for a name that cannot be one, and for AML that is too long.
    pub fn device(name: &str, aml: Vec<u8>) -> Result<Self, AcpiError> {
        let is_lead = |byte: &u8| byte.is_ascii_uppercase() || *byte == b'_';
        let is_name = |byte: &u8| is_lead(byte) || byte.is_ascii_digit();
        let is_right = match name.as_bytes() {
            [lead, rest @ ..] => rest.len() == 3 && is_lead(lead) && rest.iter().all(is_name),
            [] => false,
        };
        let name = name.to_owned();
        if !is_right {
            return Err(AcpiError::Name { name });
        }
        if aml.len() > Self::MAX_BYTES {
            let (size, limit) = (aml.len(), Self::MAX_BYTES);
            return Err(AcpiError::Object { name, size, limit });
        }
        Ok(Self { name, aml })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Aml for AcpiObject {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        let body = Bytes(&self.aml);
        Device::new(Path::new(&self.name), vec![&body]).to_aml_bytes(sink);
    }
}

impl fmt::Debug for AcpiObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcpiObject")
            .field("name", &self.name)
            .field("bytes", &self.aml.len())
            .finish()
    }
}
