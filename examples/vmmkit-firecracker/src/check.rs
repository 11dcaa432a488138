//! Checks of single values that a client has sent.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;

use crate::body::{HugePages, MachineConfig, RateLimiter, TokenBucket};

/// The most drives and the most interfaces: more than there is room for in a machine.
const MAX_DEVICES: usize = 64;

/// The reason that a value cannot be, in a sentence.
pub(crate) type Checked = Result<(), String>;

/// The sentence on a field that this VMM has nothing for.
pub(crate) fn lacks(field: &str) -> String {
    format!("This VMM does not have `{field}`: leave it out.")
}

/// Puts a device in the place of another, or, where there is room for one more, after the others.
pub(crate) fn put<T>(devices: &mut Vec<T>, place: Option<usize>, device: T) -> Checked {
    let is_full = devices.len() >= MAX_DEVICES;
    match place.and_then(|place| devices.get_mut(place)) {
        Some(other) => *other = device,
        None if is_full => {
            return Err(format!(
                "There is room for {MAX_DEVICES} devices of a kind."
            ));
        }
        None => devices.push(device),
    }
    Ok(())
}

/// Whether a file can be opened, without waiting for whoever is at the other end of a FIFO.
pub(crate) fn openable(what: &str, path: &str, writes: bool) -> Checked {
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits();
    let opened = OpenOptions::new()
        .read(true)
        .write(writes)
        .custom_flags(i32::try_from(nonblocking).unwrap_or_default())
        .open(path);
    let is_folder = opened
        .as_ref()
        .is_ok_and(|file| file.metadata().is_ok_and(|data| data.is_dir()));
    match opened {
        Ok(_) if is_folder => Err(format!("{what} cannot be opened: {path}: it is a folder")),
        Ok(_) => Ok(()),
        Err(error) => Err(format!("{what} cannot be opened: {path}: {error}")),
    }
}

/// Whether a balloon of this size goes with memory.
pub(crate) fn balloon_fits(mebibytes: u32, config: &MachineConfig) -> Checked {
    if config.huge_pages == HugePages::Of2Mib {
        return Err("A balloon does not go with `huge_pages` of 2M.".to_owned());
    }
    match mebibytes < config.mem_size_mib {
        true => Ok(()),
        false => Err(format!(
            "`amount_mib` is {mebibytes}: it must be less than the {} MiB of the guest.",
            config.mem_size_mib
        )),
    }
}

/// Whether the times of a limiter are such that this VMM can count them.
pub(crate) fn check_limiter(limiter: &RateLimiter) -> Checked {
    let too_long = |bucket: &TokenBucket| bucket.refill_time > u64::from(u32::MAX);
    match [limiter.bandwidth, limiter.ops]
        .iter()
        .flatten()
        .any(too_long)
    {
        true => Err("`refill_time` is more than 2^32-1 milliseconds.".to_owned()),
        false => Ok(()),
    }
}

/// `06:00:ac:10:00:02`
pub(crate) fn mac_address(text: &str) -> Result<[u8; 6], String> {
    let wrong = || format!("`guest_mac` is not a MAC address: {text}");
    let mut mac = [0; 6];
    let mut words = text.split(':');
    for byte in &mut mac {
        let word = words
            .next()
            .filter(|word| word.len() == 2)
            .ok_or_else(wrong)?;
        *byte = u8::from_str_radix(word, 16).map_err(|_| wrong())?;
    }
    match words.next() {
        None => Ok(mac),
        Some(_) => Err(wrong()),
    }
}
