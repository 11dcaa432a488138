//! Guest writes that signal an eventfd (`KVM_IOEVENTFD`).

use std::os::fd::{AsRawFd, BorrowedFd};

use kvm_bindings::{
    kvm_ioeventfd, kvm_ioeventfd_flag_nr_datamatch, kvm_ioeventfd_flag_nr_deassign,
    kvm_ioeventfd_flag_nr_pio,
};
use vmmkit_hypervisor::{DatamatchWidth, Error, IoEventAddress, IoEvents, Result};

use crate::{KvmVm, ioctls};

impl IoEvents for KvmVm {
    fn attach_ioevent(
        &self,
        event: BorrowedFd<'_>,
        address: IoEventAddress,
        datamatch: DatamatchWidth,
    ) -> Result<()> {
        self.ioevent(request(event, address, datamatch))
    }

    fn detach_ioevent(
        &self,
        event: BorrowedFd<'_>,
        address: IoEventAddress,
        datamatch: DatamatchWidth,
    ) -> Result<()> {
        let mut request = request(event, address, datamatch);
        request.flags |= 1 << kvm_ioeventfd_flag_nr_deassign;
        self.ioevent(request)
    }
}

impl KvmVm {
    fn ioevent(&self, request: kvm_ioeventfd) -> Result<()> {
        ioctls::ioeventfd(&self.inner.current().vm, &request)
            .map_err(|error| Error::host("KVM_IOEVENTFD", error))
    }
}

fn request(
    event: BorrowedFd<'_>,
    address: IoEventAddress,
    datamatch: DatamatchWidth,
) -> kvm_ioeventfd {
    let (addr, place) = match address {
        IoEventAddress::Port(port) => (u64::from(port), 1 << kvm_ioeventfd_flag_nr_pio),
        IoEventAddress::Mmio(address) => (address, 0),
    };
    let (len, value) = match datamatch {
        DatamatchWidth::Any => (0, None),
        DatamatchWidth::Word(value) => (2, Some(u64::from(value))),
        DatamatchWidth::Dword(value) => (4, Some(u64::from(value))),
        DatamatchWidth::Qword(value) => (8, Some(value)),
    };
    let compare = if value.is_some() {
        1 << kvm_ioeventfd_flag_nr_datamatch
    } else {
        0
    };
    kvm_ioeventfd {
        datamatch: value.unwrap_or(0),
        addr,
        len,
        fd: event.as_raw_fd(),
        flags: place | compare,
        ..Default::default()
    }
}
