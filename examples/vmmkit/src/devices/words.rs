//! The value of an option that describes a device: `PLACE,key=value,flag`.

use std::path::Path;

use crate::failure::Failure;

/// The words of one such value, taken one by one; what is left at the end is unknown.
pub(crate) struct Words<'a> {
    option: &'static str,
    text: &'a str,
    /// Each key with its value; a flag has none. The first word may be a place instead.
    words: Vec<(&'a str, Option<&'a str>)>,
}

impl<'a> Words<'a> {
    /// The words of `text`, the value of `option`. Commas are between words; there is no way to
    /// write one within a word.
    pub(crate) fn new(option: &'static str, text: &'a str) -> Self {
        let words = text.split(',').filter(|word| !word.is_empty());
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
        let first = self.text.split(',').next().filter(|word| !word.is_empty());
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

/// `text` with its paths relative to `folder`: the first word, where it is no `key=value`, and those of
/// sockets.
pub(crate) fn in_folder(text: &str, folder: &Path) -> String {
    let moved = |path: &str| folder.join(path).display().to_string();
    let words = text
        .split(',')
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
        assert_eq!(moved("cid=3,socket=v"), "cid=3,socket=/vm/v");
        assert_eq!(moved("tap=tap0"), "tap=tap0");
    }
}
