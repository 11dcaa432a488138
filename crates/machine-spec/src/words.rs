//! The words of a value, taken one by one.

use std::path::PathBuf;

use crate::{Fault, Given, nearest};

/// Names of keys in other programs and here: ours where it takes the same value.
const ELSEWHERE: &[(&str, &str)] = &[
    ("ro", "readonly"),
    ("read-only", "readonly"),
    ("read_only", "readonly"),
    ("queue", "queues"),
    ("num-queues", "queues"),
    ("num_queues", "queues"),
    ("bw", "bandwidth"),
    ("bps", "bandwidth"),
    ("rate", "bandwidth"),
    ("ops", "iops"),
    ("pps", "packets"),
    ("id", "serial"),
    ("o_direct", "direct"),
    ("cache", "direct"),
    ("aio", "backend"),
    ("ifname", "tap"),
    ("macaddr", "mac"),
    ("host_mtu", "mtu"),
    ("sock", "socket"),
    ("uds", "socket"),
    ("uds_path", "socket"),
    ("vhost-socket", "vhost-user"),
    ("mount_tag", "tag"),
    ("guest-cid", "cid"),
    ("guest_cid", "cid"),
    ("hugepages", "backend=hugetlb"),
    ("hugepage_size", "backend=hugetlb"),
    ("shared", "backend=memfd"),
    ("share", "backend=memfd"),
    ("mergeable", "merge"),
    ("prealloc", "prefault"),
    ("maxmem", "max"),
];

/// The words of one value; what is left at the end is unknown.
#[derive(Debug)]
pub struct Words<'a> {
    given: &'a Given,
    /// Each key with its value; a flag has none. The first word may be a place instead.
    words: Vec<(&'a str, Option<&'a str>)>,
    /// The keys that there are.
    keys: Vec<&'static str>,
}

impl<'a> Words<'a> {
    /// The words of `given`.
    pub fn new(given: &'a Given) -> Self {
        let words = given.words().iter().filter(|word| !word.is_empty());
        let words = words.map(|word| match word.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (word.as_str(), None),
        });
        Self {
            given,
            words: words.collect(),
            keys: Vec::new(),
        }
    }

    /// The path that `word` is.
    pub fn path(&self, word: &str) -> PathBuf {
        self.given.path(word)
    }

    /// Takes the first word as it is, whatever it looks like; but `path=` before it, and `file=`, as other
    /// programs have it, are left out. A file that is really called so is `./file=...`.
    pub fn first(&mut self) -> Option<&'a str> {
        let first = self.given.words().first().filter(|word| !word.is_empty())?;
        if !self.words.is_empty() {
            self.words.remove(0);
        }
        let named = first
            .strip_prefix("path=")
            .or_else(|| first.strip_prefix("file="));
        Some(named.unwrap_or(first)).filter(|word| !word.is_empty())
    }

    /// Takes the first word as [`first`](Self::first) does, unless it is one of `keys` with a value, as it is
    /// where the path was forgotten.
    pub fn first_before(&mut self, keys: &[&str]) -> Option<&'a str> {
        let is_key = |(key, value): &(&str, Option<&str>)| value.is_some() && keys.contains(key);
        if self.words.first().is_some_and(is_key) {
            return None;
        }
        self.first()
    }

    /// Takes the first word, if it is not `key=value`.
    pub fn bare_first(&mut self) -> Option<&'a str> {
        match self.words.first() {
            Some((_, None)) => Some(self.words.remove(0).0),
            _ => None,
        }
    }

    /// Takes the first word that is not `key=value`.
    pub fn bare(&mut self) -> Option<&'a str> {
        let place = self.words.iter().position(|(_, value)| value.is_none())?;
        Some(self.words.remove(place).0)
    }

    /// Takes the value of `key`.
    ///
    /// # Errors
    /// [`Fault::NoValue`] for a key without one.
    pub fn value(&mut self, key: &'static str) -> Result<Option<&'a str>, Fault> {
        match self.take(key) {
            None => Ok(None),
            Some(Some(value)) if !value.is_empty() => Ok(Some(value)),
            Some(_) => Err(Fault::NoValue { key }),
        }
    }

    /// Takes the values of `key`, which may come again and again.
    ///
    /// # Errors
    /// [`Fault::NoValue`] for a key without one.
    pub fn values(&mut self, key: &'static str) -> Result<Vec<&'a str>, Fault> {
        let mut values = Vec::new();
        while let Some(value) = self.value(key)? {
            values.push(value);
        }
        Ok(values)
    }

    /// Takes the flag `key`: alone, or with a value that says yes or no.
    ///
    /// # Errors
    /// [`Fault::NotASwitch`] for another value.
    pub fn flag(&mut self, key: &'static str) -> Result<bool, Fault> {
        match self.take(key) {
            None => Ok(false),
            Some(None) => Ok(true),
            Some(Some(value)) => switch(value).ok_or_else(|| Fault::NotASwitch {
                key,
                value: value.to_owned(),
            }),
        }
    }

    /// Takes a value of `key` that `parse` understands; `wanted` names such values.
    ///
    /// # Errors
    /// [`Fault::NotA`] for another value.
    pub fn parsed<T>(
        &mut self,
        key: &'static str,
        wanted: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Fault> {
        let Some(value) = self.value(key)? else {
            return Ok(None);
        };
        let parsed = parse(value).ok_or_else(|| Fault::NotA {
            key,
            value: value.to_owned(),
            wanted,
        });
        parsed.map(Some)
    }

    /// Nothing must be left.
    ///
    /// # Errors
    /// [`Fault::Twice`] and [`Fault::UnknownKey`].
    pub fn end(self) -> Result<(), Fault> {
        match self.words.first() {
            None => Ok(()),
            Some((key, _)) if self.keys.contains(key) => Err(Fault::Twice {
                key: (*key).to_owned(),
            }),
            Some((key, _)) => Err(Fault::UnknownKey {
                key: (*key).to_owned(),
                meant: self.meant(key),
            }),
        }
    }

    /// The probable meaning of an unknown key.
    fn meant(&self, key: &str) -> Option<&'static str> {
        let here = |word: &str| {
            let name = word.split('=').next().unwrap_or_default();
            self.keys.contains(&name)
        };
        let mut elsewhere = ELSEWHERE.iter().filter(|(_, ours)| here(ours));
        let elsewhere = elsewhere.find_map(|(theirs, ours)| (*theirs == key).then_some(*ours));
        elsewhere.or_else(|| nearest(key, self.keys.iter().copied()))
    }

    fn take(&mut self, key: &'static str) -> Option<Option<&'a str>> {
        self.keys.push(key);
        let place = self.words.iter().position(|(word, _)| *word == key)?;
        Some(self.words.remove(place).1)
    }
}

/// The meaning of an on-off value: on, true, yes, 1, off, false, no or 0.
pub fn switch(value: &str) -> Option<bool> {
    match value {
        "on" | "true" | "yes" | "1" => Some(true),
        "off" | "false" | "no" | "0" => Some(false),
        _ => None,
    }
}

/// A number of queues, from 1 to 64.
pub(crate) fn queues(value: &str) -> Option<u16> {
    value.parse().ok().filter(|count| (1..=64).contains(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_taken_in_any_order() {
        let given = Given::text("a=b.img,serial=x,readonly");
        let mut words = Words::new(&given);
        assert_eq!(words.first(), Some("a=b.img"));
        assert!(words.flag("readonly").unwrap());
        assert!(!words.flag("direct").unwrap());
        assert_eq!(words.value("serial").unwrap(), Some("x"));
        assert!(words.end().is_ok());
    }

    #[test]
    fn a_key_is_not_taken_for_the_path_that_was_forgotten() {
        let first = |text| {
            Words::new(&Given::text(text))
                .first_before(&["size"])
                .map(str::to_owned)
        };
        assert_eq!(first("size=1"), None);
        assert_eq!(first("size"), Some("size".to_owned()));
        assert_eq!(first("./size=1"), Some("./size=1".to_owned()));
        assert_eq!(first("other=1"), Some("other=1".to_owned()));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let given = Given::text("tap=,mac=zz,ip=1");
        let mut words = Words::new(&given);
        assert_eq!(
            words.value("tap").unwrap_err().to_string(),
            "tap has no value"
        );
        let mac = words.parsed("mac", "a MAC address", |_| None::<u8>);
        assert_eq!(mac.unwrap_err().to_string(), "mac=zz is not a MAC address");
        assert_eq!(words.end().unwrap_err().to_string(), "there is no ip");
    }

    #[test]
    fn a_flag_may_have_a_value() {
        let flag = |text| Words::new(&Given::text(text)).flag("readonly");
        for text in [
            "readonly",
            "readonly=true",
            "readonly=on",
            "readonly=1",
            "readonly=yes",
        ] {
            assert!(flag(text).unwrap(), "{text}");
        }
        for text in [
            "",
            "readonly=false",
            "readonly=off",
            "readonly=0",
            "readonly=no",
        ] {
            assert!(!flag(text).unwrap(), "{text}");
        }
        let fault = flag("readonly=maybe").unwrap_err();
        assert_eq!(fault.to_string(), "readonly=maybe is neither on nor off");
    }

    #[test]
    fn a_path_may_have_a_key() {
        let first = |text| Words::new(&Given::text(text)).first().map(str::to_owned);
        for text in ["a.img", "path=a.img", "file=a.img"] {
            assert_eq!(first(text).as_deref(), Some("a.img"), "{text}");
        }
        assert_eq!(first("./file=x").as_deref(), Some("./file=x"));
        assert_eq!(first("a=b.img").as_deref(), Some("a=b.img"));
        assert_eq!(first("file="), None);
    }

    #[test]
    fn a_key_that_there_is_not_may_have_been_meant_as_one_that_there_is() {
        let fault = |text: &str, keys: &[&'static str]| {
            let given = Given::text(text);
            let mut words = Words::new(&given);
            for key in keys {
                let _ = words.take(key);
            }
            words.end().unwrap_err()
        };
        for (text, meant) in [
            ("ro", Some("readonly")),
            ("queue=2", Some("queues")),
            ("read", Some("readonly")),
            ("readolny", Some("readonly")),
            ("ifname=t", None),
        ] {
            let key = text.split('=').next().unwrap().to_owned();
            let expected = Fault::UnknownKey { key, meant };
            assert_eq!(fault(text, &["readonly", "queues"]), expected);
        }
        let twice = Fault::Twice {
            key: "queues".to_owned(),
        };
        assert_eq!(fault("queues=1,queues=2", &["queues"]), twice);
        let fault = fault("ifname=t", &["tap"]);
        assert!(matches!(
            fault,
            Fault::UnknownKey {
                meant: Some("tap"),
                ..
            }
        ));
    }
}
