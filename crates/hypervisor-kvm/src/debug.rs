//! `KVM_SET_GUEST_DEBUG` (KVM API, 4.87).

use kvm_bindings::{
    KVM_CAP_SET_GUEST_DEBUG2, KVM_GUESTDBG_BLOCKIRQ, KVM_GUESTDBG_ENABLE, KVM_GUESTDBG_INJECT_BP,
    KVM_GUESTDBG_SINGLESTEP, KVM_GUESTDBG_USE_HW_BP, KVM_GUESTDBG_USE_SW_BP, kvm_guest_debug,
    kvm_guest_debug_arch,
};
use kvm_ioctls::VmFd;
use vmmkit_hypervisor::x86::GuestDebug;

/// Whether KVM holds interrupts back while it steps (Linux 5.15). Otherwise a step may end in the
/// guest's timer interrupt.
pub(crate) fn blocks_irqs(vm: &VmFd) -> bool {
    let flags = vm.check_extension_raw(KVM_CAP_SET_GUEST_DEBUG2.into());
    flags > 0 && flags as u32 & KVM_GUESTDBG_BLOCKIRQ != 0
}

/// `debug` as KVM takes it.
pub(crate) fn request(debug: &GuestDebug, blocks_irqs: bool) -> kvm_guest_debug {
    let mut arch = kvm_guest_debug_arch::default();
    let places = debug.hardware.iter();
    for (register, place) in arch.debugreg.iter_mut().zip(places) {
        *register = place.map_or(0, |place| place.address);
    }
    let has_places = debug.hardware.iter().any(Option::is_some);
    if let (true, Some(dr7)) = (has_places, arch.debugreg.get_mut(7)) {
        *dr7 = debug.dr7();
    }
    let flags = [
        (!debug.is_off(), KVM_GUESTDBG_ENABLE),
        (debug.step, KVM_GUESTDBG_SINGLESTEP),
        (debug.step && blocks_irqs, KVM_GUESTDBG_BLOCKIRQ),
        (debug.software_breakpoints, KVM_GUESTDBG_USE_SW_BP),
        (has_places, KVM_GUESTDBG_USE_HW_BP),
        (debug.inject_breakpoint, KVM_GUESTDBG_INJECT_BP),
    ];
    let wanted = flags.iter().filter(|(is_wanted, _)| *is_wanted);
    kvm_guest_debug {
        control: wanted.fold(0, |control, (_, flag)| control | flag),
        pad: 0,
        arch,
    }
}
