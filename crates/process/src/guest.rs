//! A machine, as signals reach it.

use vmmkit_host_io::{Signal, WindowSize};

/// Requests that a process may get for its machine. The event loop's thread calls it; nothing here
/// waits for the guest.
pub trait Guest: Send + Sync {
    /// Asks the guest to power itself off: a power button, Ctrl-Alt-Del.
    fn ask_to_power_off(&self);

    /// Ends the run at once.
    fn stop(&self);

    /// The run does not end although it was [stopped](Self::stop), because a device or its back end hangs,
    /// and somebody wants the process to end all the same: by `signal`.
    fn give_up(&self, signal: Signal) {
        let _ = signal;
    }

    /// Pauses it if that takes no longer than a second or two; whether it ran, and [`resume`](Self::resume)
    /// is due.
    fn pause(&self) -> bool;

    /// Lets it run on.
    fn resume(&self);

    /// Says on stderr what its vCPUs are at.
    fn dump(&self);

    /// The terminal has this size.
    fn resize(&self, size: WindowSize);
}
