//! A virtual CPU: run it, answer its exits, kick it from another thread.

use std::fmt;
use std::sync::Arc;

use vmmkit_device_bus::{BusView, Mmio, Ports};

use crate::{MmioAccess, PortAccess, Result, VcpuExit};

/// A vCPU's number in its VM: its APIC ID (KVM API, KVM_CREATE_VCPU).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VcpuId(pub u32);

impl fmt::Display for VcpuId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vcpu{}", self.0)
    }
}

/// Makes a running vCPU return [`VcpuExit::Interrupted`].
pub trait Kick: Send + Sync {
    /// Ends the vCPU's current run, or the next one if it is not running: a kick is never lost.
    /// Any thread may call it, any number of times, also after the vCPU is gone.
    fn kick(&self);
}

/// Answers a guest's accesses, with one call for each. `data` is as [`Vcpu::data`] is after it.
pub trait Devices {
    /// The guest reads a port, or a string from it: fills `data`.
    fn read_port(&mut self, access: PortAccess, data: &mut [u8]);

    /// The guest wrote a port, or a string to it.
    fn write_port(&mut self, access: PortAccess, data: &[u8]);

    /// The guest reads unclaimed physical memory: fills `data`.
    fn read_mmio(&mut self, access: MmioAccess, data: &mut [u8]);

    /// The guest wrote unclaimed physical memory.
    fn write_mmio(&mut self, access: MmioAccess, data: &[u8]);
}

/// The buses of a guest, as a vCPU thread has them.
///
/// ```
/// use std::sync::Arc;
/// use vmmkit_device_bus::{MmioBus, PortBus};
/// use vmmkit_hypervisor::fake::{FakeHypervisor, Script};
/// use vmmkit_hypervisor::{Hypervisor, Vcpu, VcpuExit, VcpuId, Vm, VmSettings};
///
/// // Nobody owns the port: the guest reads ones.
/// let script = Script::new().port_read(0x80, vmmkit_hypervisor::Width::Byte, 0xff);
/// let hypervisor = FakeHypervisor::new().with_script(VcpuId(0), script);
/// let vm = hypervisor.create_vm(&VmSettings::default())?;
/// let mut vcpu = vm.create_vcpu(VcpuId(0))?;
/// let mut buses = (Arc::new(PortBus::new()).view(), Arc::new(MmioBus::new()).view());
/// // Every access is answered; what is not one comes back.
/// assert!(matches!(vcpu.run_with(&mut buses)?, VcpuExit::Shutdown));
/// # Ok::<(), vmmkit_hypervisor::Error>(())
/// ```
///
/// Part of a vCPU's loop, always, as the methods of [`BusView`] are.
impl Devices for (BusView<Ports>, BusView<Mmio>) {
    #[inline(always)]
    fn read_port(&mut self, access: PortAccess, data: &mut [u8]) {
        self.0.read_string(access.port, access.width.bytes(), data);
    }

    #[inline(always)]
    fn write_port(&mut self, access: PortAccess, data: &[u8]) {
        self.0.write_string(access.port, access.width.bytes(), data);
    }

    #[inline(always)]
    fn read_mmio(&mut self, access: MmioAccess, data: &mut [u8]) {
        self.1.read(access.address, data);
    }

    #[inline(always)]
    fn write_mmio(&mut self, access: MmioAccess, data: &[u8]) {
        self.1.write(access.address, data);
    }
}

/// A vCPU. It lives on one thread at a time; [`Kick`] is the only way in from another.
pub trait Vcpu: Send {
    /// Which vCPU of its VM this is.
    fn id(&self) -> VcpuId;

    /// Runs the guest until something needs an answer. Call it always on the same thread.
    ///
    /// The bytes of a port or MMIO access are in [`data`](Self::data) until the next call; what a
    /// read leaves there is what the guest sees.
    ///
    /// # Errors
    /// [`Error::Host`](crate::Error::Host) where the host cannot run it.
    fn run(&mut self) -> Result<VcpuExit>;

    /// Runs the guest, lets `devices` answer its accesses, and returns with the first exit that is
    /// none. A loop over [`run`](Self::run), which a back end may join with its decoding.
    ///
    /// # Errors
    /// As of [`run`](Self::run).
    #[inline]
    fn run_with(&mut self, devices: &mut impl Devices) -> Result<VcpuExit>
    where
        Self: Sized,
    {
        loop {
            let exit = self.run()?;
            if let Some(other) = exit.answered_by(devices, self.data()) {
                return Ok(other);
            }
        }
    }

    /// The bytes of the access that the last [`run`](Self::run) returned with; empty for any other
    /// exit.
    fn data(&mut self) -> &mut [u8];

    /// Completes the access that the last [`run`](Self::run) returned with, without running the
    /// guest further, so that registers read true. Does nothing when none is pending.
    ///
    /// # Errors
    /// [`Error::Host`](crate::Error::Host) where the host cannot complete it.
    fn complete_access(&mut self) -> Result<()>;

    /// A handle that kicks this vCPU.
    fn kicker(&self) -> Arc<dyn Kick>;
}
