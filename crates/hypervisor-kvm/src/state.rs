//! The state of a vCPU that does not run.

use kvm_bindings::{
    CpuId, KVM_MP_STATE_HALTED, KVM_MP_STATE_INIT_RECEIVED, KVM_MP_STATE_RUNNABLE,
    KVM_MP_STATE_SIPI_RECEIVED, KVM_MP_STATE_UNINITIALIZED, Msrs, kvm_cpuid_entry2,
    kvm_lapic_state, kvm_mp_state, kvm_msr_entry, kvm_xsave,
};
use vmmkit_hypervisor::x86::{
    ClockControl, CpuidEntry, FpuState, GuestDebug, Instruction, MpState, Msr, Registers,
    SpecialRegisters, VcpuState,
};
use vmmkit_hypervisor::{Error, Result};

use crate::{KvmVcpu, convert, failure, fpu};

/// The most MSRs in one call: KVM refuses `MAX_IO_MSRS` (256) and more with E2BIG.
const MSR_CHUNK: usize = 255;

type Errno = kvm_ioctls::Error;

impl VcpuState for KvmVcpu {
    fn registers(&mut self) -> Result<Registers> {
        let registers = self.fd.get_regs().map_err(host("KVM_GET_REGS"))?;
        Ok(convert::registers(&registers))
    }

    fn set_registers(&mut self, registers: &Registers) -> Result<()> {
        self.fd
            .set_regs(&convert::to_registers(registers))
            .map_err(host("KVM_SET_REGS"))
    }

    fn special_registers(&mut self) -> Result<SpecialRegisters> {
        let registers = self.fd.get_sregs().map_err(host("KVM_GET_SREGS"))?;
        Ok(convert::special(&registers))
    }

    fn set_special_registers(&mut self, registers: &SpecialRegisters) -> Result<()> {
        self.fd
            .set_sregs(&convert::to_special(registers))
            .map_err(host("KVM_SET_SREGS"))
    }

    fn fpu(&mut self) -> Result<FpuState> {
        Ok(fpu::read(&self.xsave()?))
    }

    fn set_fpu(&mut self, state: &FpuState) -> Result<()> {
        let mut xsave = self.xsave()?;
        fpu::write(&mut xsave, state);
        self.set_xsave(&xsave)
    }

    fn set_cpuid(&mut self, entries_given: &[CpuidEntry]) -> Result<()> {
        let entries: Vec<kvm_cpuid_entry2> = entries_given.iter().map(convert::to_cpuid).collect();
        if let Some(software) = &mut self.software {
            software.set_cpuid(entries_given);
        }
        let cpuid = CpuId::from_entries(&entries).map_err(|_| Error::Invalid {
            what: format!("{} CPUID entries", entries.len()),
            reason: "KVM takes at most 256",
        })?;
        self.fd.set_cpuid2(&cpuid).map_err(host("KVM_SET_CPUID2"))
    }

    fn msrs(&mut self, indices: &[u32]) -> Result<Vec<Msr>> {
        const OPERATION: &str = "KVM_GET_MSRS";
        let mut values = Vec::with_capacity(indices.len());
        for chunk in indices.chunks(MSR_CHUNK) {
            let asked = |&index| kvm_msr_entry {
                index,
                ..Default::default()
            };
            let mut msrs = list(chunk.iter().map(asked))?;
            let done = self.fd.get_msrs(&mut msrs).map_err(host(OPERATION))?;
            let read = msrs.as_slice().iter().take(done);
            let software = self.software.as_ref();
            let own = |index| software.and_then(|s| s.msr(index));
            values.extend(read.map(|entry| Msr {
                index: entry.index,
                value: own(entry.index).unwrap_or(entry.data),
            }));
            check_count(
                OPERATION,
                values.len(),
                chunk.get(done).copied(),
                indices.len(),
            )?;
        }
        Ok(values)
    }

    fn set_msrs(&mut self, msrs: &[Msr]) -> Result<()> {
        const OPERATION: &str = "KVM_SET_MSRS";
        let msrs: Vec<Msr> = msrs.iter().map(|&msr| self.held_msr(msr)).collect();
        let mut set = 0;
        for chunk in msrs.chunks(MSR_CHUNK) {
            let entry = |msr: &Msr| kvm_msr_entry {
                index: msr.index,
                data: msr.value,
                reserved: 0,
            };
            let done = self
                .fd
                .set_msrs(&list(chunk.iter().map(entry))?)
                .map_err(host(OPERATION))?;
            set += done;
            check_count(
                OPERATION,
                set,
                chunk.get(done).map(|msr| msr.index),
                msrs.len(),
            )?;
        }
        Ok(())
    }

    fn mp_state(&mut self) -> Result<MpState> {
        let state = self.fd.get_mp_state().map_err(host("KVM_GET_MP_STATE"))?;
        match state.mp_state {
            KVM_MP_STATE_RUNNABLE => Ok(MpState::Runnable),
            KVM_MP_STATE_UNINITIALIZED => Ok(MpState::Uninitialized),
            KVM_MP_STATE_INIT_RECEIVED => Ok(MpState::InitReceived),
            KVM_MP_STATE_HALTED => Ok(MpState::Halted),
            KVM_MP_STATE_SIPI_RECEIVED => Ok(MpState::SipiReceived),
            other => Err(Error::Invalid {
                what: format!("KVM_MP_STATE {other}"),
                reason: "not one of a PC's",
            }),
        }
    }

    fn set_mp_state(&mut self, state: MpState) -> Result<()> {
        let mp_state = match state {
            MpState::Runnable => KVM_MP_STATE_RUNNABLE,
            MpState::Uninitialized => KVM_MP_STATE_UNINITIALIZED,
            MpState::InitReceived => KVM_MP_STATE_INIT_RECEIVED,
            MpState::Halted => KVM_MP_STATE_HALTED,
            MpState::SipiReceived => KVM_MP_STATE_SIPI_RECEIVED,
        };
        self.fd
            .set_mp_state(kvm_mp_state { mp_state })
            .map_err(host("KVM_SET_MP_STATE"))
    }

    fn lapic(&mut self) -> Result<[u8; 1024]> {
        let page = self.fd.get_lapic().map_err(host("KVM_GET_LAPIC"))?;
        Ok(page.regs.map(|byte| byte as u8))
    }

    fn set_lapic(&mut self, page: &[u8; 1024]) -> Result<()> {
        let page = kvm_lapic_state {
            regs: page.map(|byte| byte as i8),
        };
        self.fd.set_lapic(&page).map_err(host("KVM_SET_LAPIC"))
    }

    fn translate(&mut self, linear: u64) -> Result<Option<u64>> {
        let answer = self
            .fd
            .translate_gva(linear)
            .map_err(host("KVM_TRANSLATE"))?;
        Ok((answer.valid != 0).then_some(answer.physical_address))
    }

    fn instruction(&mut self) -> Option<Instruction> {
        failure::instruction(self)
    }

    fn set_guest_debug(&mut self, debug: &GuestDebug) -> Result<()> {
        let blocks_irqs = crate::debug::blocks_irqs(&self.descriptor.vm);
        self.fd
            .set_guest_debug(&crate::debug::request(debug, blocks_irqs))
            .map_err(host("KVM_SET_GUEST_DEBUG"))
    }

    fn tsc_khz(&mut self) -> Result<u32> {
        self.fd.get_tsc_khz().map_err(host("KVM_GET_TSC_KHZ"))
    }
}

impl ClockControl for KvmVcpu {
    fn mark_paused(&mut self) -> Result<()> {
        match self.fd.kvmclock_ctrl() {
            // The guest does not use kvmclock: there is nobody to tell.
            Err(error) if error.errno() == libc::EINVAL => Ok(()),
            answer => answer.map_err(host("KVM_KVMCLOCK_CTRL")),
        }
    }
}

impl KvmVcpu {
    /// The x87, SSE, AVX, ... state in the standard format of XSAVE.
    pub(crate) fn xsave(&self) -> Result<kvm_xsave> {
        self.fd.get_xsave().map_err(host("KVM_GET_XSAVE"))
    }

    /// Sets it.
    pub(crate) fn set_xsave(&self, xsave: &kvm_xsave) -> Result<()> {
        // SAFETY: KVM reads more than the 4096 bytes of the structure only where this process asked
        // for dynamic features of guests (ARCH_REQ_XCOMP_GUEST_PERM), which nothing here does.
        unsafe { self.fd.set_xsave(xsave) }.map_err(host("KVM_SET_XSAVE"))
    }

    /// KVM's value of one MSR; `None` where it has none.
    pub(crate) fn kvm_msr(&self, index: u32) -> Option<u64> {
        let entry = kvm_msr_entry {
            index,
            ..Default::default()
        };
        let mut msrs = Msrs::from_entries(&[entry]).ok()?;
        let read = self.fd.get_msrs(&mut msrs).ok()?;
        let first = msrs.as_slice().iter().take(read).next();
        first.map(|entry| entry.data)
    }

    /// Sets one MSR in KVM; whether it took the value.
    pub(crate) fn set_kvm_msr(&self, msr: Msr) -> Result<bool> {
        let entry = kvm_msr_entry {
            index: msr.index,
            data: msr.value,
            reserved: 0,
        };
        let set = self.fd.set_msrs(&list(std::iter::once(entry))?);
        set.map(|count| count == 1).map_err(host("KVM_SET_MSRS"))
    }
}

fn host(operation: &'static str) -> impl FnOnce(Errno) -> Error {
    move |error| Error::host(operation, error)
}

fn list(entries: impl Iterator<Item = kvm_msr_entry>) -> Result<Msrs> {
    let entries: Vec<_> = entries.collect();
    Msrs::from_entries(&entries).map_err(|_| Error::Invalid {
        what: format!("{} MSRs in one call", entries.len()),
        reason: "KVM takes at most 256",
    })
}

/// KVM stops at the first MSR it does not take and returns how many it took.
fn check_count(
    operation: &'static str,
    done: usize,
    refused: Option<u32>,
    asked: usize,
) -> Result<()> {
    refused.map_or(Ok(()), |index| {
        Err(Error::Msr {
            operation,
            index,
            done,
            asked,
        })
    })
}
