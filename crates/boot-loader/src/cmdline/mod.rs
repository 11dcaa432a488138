//! The kernel's command line: checked, then written with its NUL.
//!
//! linux-loader's `Cmdline` builds one piece by piece to a capacity that is fixed before the kernel
//! is known; here the whole line is checked against what the kernel's own header allows.

mod words;

pub use words::{Parameter, parameter_words, parameters, with_parameters};

use thiserror::Error;
use vmmkit_guest_memory::{AccessError, GuestAddress, GuestRam};

use crate::memory_map::{CMDLINE, CMDLINE_SIZE};

/// The longest command line in bytes, without its NUL, of a kernel whose header names no limit:
/// Linux's `COMMAND_LINE_SIZE` for x86 is 2048 with the NUL.
pub(crate) const DEFAULT_LIMIT: u32 = 2047;

/// The longest one of a kernel with a boot protocol before 2.06.
pub(crate) const OLD_LIMIT: u32 = 255;

/// Why a command line cannot be passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CmdlineError {
    /// Longer than the kernel takes.
    #[error(
        "the command line is {length} bytes long, and this kernel takes at most {limit}: shorten it"
    )]
    TooLong {
        /// Its length in bytes.
        length: usize,
        /// The most bytes this kernel takes, without the NUL.
        limit: u32,
    },
    /// Holds a byte that would end it early or that no command line can hold.
    #[error("byte {position} of the command line is {name}: remove it")]
    Forbidden {
        /// The position of the byte, from 0.
        position: usize,
        /// `a NUL` or `a newline`.
        name: &'static str,
    },
    /// Guest RAM has no room where command lines go.
    #[error("cannot write the command line")]
    Ram(#[from] AccessError),
}

/// The limit that a header's `cmdline_size` means here, in bytes without the NUL.
pub(crate) fn limit_of(cmdline_size: u32) -> u32 {
    cmdline_size.min(CMDLINE_SIZE.saturating_sub(1))
}

/// Checks `text` against `limit` and writes it; the answer is its address.
pub(crate) fn write(ram: &GuestRam, text: &str, limit: u32) -> Result<GuestAddress, CmdlineError> {
    check(text, limit)?;
    let mut bytes = Vec::with_capacity(text.len().saturating_add(1));
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(0);
    ram.write_bytes(CMDLINE, &bytes)?;
    Ok(CMDLINE)
}

pub(crate) fn check(text: &str, limit: u32) -> Result<(), CmdlineError> {
    let limit = limit_of(limit);
    if text.len() > limit as usize {
        return Err(CmdlineError::TooLong {
            length: text.len(),
            limit,
        });
    }
    for (position, byte) in text.bytes().enumerate() {
        let name = match byte {
            0 => "a NUL",
            b'\n' => "a newline",
            _ => continue,
        };
        return Err(CmdlineError::Forbidden { position, name });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::ram;

    #[test]
    fn the_line_is_written_with_its_nul() {
        let ram = ram(2);

        let at = write(&ram, "console=ttyS0", 2047).unwrap();

        let mut bytes = [0xff; 14];
        ram.read_bytes(at, &mut bytes).unwrap();
        assert_eq!(&bytes, b"console=ttyS0\0");
    }

    #[test]
    fn a_line_of_exactly_the_limit_fits_and_one_more_byte_does_not() {
        assert_eq!(check(&"a".repeat(10), 10), Ok(()));

        let error = check(&"a".repeat(11), 10).unwrap_err();

        assert_eq!(
            error.to_string(),
            "the command line is 11 bytes long, and this kernel takes at most 10: shorten it"
        );
    }

    #[test]
    fn nul_and_newline_are_refused_by_position() {
        assert_eq!(
            check("a\0b", 10),
            Err(CmdlineError::Forbidden {
                position: 1,
                name: "a NUL"
            })
        );
        assert_eq!(
            check("root=x\n", 10).unwrap_err().to_string(),
            "byte 6 of the command line is a newline: remove it"
        );
    }
}
