//! A virtual CPU: run it, answer its exits, kick it from another thread.

use std::fmt;
use std::sync::Arc;

use crate::{Result, VcpuExit};

/// The number of a vCPU in its VM; also its APIC id unless CPUID says otherwise.
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
