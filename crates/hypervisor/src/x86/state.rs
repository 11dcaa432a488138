//! Reading and writing the state of a vCPU that is not running.

use serde::{Deserialize, Serialize};

use super::{CpuidEntry, FpuState, GuestDebug, Instruction, Registers, SpecialRegisters};
use crate::{Error, Result};

/// A model-specific register and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Msr {
    /// The register's number: ECX of RDMSR.
    pub index: u32,
    /// Its value: EDX:EAX.
    pub value: u64,
}

/// Whether a vCPU runs or waits (`KVM_GET_MP_STATE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MpState {
    /// It runs.
    Runnable,
    /// It waits for INIT.
    Uninitialized,
    /// INIT came; it waits for SIPI.
    InitReceived,
    /// HLT; it waits for an interrupt.
    Halted,
    /// SIPI came with this vector pending.
    SipiReceived,
}

/// The x86 state of a vCPU. Every call needs the vCPU not to be running, which `&mut` proves.
pub trait VcpuState: crate::SaveVcpu {
    /// The general registers.
    ///
    /// # Errors
    /// [`Error::Host`](crate::Error::Host) where the host refuses; likewise for all below.
    fn registers(&mut self) -> Result<Registers>;
    /// Sets the general registers.
    ///
    /// # Errors
    /// See [`registers`](Self::registers).
    fn set_registers(&mut self, registers: &Registers) -> Result<()>;
    /// Segments, control registers, tables.
    ///
    /// # Errors
    /// See [`registers`](Self::registers).
    fn special_registers(&mut self) -> Result<SpecialRegisters>;
    /// Sets segments, control registers, tables.
    ///
    /// # Errors
    /// See [`registers`](Self::registers).
    fn set_special_registers(&mut self, registers: &SpecialRegisters) -> Result<()>;
    /// x87 and SSE state.
    ///
    /// # Errors
    /// See [`registers`](Self::registers).
    fn fpu(&mut self) -> Result<FpuState>;
    /// Sets x87 and SSE state.
    ///
    /// # Errors
    /// See [`registers`](Self::registers).
    fn set_fpu(&mut self, fpu: &FpuState) -> Result<()>;
    /// Sets the CPUID leaves the guest sees; before the first run.
    ///
    /// # Errors
    /// See [`registers`](Self::registers).
    fn set_cpuid(&mut self, entries: &[CpuidEntry]) -> Result<()>;
    /// Reads MSRs; the values come in the order asked.
    ///
    /// # Errors
    /// [`Error::Msr`](crate::Error::Msr) names the first that could not be read.
    fn msrs(&mut self, indices: &[u32]) -> Result<Vec<Msr>>;
    /// Sets MSRs in order.
    ///
    /// # Errors
    /// [`Error::Msr`](crate::Error::Msr) names the first that could not be set.
    fn set_msrs(&mut self, msrs: &[Msr]) -> Result<()>;
    /// Whether the vCPU runs or waits.
    ///
    /// # Errors
    /// See [`registers`](Self::registers).
    fn mp_state(&mut self) -> Result<MpState>;
    /// Sets whether the vCPU runs or waits.
    ///
    /// # Errors
    /// See [`registers`](Self::registers).
    fn set_mp_state(&mut self, state: MpState) -> Result<()>;
    /// The local APIC's register page (Intel SDM vol. 3, 11.4.1), 1 KiB.
    ///
    /// # Errors
    /// See [`registers`](Self::registers); also where the APIC is not the hypervisor's.
    fn lapic(&mut self) -> Result<[u8; 1024]>;
    /// Sets the local APIC's register page.
    ///
    /// # Errors
    /// See [`lapic`](Self::lapic).
    fn set_lapic(&mut self, page: &[u8; 1024]) -> Result<()>;
    /// The guest-physical address of `linear`, through the guest's own page tables; `None` where
    /// nothing is mapped.
    ///
    /// # Errors
    /// See [`registers`](Self::registers).
    fn translate(&mut self, linear: u64) -> Result<Option<u64>>;
    /// The instruction at RIP, for a message; `None` where the back end does not disassemble, or
    /// there is no memory.
    fn instruction(&mut self) -> Option<Instruction> {
        None
    }
    /// When the vCPU leaves the guest for a debugger, from its next run on. Where a back end can do that,
    /// its [`Capabilities`](crate::Capabilities) say so.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where it cannot; see [`registers`](Self::registers).
    fn set_guest_debug(&mut self, _debug: &GuestDebug) -> Result<()> {
        Err(Error::Unsupported("guest debugging"))
    }
    /// Frequency of the guest's TSC in kHz.
    ///
    /// # Errors
    /// See [`registers`](Self::registers).
    fn tsc_khz(&mut self) -> Result<u32>;
}

/// Tells the guest's clock that the VMM stopped the vCPU on purpose.
pub trait ClockControl {
    /// Marks the vCPU as paused by the host, so that the guest's watchdogs forgive the gap
    /// (`KVM_KVMCLOCK_CTRL`). Call it on pause, before the vCPU runs again. A guest without a
    /// paravirtual clock, and a back end without one, take no notice.
    ///
    /// # Errors
    /// [`Error::Host`](crate::Error::Host) where the host refuses.
    fn mark_paused(&mut self) -> Result<()> {
        Ok(())
    }
}
