//! `balloon`.

use std::fmt::Write;
use std::process::ExitCode;

use vmmkit_control::{Balloon, BalloonTarget};
use vmmkit_guest_memory::RamSize;
use vmmkit_machine_spec::with_unit;

use super::options::BalloonOptions;
use super::{at_most_one, write_json};
use crate::failure::Failure;
use crate::generate;

/// Shows a balloon, after it was told its size if one is given.
pub(super) fn balloon(options: &BalloonOptions) -> Result<ExitCode, Failure> {
    let (one, words) = options.one.split(&options.words);
    let size = at_most_one(words)?.map(bytes).transpose()?;
    let target = one.target()?;
    let client = target.client();
    let balloon = match size {
        Some(target_bytes) => client.put("/v1/balloon", &BalloonTarget { target_bytes }),
        None => client.get("/v1/balloon"),
    };
    let balloon: Balloon =
        balloon.map_err(|error| target.lacking(error, "run it with --balloon"))?;
    if options.one.json {
        return write_json(&balloon);
    }
    let mut text = String::new();
    let mebibytes = |bytes: u64| bytes >> 20;
    let (wanted, actual) = (
        mebibytes(balloon.target_bytes),
        mebibytes(balloon.actual_bytes),
    );
    let _ = writeln!(text, "wanted {wanted} MiB, has {actual} MiB");
    for (name, number) in &balloon.statistics {
        let _ = writeln!(text, "  {name:<22} {number:>14}");
    }
    generate::write(text.as_bytes())
}

/// Whole mebibytes, as bytes.
fn bytes(text: &str) -> Result<u64, Failure> {
    if text == "0" {
        return Ok(0);
    }
    let bytes = text.parse::<RamSize>().map(RamSize::bytes).ok();
    bytes
        .filter(|bytes| bytes.is_multiple_of(BalloonTarget::UNIT))
        .ok_or_else(|| {
            let meant = with_unit(text);
            let meant = meant.map_or(String::new(), |meant| format!(": did you mean {meant}?"));
            Failure::usage(
                format!("{text:?}: this is not a size of whole mebibytes{meant}"),
                "give 0, or a whole number with a unit M or G, such as 64M",
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_whole_mebibytes() {
        assert_eq!(bytes("64M").unwrap(), 64 << 20);
        assert_eq!(bytes("0").unwrap(), 0);
        for text in ["", "x", "4K", "-1M", "1.5M"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }
}
