//! `resize`: a disk that grows while its guest runs.

use std::process::ExitCode;

use vmmkit_control::{DiskResize, DiskSize};
use vmmkit_guest_memory::RamSize;

use super::options::ResizeOptions;
use super::{at_most_one, device_and_rest, write_json};
use crate::failure::Failure;
use crate::generate;

/// Makes a disk larger, or has the machine look at it again where no size is given.
pub(super) fn resize(options: &ResizeOptions) -> Result<ExitCode, Failure> {
    let (one, words) = options.one.split(&options.words);
    let (device, rest) = device_and_rest("resize", "web blk0 20G", words)?;
    let size_bytes = at_most_one(rest)?.map(bytes).transpose()?;
    let target = one.target()?;
    let path = format!("/v1/devices/{device}/size");
    let answer = target.client().put(&path, &DiskResize { size_bytes });
    let size: DiskSize = answer.map_err(|error| target.refused(error))?;
    if options.one.json {
        return write_json(&size);
    }
    generate::write(format!("{device} has {} bytes\n", size.size_bytes).as_bytes())
}

/// Whole sectors, as bytes.
fn bytes(text: &str) -> Result<u64, Failure> {
    let number = text.parse::<u64>().ok();
    let bytes = number.or_else(|| Some(text.parse::<RamSize>().ok()?.bytes()));
    let is_size = |bytes: &u64| {
        (DiskResize::UNIT..=DiskResize::MAX).contains(bytes)
            && bytes.is_multiple_of(DiskResize::UNIT)
    };
    bytes.filter(is_size).ok_or_else(|| {
        Failure::usage(
            format!("{text:?}: this is not the size of a disk"),
            "give all that the disk should have: a number with a unit M, G or T, such as 20G, or \
             bytes, a multiple of 512",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_whole_sectors() {
        for (text, expected) in [
            ("20G", 20 << 30),
            ("512", 512),
            ("1536", 1536),
            ("1T", 1 << 40),
        ] {
            assert_eq!(bytes(text).unwrap(), expected);
        }
        for text in [
            "",
            "0",
            "x",
            "-1G",
            "+1G",
            "513",
            "2000T",
            "99999999999999999999",
        ] {
            assert!(
                bytes(text).unwrap_err().text().contains("such as 20G"),
                "{text}"
            );
        }
    }
}
