//! The descriptors that `run` inherits: those that its options name stay open, and no other above 2.

use std::os::fd::RawFd;

use crate::cli::RunOptions;

/// Closes what `options` do not name as `/dev/fd/N` or `/proc/self/fd/N`: a guest that runs for weeks is not to
/// hold up whoever waits for the end of a pipe of its shell's.
pub(crate) fn close_unnamed(options: &RunOptions) {
    // Every path of the options is in this text, in whatever option's value it stands.
    vmmkit_host_io::close_inherited(&named(&format!("{options:?}")));
}

/// The numbers of the descriptors that paths in `text` name.
fn named(text: &str) -> Vec<RawFd> {
    let after = text.split("/fd/").skip(1);
    let numbers = after.filter_map(|rest| {
        let end = rest.find(|letter: char| !letter.is_ascii_digit());
        rest.get(..end.unwrap_or(rest.len()))?.parse().ok()
    });
    numbers.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_is_named_by_its_path() {
        let options = RunOptions {
            kernel: Some("/dev/fd/63".into()),
            serial: Some("file=/proc/self/fd/7".into()),
            initrd: Some("/tmp/fd/x".into()),
            ..RunOptions::default()
        };
        assert_eq!(named(&format!("{options:?}")), [63, 7]);
    }
}
