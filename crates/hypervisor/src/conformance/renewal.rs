//! A VM that is made as new keeps its memory and its lines, and nothing else.

use std::os::fd::AsFd;

use vmmkit_guest_memory::GuestAddress;

use super::guest::{BARE, Guest, Outcome, enter_real, same};
use super::interrupts::{LINE, new_event, waiting, written};
use super::{Case, Need};
use crate::x86::{MpState, Msr, VcpuState};
use crate::{
    DatamatchWidth, Hypervisor, Interrupts, IoEventAddress, IoEvents, VcpuExit, VcpuId, Vm,
    VmSettings,
};

pub(super) fn cases<H: Hypervisor>() -> Vec<Case<H>> {
    vec![
        Case {
            name: "a_renewed_vm_makes_its_vcpus_anew",
            needs: &[Need::Irqchip],
            test: vcpus::<H>,
        },
        Case {
            name: "a_renewed_vm_keeps_its_ram",
            needs: &[Need::Execution],
            test: ram::<H>,
        },
        Case {
            name: "lines_lead_to_the_renewed_vm",
            needs: &[Need::Execution, Need::Irqchip],
            test: line::<H>,
        },
        Case {
            name: "events_of_a_renewed_vm_are_detached",
            needs: &[Need::Irqchip, Need::Irqfd, Need::Ioeventfd],
            test: events::<H>,
        },
    ]
}

fn vcpus<H: Hypervisor>(hypervisor: &H) -> Outcome {
    /// IA32_SYSENTER_CS (Intel SDM vol. 4, table 2-2).
    const SYSENTER_CS: u32 = 0x174;
    let vm = hypervisor.create_vm(&VmSettings::default())?;
    let mut reset = Vec::new();
    for _ in 0..3 {
        let mut first = vm.create_vcpu(VcpuId(0))?;
        let mut second = vm.create_vcpu(VcpuId(1))?;
        same("first", first.mp_state()?, MpState::Runnable)?;
        same("second", second.mp_state()?, MpState::Uninitialized)?;
        reset.push((first.registers()?, first.special_registers()?));
        first.set_msrs(&[Msr {
            index: SYSENTER_CS,
            value: 0x10,
        }])?;
        enter_real(&mut first, 0, 0x1234)?;
        second.set_mp_state(MpState::Runnable)?;
        drop((first, second));
        vm.renew()?;
    }
    let (last, others) = (reset.last().cloned(), reset.iter());
    for state in others {
        same("state at power-on", Some(state), last.as_ref())?;
    }
    Ok(())
}

fn ram<H: Hypervisor>(hypervisor: &H) -> Outcome {
    // mov [0x5000], al; hlt
    let code = [0xa2, 0x00, 0x50, 0xf4];
    let mut guest = Guest::real(hypervisor, &BARE, 0, &code)?;
    for byte in [0x77, 0x88] {
        guest = guest.renew()?;
        let mut registers = guest.vcpu.registers()?;
        registers.rax = byte;
        guest.vcpu.set_registers(&registers)?;
        guest.expect(VcpuExit::Halt)?;
        let stored = guest.ram.read::<u8>(GuestAddress(0x5000))?;
        same("byte", u64::from(stored), byte)?;
    }
    Ok(())
}

fn line<H: Hypervisor>(hypervisor: &H) -> Outcome {
    let mut guest = waiting(hypervisor)?;
    let line = guest.vm.irq_line(LINE);
    // High when the old VM goes: the renewed one starts with it low.
    line.set_level(true);
    guest.expect(written(0x52))?;
    let mut guest = guest.renew()?;
    guest.expect(written(0x51))?;
    line.set_level(true);
    guest.expect(written(0x52))?;
    line.set_level(false);
    guest.expect(written(0x53))
}

fn events<H: Hypervisor>(hypervisor: &H) -> Outcome {
    let vm = hypervisor.create_vm(&VmSettings::default())?;
    let (irq, kick) = (new_event()?, new_event()?);
    let address = IoEventAddress::Mmio(0xd000_0050);
    for _ in 0..2 {
        vm.attach_irqfd(irq.as_fd(), LINE)?;
        vm.attach_ioevent(kick.as_fd(), address, DatamatchWidth::Dword(1))?;
        vm.renew()?;
        let detached = vm.detach_ioevent(kick.as_fd(), address, DatamatchWidth::Dword(1));
        same("ioeventfd is gone", detached.is_err(), true)?;
    }
    Ok(())
}
