//! The x86-64 state of a vCPU as plain data, and the trait that reads and writes it.

mod cpuid;
mod debug;
mod dump;
mod registers;
mod report;
mod state;

pub use cpuid::CpuidEntry;
pub use debug::{DEBUG_ADDRESSES, DebugExit, GuestDebug, HardwareBreakpoint, WatchedAccess};
pub use dump::{Instruction, VcpuDump};
pub use registers::{DescriptorTable, FpuState, Registers, Segment, SpecialRegisters};
pub use state::{ClockControl, MpState, Msr, VcpuState};
