//! Compact text for what there is much of in a vCPU's state: hexadecimal numbers for tables of registers, base64
//! (RFC 4648, section 4, without padding) for areas of bytes.

use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use vmmkit_device_bus::state::Value;

use crate::x86::{CpuidEntry, Msr};

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Bytes as base64.
pub(super) mod bytes {
    use super::*;

    pub(in super::super) fn serialize<S: Serializer>(
        bytes: &[u8],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        encode(bytes).serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        decode(&text).ok_or_else(|| D::Error::custom("not base64"))
    }
}

/// The same, which may be absent.
pub(super) mod optional_bytes {
    use super::*;

    pub(in super::super) fn serialize<S: Serializer>(
        bytes: &Option<Vec<u8>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        bytes.as_deref().map(encode).serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Vec<u8>>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        let bytes = text.map(|text| decode(&text).ok_or_else(|| D::Error::custom("not base64")));
        bytes.transpose()
    }
}

/// A table whose rows are hexadecimal numbers with a space between them.
pub(super) mod rows {
    use super::*;

    pub(in super::super) fn serialize<R: Row, S: Serializer>(
        rows: &[R],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(rows.iter().map(Row::to_text))
    }

    pub(in super::super) fn deserialize<'de, R: Row, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<R>, D::Error> {
        let rows = Vec::<String>::deserialize(deserializer)?;
        let row = |text: String| {
            let malformed = || D::Error::custom("not a row of hexadecimal numbers");
            R::from_text(&text).ok_or_else(malformed)
        };
        rows.into_iter().map(row).collect()
    }
}

/// A row of a table.
pub(super) trait Row: Sized + DeserializeOwned {
    /// It as numbers.
    fn to_text(&self) -> String;
    /// The row of such a text.
    fn from_text(text: &str) -> Option<Self>;
}

/// Leaf, sub-leaf, whether the sub-leaf counts, and EAX, EBX, ECX, EDX.
impl Row for CpuidEntry {
    fn to_text(&self) -> String {
        let Self {
            function,
            index,
            significant_index,
            eax,
            ebx,
            ecx,
            edx,
        } = self;
        let counts = u8::from(*significant_index);
        format!("{function:x} {index:x} {counts} {eax:x} {ebx:x} {ecx:x} {edx:x}")
    }

    fn from_text(text: &str) -> Option<Self> {
        let [function, index, counts, eax, ebx, ecx, edx] = numbers(text)?;
        let narrow = |number| u32::try_from(number).ok();
        Some(Self {
            function: narrow(function)?,
            index: narrow(index)?,
            significant_index: (counts < 2).then_some(counts == 1)?,
            eax: narrow(eax)?,
            ebx: narrow(ebx)?,
            ecx: narrow(ecx)?,
            edx: narrow(edx)?,
        })
    }
}

/// Number and value.
impl Row for Msr {
    fn to_text(&self) -> String {
        format!("{:x} {:x}", self.index, self.value)
    }

    fn from_text(text: &str) -> Option<Self> {
        let [index, value] = numbers(text)?;
        let index = u32::try_from(index).ok()?;
        Some(Self { index, value })
    }
}

/// Exactly `N` hexadecimal numbers.
fn numbers<const N: usize>(text: &str) -> Option<[u64; N]> {
    let mut words = text.split(' ');
    let mut found = [0; N];
    for number in &mut found {
        let word = words.next()?;
        // from_str_radix takes a sign too.
        let is_hex = word.bytes().all(|byte| byte.is_ascii_hexdigit());
        *number = is_hex.then(|| u64::from_str_radix(word, 16).ok())??;
    }
    words.next().is_none().then_some(found)
}

/// Rows in the first version's form, a map for each, as this one's.
pub(super) fn upgrade_rows<R: Row>(rows: &Value) -> Option<Value> {
    let rows = Vec::<R>::deserialize(rows).ok()?;
    let texts = rows.iter().map(|row| Value::String(row.to_text()));
    Some(Value::Array(texts.collect()))
}

/// Bytes in the first version's form, a number for each, as this one's.
pub(super) fn upgrade_bytes(bytes: &Value) -> Option<Value> {
    let bytes = Option::<Vec<u8>>::deserialize(bytes).ok()?;
    Some(bytes.map_or(Value::Null, |bytes| Value::String(encode(&bytes))))
}

fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let mut bits = 0;
        for place in 0..3 {
            bits = bits << 8 | u32::from(group.get(place).copied().unwrap_or(0));
        }
        for place in 0..=group.len() {
            let digit = bits >> (18 - 6 * place) & 0x3f;
            text.extend(DIGITS.get(digit as usize).copied().map(char::from));
        }
    }
    text
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for group in text.as_bytes().chunks(4) {
        let mut bits = 0;
        for place in 0..4 {
            let digit = match group.get(place) {
                Some(digit) => value(*digit)?,
                None => 0,
            };
            bits = bits << 6 | digit;
        }
        let [_, first, second, third] = bits.to_be_bytes();
        // A digit more than whole bytes have is not base64.
        let count = group.len().checked_sub(1).filter(|count| *count > 0)?;
        bytes.extend([first, second, third].into_iter().take(count));
    }
    Some(bytes)
}

fn value(digit: u8) -> Option<u32> {
    let value = match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(value.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4648, section 10.
    #[test]
    fn bytes_are_base64_without_padding() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg"),
            ("fo", "Zm8"),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encode(bytes.as_bytes()), text);
            assert_eq!(decode(text).unwrap(), bytes.as_bytes());
        }
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(decode(&encode(&all)).unwrap(), all);
        for wrong in ["A", "AAAAA", "====", "Zg==", "Z g", "\u{e9}"] {
            assert_eq!(decode(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn rows_are_exactly_their_numbers() {
        let row = CpuidEntry {
            function: 0x8000_0001,
            index: 1,
            significant_index: true,
            edx: u32::MAX,
            ..CpuidEntry::default()
        };
        assert_eq!(row.to_text(), "80000001 1 1 0 0 0 ffffffff");
        assert_eq!(CpuidEntry::from_text(&row.to_text()), Some(row));
        let msr = Msr {
            index: 0xc000_0080,
            value: u64::MAX,
        };
        assert_eq!(Msr::from_text(&msr.to_text()), Some(msr));
        for wrong in ["", "1", "1 2 3", "1  2", "+1 2", "1 g", "100000000 0"] {
            assert_eq!(Msr::from_text(wrong), None, "{wrong:?}");
        }
        assert_eq!(CpuidEntry::from_text("1 0 2 0 0 0 0"), None, "not a truth");
    }
}
