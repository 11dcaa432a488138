//! x
mod error;
mod exit;
mod hypervisor;
mod vcpu;
mod vm;
pub mod x86;

pub use error::{Error, Result};
pub use exit::{FailEntry, InternalError, MmioAccess, PortAccess, SystemEvent, VcpuExit, Width};
pub use hypervisor::{Capabilities, Hypervisor, Irqchip, VmSettings};
pub use vcpu::{Kick, Vcpu, VcpuId};
pub use vm::{DatamatchWidth, DirtyLog, Interrupts, IoEventAddress, IoEvents, MsiMessage, Vm};
