//! A vCPU.

use kvm_bindings::{
    KVM_MAX_CPUID_ENTRIES, Msrs, Xsave, kvm_debugregs, kvm_msr_entry, kvm_xcr, kvm_xcrs, kvm_xsave,
};
use kvm_ioctls::Cap;
use vmmkit_device_bus::{StateError, StateForm, StateReason};
use vmmkit_hypervisor::saved::{DebugRegisters, ExtendedControlRegister, SaveVcpu, VcpuSaved};
use vmmkit_hypervisor::x86::{Msr, VcpuState};
use vmmkit_hypervisor::{Error, Result, Vcpu};

use super::{SOFTWARE, events, host};
use crate::{KvmVcpu, convert, ioctls};

/// IA32_TIME_STAMP_COUNTER (Intel SDM volume 4, table 2-2), which has an offset instead.
const TSC: u32 = 0x10;
/// IA32_TSC_DEADLINE: it arms the timer of a local APIC that must be restored before it.
const TSC_DEADLINE: u32 = 0x6e0;
/// Legacy area and header of XSAVE (Intel SDM volume 1, 13.4), in bytes.
const MIN_XSAVE: usize = 512 + 64;
/// The most MSRs in one call: KVM refuses `MAX_IO_MSRS` (256) and more with E2BIG.
const MSR_CHUNK: usize = 255;

impl SaveVcpu for KvmVcpu {
    fn save(&mut self) -> Result<VcpuSaved> {
        if self.software.is_some() {
            return Err(SOFTWARE);
        }
        self.complete_access()?;
        // First: KVM takes over INIT and SIPI that wait with it.
        let mp_state = self.mp_state()?;
        let offset = ioctls::tsc_offset(&self.fd);
        let lapic = if self.vm.has_irqchip() {
            Some(self.lapic()?.to_vec())
        } else {
            None
        };
        let events = self.fd.get_vcpu_events();
        Ok(VcpuSaved {
            cpuid: self.cpuid()?,
            tsc_khz: self.tsc_khz()?,
            tsc_offset: offset.map_err(|error| Error::host("KVM_GET_DEVICE_ATTR", error))?,
            mp_state,
            registers: self.registers()?,
            special_registers: self.special_registers()?,
            xsave: self.xsave_area()?,
            xcrs: self.xcrs()?,
            debug_registers: self.debug_registers()?,
            events: events::read(&events.map_err(host("KVM_GET_VCPU_EVENTS"))?),
            lapic,
            msrs: self.all_msrs()?,
        })
    }

    /// CPUID comes first, as it says what the rest may be; events come last, as what comes before changes them.
    fn restore(&mut self, saved: &VcpuSaved) -> Result<()> {
        if self.software.is_some() {
            return Err(SOFTWARE);
        }
        saved.check()?;
        self.check_lapic(saved)?;
        self.set_cpuid(&saved.cpuid)?;
        if self.tsc_khz()? != saved.tsc_khz {
            let set = self.fd.set_tsc_khz(saved.tsc_khz);
            set.map_err(host("KVM_SET_TSC_KHZ"))?;
        }
        self.set_mp_state(saved.mp_state)?;
        self.set_registers(&saved.registers)?;
        self.set_special_registers(&saved.special_registers)?;
        self.set_xcrs(&saved.xcrs)?;
        self.set_xsave_area(&saved.xsave)?;
        self.set_debug_registers(saved.debug_registers)?;
        if let Some(page) = saved.lapic.as_deref().and_then(|page| page.try_into().ok()) {
            self.set_lapic(page)?;
        }
        let offset = self.vm.restored_tsc_offset(saved.tsc_offset);
        ioctls::set_tsc_offset(&self.fd, offset)
            .map_err(|error| Error::host("KVM_SET_DEVICE_ATTR", error))?;
        let (last, first): (Vec<Msr>, Vec<Msr>) = saved
            .msrs
            .iter()
            .copied()
            .filter(|msr| msr.index != TSC)
            .partition(|msr| msr.index == TSC_DEADLINE);
        self.restore_msrs(&first)?;
        self.restore_msrs(&last)?;
        let events = events::write(&saved.events);
        self.fd
            .set_vcpu_events(&events)
            .map_err(host("KVM_SET_VCPU_EVENTS"))
    }
}

impl KvmVcpu {
    fn check_lapic(&self, saved: &VcpuSaved) -> Result<()> {
        let reason = match (saved.lapic.is_some(), self.vm.has_irqchip()) {
            (true, false) => StateReason::Unexpected,
            (false, true) => StateReason::Absent,
            _ => return Ok(()),
        };
        Err(StateError::field(VcpuSaved::KIND, "lapic", "", reason).into())
    }

    /// CPUID as KVM has it now: it changes some leaves while the guest runs.
    fn cpuid(&self) -> Result<Vec<vmmkit_hypervisor::x86::CpuidEntry>> {
        let cpuid = self.fd.get_cpuid2(KVM_MAX_CPUID_ENTRIES);
        let cpuid = cpuid.map_err(host("KVM_GET_CPUID2"))?;
        Ok(cpuid.as_slice().iter().map(convert::cpuid).collect())
    }

    /// The bytes of the XSAVE area. It is longer than KVM_GET_XSAVE gives only where this process asked for
    /// dynamic features of guests (ARCH_REQ_XCOMP_GUEST_PERM).
    fn xsave_size(&self) -> usize {
        let size = self.descriptor.vm.check_extension_int(Cap::Xsave2);
        usize::try_from(size)
            .unwrap_or(0)
            .max(size_of::<kvm_xsave>())
    }

    fn xsave_area(&self) -> Result<Vec<u8>> {
        let extra = (self.xsave_size() - size_of::<kvm_xsave>()).div_ceil(4);
        let bytes = |words: &[u32]| -> Vec<u8> {
            words.iter().flat_map(|word| word.to_le_bytes()).collect()
        };
        // Zeros at the end are those of features that the guest does not use.
        let trimmed = |mut area: Vec<u8>| {
            let used = area
                .iter()
                .rposition(|byte| *byte != 0)
                .map_or(0, |last| last + 1);
            area.truncate(used.max(MIN_XSAVE));
            area
        };
        if extra == 0 {
            return Ok(trimmed(bytes(&self.xsave()?.region)));
        }
        let mut area = new_xsave(extra)?;
        // SAFETY: the area has the size that KVM_CAP_XSAVE2 says (`xsave_size`), which KVM does not write past;
        // this process asks for no more features of guests after its vCPUs were made.
        unsafe { self.fd.get_xsave2(&mut area) }.map_err(host("KVM_GET_XSAVE2"))?;
        let mut all = bytes(&area.as_fam_struct_ref().xsave.region);
        all.extend(bytes(area.as_slice()));
        Ok(trimmed(all))
    }

    fn set_xsave_area(&self, bytes: &[u8]) -> Result<()> {
        let size = self.xsave_size();
        let longer = bytes.get(size..).unwrap_or_default();
        // A host with a larger area has features in it that this one has not; unused they are zeros.
        if longer.iter().any(|byte| *byte != 0) {
            let max = size as u64;
            let reason = StateReason::OutOfRange { min: 0, max };
            let length = bytes.len();
            return Err(StateError::field(VcpuSaved::KIND, "xsave.length", length, reason).into());
        }
        let mut words = bytes.chunks(4).map(|chunk| {
            let bytes = chunk.iter().rev();
            bytes.fold(0_u32, |word, byte| word << 8 | u32::from(*byte))
        });
        let mut region = kvm_xsave::default();
        for (place, word) in region.region.iter_mut().zip(&mut words) {
            *place = word;
        }
        let extra = (size - size_of::<kvm_xsave>()).div_ceil(4);
        if extra == 0 {
            return self.set_xsave(&region);
        }
        let mut area = new_xsave(extra)?;
        for (place, word) in area.as_mut_slice().iter_mut().zip(words) {
            *place = word;
        }
        // SAFETY: the words behind the region, whose number the wrapper keeps, stay as they are.
        unsafe { area.as_mut_fam_struct() }.xsave.region = region.region;
        // SAFETY: as of `get_xsave2` in `xsave_area`: the area is as long as KVM reads.
        unsafe { self.fd.set_xsave2(&area) }.map_err(host("KVM_SET_XSAVE"))
    }

    fn xcrs(&self) -> Result<Vec<ExtendedControlRegister>> {
        let xcrs = self.fd.get_xcrs().map_err(host("KVM_GET_XCRS"))?;
        let used = xcrs.xcrs.iter().take(xcrs.nr_xcrs as usize);
        Ok(used
            .map(|xcr| ExtendedControlRegister {
                index: xcr.xcr,
                value: xcr.value,
            })
            .collect())
    }

    fn set_xcrs(&self, saved: &[ExtendedControlRegister]) -> Result<()> {
        // A host without XSAVE has none, and refuses even that (KVM API 4.39).
        if saved.is_empty() {
            return Ok(());
        }
        let mut xcrs = kvm_xcrs::default();
        for (place, saved) in xcrs.xcrs.iter_mut().zip(saved) {
            *place = kvm_xcr {
                xcr: saved.index,
                reserved: 0,
                value: saved.value,
            };
        }
        // `check` has seen that there are at most 16.
        xcrs.nr_xcrs = saved.len() as u32;
        self.fd.set_xcrs(&xcrs).map_err(host("KVM_SET_XCRS"))
    }

    fn debug_registers(&self) -> Result<DebugRegisters> {
        let registers = self
            .fd
            .get_debug_regs()
            .map_err(host("KVM_GET_DEBUGREGS"))?;
        Ok(DebugRegisters {
            addresses: registers.db,
            dr6: registers.dr6,
            dr7: registers.dr7,
        })
    }

    fn set_debug_registers(&self, saved: DebugRegisters) -> Result<()> {
        let registers = kvm_debugregs {
            db: saved.addresses,
            dr6: saved.dr6,
            dr7: saved.dr7,
            ..Default::default()
        };
        self.fd
            .set_debug_regs(&registers)
            .map_err(host("KVM_SET_DEBUGREGS"))
    }

    /// Every MSR of the host's list that can be read: the list has some that this vCPU does not have.
    fn all_msrs(&self) -> Result<Vec<Msr>> {
        let list = self.vm.msr_indices()?;
        let mut rest: &[u32] = &list;
        let mut found = Vec::new();
        while !rest.is_empty() {
            let chunk = rest.get(..MSR_CHUNK).unwrap_or(rest);
            let asked: Vec<_> = chunk
                .iter()
                .map(|&index| kvm_msr_entry {
                    index,
                    ..Default::default()
                })
                .collect();
            let mut msrs = Msrs::from_entries(&asked).map_err(|_| Error::Invalid {
                what: format!("{} MSRs in one call", asked.len()),
                reason: "KVM takes at most 256",
            })?;
            let done = self.fd.get_msrs(&mut msrs).map_err(host("KVM_GET_MSRS"))?;
            let read = msrs.as_slice().iter().take(done);
            found.extend(read.filter(|entry| entry.index != TSC).map(|entry| Msr {
                index: entry.index,
                value: entry.data,
            }));
            // Past the one that it stopped at.
            let next = if done < chunk.len() { done + 1 } else { done };
            rest = rest.get(next..).unwrap_or_default();
        }
        Ok(found)
    }

    /// Sets MSRs; one that KVM does not take is not a loss where it has that value already.
    fn restore_msrs(&mut self, msrs: &[Msr]) -> Result<()> {
        let mut rest = msrs;
        while let Some(first) = rest.first() {
            let chunk = rest.get(..MSR_CHUNK).unwrap_or(rest);
            let done = match self.set_msrs(chunk) {
                Ok(()) => chunk.len(),
                Err(Error::Msr { done, .. }) => {
                    let refused = chunk.get(done).unwrap_or(first);
                    if self.kvm_msr(refused.index) != Some(refused.value) {
                        return Err(Error::Msr {
                            operation: "KVM_SET_MSRS",
                            index: refused.index,
                            done,
                            asked: chunk.len(),
                        });
                    }
                    done + 1
                }
                Err(other) => return Err(other),
            };
            rest = rest.get(done..).unwrap_or_default();
        }
        Ok(())
    }
}

/// An empty area with `extra` words behind those of KVM_GET_XSAVE.
fn new_xsave(extra: usize) -> Result<Xsave> {
    Xsave::new(extra).map_err(|_| Error::Invalid {
        what: format!("an XSAVE area with {extra} words more"),
        reason: "it does not fit into memory",
    })
}
