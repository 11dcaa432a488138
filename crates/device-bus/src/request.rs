//! Requests of a device to the machine as a whole on the guest's behalf.

use std::sync::Arc;

/// A request the guest made through a device: a reset register, ACPI S5, a debug-exit port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GuestRequest {
    /// The guest asked for a reset (i8042 command 0xFE, port 0xCF9, the ACPI reset register).
    Reset,
    /// The guest asked for power-off (ACPI S5, 6.5 section 7.4.2).
    PowerOff,
    /// The guest wrote this code to the debug-exit port.
    DebugExit(u8),
    /// The guest's kernel panicked and said so (pvpanic).
    Panicked,
    /// The guest's kernel panicked, and a crash kernel of its own deals with that (pvpanic).
    CrashLoaded,
}

/// Takes the requests of devices. Called on the vCPU thread whose access made the request; it must
/// not block. What the machine does about it, it does after the access completes.
pub type RequestSink = Arc<dyn Fn(GuestRequest) + Send + Sync>;
