//! The state that an instruction works on.

use vmmkit_hypervisor::x86::{Registers, SpecialRegisters};

use crate::XsaveArea;

/// The registers of one vCPU. The caller fills them, and writes back what changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuState {
    /// The general registers, RIP and RFLAGS.
    pub registers: Registers,
    /// Segments, control registers, EFER. Only SYSRET, SYSENTER, SYSEXIT and INT n (CS, SS), WRFSBASE, WRGSBASE and a
    /// page fault (CR2) change them.
    pub special: SpecialRegisters,
}

/// State that few instructions need, and that costs the caller a system call each.
pub trait ExtendedState {
    /// Why the state cannot be had or set.
    type Error;
    /// The x87, SSE, AVX, ... state as an XSAVE area in the standard format, with a true
    /// XSTATE_BV and an MXCSR that is right whatever XSTATE_BV says (`KVM_GET_XSAVE`).
    ///
    /// # Errors
    /// The caller's own; likewise for all below.
    fn load(&mut self) -> Result<XsaveArea, Self::Error>;
    /// Sets that state (`KVM_SET_XSAVE`).
    ///
    /// # Errors
    /// See [`load`](Self::load).
    fn store(&mut self, area: &XsaveArea) -> Result<(), Self::Error>;
    /// XCR0.
    ///
    /// # Errors
    /// See [`load`](Self::load).
    fn xcr0(&mut self) -> Result<u64, Self::Error>;
    /// Sets XCR0; the value has been checked as XSETBV does.
    ///
    /// # Errors
    /// See [`load`](Self::load).
    fn set_xcr0(&mut self, value: u64) -> Result<(), Self::Error>;
    /// A model-specific register: IA32_XSS (0xda0) for XSAVES and XRSTORS, STAR (0xc0000081) for
    /// SYSRET, IA32_SYSENTER_CS, _ESP and _EIP (0x174 to 0x176) for SYSENTER and SYSEXIT, TSC_AUX (0xc0000103) for RDPID.
    ///
    /// # Errors
    /// See [`load`](Self::load).
    fn msr(&mut self, index: u32) -> Result<u64, Self::Error>;
}

impl CpuState {
    /// The current privilege level: the low bits of CS's selector (Intel SDM vol. 3, 5.5).
    pub(crate) fn privilege_level(&self) -> u8 {
        (self.special.cs.selector & 3) as u8
    }

    /// Whether linear addresses have 57 bits instead of 48 (CR4.LA57).
    pub(crate) fn has_five_levels(&self) -> bool {
        self.special.cr4 & crate::spec::CR4_LA57 != 0
    }

    /// Whether `linear` is canonical: all bits above the highest translated one equal it.
    pub(crate) fn is_canonical(&self, linear: u64) -> bool {
        let unused = if self.has_five_levels() { 7 } else { 16 };
        (linear << unused).cast_signed() >> unused == linear.cast_signed()
    }
}
