//! The saved state of a vCPU and of a VM, as plain data that any host's back end can write and another read.
//!
//! Both are [`StateForm`](vmmkit_device_bus::StateForm)s: they have a version, and go into a
//! [`SavedState`](vmmkit_device_bus::SavedState) like that of a device. RAM is saved by its owner.

mod text;
mod vcpu;
mod vm;

pub use vcpu::{
    DebugRegisters, ExceptionEvent, ExtendedControlRegister, InterruptEvent, NmiEvent, SmiEvent,
    VcpuEvents, VcpuSaved,
};
pub use vm::{IoapicSaved, PicSaved, PitChannelSaved, PitSaved, VmSaved};

use crate::{Error, Result};

/// The answer of a back end without saved states.
const UNSUPPORTED: Error = Error::Unsupported("saved states");

/// Saves and restores a vCPU that does not run.
pub trait SaveVcpu {
    /// All of its state. An access that is under way is completed first: the answer to a read must be in
    /// [`Vcpu::data`](crate::Vcpu::data).
    ///
    /// # Errors
    /// [`Error::Unsupported`] where the back end cannot, which its
    /// [`Capabilities`](crate::Capabilities::saved_state) say; [`Error::Host`] where the host refuses.
    fn save(&mut self) -> Result<VcpuSaved> {
        Err(UNSUPPORTED)
    }

    /// Goes to `saved`. The vCPU has not run, and its VM is [restored](SaveVm::restore) before it.
    ///
    /// # Errors
    /// [`Error::State`] for a state that no vCPU could have, [`Error::Msr`] for a register that this host does not
    /// have or gives another value, and as [`save`](Self::save).
    fn restore(&mut self, saved: &VcpuSaved) -> Result<()> {
        let _ = saved;
        Err(UNSUPPORTED)
    }
}

/// Saves and restores what of a VM is neither RAM nor a vCPU: interrupt controllers, timers and clocks.
pub trait SaveVm {
    /// All of it. No vCPU runs, no line changes and no irqfd is raised.
    ///
    /// # Errors
    /// As [`SaveVcpu::save`].
    fn save(&self) -> Result<VmSaved> {
        Err(UNSUPPORTED)
    }

    /// Goes to `saved`; the clocks go on from what they showed. No vCPU of the VM has run. A VM with split
    /// interrupt controllers must get its [routes](crate::Interrupts::route_pin) from its I/O APIC.
    ///
    /// # Errors
    /// [`Error::State`] for a state that no VM of these [settings](crate::VmSettings) could have, and as
    /// [`SaveVcpu::save`].
    fn restore(&self, saved: &VmSaved) -> Result<()> {
        let _ = saved;
        Err(UNSUPPORTED)
    }
}
