//! The composer's half of the run state: threads for vCPUs, pauses, the end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use tracing::debug;
use vmmkit_hypervisor::{Kick, VcpuId};
use vmmkit_telemetry::BootLog;

use crate::core::Core;
use crate::state::Phase;
use crate::{
    Control, Ending, Event, Hardware, OnCrash, OnReboot, Outcome, PauseError, PauseRequest,
    RunError, VcpuBody, VcpuThread,
};

/// The fixed settings of a machine's run state.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    /// The number of vCPUs.
    pub vcpus: u32,
    /// The response to a reset that the guest requests.
    pub on_reboot: OnReboot,
    /// The response to a crash of the guest.
    pub on_crash: OnCrash,
}

/// The composer's half of a machine's run state: it gives the vCPUs threads and pauses them, together with what
/// else makes up the machine. The embedder's half is its [`Control`].
///
/// Any thread may ask at any time, also before the vCPUs have threads and while another thread waits in
/// [`pause`](Self::pause): the last request of pause and resume counts, and an end is final.
#[derive(Clone, Debug)]
pub struct Supervisor {
    control: Control,
}

impl Supervisor {
    /// A machine that may run as soon as its vCPUs have threads. Milestones go to `boot_log`.
    pub fn new(settings: Settings, boot_log: Arc<BootLog>) -> Self {
        let core = Arc::new(Core::new(settings, boot_log));
        Self {
            control: Control { core },
        }
    }

    /// The embedder's half.
    #[inline]
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// Sends `event` to all subscribers.
    pub fn publish(&self, event: Event) {
        self.core().change(|state| state.events.push(event));
    }

    /// The same, for what the machine is made of: it does not keep the run state.
    pub fn publisher(&self) -> impl Fn(Event) + Send + Sync + use<> {
        let core = Arc::downgrade(&self.control.core);
        move |event| {
            if let Some(core) = core.upgrade() {
                core.change(|state| state.events.push(event));
            }
        }
    }

    /// Threads for the vCPUs with these kicks are about to start: from now on a pause and the end wait for them.
    pub fn start(&self, kickers: Vec<Arc<dyn Kick>>) {
        self.core().change(|state| state.start(kickers));
    }

    /// Runs a vCPU on this thread, one life after the other, until the run is over; `first` is
    /// its first one. A panic in it is caught, and ends the run.
    pub fn run_vcpu(&self, vcpu: VcpuId, first: VcpuBody, hardware: &dyn Hardware) {
        debug!(vcpu = vcpu.0, "thread began");
        let thread = VcpuThread::new(self, vcpu, hardware);
        let lives = AssertUnwindSafe(|| {
            let mut next = Some(first);
            while let Some(body) = next.take() {
                match body(&thread) {
                    Some(ending) => self.end(ending),
                    None => next = self.next_life(vcpu, hardware),
                }
            }
        });
        if let Err(panic) = catch_unwind(lives) {
            let error = RunError::panicked(&vcpu.to_string(), panic.as_ref());
            self.end(Err(error));
        }
        debug!(vcpu = vcpu.0, "thread ends");
    }

    /// The next life of the thread of `vcpu`, whose vCPU is gone; `None` when the run has ended.
    /// The last thread to arrive creates every vCPU, with no lock held.
    fn next_life(&self, vcpu: VcpuId, hardware: &dyn Hardware) -> Option<VcpuBody> {
        let core = self.core();
        if core.change(|state| state.arrive(vcpu)) {
            match hardware.power_on() {
                Ok(vcpus) => {
                    core.forget_last_life();
                    let mut vcpus = Some(vcpus);
                    core.change(|state| state.begin(&mut vcpus));
                }
                Err(error) => self.end(Err(RunError::Reset(error))),
            }
        }
        let has_next = |slot: &crate::slot::Slot| !slot.has_arrived();
        core.change_when(
            None,
            |state| state.has_ended() || state.slots.get(vcpu.0 as usize).is_none_or(has_next),
            |state, _| state.take_next(vcpu),
        )
    }

    /// Stops every vCPU and waits until none is in the guest and no reset is under way, or until another thread
    /// has resumed the machine.
    ///
    /// # Errors
    /// [`PauseError::Ended`]; and, at `deadline`, [`PauseError::Vcpus`]: this request is
    /// [withdrawn](Self::withdraw_pause) then.
    pub fn pause(&self, deadline: Option<Instant>) -> Result<PauseRequest, PauseError> {
        let core = self.core();
        let request = core.change(|state| state.request_pause())?;
        core.kick_all();
        core.change_when(
            deadline,
            |state| state.is_pause_decided(request),
            |state, is_late| match (is_late, &state.phase) {
                (_, Phase::Ended { .. }) => Err(PauseError::Ended),
                (false, _) => Ok(request),
                (true, _) => {
                    state.withdraw_pause(request);
                    Err(PauseError::Vcpus {
                        waiting: state.running(),
                        vcpus: state.slots.len(),
                        devices: Vec::new(),
                    })
                }
            },
        )
    }

    /// Takes `request` back, unless a resume has done so: the machine runs on unless somebody else asked for a
    /// pause too, or the guest has crashed.
    pub fn withdraw_pause(&self, request: PauseRequest) {
        self.core().change(|state| state.withdraw_pause(request));
    }

    /// Publishes [`Event::Paused`] if the machine is still paused: everything has come to rest.
    pub fn report_paused(&self) {
        self.core().change(|state| {
            if state.is_paused() && !state.has_ended() {
                state.events.push(Event::Paused);
            }
        });
    }

    /// True if a paused machine may run again: it has neither ended nor triple-faulted.
    pub fn may_resume(&self) -> bool {
        self.core().read(|state| state.may_resume())
    }

    /// Lets every vCPU run again; `was_at_rest` says whether the [pause was reported](Self::report_paused).
    pub fn resume(&self, was_at_rest: bool) {
        self.core().change(|state| state.resume(was_at_rest));
    }

    /// Ends the run. The first ending stands.
    pub fn end(&self, ending: Ending) {
        self.control.end(ending);
    }

    /// Waits until the run has ended; vCPUs may still be on their way out of the guest.
    pub fn wait_for_end(&self) {
        self.core().wait_until(|state| state.has_ended());
    }

    /// How the run ended, once; [`Outcome::Stopped`] before the end and where it was taken.
    pub fn take_ending(&self) -> Ending {
        let taken = self.core().change(|state| match &mut state.phase {
            Phase::Ended { ending, .. } => ending.take(),
            _ => None,
        });
        taken.unwrap_or(Ok(Outcome::Stopped))
    }

    /// A guard that closes the stream of events when it is dropped: with the threads, or with a machine that never
    /// had any.
    pub fn last_event(&self) -> LastEvent {
        LastEvent(self.control.clone())
    }

    fn core(&self) -> &Core {
        &self.control.core
    }
}

impl Default for Supervisor {
    /// Of a machine without vCPUs before its start, whose guest's reset and crash end the run.
    fn default() -> Self {
        Self::new(Settings::default(), Arc::default())
    }
}

/// Closes the stream of events when it is dropped.
#[derive(Debug)]
pub struct LastEvent(Control);

impl Drop for LastEvent {
    fn drop(&mut self) {
        self.0.events().close();
    }
}
