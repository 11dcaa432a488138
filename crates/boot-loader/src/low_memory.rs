//! Which addresses below 1 MiB are in use at entry: a kernel may lie between them.

use vmmkit_guest_memory::GuestAddress;

use crate::LoadError;
use crate::elf::LowSegment;

/// A range that holds what the kernel needs at entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Used {
    pub(crate) what: &'static str,
    pub(crate) start: GuestAddress,
    pub(crate) size: u64,
}

impl Used {
    /// `size` bytes of `what` from `start` on.
    pub(crate) fn new(what: &'static str, start: GuestAddress, size: u64) -> Self {
        Self { what, start, size }
    }
}

/// Refuses a kernel with a segment where something else is.
pub(crate) fn check(segments: &[LowSegment], used: &[Used]) -> Result<(), LoadError> {
    for segment in segments {
        let clash = used.iter().find(|used| {
            let end = used.start.0.saturating_add(used.size);
            segment.start < end && used.start.0 < segment.end
        });
        if let Some(used) = clash {
            return Err(LoadError::LowMemory {
                index: segment.index,
                start: segment.start,
                end: segment.end,
                what: used.what,
                used_start: used.start.0,
                used_end: used.start.0.saturating_add(used.size),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_in_use_is_refused() {
        let used = [Used::new("the command line", GuestAddress(0x2_0000), 10)];
        let segment = |start, end| LowSegment {
            index: 1,
            start,
            end,
        };
        assert!(check(&[segment(0, 0x2_0000)], &used).is_ok());
        assert!(check(&[segment(0x2_000a, 0x20_0000)], &used).is_ok());
        for clash in [segment(0, 0x2_0001), segment(0x2_0009, 0x2_000a)] {
            let message = check(&[clash], &used).unwrap_err().to_string();
            assert!(
                message.contains("the command line lies (0x20000 to 0x2000a)"),
                "{message}"
            );
        }
    }
}
