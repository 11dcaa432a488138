//! A value as it was given: text of a command line, or words of a table in a file.

use std::path::{Path, PathBuf};

use crate::path_text;

/// The value of one option or key.
///
/// It is words with commas between them; two commas are one within a word. Paths in it may be relative to a
/// folder, that of the file that it stands in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// As it was written.
    text: String,
    /// Commas within them are single.
    words: Vec<String>,
    folder: PathBuf,
}

impl Given {
    /// The value `text`.
    pub fn text(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            words: split(text),
            folder: PathBuf::new(),
        }
    }

    /// The value of these words, each `key=value` or alone, as of a table. A comma within a word is part of it.
    pub fn of_words(words: Vec<String>) -> Self {
        Self {
            text: written(&words),
            words,
            folder: PathBuf::new(),
        }
    }

    /// The same, its paths relative to `folder`.
    #[must_use]
    pub fn in_folder(mut self, folder: &Path) -> Self {
        folder.clone_into(&mut self.folder);
        self
    }

    /// The text that stands for it in messages: as it was written, but for the path that a table begins with,
    /// which is whole.
    pub fn shown(&self) -> String {
        match self.words.split_first() {
            Some((first, rest)) if first.starts_with("path=") => {
                let path = self.path(first.strip_prefix("path=").unwrap_or_default());
                let mut words = vec![format!("path={}", path_text::of_path(&path))];
                words.extend_from_slice(rest);
                written(&words)
            }
            _ => self.text.clone(),
        }
    }

    /// The text as it was written, commas doubled, of a value that is not made of words.
    pub fn as_text(&self) -> &str {
        &self.text
    }

    /// The words.
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// The path that `text`, a word or a part of one, stands for.
    pub fn path(&self, text: &str) -> PathBuf {
        self.folder.join(path_text::path(text))
    }
}

/// The words of `text`.
fn split(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut rest = text.chars().peekable();
    while let Some(letter) = rest.next() {
        match (letter, words.last_mut()) {
            (',', _) if rest.next_if_eq(&',').is_none() => words.push(String::new()),
            (letter, Some(word)) => word.push(letter),
            (_, None) => {}
        }
    }
    words
}

/// `words` as text that is split into them again.
pub(crate) fn written<T: AsRef<str>>(words: &[T]) -> String {
    let words = words.iter().map(|word| escaped(word.as_ref()));
    words.collect::<Vec<_>>().join(",")
}

/// A word of a value: its commas doubled.
pub(crate) fn escaped(word: &str) -> String {
    word.replace(',', ",,")
}

/// A path as a word of a value.
pub(crate) fn path_word(path: &Path) -> String {
    escaped(&path_text::of_path(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_commas_are_one_within_a_word() {
        assert_eq!(split("a,,b.img,readonly"), ["a,b.img", "readonly"]);
        assert_eq!(split("a,,,b"), ["a,", "b"]);
        assert_eq!(split(",,"), [","]);
        assert_eq!(split("a,"), ["a", ""]);
        assert_eq!(split(""), [""]);
        assert_eq!(split("a,,b,,,,c"), ["a,b,,c"]);
        for words in [vec!["a,b", "c"], vec![","], vec!["x,,y", "a=b"]] {
            assert_eq!(split(&written(&words)), words);
        }
    }

    #[test]
    fn a_table_is_shown_with_its_whole_path() {
        let words = vec!["path=a,b.img".to_owned(), "ro=true".to_owned()];
        let given = Given::of_words(words).in_folder(Path::new("/vm"));
        assert_eq!(given.shown(), "path=/vm/a,,b.img,ro=true");
        let given = Given::text("a.img,ro").in_folder(Path::new("/vm"));
        assert_eq!(given.shown(), "a.img,ro");
        assert_eq!(given.path("a.img"), Path::new("/vm/a.img"));
        assert_eq!(given.path("/a.img"), Path::new("/a.img"));
    }
}
