//! The VMs that were made, for the end of the process.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use vmmkit_hypervisor::{Error, Result};

use crate::inner::Inner;

/// Those VMs of one [`Kvm`](crate::Kvm) that still exist.
#[derive(Default)]
pub(crate) struct Made(Mutex<Vec<Weak<Inner>>>);

impl Made {
    /// Adds `vm`, and forgets those that are gone.
    pub(crate) fn note(&self, vm: &Arc<Inner>) {
        let mut vms = self.0.lock();
        vms.retain(|vm| vm.strong_count() > 0);
        vms.push(Arc::downgrade(vm));
    }

    /// See [`Kvm::leave_to_kernel`](crate::Kvm::leave_to_kernel).
    pub(crate) fn leave_to_kernel(&self) -> Result<()> {
        let vms = self.0.lock();
        let vms: Vec<_> = vms.iter().filter_map(Weak::upgrade).collect();
        if vms.is_empty() {
            return Ok(());
        }
        let descriptors: Vec<_> = vms.iter().map(|vm| vm.current()).collect();
        let files = descriptors.iter().map(|descriptor| {
            // SAFETY: the descriptor belongs to the VM's `VmFd`, which `descriptors` keeps open until
            // the end of this function.
            unsafe { BorrowedFd::borrow_raw(descriptor.vm.as_raw_fd()) }
        });
        let files: Vec<_> = files.collect();
        vmmkit_host_io::close_after_exit(&files)
            .map_err(|error| Error::host("io_uring_register(IORING_REGISTER_FILES)", error))
    }
}
