//! Bits of control registers, RFLAGS and EFER (Intel SDM vol. 3, 2.2.1, 2.3 and 2.5), and numbers
//! of MSRs.

/// CR0: protected mode.
pub(crate) const CR0_PE: u64 = 1 << 0;
/// CR0: WAIT obeys TS.
pub(crate) const CR0_MP: u64 = 1 << 1;
/// CR0: there is no x87.
pub(crate) const CR0_EM: u64 = 1 << 2;
/// CR0: the x87, SSE and later state is another task's.
pub(crate) const CR0_TS: u64 = 1 << 3;
/// CR0: x87 errors are #MF.
pub(crate) const CR0_NE: u64 = 1 << 5;
/// CR0: the supervisor obeys read-only pages.
pub(crate) const CR0_WP: u64 = 1 << 16;
/// CR0: paging.
pub(crate) const CR0_PG: u64 = 1 << 31;

/// CR4: FXSAVE, and with it SSE.
pub(crate) const CR4_OSFXSR: u64 = 1 << 9;
/// CR4: five-level paging.
pub(crate) const CR4_LA57: u64 = 1 << 12;
/// CR4: RDFSBASE and its like.
pub(crate) const CR4_FSGSBASE: u64 = 1 << 16;
/// CR4: XSAVE and its like.
pub(crate) const CR4_OSXSAVE: u64 = 1 << 18;
/// CR4: the supervisor does not execute user pages.
pub(crate) const CR4_SMEP: u64 = 1 << 20;
/// CR4: the supervisor does not touch user pages, unless RFLAGS.AC is set.
pub(crate) const CR4_SMAP: u64 = 1 << 21;
/// CR4: protection keys of user pages.
pub(crate) const CR4_PKE: u64 = 1 << 22;

/// EFER: SYSCALL and SYSRET.
pub(crate) const EFER_SCE: u64 = 1 << 0;
/// EFER: long mode is active.
pub(crate) const EFER_LMA: u64 = 1 << 10;
/// EFER: bit 63 of a page-table entry forbids execution.
pub(crate) const EFER_NXE: u64 = 1 << 11;
/// EFER: FXSAVE and FXRSTOR at CPL 0 leave XMM registers out (AMD APM vol. 2, 3.1.7).
pub(crate) const EFER_FFXSR: u64 = 1 << 14;

/// RFLAGS: carry.
pub(crate) const CF: u64 = 1 << 0;
/// RFLAGS: parity.
pub(crate) const PF: u64 = 1 << 2;
/// RFLAGS: auxiliary carry.
pub(crate) const AF: u64 = 1 << 4;
/// RFLAGS: zero.
pub(crate) const ZF: u64 = 1 << 6;
/// RFLAGS: sign.
pub(crate) const SF: u64 = 1 << 7;
/// RFLAGS: single step.
pub(crate) const TF: u64 = 1 << 8;
/// RFLAGS: external interrupts are taken.
pub(crate) const IF: u64 = 1 << 9;
/// RFLAGS: nested task.
pub(crate) const NT: u64 = 1 << 14;
/// RFLAGS: overflow.
pub(crate) const OF: u64 = 1 << 11;
/// RFLAGS: no instruction breakpoint at the next instruction.
pub(crate) const RF: u64 = 1 << 16;
/// RFLAGS: virtual-8086 mode.
pub(crate) const VM: u64 = 1 << 17;
/// RFLAGS: with SMAP, the supervisor may touch user pages.
pub(crate) const AC: u64 = 1 << 18;

/// Selectors of SYSENTER and SYSEXIT, and where SYSENTER goes: stack and code (Intel SDM vol. 3, 5.8.7).
pub(crate) const MSR_SYSENTER_CS: u32 = 0x174;
/// See [`MSR_SYSENTER_CS`].
pub(crate) const MSR_SYSENTER_ESP: u32 = 0x175;
/// See [`MSR_SYSENTER_CS`].
pub(crate) const MSR_SYSENTER_EIP: u32 = 0x176;
/// Selectors and privilege of SYSCALL and SYSRET (Intel SDM vol. 3, 5.8.8).
pub(crate) const MSR_STAR: u32 = 0xc000_0081;
/// The value RDPID returns (Intel SDM vol. 2B, RDPID).
pub(crate) const MSR_TSC_AUX: u32 = 0xc000_0103;
/// Which supervisor components XSAVES handles (Intel SDM vol. 1, 13.3).
pub(crate) const MSR_XSS: u32 = 0xda0;
