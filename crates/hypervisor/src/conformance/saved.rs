//! Saved states: a new VM goes on as the one that was saved.

use vmmkit_device_bus::SavedState;
use vmmkit_guest_memory::GuestAddress;

use super::guest::{Guest, Outcome, same};
use super::{Case, Failure, Need};
use crate::saved::{SaveVcpu, SaveVm, VcpuSaved, VmSaved};
use crate::x86::{MpState, Msr, VcpuState};
use crate::{Error, Hypervisor, PortAccess, Vcpu, VcpuExit, VcpuId, Vm, VmSettings, Width};

/// IA32_SYSENTER_CS (Intel SDM vol. 4, table 2-2).
const SYSENTER_CS: u32 = 0x174;

pub(super) fn cases<H: Hypervisor>() -> Vec<Case<H>> {
    vec![
        Case {
            name: "a_back_end_without_saved_states_says_so",
            needs: &[],
            test: unsupported::<H>,
        },
        Case {
            name: "a_saved_vcpu_has_what_was_set",
            needs: &[Need::Irqchip, Need::SavedState],
            test: vcpu::<H>,
        },
        Case {
            name: "a_state_that_no_vcpu_could_have_is_refused",
            needs: &[Need::Irqchip, Need::SavedState],
            test: refused::<H>,
        },
        Case {
            name: "a_counter_goes_on_in_a_new_vm",
            needs: &[Need::Execution, Need::Irqchip, Need::SavedState],
            test: counter::<H>,
        },
        Case {
            name: "interrupt_controllers_go_on_in_a_new_vm",
            needs: &[Need::Execution, Need::Irqchip, Need::SavedState],
            test: controllers::<H>,
        },
        Case {
            name: "clocks_go_on_in_a_new_vm",
            needs: &[Need::Execution, Need::Irqchip, Need::SavedState],
            test: clocks::<H>,
        },
    ]
}

fn unsupported<H: Hypervisor>(hypervisor: &H) -> Outcome {
    let vm = hypervisor.create_vm(&super::guest::BARE)?;
    let mut vcpu = vm.create_vcpu(VcpuId(0))?;
    let is_supported = hypervisor.capabilities().saved_state;
    for answer in [vcpu.save().map(|_| ()), SaveVm::save(&vm).map(|_| ())] {
        let is_refused = matches!(answer, Err(Error::Unsupported(_)));
        same("is unsupported", is_refused, !is_supported)?;
        if is_supported {
            answer?;
        }
    }
    Ok(())
}

/// Through JSON, as a file would have it.
fn carried(vm: &VmSaved, vcpu: &VcpuSaved) -> Result<(VmSaved, VcpuSaved), Failure> {
    let carry = |state: SavedState| SavedState::from_json(state.to_json().as_bytes());
    let vm_state = carry(SavedState::new(vm).map_err(Error::from)?).map_err(Error::from)?;
    let vcpu_state = carry(SavedState::new(vcpu).map_err(Error::from)?).map_err(Error::from)?;
    Ok((
        vm_state.read().map_err(Error::from)?,
        vcpu_state.read().map_err(Error::from)?,
    ))
}

/// Saves `guest`, and puts it into a VM of its own with the same RAM.
fn move_to_new<H: Hypervisor>(mut guest: Guest<H>) -> Result<Guest<H>, Failure> {
    let vcpu = guest.vcpu.save()?;
    let (vm, vcpu) = carried(&SaveVm::save(&guest.vm)?, &vcpu)?;
    let mut guest = guest.renew()?;
    SaveVm::restore(&guest.vm, &vm)?;
    guest.vcpu.restore(&vcpu)?;
    Ok(guest)
}

fn vcpu<H: Hypervisor>(hypervisor: &H) -> Outcome {
    let leaves = hypervisor.supported_cpuid()?;
    let make = || {
        let vm = hypervisor.create_vm(&VmSettings::default())?;
        let vcpus = (vm.create_vcpu(VcpuId(0))?, vm.create_vcpu(VcpuId(1))?);
        Ok::<_, Failure>((vm, vcpus))
    };
    let (vm, (mut first, mut second)) = make()?;
    first.set_cpuid(&leaves)?;
    second.set_cpuid(&leaves)?;
    let mut registers = first.registers()?;
    (registers.rbx, registers.rip) = (0x1122_3344_5566_7788, 0x1234);
    first.set_registers(&registers)?;
    let mut special = first.special_registers()?;
    special.cr2 = 0xdead_beef;
    first.set_special_registers(&special)?;
    let mut fpu = first.fpu()?;
    fpu.xmm = std::array::from_fn(|index| [index as u8 + 1; 16]);
    first.set_fpu(&fpu)?;
    first.set_msrs(&[Msr {
        index: SYSENTER_CS,
        value: 0x10,
    }])?;
    let saved_vm = SaveVm::save(&vm)?;
    let (saved_first, saved_second) = (first.save()?, second.save()?);
    let first_lapic = first.lapic()?;
    drop((first, second, vm));
    let (vm, (mut first, mut second)) = make()?;
    let (saved_vm, saved_first) = carried(&saved_vm, &saved_first)?;
    SaveVm::restore(&vm, &saved_vm)?;
    first.restore(&saved_first)?;
    second.restore(&saved_second)?;
    same("registers", first.registers()?, registers)?;
    same("special registers", first.special_registers()?, special)?;
    same("x87 and SSE", first.fpu()?.xmm, fpu.xmm)?;
    same("state", second.mp_state()?, MpState::Uninitialized)?;
    same("local APIC", first.lapic()? == first_lapic, true)?;
    let msrs = first.msrs(&[SYSENTER_CS])?;
    same("MSR", msrs.first().map(|msr| msr.value), Some(0x10))?;
    let again = first.save()?;
    same("XSAVE area", again.xsave == saved_first.xsave, true)?;
    same("XCRs", again.xcrs, saved_first.xcrs)?;
    same("events", again.events, saved_first.events)?;
    same("CPUID", again.cpuid == saved_first.cpuid, true)
}

fn refused<H: Hypervisor>(hypervisor: &H) -> Outcome {
    let vm = hypervisor.create_vm(&VmSettings::default())?;
    let mut vcpu = vm.create_vcpu(VcpuId(0))?;
    let good = vcpu.save()?;
    for change in [
        (|saved| saved.xsave.truncate(7)) as fn(&mut VcpuSaved),
        |saved| saved.xsave.resize(1 << 20, 0),
        |saved| saved.lapic = Some(vec![0; 3]),
        |saved| saved.cpuid = vec![Default::default(); 1000],
        |saved| saved.xcrs = vec![Default::default(); 17],
        |saved| {
            saved.msrs = vec![
                Msr {
                    index: 0x174,
                    value: 0
                };
                5000
            ];
        },
    ] {
        let mut bad = good.clone();
        change(&mut bad);
        let answer = vcpu.restore(&bad);
        same("refusal", matches!(answer, Err(Error::State(_))), true)?;
    }
    let bare = VmSaved::default();
    let answer = SaveVm::restore(&vm, &bare);
    same("refusal", matches!(answer, Err(Error::State(_))), true)
}

const COUNTER: u16 = 0x5000;

/// The guest writes a byte to port 0x10.
const WRITTEN: VcpuExit = VcpuExit::PortWrite(PortAccess {
    port: 0x10,
    width: Width::Byte,
    count: 1,
});

fn counter<H: Hypervisor>(hypervisor: &H) -> Outcome {
    let [low, high] = COUNTER.to_le_bytes();
    let code = [
        0xfe, 0xc3, // inc bl
        0xfe, 0x06, low, high, // inc byte [COUNTER]
        0x88, 0xd8, // mov al, bl
        0xe6, 0x10, // out 0x10, al
        0xeb, 0xf4, // jmp to the start
    ];
    let mut guest = Guest::real(hypervisor, &VmSettings::default(), 0, &code)?;
    let mut expected = 0;
    for _ in 0..3 {
        for _ in 0..5 {
            expected += 1;
            guest.expect(WRITTEN)?;
            same("in a register", guest.vcpu.data().to_vec(), vec![expected])?;
            let stored: u8 = guest.ram.read(GuestAddress(COUNTER.into()))?;
            same("in RAM", stored, expected)?;
        }
        // In the middle of the access, which is completed.
        guest = move_to_new(guest)?;
    }
    Ok(())
}

/// The mask of the first 8259A, which the guest reads back.
fn controllers<H: Hypervisor>(hypervisor: &H) -> Outcome {
    let code = [
        0xb0, 0x5a, // mov al, 0x5a
        0xe6, 0x21, // out 0x21, al
        0xe6, 0x10, // out 0x10, al
        0xe4, 0x21, // in al, 0x21
        0xe6, 0x10, // out 0x10, al
    ];
    let mut guest = Guest::real(hypervisor, &VmSettings::default(), 0, &code)?;
    guest.expect(WRITTEN)?;
    let saved = SaveVm::save(&guest.vm)?;
    let imr = saved.pics.map(|[master, _]| master.imr);
    same("saved mask", imr, Some(0x5a))?;
    let mut guest = move_to_new(guest)?;
    guest.expect(WRITTEN)?;
    same("mask", guest.vcpu.data().to_vec(), vec![0x5a])
}

/// IA32_TIME_STAMP_COUNTER (Intel SDM vol. 4, table 2-2).
const TSC: u32 = 0x10;

/// Neither goes back, and both are a little further: less than the time that the test may take.
fn clocks<H: Hypervisor>(hypervisor: &H) -> Outcome {
    const LIMIT_SECONDS: u64 = 60;
    let mut guest = Guest::real(hypervisor, &VmSettings::default(), 0, &[0xf4])?;
    let tsc = |guest: &mut Guest<H>| {
        let msrs = guest.vcpu.msrs(&[TSC])?;
        crate::Result::Ok(msrs.first().map_or(0, |msr| msr.value))
    };
    let khz = u64::from(guest.vcpu.tsc_khz()?);
    let (ticks, clock_ns) = (tsc(&mut guest)?, SaveVm::save(&guest.vm)?.clock_ns);
    let mut guest = move_to_new(guest)?;
    let ticks = tsc(&mut guest)?.wrapping_sub(ticks);
    let clock_ns = SaveVm::save(&guest.vm)?.clock_ns.wrapping_sub(clock_ns);
    same("ticks", ticks < LIMIT_SECONDS * 1000 * khz, true)?;
    same("clock", clock_ns < LIMIT_SECONDS * 1_000_000_000, true)
}
