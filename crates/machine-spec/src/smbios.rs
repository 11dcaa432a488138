//! The machine as SMBIOS tables name it, and credentials that they carry to systemd.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::given::written;
use crate::{Fault, Given, Words, path_text};

/// The machine as SMBIOS tables name it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct SmbiosSpec {
    /// The maker.
    pub manufacturer: Option<String>,
    /// The model.
    pub product: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// The serial number.
    pub serial: Option<String>,
    /// The machine's ID.
    #[serde(with = "crate::serde_text::option")]
    pub uuid: Option<Uuid>,
    /// The configuration that is sold.
    pub sku: Option<String>,
    /// The models that it belongs to.
    pub family: Option<String>,
    /// Texts for programs of the guest (OEM strings).
    pub oem: Vec<String>,
}

impl SmbiosSpec {
    /// `KEY=TEXT` for each field; `oem` any number of times.
    ///
    /// # Errors
    /// [`Fault`] says what of it cannot be.
    pub fn parse(given: &Given) -> Result<Self, Fault> {
        let mut words = Words::new(given);
        let mut text =
            |key| -> Result<Option<String>, Fault> { Ok(words.value(key)?.map(str::to_owned)) };
        let mut spec = Self {
            manufacturer: text("manufacturer")?,
            product: text("product")?,
            version: text("version")?,
            serial: text("serial")?,
            uuid: None,
            sku: text("sku")?,
            family: text("family")?,
            oem: Vec::new(),
        };
        while let Some(oem) = text("oem")? {
            spec.oem.push(oem);
        }
        spec.uuid = words.parsed("uuid", Uuid::FORM, |text| text.parse().ok())?;
        words.end()?;
        match spec == Self::default() {
            true => Err(Fault::Missing("manufacturer, product, serial or uuid")),
            false => Ok(spec),
        }
    }
}

impl fmt::Display for SmbiosSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let uuid = self.uuid.map(|uuid| uuid.to_string());
        let fields = [
            ("manufacturer", &self.manufacturer),
            ("product", &self.product),
            ("version", &self.version),
            ("serial", &self.serial),
            ("uuid", &uuid),
            ("sku", &self.sku),
            ("family", &self.family),
        ];
        let fields = fields
            .into_iter()
            .filter_map(|(key, value)| Some(format!("{key}={}", value.as_ref()?)));
        let texts = self.oem.iter().map(|text| format!("oem={text}"));
        let words: Vec<String> = fields.chain(texts).collect();
        f.write_str(&written(&words))
    }
}

/// A universally unique ID, in the order of its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    const FORM: &str = "32 hexadecimal digits, as 01234567-89ab-cdef-0123-456789abcdef";
    /// Digits between the dashes.
    const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];
}

/// A text that is not a universally unique ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an ID is {}", Uuid::FORM)]
pub struct UuidError;

impl FromStr for Uuid {
    type Err = UuidError;

    fn from_str(text: &str) -> Result<Self, UuidError> {
        let digits = match text.contains('-') {
            true if text.split('-').map(str::len).eq(Self::GROUPS) => text.replace('-', ""),
            true => return Err(UuidError),
            false => text.to_owned(),
        };
        let is_hex = digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let number = u128::from_str_radix(&digits, 16).ok();
        let number = number.filter(|_| is_hex).ok_or(UuidError)?;
        Ok(Self(number.to_be_bytes()))
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            let dash = matches!(index, 4 | 6 | 8 | 10).then_some("-");
            write!(f, "{}{byte:02x}", dash.unwrap_or_default())?;
        }
        Ok(())
    }
}

/// A credential for systemd in the guest (systemd.system-credentials(7)).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CredentialSpec {
    /// Its name, such as `passwd.plaintext-password.root`.
    pub name: String,
    /// Its value.
    pub value: CredentialValue,
}

/// The value of a credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CredentialValue {
    /// Itself.
    Text(String),
    /// The contents of a file.
    File(PathBuf),
}

impl CredentialSpec {
    /// The maximum length of a name, in bytes: it is the name of a file in the guest.
    pub const MAX_NAME: usize = 255;

    /// `NAME=TEXT` or `NAME=@FILE`. A comma is part of either.
    ///
    /// # Errors
    /// [`Fault::Missing`], [`Fault::NotA`].
    pub fn parse(given: &Given) -> Result<Self, Fault> {
        let (name, value) = given
            .as_text()
            .split_once('=')
            .ok_or(Fault::Missing("value"))?;
        let is_file_name = !matches!(name, "" | "." | "..") && name.len() <= Self::MAX_NAME;
        let is_plain = |letter: char| letter.is_ascii_graphic() && !matches!(letter, '/' | ':');
        if !is_file_name || !name.chars().all(is_plain) {
            return Err(Fault::NotA {
                key: "name",
                value: name.to_owned(),
                wanted: "the name of a file, of letters, digits, dots, dashes",
            });
        }
        let value = match value.strip_prefix('@') {
            Some("") => return Err(Fault::EmptyPath { place: "file" }),
            Some(path) => CredentialValue::File(given.path(path)),
            None => CredentialValue::Text(value.to_owned()),
        };
        Ok(Self {
            name: name.to_owned(),
            value,
        })
    }
}

impl fmt::Display for CredentialSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            CredentialValue::Text(text) => write!(f, "{}={text}", self.name),
            CredentialValue::File(path) => {
                write!(f, "{}=@{}", self.name, path_text::of_path(path))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_named_by_its_fields_and_texts() {
        let parsed = |text| SmbiosSpec::parse(&Given::text(text));
        let text = "manufacturer=Acme,, Inc.,serial=7,uuid=01234567-89ab-cdef-0123-456789abcdef,\
                    oem=a=b,oem=c";
        let spec = parsed(text).unwrap();
        assert_eq!(spec.manufacturer.as_deref(), Some("Acme, Inc."));
        assert_eq!(spec.oem, ["a=b", "c"]);
        assert_eq!(spec.to_string(), text);
        let serialized = serde_json::to_string(&spec).unwrap();
        assert_eq!(
            serde_json::from_str::<SmbiosSpec>(&serialized).unwrap(),
            spec
        );
        for text in [
            "",
            "serial=",
            "serial=1,serial=2",
            "uuid=1",
            "uuid=+1234567-89ab-cdef-0123-456789abcdef",
            "model=x",
        ] {
            assert!(parsed(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_credential_is_a_text_or_a_file() {
        let parsed = |text| CredentialSpec::parse(&Given::text(text));
        for text in ["a.b=x,y=z", "key=@/etc/id, 2.pub", "empty="] {
            assert_eq!(parsed(text).unwrap().to_string(), text);
        }
        for text in ["", "name", "=x", "a/b=x", "a:b=x", "..=x", "a b=x", "a=@"] {
            assert!(parsed(text).is_err(), "{text}");
        }
    }
}
