//! Completes one x86-64 instruction that a software hypervisor could not: on some machines KVM
//! emulates the guest's ring 0 and gives up at instructions it does not know
//! (`KVM_EXIT_INTERNAL_ERROR`, emulation). Registers, memory and extended state go in, and come out
//! as the CPU would have left them, or with the exception that it would have raised.
//!
//! It is not an emulator of a whole CPU: it knows the instructions of [`Completed`], in 64-bit mode, and
//! neither devices (an operand that is not RAM is refused) nor alignment checks (#AC) nor debug
//! registers. It holds no state of the vCPU, opens nothing and asks no hypervisor. Start with
//! [`Emulator::complete`].
//!
//! ```
//! use vmmkit_guest_memory::{GuestAddress, GuestRam, RamConfig};
//! use vmmkit_x86_emulator::{Completed, Completion, CpuState, Emulator, ExtendedState, XsaveArea};
//!
//! struct Registers(XsaveArea);
//! impl ExtendedState for Registers {
//!     type Error = std::convert::Infallible;
//!     fn load(&mut self) -> Result<XsaveArea, Self::Error> { Ok(self.0.clone()) }
//!     fn store(&mut self, area: &XsaveArea) -> Result<(), Self::Error> { Ok(self.0 = area.clone()) }
//!     fn xcr0(&mut self) -> Result<u64, Self::Error> { Ok(3) }
//!     fn set_xcr0(&mut self, _: u64) -> Result<(), Self::Error> { Ok(()) }
//!     fn msr(&mut self, _: u32) -> Result<u64, Self::Error> { Ok(0) }
//! }
//!
//! let ram = GuestRam::new(&RamConfig { size: "1M".parse()?, ..RamConfig::default() })?;
//! let mut state = CpuState::default();
//! state.special.cs.l = true; // 64-bit mode: paging, LMA, a long code segment
//! (state.special.cr0, state.special.efer) = (1 << 31 | 1, 1 << 10);
//! state.registers.rip = 0x1000;
//! state.registers.rbx = 0xff;
//!
//! let popcnt_rax_rbx = [0xf3, 0x48, 0x0f, 0xb8, 0xc3];
//! let outcome = Emulator::new(&[]).complete(
//!     &mut state, &ram, &mut Registers(XsaveArea::default()), &popcnt_rax_rbx)?;
//!
//! assert_eq!(outcome, Completion::Done(Completed::Popcnt));
//! assert_eq!((state.registers.rax, state.registers.rip), (8, 0x1005));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod emulator;
mod outcome;
mod state;

mod memory;
mod paging;

mod cpu;
mod instructions;
mod memory_operand;
mod operand;
mod spec;

mod cpuid;
mod float80;
mod image;
mod transfer;
mod xsave_area;

pub use emulator::{Emulator, disassemble};
pub use instructions::Completed;
pub use memory::{NotRam, PhysicalMemory};
pub use outcome::{Completion, Exception, Mode, NotCompleted};
pub use state::{CpuState, ExtendedState};
pub use xsave_area::XsaveArea;
