//! KVM's structure of events to and from plain data.

use kvm_bindings::{
    KVM_VCPUEVENT_VALID_NMI_PENDING, KVM_VCPUEVENT_VALID_SHADOW, KVM_VCPUEVENT_VALID_SIPI_VECTOR,
    KVM_VCPUEVENT_VALID_SMM, kvm_vcpu_events,
};
use vmmkit_hypervisor::saved::{ExceptionEvent, InterruptEvent, NmiEvent, SmiEvent, VcpuEvents};

pub(super) fn read(events: &kvm_vcpu_events) -> VcpuEvents {
    let exception = &events.exception;
    let is_exception = exception.injected != 0 || exception.pending != 0;
    VcpuEvents {
        exception: ExceptionEvent {
            is_injected: exception.injected != 0,
            is_pending: exception.pending != 0,
            vector: exception.nr,
            error_code: (exception.has_error_code != 0).then_some(exception.error_code),
            payload: (is_exception && events.exception_has_payload != 0)
                .then_some(events.exception_payload),
        },
        interrupt: InterruptEvent {
            is_injected: events.interrupt.injected != 0,
            vector: events.interrupt.nr,
            is_soft: events.interrupt.soft != 0,
            shadow: events.interrupt.shadow,
        },
        nmi: NmiEvent {
            is_injected: events.nmi.injected != 0,
            pending: events.nmi.pending,
            is_masked: events.nmi.masked != 0,
        },
        smi: (events.flags & KVM_VCPUEVENT_VALID_SMM != 0).then_some(SmiEvent {
            is_in_smm: events.smi.smm != 0,
            is_pending: events.smi.pending != 0,
            is_inside_nmi: events.smi.smm_inside_nmi != 0,
            is_init_latched: events.smi.latched_init != 0,
        }),
        sipi_vector: events.sipi_vector,
        is_triple_fault: events.triple_fault.pending != 0,
    }
}

/// As KVM takes it without the capabilities for payloads and triple faults, which nothing enables.
pub(super) fn write(saved: &VcpuEvents) -> kvm_vcpu_events {
    let mut events = kvm_vcpu_events::default();
    let exception = &saved.exception;
    // KVM_GET_VCPU_EVENTS sets both for one that is pending, so that KVM_SET_VCPU_EVENTS injects it.
    events.exception.injected = (exception.is_injected || exception.is_pending).into();
    events.exception.nr = exception.vector;
    events.exception.has_error_code = exception.error_code.is_some().into();
    events.exception.error_code = exception.error_code.unwrap_or(0);
    events.interrupt.injected = saved.interrupt.is_injected.into();
    events.interrupt.nr = saved.interrupt.vector;
    events.interrupt.soft = saved.interrupt.is_soft.into();
    events.interrupt.shadow = saved.interrupt.shadow;
    events.nmi.injected = saved.nmi.is_injected.into();
    events.nmi.pending = saved.nmi.pending;
    events.nmi.masked = saved.nmi.is_masked.into();
    events.sipi_vector = saved.sipi_vector;
    events.flags = KVM_VCPUEVENT_VALID_NMI_PENDING
        | KVM_VCPUEVENT_VALID_SIPI_VECTOR
        | KVM_VCPUEVENT_VALID_SHADOW;
    if let Some(smi) = &saved.smi {
        events.flags |= KVM_VCPUEVENT_VALID_SMM;
        events.smi.smm = smi.is_in_smm.into();
        events.smi.pending = smi.is_pending.into();
        events.smi.smm_inside_nmi = smi.is_inside_nmi.into();
        events.smi.latched_init = smi.is_init_latched.into();
    }
    events
}
