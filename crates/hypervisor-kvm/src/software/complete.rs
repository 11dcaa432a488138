//! Instructions that KVM hands back, completed by the emulator on the vCPU's state.

use std::io;

use kvm_bindings::{KVM_INTERNAL_ERROR_EMULATION, kvm_vcpu_events, kvm_xcr, kvm_xcrs};
use vmmkit_guest_memory::GuestAddress;
use vmmkit_hypervisor::{Error, Result};
use vmmkit_x86_emulator::{
    Completion, CpuState, Exception, ExtendedState, NotCompleted, NotRam, PhysicalMemory, XsaveArea,
};

use super::vcpu::{Answer, GENERAL, SPECIAL, synced};
use super::{Counters, VcpuSupport};
use crate::inner::Inner;
use crate::run_page::{DIRTY_REGS, INTERNAL, SYNC_REGS, SYNC_SREGS};
use crate::{KvmVcpu, convert, failure};

/// DR6.BS (Intel SDM vol. 3, 18.2.3).
const SINGLE_STEP: u64 = 1 << 14;

impl KvmVcpu {
    /// KVM could not emulate an instruction: it is done here, or the exit goes up.
    pub(super) fn complete(&mut self) -> Result<Answer> {
        let raw = self.page.read(&INTERNAL);
        let Some(software) = self.software.take() else {
            return Ok(Answer::Up(self.decode()));
        };
        let answer = if raw.suberror == KVM_INTERNAL_ERROR_EMULATION {
            let given = failure::given_bytes(&raw);
            self.complete_with(&software, &given)
        } else {
            Ok(None)
        };
        self.software = Some(software);
        match answer? {
            Some(answer) => Ok(answer),
            None => Ok(Answer::Up(self.decode())),
        }
    }

    /// `None` where the emulator does not know it either.
    fn complete_with(
        &mut self,
        software: &VcpuSupport,
        given: &failure::Bytes,
    ) -> Result<Option<Answer>> {
        let registers = convert::registers(&self.page.read(&SYNC_REGS));
        let special = convert::special(&synced(&self.page));
        let mut state = CpuState { registers, special };
        let vm = std::sync::Arc::clone(&self.vm);
        let done =
            software
                .emulator
                .complete(&mut state, &*vm, &mut Extended(self), given.as_slice());
        let exception = match done {
            Ok(Completion::Done(instruction)) => {
                software.support.counters.count_completed(instruction);
                None
            }
            Ok(Completion::Stepped(instruction)) => {
                software.support.counters.count_completed(instruction);
                self.note_step()?;
                Some(Exception::DEBUG)
            }
            Ok(Completion::Fault(exception)) => {
                Counters::count(&software.support.counters.faults);
                Some(exception)
            }
            Err(NotCompleted::Extended(error)) => return Err(error),
            Err(_) => return Ok(None),
        };
        let mut dirty = 0;
        if state.registers != registers {
            self.page
                .write(&SYNC_REGS, convert::to_registers(&state.registers));
            dirty |= GENERAL;
        }
        if state.special != special {
            self.page
                .write(&SYNC_SREGS, convert::to_special(&state.special));
            dirty |= SPECIAL;
        }
        self.page.write(&DIRTY_REGS, dirty);
        if let Some(exception) = exception {
            self.inject(exception)?;
        }
        Ok(Some(Answer::Done))
    }

    /// Sets DR6.BS, which tells the guest's handler of #DB that it was a single step.
    fn note_step(&mut self) -> Result<()> {
        let debug = self.fd.get_debug_regs();
        let mut debug = debug.map_err(|error| Error::host("KVM_GET_DEBUGREGS", error))?;
        debug.dr6 |= SINGLE_STEP;
        self.fd
            .set_debug_regs(&debug)
            .map_err(|error| Error::host("KVM_SET_DEBUGREGS", error))
    }

    /// Makes the guest take `exception` before its next instruction (KVM API, KVM_SET_VCPU_EVENTS).
    fn inject(&mut self, exception: Exception) -> Result<()> {
        let mut events: kvm_vcpu_events = self
            .fd
            .get_vcpu_events()
            .map_err(|error| Error::host("KVM_GET_VCPU_EVENTS", error))?;
        events.flags = 0;
        events.exception.injected = 1;
        events.exception.pending = 0;
        events.exception.nr = exception.vector;
        events.exception.has_error_code = exception.error_code.is_some().into();
        events.exception.error_code = exception.error_code.unwrap_or(0);
        self.fd
            .set_vcpu_events(&events)
            .map_err(|error| Error::host("KVM_SET_VCPU_EVENTS", error))
    }
}

impl PhysicalMemory for Inner {
    fn read(&self, physical: u64, bytes: &mut [u8]) -> std::result::Result<(), NotRam> {
        self.read_ram(GuestAddress(physical), bytes)
            .then_some(())
            .ok_or(NotRam)
    }

    fn write(&self, physical: u64, bytes: &[u8]) -> std::result::Result<(), NotRam> {
        self.write_ram(GuestAddress(physical), bytes)
            .then_some(())
            .ok_or(NotRam)
    }

    fn compare_exchange_u64(
        &self,
        physical: u64,
        expected: u64,
        new: u64,
    ) -> std::result::Result<u64, NotRam> {
        self.with_ram(|ram| PhysicalMemory::compare_exchange_u64(ram, physical, expected, new).ok())
            .ok_or(NotRam)
    }

    fn compare_exchange_u128(
        &self,
        physical: u64,
        expected: u128,
        new: u128,
    ) -> std::result::Result<u128, NotRam> {
        self.with_ram(|ram| {
            PhysicalMemory::compare_exchange_u128(ram, physical, expected, new).ok()
        })
        .ok_or(NotRam)
    }
}

/// State that few instructions need, at the price of an ioctl each.
struct Extended<'a>(&'a mut KvmVcpu);

impl ExtendedState for Extended<'_> {
    type Error = Error;

    fn load(&mut self) -> Result<XsaveArea> {
        let xsave = self.0.xsave()?;
        let mut area = XsaveArea::default();
        for (bytes, word) in area
            .bytes_mut()
            .as_chunks_mut()
            .0
            .iter_mut()
            .zip(xsave.region)
        {
            *bytes = word.to_le_bytes();
        }
        Ok(area)
    }

    fn store(&mut self, area: &XsaveArea) -> Result<()> {
        let mut xsave = kvm_bindings::kvm_xsave::default();
        for (word, bytes) in xsave.region.iter_mut().zip(area.bytes().as_chunks().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        self.0.set_xsave(&xsave)
    }

    fn xcr0(&mut self) -> Result<u64> {
        let xcrs = self.0.fd.get_xcrs();
        let xcrs = xcrs.map_err(|error| Error::host("KVM_GET_XCRS", error))?;
        let listed = xcrs.xcrs.iter().take(xcrs.nr_xcrs as usize);
        let found = listed.into_iter().find(|xcr| xcr.xcr == 0);
        // Without one it is what it is at a reset: x87 alone.
        Ok(found.map_or(1, |xcr| xcr.value))
    }

    fn set_xcr0(&mut self, value: u64) -> Result<()> {
        let mut xcrs = kvm_xcrs {
            nr_xcrs: 1,
            ..Default::default()
        };
        if let Some(first) = xcrs.xcrs.first_mut() {
            *first = kvm_xcr {
                value,
                ..Default::default()
            };
        }
        let set = self.0.fd.set_xcrs(&xcrs);
        set.map_err(|error| Error::host("KVM_SET_XCRS", error))
    }

    fn msr(&mut self, index: u32) -> Result<u64> {
        let value = self.0.kvm_msr(index);
        value.ok_or_else(|| Error::host("KVM_GET_MSRS", io::ErrorKind::NotFound))
    }
}
