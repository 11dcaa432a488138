//! Memory beside RAM: what is plugged while the guest runs, and what is persistent.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::body::HugePages;
use crate::check::{Checked, openable, put};
use crate::resources::Resources;

/// The size of the blocks that are plugged, in MiB.
const BLOCK: u32 = 2;
/// Memory that a guest can use at a time, in MiB.
const SECTION: u32 = 128;
/// Persistent memory has whole pages of so many bytes.
const PMEM_PAGE: u64 = 2 << 20;

/// `PUT /hotplug/memory`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryHotplug {
    /// The most that can be plugged, in MiB.
    pub total_size_mib: u32,
    /// The size of a block, the least that the guest plugs, in MiB.
    #[serde(default = "block")]
    pub block_size_mib: u32,
    /// The size of a slot, the least that the host attaches, in MiB; here all of it is attached.
    #[serde(default = "slot")]
    pub slot_size_mib: u32,
}

const fn block() -> u32 {
    BLOCK
}

const fn slot() -> u32 {
    SECTION
}

/// `PATCH /hotplug/memory`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryHotplugUpdate {
    /// The wanted size, in MiB.
    pub requested_size_mib: u32,
}

/// `GET /hotplug/memory`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryHotplugStatus {
    /// As it was configured.
    #[serde(flatten)]
    pub config: MemoryHotplug,
    /// The size that the guest has plugged, in MiB.
    pub plugged_size_mib: u64,
    /// The size that it is asked for, in MiB.
    pub requested_size_mib: u64,
}

/// `PUT /pmem/{id}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pmem {
    /// Its name.
    pub id: String,
    /// The file.
    pub path_on_host: String,
    /// The guest boots from it.
    #[serde(default)]
    pub root_device: bool,
    /// The guest's writes do not reach the file.
    #[serde(default)]
    pub read_only: bool,
}

impl MemoryHotplug {
    /// Checks a size that is asked for.
    ///
    /// # Errors
    /// A sentence.
    pub fn check_request(&self, mebibytes: u32) -> Checked {
        match mebibytes <= self.total_size_mib && mebibytes.is_multiple_of(self.block_size_mib) {
            true => Ok(()),
            false => Err(format!(
                "`requested_size_mib` is {mebibytes}: it must be a multiple of {} and at most {}.",
                self.block_size_mib, self.total_size_mib
            )),
        }
    }

    fn check(&self) -> Checked {
        let (block, slot, total) = (self.block_size_mib, self.slot_size_mib, self.total_size_mib);
        if block != BLOCK {
            return Err(format!(
                "`block_size_mib` is {block}: this VMM has {BLOCK}."
            ));
        }
        if slot < SECTION || !slot.is_multiple_of(block) {
            return Err(format!(
                "`slot_size_mib` is {slot}: it must be a multiple of {block} and at least {SECTION}."
            ));
        }
        if total < slot || !total.is_multiple_of(slot) || !total.is_multiple_of(SECTION) {
            return Err(format!(
                "`total_size_mib` is {total}: it must be a multiple of {slot} and of {SECTION}, and more than 0."
            ));
        }
        Ok(())
    }
}

impl Resources {
    /// Sets the memory that can be plugged.
    ///
    /// # Errors
    /// A sentence.
    pub fn set_memory_hotplug(&mut self, config: MemoryHotplug) -> Checked {
        config.check()?;
        if self.machine_config.huge_pages == HugePages::Of2Mib {
            return Err("Memory is not plugged with `huge_pages` of 2M.".to_owned());
        }
        self.memory_hotplug = Some(config);
        Ok(())
    }

    /// Adds persistent memory, or puts it in the place of the one with its name.
    ///
    /// # Errors
    /// A sentence.
    pub fn set_pmem(&mut self, pmem: Pmem) -> Checked {
        let path = &pmem.path_on_host;
        openable("The file of the pmem device", path, !pmem.read_only)?;
        let length = Path::new(path).metadata().map_or(0, |data| data.len());
        if length == 0 || !length.is_multiple_of(PMEM_PAGE) {
            return Err(format!(
                "The file of the pmem device has {length} bytes: it must be a multiple of 2 MiB: {path}"
            ));
        }
        let place = self.pmem.iter().position(|other| other.id == pmem.id);
        let mut others = self.pmem.iter().filter(|other| other.id != pmem.id);
        let has_root = self.drives.iter().any(|drive| drive.is_root_device)
            || others.any(|other| other.root_device);
        if pmem.root_device && has_root {
            return Err("There is a root device already.".to_owned());
        }
        put(&mut self.pmem, place, pmem)
    }
}
