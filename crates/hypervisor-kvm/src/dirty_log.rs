//! Which pages the guest wrote (`KVM_GET_DIRTY_LOG`).

use std::io;

use vmmkit_hypervisor::{DirtyLog, Error, Result};

use crate::KvmVm;

impl DirtyLog for KvmVm {
    fn log_dirty_pages(&self, on: bool) -> Result<()> {
        self.inner.set_dirty_log(on)
    }

    fn take_dirty_pages(&self, slot: u32) -> Result<Vec<u64>> {
        const OPERATION: &str = "KVM_GET_DIRTY_LOG";
        let size = self.inner.slot_size(slot);
        let size = size
            .and_then(|size| usize::try_from(size).ok())
            .ok_or_else(|| Error::host(OPERATION, io::Error::from_raw_os_error(libc::ENOENT)))?;
        let pages = self.inner.current().vm.get_dirty_log(slot, size);
        pages.map_err(|error| Error::host(OPERATION, error))
    }
}
