//! The KVM ioctls called directly: those that kvm-ioctls wraps for other types than ours, and
//! `KVM_RUN`, where its wrapper decodes less than we need.

use std::arch::asm;
use std::io;
use std::os::fd::AsRawFd;

use kvm_bindings::{
    KVM_VCPU_TSC_CTRL, KVM_VCPU_TSC_OFFSET, KVMIO, kvm_device_attr, kvm_ioeventfd, kvm_irqfd,
    kvm_reinject_control, kvm_userspace_memory_region,
};
use kvm_ioctls::{VcpuFd, VmFd};
use vmm_sys_util::ioctl::ioctl_with_ref;
use vmm_sys_util::{ioctl_io_nr, ioctl_iow_nr};

mod numbers {
    use super::*;
    ioctl_iow_nr!(
        KVM_SET_USER_MEMORY_REGION,
        KVMIO,
        0x46,
        kvm_userspace_memory_region
    );
    ioctl_io_nr!(KVM_REINJECT_CONTROL, KVMIO, 0x71);
    ioctl_iow_nr!(KVM_IRQFD, KVMIO, 0x76, kvm_irqfd);
    ioctl_iow_nr!(KVM_IOEVENTFD, KVMIO, 0x79, kvm_ioeventfd);
    ioctl_iow_nr!(KVM_SET_DEVICE_ATTR, KVMIO, 0xe1, kvm_device_attr);
    ioctl_iow_nr!(KVM_GET_DEVICE_ATTR, KVMIO, 0xe2, kvm_device_attr);
}

/// `KVM_RUN`, which is `_IO(KVMIO, 0x80)` (KVM API).
const KVM_RUN: u32 = KVMIO << 8 | 0x80;

/// `KVM_RUN`: runs the guest until an exit, or says which `errno` there was. The caller holds the
/// memory slots alive.
///
/// It is the one call on the exit path, so it goes to the kernel by the instruction itself: 20
/// instructions less than by the C library's variadic wrapper and its `errno`.
#[inline]
pub(crate) fn run(vcpu: &VcpuFd) -> Result<(), i32> {
    let result: isize;
    // SAFETY: a system call by the x86-64 convention (syscall(2)): number and arguments in these
    // registers, the result in rax, rcx and r11 lost, the stack not used. The descriptor belongs
    // to `vcpu`, which is borrowed and so stays open, and the request is defined for it and takes
    // no argument. It writes the vCPU's run page, which is mapped shared and read only through raw
    // pointers (`run_page.rs`), and the memory slots, whose `GuestRam` outlives the descriptor
    // (`Inner::slots`); without `nomem` the compiler keeps no copies of memory across it.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") libc::SYS_ioctl as isize => result,
            in("rdi") vcpu.as_raw_fd(),
            in("rsi") KVM_RUN,
            in("rdx") 0_usize,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    if result < 0 {
        // An error is -4095 to -1.
        Err(-result as i32)
    } else {
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

/// `KVM_REINJECT_CONTROL`: ticks of the PIT that the guest was too late for are not made up for. To
/// do that KVM must see the end of each tick's interrupt, which turns AVIC off on AMD's processors;
/// and a guest that is too slow for the ticks would get them without a pause. It waits for two grace
/// periods of the kernel's, some 15 ms. Systems that tell the
/// time by counting ticks alone, as DOS does, run slow while the host is busy; Linux and the BSDs
/// have other clocks here (kvmclock, the time-stamp counter, the ACPI PM timer).
pub(crate) fn drop_late_ticks(vm: &VmFd) -> io::Result<()> {
    let control = kvm_reinject_control {
        pit_reinject: 0,
        ..Default::default()
    };
    // SAFETY: the argument is the structure this request reads, and nothing is written back.
    let result = unsafe { ioctl_with_ref(vm, numbers::KVM_REINJECT_CONTROL(), &control) };
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

/// The offset of a vCPU's time-stamp counter to the host's (KVM API, `KVM_GET_DEVICE_ATTR`;
/// devices/vcpu.rst, 4.1).
pub(crate) fn tsc_offset(vcpu: &impl AsRawFd) -> io::Result<u64> {
    let mut offset = 0_u64;
    let request = tsc_offset_at(&raw mut offset as u64);
    // SAFETY: the argument is the structure this request reads; the kernel writes 8 bytes to the
    // address in it, which is that of `offset`.
    let result = unsafe { ioctl_with_ref(vcpu, numbers::KVM_GET_DEVICE_ATTR(), &request) };
    check(result)?;
    Ok(offset)
}

/// Sets it (`KVM_SET_DEVICE_ATTR`).
pub(crate) fn set_tsc_offset(vcpu: &impl AsRawFd, offset: u64) -> io::Result<()> {
    let request = tsc_offset_at(&raw const offset as u64);
    // SAFETY: as for `tsc_offset`; the kernel reads 8 bytes.
    let result = unsafe { ioctl_with_ref(vcpu, numbers::KVM_SET_DEVICE_ATTR(), &request) };
    check(result)
}

fn tsc_offset_at(addr: u64) -> kvm_device_attr {
    kvm_device_attr {
        group: KVM_VCPU_TSC_CTRL,
        attr: KVM_VCPU_TSC_OFFSET.into(),
        addr,
        flags: 0,
    }
}

fn check(result: i32) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
