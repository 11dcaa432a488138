//! The descriptors that `run` inherits: those that its options name stay open, and no other above 2.

use std::os::fd::RawFd;

use crate::options::Values;

/// Closes what `values` do not name as `/dev/fd/N` or `/proc/self/fd/N`: a guest that runs for weeks is not to
/// hold up whoever waits for the end of a pipe of its shell's.
pub(crate) fn close_unnamed(values: &Values) {
    // Every path of the options is in this text, in whatever option's value it stands.
    vmmkit_host_io::close_inherited(&named(&format!("{values:?}")));
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
    use std::collections::BTreeSet;

    use vmmkit_machine_spec::Given;

    use super::*;

    #[test]
    fn a_descriptor_is_named_by_its_path() {
        let mut values = Values::default();
        for (option, value) in [
            ("kernel", "/dev/fd/63"),
            ("serial", "file=/proc/self/fd/7"),
            ("initrd", "/tmp/fd/x"),
        ] {
            values.add(option, Given::text(value));
        }
        let numbers: BTreeSet<RawFd> = named(&format!("{values:?}")).into_iter().collect();
        assert_eq!(numbers, BTreeSet::from([7, 63]));
    }
}
