//! A virtual machine and its capabilities, one small trait each.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use vmmkit_device_bus::{Gsi, IrqLine, MsiMessage, MsiVector};
use vmmkit_guest_memory::{GuestRam, Rom};

use crate::{Result, SaveVcpu, SaveVm, Vcpu, VcpuId};

/// A VM: memory and vCPUs. Other abilities are traits of their own, so that a caller asks for what
/// it needs and a back end says what it has.
pub trait Vm: Send + Sync + Interrupts + IoEvents + DirtyLog + SaveVm {
    /// The vCPUs it makes.
    type Vcpu: Vcpu + crate::x86::VcpuState + crate::x86::ClockControl + SaveVcpu + 'static;

    /// Makes `ram` the guest's memory, each region in the slot it names. The VM keeps `ram` alive
    /// for as long as the guest can reach it.
    ///
    /// # Errors
    /// [`Error::Host`](crate::Error::Host) where the host refuses a slot.
    fn map_ram(&self, ram: &GuestRam) -> Result<()>;

    /// Takes away the memory that [`map_ram`](Self::map_ram) gave, while the VM runs or not: from then on an access
    /// there is an [exit](crate::VcpuExit::MmioRead), after a [`renew`](Self::renew) too. Slots of an embedder's own
    /// come and go so: a window of shared memory, a BAR that is memory.
    ///
    /// # Errors
    /// [`Error::Host`](crate::Error::Host) where `ram` is not mapped, or the host refuses; the VM keeps it then.
    fn unmap_ram(&self, ram: &GuestRam) -> Result<()>;

    /// Makes `rom` memory that the guest reads and runs, and does not change: a write to it is an
    /// [exit](crate::VcpuExit::MmioWrite). The VM keeps `rom` alive as it does RAM.
    ///
    /// # Errors
    /// [`Error::Unsupported`](crate::Error::Unsupported) without read-only memory,
    /// [`Error::Host`](crate::Error::Host) where the host refuses the slot.
    fn map_rom(&self, rom: &Rom) -> Result<()>;

    /// Makes the vCPU `id`. Interrupt controllers come first (they are part of
    /// [`VmSettings`](crate::VmSettings)).
    ///
    /// # Errors
    /// [`Error::Host`](crate::Error::Host) where the host refuses, or `id` exists.
    fn create_vcpu(&self, id: VcpuId) -> Result<Self::Vcpu>;

    /// Makes it as new, for a guest that starts again: no vCPU, and interrupt controllers, timers and
    /// clocks as after power-on. RAM stays mapped, with its contents; lines and vectors that were
    /// handed out stay connected to it, and are low. irqfds and ioeventfds are detached.
    ///
    /// Call it when every vCPU has been dropped and no [vector](Interrupts::msi_vector) leads to a
    /// message. Nothing of the old guest is left, whatever it had set up: a back end makes a new VM
    /// behind the same handle, rather than write to each register that it knows of.
    ///
    /// # Errors
    /// [`Error::Host`](crate::Error::Host) where the host refuses; the old VM is kept then.
    fn renew(&self) -> Result<()>;

    /// The clocks that the guest reads without an exit. They keep the VM open.
    fn clock(&self) -> Arc<dyn GuestClock>;
}

/// Stops a guest's clocks for as long as none of its vCPUs runs, so that it does not see the gap:
/// those of the hypervisor (kvmclock) and the time-stamp counters.
pub trait GuestClock: Send + Sync {
    /// Notes what the clocks show. No vCPU runs, and none does before [`start`](Self::start).
    ///
    /// # Errors
    /// [`Error::Host`](crate::Error::Host) where the host does not tell.
    fn stop(&self) -> Result<()>;

    /// Lets the clocks go on from what they showed at [`stop`](Self::stop), which is forgotten;
    /// without one, and for a VM that was made as new since, it does nothing.
    ///
    /// # Errors
    /// [`Error::Host`](crate::Error::Host) where the host refuses: the guest sees the gap then.
    fn start(&self) -> Result<()>;

    /// Forgets what the clocks showed at [`stop`](Self::stop): they went on, and the guest sees the gap.
    fn skip(&self);

    /// Whether the time-stamp counters stop too.
    fn stops_tsc(&self) -> bool;
}

/// Raising interrupts.
pub trait Interrupts {
    /// The line to pin `gsi` of the interrupt controllers.
    fn irq_line(&self, gsi: Gsi) -> IrqLine;

    /// Raises an edge on `gsi` whenever `event` (an eventfd) is written.
    ///
    /// # Errors
    /// [`Error::Unsupported`](crate::Error::Unsupported) without irqfd.
    fn attach_irqfd(&self, event: BorrowedFd<'_>, gsi: Gsi) -> Result<()>;

    /// Undoes [`attach_irqfd`](Self::attach_irqfd).
    ///
    /// # Errors
    /// [`Error::Host`](crate::Error::Host) where it was not attached.
    fn detach_irqfd(&self, event: BorrowedFd<'_>, gsi: Gsi) -> Result<()>;

    /// With [`Irqchip::Split`](crate::Irqchip::Split): from now on pin `gsi` of the I/O APIC stands for
    /// `message`. Its irqfds deliver that, and a vCPU that ends it, where it is level-triggered, exits
    /// with [`IoapicEoi`](crate::VcpuExit::IoapicEoi).
    ///
    /// # Errors
    /// [`Error::Unsupported`](crate::Error::Unsupported) with other interrupt controllers,
    /// [`Error::Host`](crate::Error::Host) where the host refuses.
    fn route_pin(&self, gsi: Gsi, message: Option<MsiMessage>) -> Result<()>;

    /// Delivers `message`.
    ///
    /// # Errors
    /// [`Error::Host`](crate::Error::Host) where the host refuses.
    fn signal_msi(&self, message: MsiMessage) -> Result<()>;

    /// A vector of its own for one message-signalled interrupt of a device, not connected yet. With
    /// irqfd its signals reach the guest without the VMM; it keeps the VM open.
    ///
    /// # Errors
    /// [`Error::Unsupported`](crate::Error::Unsupported) without interrupt controllers,
    /// [`Error::Host`](crate::Error::Host) where the host has no more of them.
    fn msi_vector(&self) -> Result<Arc<dyn MsiVector>>;
}

/// Where a guest's write signals an eventfd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoEventAddress {
    /// A port.
    Port(u16),
    /// A guest-physical address.
    Mmio(u64),
}

/// The value and width that must be written for the event to be signalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatamatchWidth {
    /// Any write of any width.
    Any,
    /// A 2-byte write of this value.
    Word(u16),
    /// A 4-byte write of this value.
    Dword(u32),
    /// An 8-byte write of this value.
    Qword(u64),
}

/// Guest writes that signal an eventfd without an exit to the VMM.
pub trait IoEvents {
    /// Signals `event` on each matching write.
    ///
    /// # Errors
    /// [`Error::Unsupported`](crate::Error::Unsupported) without ioeventfd.
    fn attach_ioevent(
        &self,
        event: BorrowedFd<'_>,
        address: IoEventAddress,
        datamatch: DatamatchWidth,
    ) -> Result<()>;

    /// Undoes [`attach_ioevent`](Self::attach_ioevent) of the same values.
    ///
    /// # Errors
    /// [`Error::Host`](crate::Error::Host) where it was not attached.
    fn detach_ioevent(
        &self,
        event: BorrowedFd<'_>,
        address: IoEventAddress,
        datamatch: DatamatchWidth,
    ) -> Result<()>;
}

/// Which pages a guest wrote.
pub trait DirtyLog {
    /// Starts or stops logging the guest's writes to every RAM slot.
    ///
    /// # Errors
    /// [`Error::Host`](crate::Error::Host) where the host refuses.
    fn log_dirty_pages(&self, on: bool) -> Result<()>;

    /// The pages of `slot` written since the last call, one bit a 4 KiB page, lowest first, and
    /// clears them. The VMM's own writes are not in it: guest-memory ORs them in.
    ///
    /// # Errors
    /// [`Error::Host`](crate::Error::Host) where logging is off or `slot` does not exist.
    fn take_dirty_pages(&self, slot: u32) -> Result<Vec<u64>>;
}
