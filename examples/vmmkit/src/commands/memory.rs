//! `memory`.

use std::process::ExitCode;

use vmmkit_control::{Memory, MemoryTarget};
use vmmkit_guest_memory::RamSize;
use vmmkit_machine_spec::with_unit;

use super::options::MemoryOptions;
use super::{at_most_one, write_json};
use crate::failure::Failure;
use crate::generate;

/// Shows how much memory a guest has, after it was told to have another amount if one is given.
pub(super) fn memory(options: &MemoryOptions) -> Result<ExitCode, Failure> {
    let (one, words) = options.one.split(&options.words);
    let wanted = match at_most_one(words)? {
        Some(text) => Some((text, bytes(text)?)),
        None => None,
    };
    let target = one.target()?;
    let client = target.client();
    let failed = |error| target.lacking(error, "run it with --memory SIZE,max=SIZE");
    let mut memory: Memory = client.get("/v1/memory").map_err(failed)?;
    if let Some((text, target_bytes)) = wanted {
        check(text, target_bytes, &memory)?;
        let body = MemoryTarget { target_bytes };
        memory = client.put("/v1/memory", &body).map_err(failed)?;
    }
    if options.one.json {
        return write_json(&memory);
    }
    let mebibytes = |bytes: u64| bytes >> 20;
    let text = format!(
        "wanted {} MiB, has {} MiB, of {} to {} MiB\n",
        mebibytes(memory.target_bytes),
        mebibytes(memory.actual_bytes),
        mebibytes(memory.boot_bytes),
        mebibytes(memory.maximum_bytes),
    );
    generate::write(text.as_bytes())
}

fn bytes(text: &str) -> Result<u64, Failure> {
    if let Some(meant) = with_unit(text) {
        return Err(Failure::usage(
            format!("{text}: there is no unit: did you mean {meant}?"),
            "give all that the guest should have, with a unit M or G, such as 768M",
        ));
    }
    text.parse::<RamSize>().map(RamSize::bytes).map_err(|_| {
        Failure::usage(
            format!("{text:?}: this is not a size"),
            "give all that the guest should have, with a unit M or G, such as 768M",
        )
    })
}

/// The guest can have `bytes`, written as `text`.
fn check(text: &str, bytes: u64, memory: &Memory) -> Result<(), Failure> {
    let (boot, most) = (shown(memory.boot_bytes), shown(memory.maximum_bytes));
    if bytes > memory.maximum_bytes {
        return Err(Failure::usage(
            format!("{text}: the guest can have no more than {most}"),
            format!(
                "give {most} or less, or run it with a larger max in --memory {boot},max={most}"
            ),
        ));
    }
    let Some(added) = bytes.checked_sub(memory.boot_bytes) else {
        return Err(Failure::usage(
            format!("{text}: the guest has {boot} from the start, which it keeps"),
            format!("give {boot} or more; `vmmkit balloon` takes from what it has from the start"),
        ));
    };
    let excess = added.checked_rem(memory.block_bytes).unwrap_or(0);
    if excess > 0 {
        let unit = shown(memory.block_bytes);
        let (less, more) = (bytes - excess, bytes - excess + memory.block_bytes);
        return Err(Failure::usage(
            format!("{text}: what is added to {boot} must be a multiple of {unit}"),
            format!("give {} or {}", shown(less), shown(more)),
        ));
    }
    Ok(())
}

fn shown(bytes: u64) -> String {
    RamSize::new(bytes).map_or_else(|_| bytes.to_string(), |size| size.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_that_the_guest_cannot_have_is_refused_with_those_that_it_can() {
        let memory = Memory {
            boot_bytes: 256 << 20,
            maximum_bytes: 1 << 30,
            block_bytes: 2 << 20,
            ..Memory::default()
        };
        let refused = |text: &str| {
            check(text, bytes(text).unwrap(), &memory)
                .unwrap_err()
                .text()
        };
        for (text, parts) in [
            (
                "2G",
                [
                    "2G: the guest can have no more than 1G",
                    "larger max in --memory 256M,max=1G",
                ],
            ),
            (
                "128M",
                [
                    "128M: the guest has 256M from the start",
                    "give 256M or more",
                ],
            ),
            (
                "257M",
                [
                    "257M: what is added to 256M must be a multiple of 2M",
                    "give 256M or 258M",
                ],
            ),
        ] {
            let error = refused(text);
            parts
                .iter()
                .for_each(|part| assert!(error.contains(part), "{error}"));
        }
        for text in ["256M", "768M", "1G"] {
            assert!(check(text, bytes(text).unwrap(), &memory).is_ok(), "{text}");
        }
        for text in ["", "0", "x", "-1M", "768"] {
            assert!(
                bytes(text).unwrap_err().text().contains("such as 768M"),
                "{text}"
            );
        }
    }
}
