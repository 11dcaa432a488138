//! The value of an option that describes a device: `PLACE,key=value,flag`.

use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::os_text;

/// The words of one such value, taken one by one; what is left at the end is unknown.
pub(crate) struct Words<'a> {
    option: &'static str,
    text: &'a str,
    /// Each key with its value; a flag has none. The first word may be a place instead.
    words: Vec<(&'a str, Option<&'a str>)>,
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
        }
    }

    /// Takes the first word as it is, whatever it looks like.
    pub(crate) fn first(&mut self) -> Option<&'a str> {
        let first = split(self.text).into_iter().next();
        let first = first.filter(|word| !word.is_empty());
        if first.is_some() && !self.words.is_empty() {
            self.words.remove(0);
        }
        first
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
    pub(crate) fn value(&mut self, key: &str) -> Result<Option<&'a str>, Failure> {
        match self.take(key) {
            None => Ok(None),
            Some(Some(value)) if !value.is_empty() => Ok(Some(value)),
            Some(_) => Err(self.wrong(&format!("{key} has no value"), &format!("write {key}=..."))),
        }
    }

    /// Takes the flag `key`.
    pub(crate) fn flag(&mut self, key: &str) -> Result<bool, Failure> {
        match self.take(key) {
            None => Ok(false),
            Some(None) => Ok(true),
            Some(Some(_)) => {
                Err(self.wrong(&format!("{key} takes no value"), &format!("write {key}")))
            }
        }
    }

    /// Takes a value of `key` that `parse` understands; `what` names such values.
    pub(crate) fn parsed<T>(
        &mut self,
        key: &str,
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
            Some((key, _)) => Err(self.wrong(&format!("there is no {key}"), keys)),
        }
    }

    /// The value is wrong, and why.
    pub(crate) fn wrong(&self, reason: &str, next: &str) -> Failure {
        Failure::usage(format!("{} {}: {reason}", self.option, self.text), next)
    }

    fn take(&mut self, key: &str) -> Option<Option<&'a str>> {
        let place = self.words.iter().position(|(word, _)| *word == key)?;
        Some(self.words.remove(place).1)
    }
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
                None if place == 0 => moved(word),
                _ => word.to_owned(),
            });
    words.collect::<Vec<_>>().join(",")
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
        let mut words = Words::new("--net", "tap=,mac=zz,ip=1,flag=1");
        assert_eq!(
            text(words.value("tap").unwrap_err()),
            "error: --net tap=,mac=zz,ip=1,flag=1: tap has no value\n  next: write tap=..."
        );
        assert!(text(words.flag("flag").unwrap_err()).contains("flag takes no value"));
        let mac = words.parsed("mac", "a MAC address", |_| None::<u8>);
        assert!(text(mac.unwrap_err()).contains("mac=zz is not a MAC address"));
        assert!(text(words.end("").unwrap_err()).contains("there is no ip"));
    }

    #[test]
    fn paths_of_a_file_are_relative_to_it() {
        let moved = |text| in_folder(text, Path::new("/vm"));
        assert_eq!(moved("d.img,readonly"), "/vm/d.img,readonly");
        assert_eq!(moved("/d.img"), "/d.img");
        assert_eq!(moved("a,,b.img,readonly"), "/vm/a,,b.img,readonly");
        assert_eq!(in_folder("d.img", Path::new("/v,m")), "/v,,m/d.img");
        assert_eq!(moved("cid=3,socket=v"), "cid=3,socket=/vm/v");
        assert_eq!(moved("tap=tap0"), "tap=tap0");
    }
}
