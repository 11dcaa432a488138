//! Registers, MSRs and CPUID: what is set is what is there.

use super::guest::{BARE, Guest, Outcome, VcpuOf, same};
use super::{Case, Failure, Need};
use crate::x86::{CpuidEntry, FpuState, MpState, Msr, Registers, Segment, VcpuState};
use crate::{Error, Hypervisor, Vcpu, VcpuExit, VcpuId, Vm, VmSettings};

pub(super) fn cases<H: Hypervisor>() -> Vec<Case<H>> {
    let case = |name, test| Case {
        name,
        needs: &[],
        test,
    };
    vec![
        case("general_registers_keep_their_values", general::<H>),
        case("special_registers_keep_their_values", special::<H>),
        case("floating_point_registers_keep_their_values", fpu::<H>),
        case("msrs_keep_their_values", msrs::<H>),
        case("an_unknown_msr_is_named", unknown_msr::<H>),
        case("more_than_256_msrs_are_one_call", many_msrs::<H>),
        case("supported_cpuid_has_leaf_1", supported::<H>),
        case("the_tsc_has_a_frequency", tsc::<H>),
        case("an_absurd_vcpu_id_is_refused", absurd_id::<H>),
        case("a_vcpu_is_made_once", twice::<H>),
        Case {
            name: "only_the_first_vcpu_starts_by_itself",
            needs: &[Need::Irqchip],
            test: waiting::<H>,
        },
        Case {
            name: "the_local_apic_keeps_its_registers",
            needs: &[Need::Irqchip],
            test: lapic::<H>,
        },
        Case {
            name: "the_guest_sees_cpuid_as_set",
            needs: &[Need::Execution],
            test: cpuid::<H>,
        },
        Case {
            name: "addresses_are_translated_by_the_guests_tables",
            needs: &[Need::Execution],
            test: translate::<H>,
        },
    ]
}

/// Runs `test` on the first vCPU of a bare VM.
fn with_vcpu<H: Hypervisor>(
    hypervisor: &H,
    test: impl FnOnce(&mut VcpuOf<H>) -> Outcome,
) -> Outcome {
    let vm = hypervisor.create_vm(&BARE)?;
    let mut vcpu = vm.create_vcpu(VcpuId(0))?;
    test(&mut vcpu)
}

fn general<H: Hypervisor>(hypervisor: &H) -> Outcome {
    with_vcpu(hypervisor, |vcpu| {
        let registers = Registers {
            rax: 1,
            rbx: 2,
            rcx: 3,
            rdx: 4,
            rsi: 5,
            rdi: 6,
            rsp: 7,
            rbp: 8,
            r8: 9,
            r9: 10,
            r10: 11,
            r11: 12,
            r12: 13,
            r13: 14,
            r14: 15,
            r15: u64::MAX,
            rip: 0x1234,
            rflags: 0x202,
        };
        vcpu.set_registers(&registers)?;
        same("registers", vcpu.registers()?, registers)
    })
}

fn special<H: Hypervisor>(hypervisor: &H) -> Outcome {
    with_vcpu(hypervisor, |vcpu| {
        let mut registers = vcpu.special_registers()?;
        registers.cs = Segment {
            base: 0x1_0000,
            selector: 0x1000,
            ..registers.cs
        };
        registers.gdt.base = 0x6000;
        registers.gdt.limit = 0x37;
        registers.cr2 = 0xdead_0000;
        vcpu.set_special_registers(&registers)?;
        same("special registers", vcpu.special_registers()?, registers)
    })
}

fn fpu<H: Hypervisor>(hypervisor: &H) -> Outcome {
    with_vcpu(hypervisor, |vcpu| {
        let mut state = FpuState {
            fcw: 0x27f,
            mxcsr: 0x1fa0,
            ..FpuState::default()
        };
        state.xmm = [[0x77; 16]; 16];
        vcpu.set_fpu(&state)?;
        let found = vcpu.fpu()?;
        same("FCW", found.fcw, state.fcw)?;
        same("MXCSR", found.mxcsr, state.mxcsr)?;
        same("XMM", found.xmm, state.xmm)
    })
}

/// IA32_SYSENTER_CS (Intel SDM vol. 4, table 2-2): every CPU has it, and takes any 32 bits.
const SYSENTER_CS: u32 = 0x174;
/// In no range that any vendor uses.
const UNKNOWN: u32 = 0xdead_beef;

fn msrs<H: Hypervisor>(hypervisor: &H) -> Outcome {
    with_vcpu(hypervisor, |vcpu| {
        // SYSENTER_CS, SYSENTER_ESP, STAR
        let msrs = [
            Msr {
                index: SYSENTER_CS,
                value: 0x10,
            },
            Msr {
                index: 0x175,
                value: 0x7000,
            },
            Msr {
                index: 0xc000_0081,
                value: 0x23_0010_0000_0000,
            },
        ];
        vcpu.set_msrs(&msrs)?;
        same(
            "MSRs",
            vcpu.msrs(&msrs.map(|msr| msr.index))?,
            msrs.to_vec(),
        )
    })
}

fn unknown_msr<H: Hypervisor>(hypervisor: &H) -> Outcome {
    with_vcpu(hypervisor, |vcpu| {
        refused(vcpu.msrs(&[SYSENTER_CS, UNKNOWN, SYSENTER_CS]).err(), 1, 3)?;
        let msr = |index| Msr { index, value: 1 };
        refused(vcpu.set_msrs(&[msr(SYSENTER_CS), msr(UNKNOWN)]).err(), 1, 2)
    })
}

fn refused(error: Option<Error>, promised_done: usize, promised_asked: usize) -> Outcome {
    match error {
        Some(Error::Msr {
            index, done, asked, ..
        }) => same(
            "(MSR, done, asked)",
            (index, done, asked),
            (UNKNOWN, promised_done, promised_asked),
        ),
        other => same(
            "error",
            format!("{other:?}"),
            "the unknown MSR's name".to_owned(),
        ),
    }
}

fn many_msrs<H: Hypervisor>(hypervisor: &H) -> Outcome {
    with_vcpu(hypervisor, |vcpu| {
        let mut msrs: Vec<Msr> = (0..600)
            .map(|value| Msr {
                index: SYSENTER_CS,
                value: value & 0xff,
            })
            .collect();
        vcpu.set_msrs(&msrs)?;
        let values = vcpu.msrs(&[SYSENTER_CS; 600])?;
        same("count", values.len(), 600)?;
        same(
            "last value",
            values.last().map(|msr| msr.value),
            Some(599 & 0xff),
        )?;
        msrs.insert(
            300,
            Msr {
                index: UNKNOWN,
                value: 0,
            },
        );
        refused(vcpu.set_msrs(&msrs).err(), 300, 601)
    })
}

fn supported<H: Hypervisor>(hypervisor: &H) -> Outcome {
    let leaves = hypervisor.supported_cpuid()?;
    same(
        "leaf 1 is there",
        leaves.iter().any(|leaf| leaf.function == 1),
        true,
    )?;
    with_vcpu(hypervisor, |vcpu| Ok(vcpu.set_cpuid(&leaves)?))
}

fn tsc<H: Hypervisor>(hypervisor: &H) -> Outcome {
    with_vcpu(hypervisor, |vcpu| {
        same("kHz are above 0", vcpu.tsc_khz()? > 0, true)
    })
}

fn absurd_id<H: Hypervisor>(hypervisor: &H) -> Outcome {
    let vm = hypervisor.create_vm(&BARE)?;
    same("refused", vm.create_vcpu(VcpuId(u32::MAX)).is_err(), true)?;
    same(
        "room for one",
        hypervisor.capabilities().max_vcpus > 0,
        true,
    )
}

fn twice<H: Hypervisor>(hypervisor: &H) -> Outcome {
    let vm = hypervisor.create_vm(&BARE)?;
    let first = vm.create_vcpu(VcpuId(0))?;
    same("refused", vm.create_vcpu(VcpuId(0)).is_err(), true)?;
    same("id", first.id(), VcpuId(0))
}

fn waiting<H: Hypervisor>(hypervisor: &H) -> Outcome {
    let vm = hypervisor.create_vm(&VmSettings::default())?;
    let mut first = vm.create_vcpu(VcpuId(0))?;
    let mut second = vm.create_vcpu(VcpuId(1))?;
    same("first", first.mp_state()?, MpState::Runnable)?;
    same("second", second.mp_state()?, MpState::Uninitialized)?;
    second.kicker().kick();
    same("exit", second.run()?, VcpuExit::Interrupted)?;
    second.set_mp_state(MpState::Runnable)?;
    same("second, when set", second.mp_state()?, MpState::Runnable)
}

fn lapic<H: Hypervisor>(hypervisor: &H) -> Outcome {
    /// The first byte of the task priority register (Intel SDM vol. 3, table 11-1).
    const TPR: usize = 0x80;
    let vm = hypervisor.create_vm(&VmSettings::default())?;
    let mut vcpu = vm.create_vcpu(VcpuId(0))?;
    let mut page = vcpu.lapic()?;
    page.iter_mut()
        .skip(TPR)
        .take(1)
        .for_each(|byte| *byte = 0x20);
    vcpu.set_lapic(&page)?;
    same("TPR", vcpu.lapic()?.get(TPR).copied(), Some(0x20))
}

fn cpuid<H: Hypervisor>(hypervisor: &H) -> Outcome {
    let code = [
        0x66, 0xb8, 0x00, 0x00, 0x00, 0x40, // mov eax, 0x40000000
        0x0f, 0xa2, // cpuid
        0x66, 0x89, 0xd8, // mov eax, ebx
        0xba, 0x10, 0x00, // mov dx, 0x10
        0x66, 0xef, // out dx, eax
    ];
    let mut guest = Guest::real(hypervisor, &BARE, 0, &code)?;
    let mut leaves = hypervisor.supported_cpuid()?;
    leaves.retain(|leaf| leaf.function != 0x4000_0000);
    leaves.push(CpuidEntry {
        function: 0x4000_0000,
        ebx: 0x1234_5678,
        ..CpuidEntry::default()
    });
    guest.vcpu.set_cpuid(&leaves)?;
    guest.run()?;
    same(
        "EBX",
        guest.vcpu.data().to_vec(),
        0x1234_5678_u32.to_le_bytes().to_vec(),
    )
}

fn translate<H: Hypervisor>(hypervisor: &H) -> Result<(), Failure> {
    let mut guest = Guest::long(hypervisor, &[0xf4])?;
    same("mapped", guest.vcpu.translate(0x20_1234)?, Some(0x20_1234))?;
    same("not mapped", guest.vcpu.translate(0x80_0000_0000)?, None)
}
