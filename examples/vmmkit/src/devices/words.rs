//! The value of an option that describes a device: `PLACE,key=value,flag`.

use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::os_text;
use crate::usage::nearest;

/// What other programs call a key, and what it is here: ours where it takes the same value.
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
    ("user", "passt"),
    ("hugepages", "backend=hugetlb"),
    ("hugepage_size", "backend=hugetlb"),
    ("shared", "backend=memfd"),
    ("share", "backend=memfd"),
    ("mergeable", "merge"),
    ("prealloc", "prefault"),
    ("maxmem", "max"),
];

/// The words of one such value, taken one by one; what is left at the end is unknown.
pub(crate) struct Words<'a> {
    option: &'static str,
    text: &'a str,
    /// Each key with its value; a flag has none. The first word may be a place instead.
    words: Vec<(&'a str, Option<&'a str>)>,
    /// The keys that there are.
    keys: Vec<&'static str>,
}

impl<'a> Words<'a> {
    /// The words of `text`, the value of `option`. A comma is between words, two are one within a word.
    pub(crate) fn new(option: &'static str, text: &'a str) -> Self {
        let words = split(text).into_iter().filter(|word| !word.is_empty());
        let words = words.map(|word| match word.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (word, None),
        });
        Self {
            option,
            text,
            words: words.collect(),
            keys: Vec::new(),
        }
    }

    /// Takes the first word as it is, whatever it looks like; but `path=` before it, and `file=`, as other
    /// programs have it, are left out. A file that is really called so is `./file=...`.
    pub(crate) fn first(&mut self) -> Option<&'a str> {
        let first = split(self.text).into_iter().next();
        let first = first.filter(|word| !word.is_empty());
        if first.is_some() && !self.words.is_empty() {
            self.words.remove(0);
        }
        let named = first.map(|word| without_key(word).unwrap_or(word));
        named.filter(|word| !word.is_empty())
    }

    /// Takes the first word, if it is no `key=value`.
    pub(crate) fn bare_first(&mut self) -> Option<&'a str> {
        match self.words.first() {
            Some((_, None)) => Some(self.words.remove(0).0),
            _ => None,
        }
    }

    /// Takes the first word that is no `key=value`.
    pub(crate) fn bare(&mut self) -> Option<&'a str> {
        let place = self.words.iter().position(|(_, value)| value.is_none())?;
        Some(self.words.remove(place).0)
    }

    /// Takes the value of `key`.
    pub(crate) fn value(&mut self, key: &'static str) -> Result<Option<&'a str>, Failure> {
        match self.take(key) {
            None => Ok(None),
            Some(Some(value)) if !value.is_empty() => Ok(Some(value)),
            Some(_) => Err(self.wrong(&format!("{key} has no value"), &format!("write {key}=..."))),
        }
    }

    /// Takes the flag `key`: alone, or with a value that says yes or no.
    pub(crate) fn flag(&mut self, key: &'static str) -> Result<bool, Failure> {
        match self.take(key) {
            None => Ok(false),
            Some(None) => Ok(true),
            Some(Some(value)) => switch(value).ok_or_else(|| {
                self.wrong(
                    &format!("{key}={value} is neither on nor off"),
                    &format!("write {key}, or leave it out"),
                )
            }),
        }
    }

    /// Takes a value of `key` that `parse` understands; `what` names such values.
    pub(crate) fn parsed<T>(
        &mut self,
        key: &'static str,
        what: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Failure> {
        let Some(value) = self.value(key)? else {
            return Ok(None);
        };
        match parse(value) {
            Some(parsed) => Ok(Some(parsed)),
            None => Err(self.wrong(
                &format!("{key}={value} is not {what}"),
                &format!("give {key} as {what}"),
            )),
        }
    }

    /// Nothing must be left; `keys` says what there may be.
    pub(crate) fn end(self, keys: &str) -> Result<(), Failure> {
        match self.words.first() {
            None => Ok(()),
            Some((key, _)) if self.keys.contains(key) => {
                let next = format!("give {key} once");
                Err(self.wrong(&format!("{key} is given twice"), &next))
            }
            Some((key, _)) => {
                let reason = format!("there is no {key}");
                let next = match self.meant(key) {
                    Some(meant) => format!("did you mean {meant}? Else {keys}"),
                    None => keys.to_owned(),
                };
                Err(self.wrong(&reason, &next))
            }
        }
    }

    /// What an unknown key may have been meant as.
    fn meant(&self, key: &str) -> Option<&'static str> {
        let here = |word: &str| {
            let name = word.split('=').next().unwrap_or_default();
            self.keys.contains(&name)
        };
        let mut elsewhere = ELSEWHERE.iter().filter(|(_, ours)| here(ours));
        let elsewhere = elsewhere.find_map(|(theirs, ours)| (*theirs == key).then_some(*ours));
        elsewhere.or_else(|| nearest(key, self.keys.iter().copied()))
    }

    /// The value is wrong, and why.
    pub(crate) fn wrong(&self, reason: &str, next: &str) -> Failure {
        Failure::usage(format!("{} {}: {reason}", self.option, self.text), next)
    }

    fn take(&mut self, key: &'static str) -> Option<Option<&'a str>> {
        self.keys.push(key);
        let place = self.words.iter().position(|(word, _)| *word == key)?;
        Some(self.words.remove(place).1)
    }
}

/// What a value says that is on or off.
pub(crate) fn switch(value: &str) -> Option<bool> {
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

/// The path behind `path=` or `file=`.
fn without_key(word: &str) -> Option<&str> {
    word.strip_prefix("path=")
        .or_else(|| word.strip_prefix("file="))
}

/// The words of `text`, commas within them still doubled.
pub(crate) fn split(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let (mut rest, mut from) = (text, 0);
    while let Some(comma) = rest.get(from..).and_then(|rest| rest.find(',')) {
        let comma = from + comma;
        let after = rest.get(comma + 1..).unwrap_or_default();
        if after.starts_with(',') {
            from = comma + 2;
            continue;
        }
        words.push(rest.get(..comma).unwrap_or_default());
        (rest, from) = (after, 0);
    }
    words.push(rest);
    words
}

/// A word as it was meant: its commas single.
pub(crate) fn plain(word: &str) -> String {
    word.replace(",,", ",")
}

/// The path that a word is.
pub(crate) fn path(word: &str) -> PathBuf {
    os_text::path(&plain(word))
}

/// A path as a word: its commas doubled.
pub(crate) fn of_path(path: &Path) -> String {
    os_text::of_path(path).replace(',', ",,")
}

/// `text` with its paths relative to `folder`: the first word, where it is no `key=value`, and those of
/// sockets.
pub(crate) fn in_folder(text: &str, folder: &Path) -> String {
    let moved = |word: &str| of_path(&folder.join(path(word)));
    let words =
        split(text)
            .into_iter()
            .enumerate()
            .map(|(place, word)| match word.split_once('=') {
                Some((key @ ("socket" | "vhost-user" | "passt"), path)) => {
                    format!("{key}={}", moved(path))
                }
                _ if place == 0 && without_key(word).is_some() => {
                    format!("path={}", moved(without_key(word).unwrap_or_default()))
                }
                None if place == 0 => moved(word),
                _ => word.to_owned(),
            });
    words.collect::<Vec<_>>().join(",")
}

/// Where a console is, with the path behind `file=` or `socket=` relative to `folder`.
pub(crate) fn console_in_folder(text: &str, folder: &Path) -> String {
    match text.split_once('=') {
        Some((key @ ("file" | "socket"), path)) if !path.is_empty() => {
            let path = folder.join(os_text::path(path));
            format!("{key}={}", os_text::of_path(&path))
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_taken_in_any_order() {
        let mut words = Words::new("--disk", "a=b.img,serial=x,readonly");
        assert_eq!(words.first(), Some("a=b.img"));
        assert!(words.flag("readonly").unwrap());
        assert!(!words.flag("direct").unwrap());
        assert_eq!(words.value("serial").unwrap(), Some("x"));
        assert!(words.end("").is_ok());
    }

    #[test]
    fn two_commas_are_one_within_a_word() {
        assert_eq!(split("a,,b.img,readonly"), ["a,,b.img", "readonly"]);
        assert_eq!(split("a,,,b"), ["a,,", "b"]);
        assert_eq!(split(",,"), [",,"]);
        assert_eq!(split("a,"), ["a", ""]);
        assert_eq!(path("a,,b,,,,c"), Path::new("a,b,,c"));
        for name in ["a,b", ",", "x,,y", "plain", "a=b"] {
            let text = format!("{},readonly", of_path(Path::new(name)));
            let mut words = Words::new("--disk", &text);
            assert_eq!(path(words.first().unwrap()), Path::new(name));
            assert!(words.flag("readonly").unwrap());
            assert!(words.end("").is_ok());
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let text = |failure: Failure| failure.text();
        let mut words = Words::new("--net", "tap=,mac=zz,ip=1");
        assert_eq!(
            text(words.value("tap").unwrap_err()),
            "error: --net tap=,mac=zz,ip=1: tap has no value\n  next: write tap=..."
        );
        let mac = words.parsed("mac", "a MAC address", |_| None::<u8>);
        assert!(text(mac.unwrap_err()).contains("mac=zz is not a MAC address"));
        assert!(text(words.end("").unwrap_err()).contains("there is no ip"));
    }

    #[test]
    fn a_flag_may_have_a_value() {
        let flag = |text| Words::new("--disk", text).flag("readonly");
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
        let text = flag("readonly=maybe").unwrap_err().text();
        assert!(
            text.contains("readonly=maybe is neither on nor off"),
            "{text}"
        );
    }

    #[test]
    fn a_path_may_have_a_key() {
        for text in ["a.img", "path=a.img", "file=a.img"] {
            assert_eq!(Words::new("--disk", text).first(), Some("a.img"), "{text}");
        }
        assert_eq!(Words::new("--disk", "./file=x").first(), Some("./file=x"));
        assert_eq!(Words::new("--disk", "a=b.img").first(), Some("a=b.img"));
        assert_eq!(Words::new("--disk", "file=").first(), None);
    }

    #[test]
    fn a_key_that_there_is_not_may_have_been_meant_as_one_that_there_is() {
        let says = |text: &str, keys: &[&'static str]| {
            let mut words = Words::new("--x", text);
            for key in keys {
                let _ = words.take(key);
            }
            words.end("give KEYS").unwrap_err().text()
        };
        for (text, meant) in [
            (
                "ro",
                "there is no ro\n  next: did you mean readonly? Else give KEYS",
            ),
            ("queue=2", "there is no queue\n  next: did you mean queues?"),
            ("read", "there is no read\n  next: did you mean readonly?"),
            (
                "readolny",
                "there is no readolny\n  next: did you mean readonly?",
            ),
            (
                "queues=1,queues=2",
                "queues is given twice\n  next: give queues once",
            ),
            ("ifname=t", "there is no ifname\n  next: give KEYS"),
        ] {
            let said = says(text, &["readonly", "queues"]);
            assert!(said.contains(meant), "{said}");
        }
        assert!(says("ifname=t", &["tap"]).contains("did you mean tap?"));
    }

    #[test]
    fn paths_of_a_file_are_relative_to_it() {
        let moved = |text| in_folder(text, Path::new("/vm"));
        assert_eq!(moved("d.img,readonly"), "/vm/d.img,readonly");
        assert_eq!(moved("/d.img"), "/d.img");
        assert_eq!(moved("file=d.img,readonly"), "path=/vm/d.img,readonly");
        assert_eq!(moved("a,,b.img,readonly"), "/vm/a,,b.img,readonly");
        assert_eq!(in_folder("d.img", Path::new("/v,m")), "/v,,m/d.img");
        assert_eq!(moved("cid=3,socket=v"), "cid=3,socket=/vm/v");
        assert_eq!(moved("tap=tap0"), "tap=tap0");
    }
}
