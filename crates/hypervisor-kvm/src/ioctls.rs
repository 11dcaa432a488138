//! The KVM ioctls called directly: those that kvm-ioctls wraps for other types than ours, and
//! `KVM_RUN`, where its wrapper decodes less than we need.

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use kvm_bindings::{KVMIO, kvm_ioeventfd, kvm_irqfd, kvm_userspace_memory_region};
use kvm_ioctls::{VcpuFd, VmFd};
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, opcode};
use vmm_sys_util::ioctl::ioctl_with_ref;
use vmm_sys_util::ioctl_iow_nr;

mod numbers {
    use super::*;
    ioctl_iow_nr!(
        KVM_SET_USER_MEMORY_REGION,
        KVMIO,
        0x46,
        kvm_userspace_memory_region
    );
    ioctl_iow_nr!(KVM_IRQFD, KVMIO, 0x76, kvm_irqfd);
    ioctl_iow_nr!(KVM_IOEVENTFD, KVMIO, 0x79, kvm_ioeventfd);
}

/// `KVM_RUN`: runs the guest until an exit. The caller holds the memory slots alive.
/// It is the one call on the exit path, so it goes to the kernel without the C library's variadic
/// wrapper: 20 instructions of 160.
#[inline]
pub(crate) fn run(vcpu: &VcpuFd) -> Result<(), i32> {
    // SAFETY: the descriptor belongs to `vcpu`, which is borrowed and so stays open.
    let fd = unsafe { BorrowedFd::borrow_raw(vcpu.as_raw_fd()) };
    // SAFETY: `fd` is an open vCPU descriptor, for which the request is defined. It writes the
    // vCPU's run page, which is mapped shared and read only through raw pointers (`run_page.rs`),
    // and the memory slots, whose `GuestRam` outlives the descriptor (`Inner::slots`).
    let result = unsafe { rustix::ioctl::ioctl(fd, Run) };
    result.map_err(rustix::io::Errno::raw_os_error)
}

/// The request `KVM_RUN`, which is `_IO(KVMIO, 0x80)` (KVM API).
struct Run;

// SAFETY: KVM_RUN takes no argument, so the pointer is never used and may be null, and its result
// is 0 or an error. It is called mutating although it has no argument to mutate: it writes memory
// that this process maps, and the compiler must not keep copies of that across the call.
unsafe impl Ioctl for Run {
    type Output = ();

    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        opcode::none(KVMIO as u8, 0x80)
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::null_mut()
    }

    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut c_void) -> rustix::io::Result<()> {
        Ok(())
    }
}

/// `KVM_SET_USER_MEMORY_REGION`.
///
/// # Safety
/// The bytes from `userspace_addr` on, `memory_size` of them, stay mapped until the VM and all its
/// vCPUs are closed or the slot is set again.
pub(crate) unsafe fn set_memory_region(
    vm: &VmFd,
    region: &kvm_userspace_memory_region,
) -> io::Result<()> {
    // SAFETY: the argument is the structure this request reads; the caller answers for the range.
    let result = unsafe { ioctl_with_ref(vm, numbers::KVM_SET_USER_MEMORY_REGION(), region) };
    check(result)
}

/// `KVM_IRQFD`.
pub(crate) fn irqfd(vm: &impl AsRawFd, request: &kvm_irqfd) -> io::Result<()> {
    // SAFETY: the argument is the structure this request reads, and nothing is written back; KVM
    // takes its own reference to the event.
    let result = unsafe { ioctl_with_ref(vm, numbers::KVM_IRQFD(), request) };
    check(result)
}

/// `KVM_IOEVENTFD`.
pub(crate) fn ioeventfd(vm: &impl AsRawFd, request: &kvm_ioeventfd) -> io::Result<()> {
    // SAFETY: as for `irqfd`.
    let result = unsafe { ioctl_with_ref(vm, numbers::KVM_IOEVENTFD(), request) };
    check(result)
}

fn check(result: i32) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
