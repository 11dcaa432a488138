//! A command line taken apart and put together by the kernel's own rules: `next_arg` of Linux's
//! `lib/cmdline.c` and `parse_args` of its `kernel/params.c`.
//!
//! Words are separated by white space outside double quotes; a `"` anywhere opens or closes
//! quotes. A word that is `--` ends the kernel's parameters: the rest is for init.

use std::borrow::Cow;
use std::fmt;

/// One parameter of the kernel's, without the quotes that Linux takes away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter<'a> {
    /// The text before the first `=`.
    pub name: Cow<'a, str>,
    /// The text after it.
    pub value: Option<Cow<'a, str>>,
}

impl fmt::Display for Parameter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{}={value}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// The parameters in `cmdline` that are for the kernel: those before a word `--`.
pub fn parameters(cmdline: &str) -> impl Iterator<Item = Parameter<'_>> {
    Words(cmdline.as_bytes(), 0)
        .take_while(|word| !word.ends_parameters())
        .map(|word| Parameter {
            name: String::from_utf8_lossy(word.name),
            value: word.value.map(String::from_utf8_lossy),
        })
}

/// The same, each as text: `name` or `name=value`.
pub fn parameter_words(cmdline: &str) -> Vec<String> {
    let words = parameters(cmdline);
    words.map(|parameter| parameter.to_string()).collect()
}

/// `cmdline` with `parameters` where the kernel takes them for its own: behind those that it has,
/// before a word `--`. They go to the front where nothing can follow: a quote that is never closed
/// takes in all that is behind it.
pub fn with_parameters(cmdline: &str, parameters: &str) -> String {
    let place = place(cmdline);
    let (before, after) = cmdline.split_at_checked(place).unwrap_or(("", cmdline));
    let is_space = |byte: Option<&u8>| byte.is_none_or(|byte| is_space(*byte));
    let mut line = String::with_capacity(cmdline.len().saturating_add(parameters.len() + 2));
    line.push_str(before);
    if !is_space(before.as_bytes().last()) {
        line.push(' ');
    }
    line.push_str(parameters);
    if !is_space(after.as_bytes().first()) {
        line.push(' ');
    }
    line.push_str(after);
    line
}

/// The offset in `cmdline` where a parameter more belongs; inside a character where a byte of it is
/// white space to the kernel.
fn place(cmdline: &str) -> usize {
    for word in Words(cmdline.as_bytes(), 0) {
        if word.ends_parameters() {
            return word.start;
        }
        if word.is_open {
            return 0;
        }
    }
    cmdline.len()
}

/// Whether `isspace` of Linux's `lib/ctype.c` is true: ASCII white space, and the no-break space
/// of Latin-1, which is also the second byte of some UTF-8 characters.
fn is_space(byte: u8) -> bool {
    matches!(byte, 0x09..=0x0d | b' ' | 0xa0)
}

/// A word, and where it starts.
#[derive(Debug)]
struct Word<'a> {
    start: usize,
    name: &'a [u8],
    value: Option<&'a [u8]>,
    /// It has a quote that is never closed.
    is_open: bool,
}

impl Word<'_> {
    fn ends_parameters(&self) -> bool {
        self.value.is_none() && self.name == b"--"
    }
}

/// The words of a line, from an offset on.
struct Words<'a>(&'a [u8], usize);

impl<'a> Iterator for Words<'a> {
    type Item = Word<'a>;

    fn next(&mut self) -> Option<Word<'a>> {
        let rest = self.0.get(self.1..)?;
        let spaces = rest.iter().take_while(|byte| is_space(**byte)).count();
        let start = self.1.saturating_add(spaces);
        let rest = self.0.get(start..).filter(|rest| !rest.is_empty())?;
        let mut in_quotes = false;
        let end = rest.iter().position(|byte| {
            in_quotes ^= *byte == b'"';
            is_space(*byte) && !in_quotes
        });
        let end = end.unwrap_or(rest.len());
        self.1 = start.saturating_add(end);
        let (name, value) = split(rest.get(..end)?);
        Some(Word {
            start,
            name,
            value,
            is_open: in_quotes,
        })
    }
}

/// The name and value of a word, without their quotes.
fn split(word: &[u8]) -> (&[u8], Option<&[u8]>) {
    let (word, quoted) = match word.strip_prefix(b"\"") {
        Some(rest) => (rest, true),
        None => (word, false),
    };
    let unquoted = |text: &'_ [u8]| text.strip_suffix(b"\"").map_or(text.len(), <[u8]>::len);
    // An `=` that a word starts with belongs to its name.
    let equals = word.iter().skip(1).position(|byte| *byte == b'=');
    let Some(equals) = equals.and_then(|at| at.checked_add(1)) else {
        let length = if quoted { unquoted(word) } else { word.len() };
        return (word.get(..length).unwrap_or(word), None);
    };
    let (name, value) = word.split_at(equals);
    let value = value.get(1..).unwrap_or_default();
    let (value, is_quoted) = match value.strip_prefix(b"\"") {
        Some(rest) => (rest, true),
        None => (value, quoted),
    };
    let length = if is_quoted {
        unquoted(value)
    } else {
        value.len()
    };
    (name, Some(value.get(..length).unwrap_or(value)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A name and a value.
    type Pair = (Vec<u8>, Option<Vec<u8>>);

    /// `next_arg` and the end of `parse_args`, step by step as Linux 6.1 has them, on a copy that
    /// ends with NUL: the parameters, and what is left to init.
    fn linux(line: &[u8]) -> (Vec<Pair>, Option<Vec<u8>>) {
        let mut line = [line, &[0]].concat();
        let text = |line: &[u8], at: usize| {
            let end = line[at..].iter().position(|byte| *byte == 0).unwrap();
            line[at..at + end].to_vec()
        };
        let skip = |line: &[u8], mut at: usize| {
            while is_space(line[at]) {
                at += 1;
            }
            at
        };
        let mut all = Vec::new();
        let mut args = skip(&line, 0);
        while line[args] != 0 {
            let (mut i, mut equals, mut in_quote, mut quoted) = (0, 0, false, false);
            if line[args] == b'"' {
                args += 1;
                (in_quote, quoted) = (true, true);
            }
            while line[args + i] != 0 {
                let byte = line[args + i];
                if is_space(byte) && !in_quote {
                    break;
                }
                if equals == 0 && byte == b'=' {
                    equals = i;
                }
                if byte == b'"' {
                    in_quote = !in_quote;
                }
                i += 1;
            }
            let (param, mut val) = (args, None);
            if equals != 0 {
                line[args + equals] = 0;
                let mut at = args + equals + 1;
                if line[at] == b'"' {
                    at += 1;
                    if line[args + i - 1] == b'"' {
                        line[args + i - 1] = 0;
                    }
                }
                val = Some(at);
            }
            if quoted && i > 0 && line[args + i - 1] == b'"' {
                line[args + i - 1] = 0;
            }
            if line[args + i] != 0 {
                line[args + i] = 0;
                args += i + 1;
            } else {
                args += i;
            }
            args = skip(&line, args);
            let param = text(&line, param);
            let val = val.map(|at| text(&line, at));
            if val.is_none() && param == b"--" {
                return (all, Some(text(&line, args)));
            }
            all.push((param, val));
        }
        (all, None)
    }

    fn ours(line: &str) -> Vec<Pair> {
        Words(line.as_bytes(), 0)
            .take_while(|word| !word.ends_parameters())
            .map(|word| (word.name.to_vec(), word.value.map(<[u8]>::to_vec)))
            .collect()
    }

    #[test]
    fn an_addition_goes_before_what_is_left_to_init() {
        let table = [
            ("quiet", "quiet nopti"),
            ("", "nopti"),
            ("quiet ", "quiet nopti"),
            ("quiet -- -s x", "quiet nopti -- -s x"),
            ("quiet --", "quiet nopti --"),
            ("-- x", "nopti -- x"),
            ("--", "nopti --"),
            ("a\t--\tx", "a\tnopti --\tx"),
            ("a \"--\" x", "a nopti \"--\" x"),
            ("a -- b -- c", "a nopti -- b -- c"),
            ("--x y", "--x y nopti"),
            ("a=\"b -- c\" d", "a=\"b -- c\" d nopti"),
            ("\"a=b -- c\"", "\"a=b -- c\" nopti"),
            ("a=\"b -- c\" -- d", "a=\"b -- c\" nopti -- d"),
            (
                "dyndbg=\"file a.c +p; -- ",
                "nopti dyndbg=\"file a.c +p; -- ",
            ),
            ("a -- b=\"c", "a nopti -- b=\"c"),
        ];
        for (line, expected) in table {
            assert_eq!(with_parameters(line, "nopti"), expected, "{line:?}");
        }
    }

    #[test]
    fn parameters_are_those_of_the_kernel_without_their_quotes() {
        let all = parameter_words("a=\"b c\" \"d=e f\" \"g\" =h i= -- j");
        assert_eq!(all, ["a=b c", "d=e f", "g", "=h", "i="]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        /// Any line: the same words as Linux finds, an addition among the kernel's, and all that was
        /// there as it was.
        #[test]
        fn lines_are_read_as_linux_reads_them(line in "[a\"= \t\u{a0}à-]{0,24}") {
            let (before, init) = linux(line.as_bytes());
            prop_assert_eq!(&ours(&line), &before);

            let (mut after, init_after) = linux(with_parameters(&line, "x=1 y").as_bytes());

            let x = (b"x".to_vec(), Some(b"1".to_vec()));
            let at = after.iter().position(|word| *word == x);
            prop_assert!(at.is_some(), "{:?}", after);
            let added: Vec<_> = after.drain(at.unwrap()..at.unwrap() + 2).collect();
            prop_assert_eq!(&added[1], &(b"y".to_vec(), None));
            prop_assert_eq!(after, before);
            prop_assert_eq!(init_after, init);
        }
    }
}
