//! The state of a fake vCPU: stored, not interpreted.

use super::vcpu::FakeVcpu;
use crate::x86::{
    ClockControl, CpuidEntry, FpuState, GuestDebug, MpState, Msr, Registers, SpecialRegisters,
    VcpuState,
};
use crate::{Error, Result};

impl VcpuState for FakeVcpu {
    fn registers(&mut self) -> Result<Registers> {
        self.with(|vcpu| vcpu.snapshot.registers)
    }

    fn set_registers(&mut self, registers: &Registers) -> Result<()> {
        self.with(|vcpu| vcpu.snapshot.registers = *registers)
    }

    fn special_registers(&mut self) -> Result<SpecialRegisters> {
        self.with(|vcpu| vcpu.snapshot.special_registers)
    }

    fn set_special_registers(&mut self, registers: &SpecialRegisters) -> Result<()> {
        self.with(|vcpu| vcpu.snapshot.special_registers = *registers)
    }

    fn fpu(&mut self) -> Result<FpuState> {
        self.with(|vcpu| vcpu.snapshot.fpu)
    }

    fn set_fpu(&mut self, fpu: &FpuState) -> Result<()> {
        self.with(|vcpu| vcpu.snapshot.fpu = *fpu)
    }

    fn set_cpuid(&mut self, entries: &[CpuidEntry]) -> Result<()> {
        self.with(|vcpu| vcpu.snapshot.cpuid = entries.to_vec())
    }

    fn msrs(&mut self, indices: &[u32]) -> Result<Vec<Msr>> {
        let refusal = refuse("KVM_GET_MSRS", indices.iter().copied(), indices.len());
        let values = self.with(|vcpu| {
            let value = |&index| {
                let value = vcpu.snapshot.msrs.get(&index).copied().unwrap_or(0);
                Msr { index, value }
            };
            indices.iter().map(value).collect()
        })?;
        refusal.map_or(Ok(values), Err)
    }

    fn set_msrs(&mut self, msrs: &[Msr]) -> Result<()> {
        let accepted = msrs.iter().take_while(|msr| exists(msr.index));
        let accepted = accepted.map(|msr| (msr.index, msr.value));
        self.with(|vcpu| vcpu.snapshot.msrs.extend(accepted))?;
        refuse("KVM_SET_MSRS", msrs.iter().map(|msr| msr.index), msrs.len()).map_or(Ok(()), Err)
    }

    fn mp_state(&mut self) -> Result<MpState> {
        self.with(|vcpu| vcpu.snapshot.mp_state)
    }

    fn set_mp_state(&mut self, state: MpState) -> Result<()> {
        self.with(|vcpu| vcpu.snapshot.mp_state = state)
    }

    fn lapic(&mut self) -> Result<[u8; 1024]> {
        self.with(|vcpu| vcpu.snapshot.lapic)
    }

    fn set_lapic(&mut self, page: &[u8; 1024]) -> Result<()> {
        self.with(|vcpu| vcpu.snapshot.lapic = *page)
    }

    /// Without page tables every address is its own translation.
    fn translate(&mut self, linear: u64) -> Result<Option<u64>> {
        Ok(Some(linear))
    }

    fn set_guest_debug(&mut self, debug: &GuestDebug) -> Result<()> {
        self.with(|vcpu| vcpu.snapshot.guest_debug = *debug)
    }

    /// 1 GHz, so that ticks are nanoseconds.
    fn tsc_khz(&mut self) -> Result<u32> {
        Ok(1_000_000)
    }
}

impl ClockControl for FakeVcpu {
    fn mark_paused(&mut self) -> Result<()> {
        self.with(|vcpu| vcpu.transcript.pauses += 1)
    }
}

/// Whether the fake has this MSR: the two architectural ranges that an MSR bitmap covers (Intel
/// SDM vol. 3, 25.6.9) and KVM's own.
fn exists(index: u32) -> bool {
    matches!(index, 0..=0x1fff | 0xc000_0000..=0xc000_1fff | 0x4b56_4d00..=0x4b56_4dff)
}

fn refuse(
    operation: &'static str,
    indices: impl Iterator<Item = u32>,
    asked: usize,
) -> Option<Error> {
    let (done, index) = indices.enumerate().find(|&(_, index)| !exists(index))?;
    Some(Error::Msr {
        operation,
        index,
        done,
        asked,
    })
}

/// The leaves of a plain x86-64 CPU: FPU, TSC, MSR, PAE, CX8, APIC, PGE, CMOV, FXSR, SSE, SSE2;
/// SYSCALL, NX, long mode.
pub(super) fn plain_cpuid() -> Vec<CpuidEntry> {
    let leaf = |function, [eax, ebx, ecx, edx]: [u32; 4]| CpuidEntry {
        function,
        eax,
        ebx,
        ecx,
        edx,
        ..CpuidEntry::default()
    };
    vec![
        // "vmmkit fake." in EBX, EDX, ECX
        leaf(0, [1, 0x6b6d_6d76, 0x2e65_6b61, 0x6620_7469]),
        leaf(1, [0x0000_0f10, 0, 0, 0x0700_a371]),
        leaf(0x8000_0000, [0x8000_0008, 0, 0, 0]),
        leaf(0x8000_0001, [0, 0, 1, 0x2010_0800]),
        leaf(0x8000_0008, [0x0000_3028, 0, 0, 0]),
    ]
}
