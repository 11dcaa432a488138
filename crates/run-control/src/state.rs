//! The run state of a machine as data: what each request makes of it, with no thread and no lock.

use std::sync::Arc;

use vmmkit_hypervisor::x86::DebugExit;
use vmmkit_hypervisor::{Kick, VcpuId};

use crate::slot::{Slot, Thread, Visit, Work};
use crate::{
    Ending, Event, MachineState, OnCrash, OnReboot, Outcome, PauseError, ResetCause, VcpuBody,
    Vcpus,
};

/// The signal that a vCPU's thread reads without the lock. Any value that is not [`RUN`] takes the vCPU out of the
/// guest; from [`RESET`] on its life is over.
pub(crate) const RUN: u8 = 0;
/// There is something to do for a vCPU, or one is held.
pub(crate) const LOOK: u8 = 1;
pub(crate) const PAUSE: u8 = 2;
pub(crate) const RESET: u8 = 3;
pub(crate) const STOP: u8 = 4;

/// Called at each stop, on the thread of the vCPU.
pub(crate) type Debugger = Arc<dyn Fn(VcpuId, DebugExit) + Send + Sync>;

/// How far a machine is in its life.
pub(crate) enum Phase {
    /// No vCPU has a thread.
    Ready,
    /// Every vCPU has a thread, and runs unless the machine is paused.
    Live,
    /// Every thread drops its vCPU, and waits for a new one.
    Resetting(ResetCause),
    /// The run is over. `ending` is for whoever waits for it, and `how` stays.
    Ended {
        how: MachineState,
        ending: Option<Ending>,
    },
}

/// A pause that was asked for, to be [withdrawn](crate::Supervisor::withdraw_pause) where it does not come about in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PauseRequest(u64);

/// The guest's kernel since power-on, as far as it has reported.
#[derive(Clone, Copy)]
pub(crate) enum Crash {
    None,
    /// A kernel that deals with a crash itself is about to run.
    KernelLoaded,
    Crashed(Outcome),
}

/// The response to a request of the guest.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Ignore,
    Pause,
    Reset(ResetCause),
    End(Outcome),
}

pub(crate) struct State {
    pub(crate) phase: Phase,
    pub(crate) crash: Crash,
    /// The pauses that were asked for since the last resume, and were not withdrawn.
    pauses: usize,
    /// How often it was resumed, which takes back all pauses that were asked for before.
    resumes: u64,
    /// By number.
    pub(crate) slots: Vec<Slot>,
    /// The number of the last round of visits.
    pub(crate) round: u64,
    /// The visits of that round that are not over, while somebody waits for it.
    pub(crate) visits_left: Option<usize>,
    pub(crate) kickers: Arc<[Arc<dyn Kick>]>,
    pub(crate) debugger: Option<Debugger>,
    /// Events in order, to be published before the lock is released.
    pub(crate) events: Vec<Event>,
}

impl State {
    pub(crate) fn new(vcpus: u32) -> Self {
        Self {
            phase: Phase::Ready,
            crash: Crash::None,
            pauses: 0,
            resumes: 0,
            slots: (0..vcpus).map(|_| Slot::default()).collect(),
            round: 0,
            visits_left: None,
            kickers: Arc::new([]),
            debugger: None,
            events: Vec::new(),
        }
    }

    /// The signal for the vCPUs' threads.
    pub(crate) fn signal(&self) -> u8 {
        match self.phase {
            Phase::Ended { .. } => STOP,
            Phase::Resetting(_) => RESET,
            _ if self.is_paused() => PAUSE,
            _ if self.slots.iter().any(Slot::wants_a_look) => LOOK,
            _ => RUN,
        }
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.pauses > 0
    }

    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended { .. })
    }

    fn is_resetting(&self) -> bool {
        matches!(self.phase, Phase::Resetting(_))
    }

    pub(crate) fn machine_state(&self) -> MachineState {
        match (&self.phase, self.crash) {
            (Phase::Ended { how, .. }, _) => *how,
            (Phase::Ready, _) => MachineState::Ready,
            (Phase::Resetting(_), _) => MachineState::Resetting,
            (Phase::Live, _) if !self.is_paused() => MachineState::Running,
            (Phase::Live, Crash::Crashed(outcome)) => MachineState::Crashed(outcome),
            (Phase::Live, _) => MachineState::Paused,
        }
    }

    /// Every vCPU has a thread from now on.
    pub(crate) fn start(&mut self, kickers: Vec<Arc<dyn Kick>>) {
        if !matches!(self.phase, Phase::Ready) {
            return;
        }
        self.slots.resize_with(kickers.len(), Slot::default);
        self.kickers = kickers.into();
        self.phase = Phase::Live;
        self.events.push(Event::Started);
    }

    // ---- Pauses ----

    /// One more request to pause. A reset that is under way goes first, and ends in the pause.
    pub(crate) fn request_pause(&mut self) -> Result<PauseRequest, PauseError> {
        if self.has_ended() {
            return Err(PauseError::Ended);
        }
        self.pauses += 1;
        Ok(PauseRequest(self.resumes))
    }

    /// One request to pause less, unless a resume has taken it back.
    pub(crate) fn withdraw_pause(&mut self, request: PauseRequest) {
        if request.0 == self.resumes {
            self.pauses = self.pauses.saturating_sub(1);
        }
    }

    /// True if the caller who made `request` need not wait any longer.
    pub(crate) fn is_pause_decided(&self, request: PauseRequest) -> bool {
        let is_stopped = self.running() == 0 && !self.is_resetting();
        request.0 != self.resumes || self.has_ended() || is_stopped
    }

    /// How many vCPUs have not left the guest.
    pub(crate) fn running(&self) -> usize {
        match self.phase {
            Phase::Ready => 0,
            _ => self.slots.iter().filter(|slot| !slot.is_parked()).count(),
        }
    }

    pub(crate) fn may_resume(&self) -> bool {
        let is_dead = matches!(self.crash, Crash::Crashed(Outcome::TripleFault(_)));
        !self.has_ended() && (!is_dead || self.is_resetting())
    }

    pub(crate) fn resume(&mut self, was_at_rest: bool) {
        if self.may_resume() {
            self.pauses = 0;
            self.resumes += 1;
            if was_at_rest {
                self.events.push(Event::Resumed);
            }
        }
    }

    // ---- The end, and what comes before ----

    /// The response to `outcome` under the policy.
    pub(crate) fn guest_asks(
        &mut self,
        outcome: Outcome,
        (on_reboot, on_crash): (OnReboot, OnCrash),
    ) -> Answer {
        // What other vCPUs do until they are out of the guest is of no interest.
        if self.has_ended() || self.is_resetting() {
            return Answer::Ignore;
        }
        let event = match (outcome, self.crash) {
            // Nothing comes after a triple fault; but a guest may go on after its panic, and fault then.
            (Outcome::GuestPanic, Crash::Crashed(_))
            | (Outcome::TripleFault(_), Crash::Crashed(Outcome::TripleFault(_))) => {
                return Answer::Ignore;
            }
            (Outcome::GuestPanic, _) => Event::Panicked,
            (Outcome::TripleFault(vcpu), _) => Event::TripleFault(vcpu),
            (Outcome::Reset, _) if on_reboot == OnReboot::Reboot => {
                return Answer::Reset(ResetCause::Guest);
            }
            _ => return Answer::End(outcome),
        };
        self.crash = Crash::Crashed(outcome);
        self.events.push(event);
        match on_crash {
            OnCrash::Exit => Answer::End(outcome),
            OnCrash::Reboot => Answer::Reset(ResetCause::Crash),
            OnCrash::Pause => {
                self.pauses += 1;
                Answer::Pause
            }
        }
    }

    /// The guest's crash kernel takes over; told once.
    pub(crate) fn crash_kernel_is_loaded(&mut self) {
        if let Crash::None = self.crash {
            self.crash = Crash::KernelLoaded;
            self.events.push(Event::CrashLoaded);
        }
    }

    /// The run is over; the first ending stands. `has_panicked` is what the guest said of itself. The vCPUs that
    /// nobody will run, to be dropped without the lock.
    pub(crate) fn end(&mut self, ending: Ending, has_panicked: bool) -> Vec<VcpuBody> {
        if self.has_ended() {
            return Vec::new();
        }
        let ending = match (ending, self.crash) {
            // Stopping a guest that crashed reports the crash.
            (Ok(Outcome::Stopped), Crash::Crashed(crash)) => Ok(crash),
            (Ok(Outcome::Stopped), _) if has_panicked => Ok(Outcome::GuestPanic),
            (ending, _) => ending,
        };
        let (how, event) = match &ending {
            Ok(outcome) => (MachineState::Ended(*outcome), Event::Ended(*outcome)),
            Err(error) => (MachineState::Failed, Event::Failed(error.to_string())),
        };
        self.events.push(event);
        self.phase = Phase::Ended {
            how,
            ending: Some(ending),
        };
        self.slots.iter_mut().filter_map(Slot::take_next).collect()
    }

    // ---- Resets ----

    /// Begins a reset, unless one is under way; `None` if the run has ended, otherwise whether vCPUs are to be
    /// kicked.
    pub(crate) fn reset(&mut self, cause: ResetCause) -> Option<bool> {
        match self.phase {
            Phase::Ended { .. } => None,
            // It is as after power-on already, or will be.
            Phase::Ready | Phase::Resetting(_) => Some(false),
            Phase::Live => {
                self.phase = Phase::Resetting(cause);
                Some(true)
            }
        }
    }

    /// The thread of `vcpu` has dropped its vCPU; whether it was the last one, which makes the new ones.
    pub(crate) fn arrive(&mut self, vcpu: VcpuId) -> bool {
        if let Some(slot) = self.slot(vcpu) {
            slot.thread = Thread::Arrived;
        }
        self.is_resetting() && self.slots.iter().all(Slot::has_arrived)
    }

    /// The guest starts anew on `vcpus`, which are taken, unless the run has ended.
    pub(crate) fn begin(&mut self, vcpus: &mut Option<Vcpus>) {
        let Phase::Resetting(cause) = self.phase else {
            return;
        };
        let Some(vcpus) = vcpus.take() else {
            return;
        };
        self.kickers = vcpus.kickers.into();
        for (slot, body) in self.slots.iter_mut().zip(vcpus.bodies) {
            slot.thread = Thread::Next(body);
            slot.is_held = false;
        }
        self.crash = Crash::None;
        self.phase = Phase::Live;
        self.events.push(Event::Reset(cause));
    }

    /// The new vCPU of the thread of `vcpu`.
    pub(crate) fn take_next(&mut self, vcpu: VcpuId) -> Option<VcpuBody> {
        self.slot(vcpu)?.take_next()
    }

    // ---- vCPUs that are out of the guest ----

    /// `vcpu` has left the guest; whether the devices are to be brought to rest now, on its thread.
    pub(crate) fn park(&mut self, vcpu: VcpuId) -> bool {
        if let Some(slot) = self.slot(vcpu) {
            slot.thread = Thread::Parked;
        }
        // A crash caused this pause: no caller of `pause` will quiesce the devices.
        let has_crashed = matches!((&self.phase, self.crash), (Phase::Live, Crash::Crashed(_)));
        has_crashed && self.is_paused() && self.running() == 0
    }

    /// The next step of the parked thread of `vcpu`; `None` means to wait.
    pub(crate) fn work(&self, vcpu: VcpuId) -> Option<Work> {
        let slot = self.slots.get(vcpu.0 as usize);
        match self.signal() {
            _ if slot.is_some_and(|slot| slot.visit.is_some()) => Some(Work::Visit),
            RESET | STOP => Some(Work::Leave),
            PAUSE => None,
            _ if slot.is_some_and(|slot| slot.is_held) => None,
            _ => Some(Work::Run),
        }
    }

    /// The thread of `vcpu` is on its way into the guest, or to the end of its life.
    pub(crate) fn unpark(&mut self, vcpu: VcpuId) {
        if let Some(slot) = self.slot(vcpu) {
            slot.thread = Thread::Running;
        }
    }

    pub(crate) fn take_visit(&mut self, vcpu: VcpuId) -> Option<(u64, Visit)> {
        let round = self.round;
        Some((round, self.slot(vcpu)?.visit.take()?))
    }

    /// A visit of `round` is over, which may be one that nobody waits for any more.
    pub(crate) fn visited(&mut self, round: u64) {
        if let Some(left) = self.visits_left.as_mut().filter(|_| self.round == round) {
            *left = left.saturating_sub(1);
        }
    }

    /// Begins a round of `visits`; `false` where there is no vCPU to visit, or the last round is not over.
    pub(crate) fn begin_round(&mut self, visits: &mut Vec<Option<Visit>>) -> bool {
        let has_vcpus = matches!(self.phase, Phase::Live | Phase::Resetting(_));
        let count = visits.iter().flatten().count();
        if !has_vcpus || self.visits_left.is_some() || count == 0 {
            return false;
        }
        self.round += 1;
        self.visits_left = Some(count);
        for (slot, visit) in self.slots.iter_mut().zip(visits.drain(..)) {
            slot.visit = visit;
        }
        true
    }

    /// Ends the round; the visits that nobody received, to be dropped without the lock.
    pub(crate) fn end_round(&mut self) -> Vec<Visit> {
        self.visits_left = None;
        let slots = self.slots.iter_mut();
        slots.filter_map(|slot| slot.visit.take()).collect()
    }

    fn slot(&mut self, vcpu: VcpuId) -> Option<&mut Slot> {
        self.slots.get_mut(vcpu.0 as usize)
    }
}

#[cfg(test)]
mod tests;
