//! The embedder's half of the run state, for any thread at any time.

use std::fmt;
use std::sync::Arc;

use vmmkit_device_bus::{GuestRequest, RequestSink};
use vmmkit_host_io::Broadcast;
use vmmkit_hypervisor::VcpuId;
use vmmkit_hypervisor::x86::DebugExit;
use vmmkit_telemetry::BootLog;

use crate::core::Core;
use crate::state::Debugger;
use crate::{Event, MachineState, Outcome, ResetCause};

mod end;
mod visit;

/// The run state of one machine: what it is, and what anybody may ask of it, also before the start and after
/// the end. Cheap to clone; it keeps no vCPU and no device.
///
/// Pauses are not here: devices and clocks come to rest with the vCPUs, which is for whoever composes the machine
/// to do, by its [`Supervisor`](crate::Supervisor).
#[derive(Clone)]
pub struct Control {
    pub(crate) core: Arc<Core>,
}

impl Control {
    /// The current state of the machine.
    pub fn state(&self) -> MachineState {
        self.core.read(|state| state.machine_state())
    }

    /// True from a request to pause until it is resumed or withdrawn.
    pub fn is_paused(&self) -> bool {
        self.core.read(|state| state.is_paused())
    }

    /// True once the run has ended.
    pub fn has_ended(&self) -> bool {
        self.core.read(|state| state.has_ended())
    }

    /// The stream of events, to subscribe to.
    pub fn events(&self) -> &Broadcast<Event> {
        &self.core.events
    }

    /// The log that milestones go to.
    #[inline]
    pub fn boot_log(&self) -> &Arc<BootLog> {
        &self.core.boot_log
    }

    /// The number of vCPUs, also before they have threads.
    pub fn vcpus(&self) -> u32 {
        self.core.read(|state| state.slots.len() as u32)
    }

    /// Ends the run at once, as pulling the plug does: with [`Outcome::Stopped`], unless it has ended before, or the
    /// guest had crashed.
    pub fn stop(&self) {
        self.end(Ok(Outcome::Stopped));
    }

    /// Replaces every vCPU with a new one at its power-on state; does nothing if a reset is already under way.
    /// Returns `false` if the run has ended. Before the start it does nothing.
    pub fn reset(&self, cause: ResetCause) -> bool {
        let begun = self.core.change(|state| state.reset(cause));
        if begun == Some(true) {
            self.core.kick_all();
        }
        begun.is_some()
    }

    /// The sink that devices send the guest's requests to.
    pub fn requests(&self) -> RequestSink {
        let control = self.clone();
        Arc::new(move |request| match request {
            GuestRequest::Reset => control.guest_asks(Outcome::Reset),
            GuestRequest::PowerOff => control.guest_asks(Outcome::PowerOff),
            GuestRequest::DebugExit(code) => control.guest_asks(Outcome::DebugExit(code)),
            GuestRequest::Panicked => control.guest_asks(Outcome::GuestPanic),
            GuestRequest::CrashLoaded => {
                control.core.change(|state| state.crash_kernel_is_loaded())
            }
            // A request that only a later device-bus has.
            _ => {}
        })
    }

    /// The guest writes to its console: the first byte since its power-on is an event.
    #[inline]
    pub fn console_is_written(&self) {
        self.core.console_is_written();
    }

    /// Attaches `debugger`, which is called on the vCPU's thread at each stop that it
    /// [requested](vmmkit_hypervisor::x86::VcpuState::set_guest_debug); it must not block. A machine has one
    /// debugger for its life: returns `false` if there is one already.
    pub fn attach_debugger(
        &self,
        debugger: impl Fn(VcpuId, DebugExit) + Send + Sync + 'static,
    ) -> bool {
        let mut debugger: Option<Debugger> = Some(Arc::new(debugger));
        self.core.change(|state| {
            if state.debugger.is_none() {
                state.debugger = debugger.take();
            }
        });
        debugger.is_none()
    }

    /// Keeps the vCPUs for which `is_held` is true out of the guest, by number, also when the machine is
    /// resumed, and lets the others go. A reset lets go of all.
    pub fn hold(&self, is_held: impl Fn(VcpuId) -> bool) {
        let held: Vec<bool> = (0..self.vcpus()).map(|id| is_held(VcpuId(id))).collect();
        self.core.change(|state| {
            for (slot, is_held) in state.slots.iter_mut().zip(held) {
                slot.is_held = is_held;
            }
        });
        self.core.kick_all();
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").finish_non_exhaustive()
    }
}
