//! One vCPU's run on a software KVM: exits that the support answers never leave here.

use std::sync::Arc;

use kvm_bindings::{
    KVM_EXIT_INTERNAL_ERROR, KVM_EXIT_MMIO, KVM_EXIT_X86_RDMSR, KVM_EXIT_X86_WRMSR,
    KVM_SYNC_X86_REGS, KVM_SYNC_X86_SREGS, kvm_sregs,
};
use vmmkit_hypervisor::x86::{CpuidEntry, Msr};
use vmmkit_hypervisor::{Result, VcpuExit};
use vmmkit_x86_emulator::Emulator;

use super::syscall::{LSTAR, SyscallMsrs};
use super::{Counters, Support, bridge};
use crate::run_page::{
    DIRTY_REGS, EXIT_REASON, MMIO_ADDRESS, MMIO_IS_WRITE, MSR, RunPage, SYNC_REGS, SYNC_SREGS,
    VALID_REGS,
};
use crate::{KvmVcpu, convert, ioctls};

/// The registers that travel in the run page.
pub(super) const GENERAL: u64 = KVM_SYNC_X86_REGS as u64;
pub(super) const SPECIAL: u64 = KVM_SYNC_X86_SREGS as u64;

/// The support's state for one vCPU.
pub(crate) struct VcpuSupport {
    // Wiring
    pub(super) support: Arc<Support>,
    // Set before the first run
    pub(super) emulator: Emulator,
    // State
    pub(super) syscall: SyscallMsrs,
}

/// The special registers at the exit, without the interrupts they tell of.
///
/// KVM sets a bit of `interrupt_bitmap` for an interrupt that it is about to deliver, never clears
/// it in the run page, and delivers what it finds there when the registers are taken back: a timer's
/// interrupt would come a second time, with interrupts off. What is really pending KVM knows itself.
pub(super) fn synced(page: &RunPage) -> kvm_sregs {
    kvm_sregs {
        interrupt_bitmap: [0; 4],
        ..page.read(&SYNC_SREGS)
    }
}

/// The result of an exit.
pub(super) enum Answer {
    /// It was answered: the guest runs on.
    Done,
    /// It goes up as this.
    Up(VcpuExit),
}

impl VcpuSupport {
    pub(crate) fn new(support: Arc<Support>, page: &RunPage) -> Self {
        page.write(&VALID_REGS, GENERAL | SPECIAL);
        Self {
            support,
            emulator: Emulator::new(&[]),
            syscall: SyscallMsrs::default(),
        }
    }

    /// The guest's CPUID decides what the emulator does.
    pub(crate) fn set_cpuid(&mut self, entries: &[CpuidEntry]) {
        self.emulator = Emulator::new(entries);
    }

    /// The guest's own value of an MSR, where KVM holds another.
    pub(crate) fn msr(&self, index: u32) -> Option<u64> {
        self.syscall.read(index)
    }
}

impl KvmVcpu {
    /// [`run`](Vcpu::run) with support.
    pub(crate) fn run_supported(&mut self) -> Result<VcpuExit> {
        loop {
            if let Err(errno) = ioctls::run(&self.fd)
                && let Some(answer) = self.failed_run(errno)
            {
                return answer;
            }
            if let Answer::Up(exit) = self.answer()? {
                return Ok(exit);
            }
        }
    }

    fn answer(&mut self) -> Result<Answer> {
        match self.page.read(&EXIT_REASON) {
            KVM_EXIT_MMIO if self.page.read(&MMIO_ADDRESS) >> 12 == bridge::TRAP >> 12 => {
                Ok(self.cross())
            }
            KVM_EXIT_INTERNAL_ERROR => self.complete(),
            KVM_EXIT_X86_RDMSR => Ok(self.read_msr()),
            KVM_EXIT_X86_WRMSR => self.write_msr(),
            _ => Ok(Answer::Up(self.decode())),
        }
    }

    /// An access to the trap page: a SYSCALL, or somebody who should not be there.
    fn cross(&mut self) -> Answer {
        let mut registers = self.page.read(&SYNC_REGS);
        let mut special = synced(&self.page);
        let Some(software) = &self.software else {
            return Answer::Up(self.decode());
        };
        let counters = &software.support.counters;
        let is_write = self.page.read(&MMIO_IS_WRITE) != 0;
        if is_write && software.syscall.enter(&mut registers, &mut special) {
            // The store is complete with the exit, and KVM takes these before it goes on.
            self.page.write(&SYNC_REGS, registers);
            self.page.write(&SYNC_SREGS, special);
            self.page.write(&DIRTY_REGS, GENERAL | SPECIAL);
            Counters::count(&counters.bridged);
        } else {
            // Nothing is there: reads give what they give, and UD2 stands behind the store.
            Counters::count(&counters.refused);
        }
        Answer::Done
    }

    /// RDMSR of a filtered MSR.
    fn read_msr(&mut self) -> Answer {
        let mut access = self.page.read(&MSR);
        let own = self.software.as_ref().and_then(|s| s.msr(access.index));
        // What is not the guest's own is KVM's.
        let value = own.or_else(|| self.kvm_msr(access.index));
        access.error = u8::from(value.is_none());
        access.data = value.unwrap_or(0);
        self.page.write(&MSR, access);
        Answer::Done
    }

    /// WRMSR of a filtered MSR.
    fn write_msr(&mut self) -> Result<Answer> {
        let mut access = self.page.read(&MSR);
        let msr = Msr {
            index: access.index,
            value: access.data,
        };
        let held = self.held_msr(msr);
        let taken = self.set_kvm_msr(held)?;
        access.error = u8::from(!taken);
        self.page.write(&MSR, access);
        Ok(Answer::Done)
    }

    /// The value KVM is to hold where the guest, or the VMM for it, writes `msr`: the same, but for
    /// SYSCALL's MSRs on a software KVM.
    pub(crate) fn held_msr(&mut self, msr: Msr) -> Msr {
        let Some(software) = &mut self.software else {
            return msr;
        };
        // The page tables of now: the page may hold older ones.
        let special = match msr.index {
            LSTAR => self.fd.get_sregs().ok().map(|s| convert::special(&s)),
            _ => None,
        };
        let (vm, bridge) = (&self.vm, &self.descriptor.bridge);
        software.syscall.write(msr, || {
            let bridge = bridge.as_ref().zip(special);
            bridge.is_some_and(|(bridge, special)| bridge.plant(vm, &special))
        })
    }
}
