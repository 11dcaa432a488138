//! What is saved of a disk besides its queues: one line of `name=value` words, the version first.

use std::sync::atomic::Ordering;

use super::Shared;
use super::spec::SECTOR;

/// The version that is written; the only one that is read.
const VERSION: &str = "blk=1";

pub(super) fn write(shared: &Shared) -> String {
    // Ordering: the device is at rest.
    let sectors = shared.capacity.load(Ordering::Relaxed) / SECTOR;
    let writeback = u8::from(shared.writeback.load(Ordering::Relaxed));
    format!("{VERSION} sectors={sectors} writeback={writeback}")
}

pub(super) fn read(shared: &Shared, text: &str) -> Result<(), String> {
    let name = shared.disk.name();
    let mut words = text.split(' ');
    let version = words.next().unwrap_or_default();
    if version != VERSION {
        return Err(format!(
            "the state of disk {name} is of another version: {version:?} instead of {VERSION:?}"
        ));
    }
    let mut value = |key: &str| -> Result<u64, String> {
        let word = words.next().unwrap_or_default();
        let value = word.strip_prefix(key).and_then(|rest| rest.parse().ok());
        value.ok_or_else(|| format!("the state of disk {name} has {word:?} instead of {key:?}"))
    };
    let (saved, writeback) = (value("sectors=")?, value("writeback=")?);
    let found = shared.capacity.load(Ordering::Relaxed) / SECTOR;
    if saved != found {
        return Err(format!(
            "disk {name} has {found} sectors, and had {saved} when it was saved: \
             give the guest the same disk"
        ));
    }
    shared.writeback.store(writeback != 0, Ordering::Relaxed);
    Ok(())
}
