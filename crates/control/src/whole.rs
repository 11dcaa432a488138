//! Whole numbers of JSON, for which 4 and 4.0 are the same number (RFC 8259, 6; JSON Schema, 6.1.1).

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

/// The largest number up to which every whole one is a double: 2^53.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// For `deserialize_with`.
pub(crate) fn number<'de, T: TryFrom<u64>, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    from.deserialize_u64(Whole(PhantomData))
}

/// The same, where there may be nothing.
pub(crate) fn optional<'de, T: TryFrom<u64>, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<T>, D::Error> {
    let number: Option<Number<T>> = Option::deserialize(from)?;
    Ok(number.map(|number| number.0))
}

struct Number<T>(T);

impl<'de, T: TryFrom<u64>> Deserialize<'de> for Number<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        number(from).map(Number)
    }
}

struct Whole<T>(PhantomData<T>);

impl<T: TryFrom<u64>> Visitor<'_> for Whole<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number from 0")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        let wrong = |_| E::invalid_value(Unexpected::Unsigned(number), &"a smaller number");
        T::try_from(number).map_err(wrong)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(E::invalid_value(Unexpected::Signed(number), &self)),
        }
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<T, E> {
        if number.fract() == 0.0 && (0.0..=EXACT).contains(&number) {
            // Exact, by the check.
            return self.visit_u64(number as u64);
        }
        Err(E::invalid_value(Unexpected::Float(number), &self))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    struct Numbers {
        #[serde(deserialize_with = "super::number")]
        here: u32,
        #[serde(default, deserialize_with = "super::optional")]
        maybe: Option<u64>,
    }

    #[test]
    fn a_whole_number_may_have_a_point() {
        let read = |text: &str| serde_json::from_str::<Numbers>(text);
        let numbers = read(r#"{"here": 7.0, "maybe": 1e3}"#).unwrap();
        assert_eq!((numbers.here, numbers.maybe), (7, Some(1000)));
        let numbers = read(r#"{"here": 0, "maybe": null}"#).unwrap();
        assert_eq!((numbers.here, numbers.maybe), (0, None));
        assert_eq!(read(r#"{"here": 1}"#).unwrap().maybe, None);
        for number in [
            "1.5",
            "-1",
            "-1.0",
            "4294967296",
            "1e300",
            "\"1\"",
            "true",
            "null",
        ] {
            let text = format!(r#"{{"here": {number}}}"#);
            assert!(read(&text).is_err(), "{text}");
        }
    }
}
