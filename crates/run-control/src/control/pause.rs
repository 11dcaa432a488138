//! Pauses: the vCPUs leave the guest, park, and run on.

use std::sync::atomic::Ordering;
use std::time::Instant;

use thiserror::Error;
use vmmkit_hypervisor::VcpuId;
use vmmkit_hypervisor::x86::VcpuState;

use super::{Control, PAUSE, Phase, RUN};
use crate::Event;

/// Why a machine is not paused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PauseError {
    /// The run has ended.
    #[error("the run has ended")]
    Ended,
    /// A vCPU did not leave the guest in time, most likely because it waits for a device.
    #[error("{waiting} of {vcpus} vCPUs did not stop in time{}", busy(.devices))]
    Vcpus {
        /// How many did not.
        waiting: usize,
        /// How many there are.
        vcpus: usize,
        /// The devices that do what their driver asked for, where that is known.
        devices: Vec<String>,
    },
    /// A device did not come to rest in time: it waits for the host or for another process.
    #[error("{device} did not come to rest in time: it waits for the host or its back end")]
    Device {
        /// Its name in the machine.
        device: String,
    },
}

fn busy(devices: &[String]) -> String {
    match devices {
        [] => String::new(),
        devices => format!(": waiting for {}", devices.join(", ")),
    }
}

impl Control {
    /// Waits, on the thread of `vcpu`, until it may run (`true`) or must end (`false`). It
    /// receives [visits](Self::visit) meanwhile; `state` is the vCPU's.
    pub fn park(&self, vcpu: VcpuId, state: &mut dyn VcpuState) -> bool {
        let mut phase = self.lock();
        phase.parked += 1;
        self.changed.notify_all();
        if phase.crash.is_some() && phase.parked == phase.vcpus {
            // Nobody asked for this pause who would do it.
            drop(phase);
            if let Some(rest) = self.on_crash.get() {
                rest(self);
            }
            phase = self.lock();
        }
        loop {
            let place = phase.visits.get_mut(vcpu.0 as usize);
            if let Some(visit) = place.and_then(Option::take) {
                let round = phase.visit_round;
                drop(phase);
                visit(state);
                phase = self.lock();
                // Who did not wait so long has gone on to others.
                if phase.visit_round == round {
                    phase.visitors = phase.visitors.saturating_sub(1);
                }
                self.changed.notify_all();
                continue;
            }
            match self.request.load(Ordering::Acquire) {
                PAUSE => phase = self.wait(phase),
                RUN if phase.holds(vcpu) => phase = self.wait(phase),
                request => {
                    phase.parked -= 1;
                    return request == RUN;
                }
            }
        }
    }

    /// Stops every vCPU and waits until none is in the guest, or until another thread has resumed
    /// the machine.
    ///
    /// # Errors
    /// [`PauseError::Ended`]; and, at `deadline`, [`PauseError::Vcpus`]: this request is
    /// [withdrawn](Self::withdraw_pause) then.
    pub fn pause(&self, deadline: Option<Instant>) -> Result<(), PauseError> {
        let mut phase = self.lock();
        if phase.ending.is_some() {
            return Err(PauseError::Ended);
        }
        self.request_pause(&mut phase);
        drop(phase);
        self.kick_all();
        let mut phase = self.lock();
        let mut is_late = false;
        while phase.is_paused() && phase.ending.is_none() && phase.parked < phase.vcpus {
            if is_late {
                let (waiting, vcpus) = (phase.vcpus - phase.parked, phase.vcpus);
                drop(phase);
                self.withdraw_pause();
                return Err(PauseError::Vcpus {
                    waiting,
                    vcpus,
                    devices: Vec::new(),
                });
            }
            (phase, is_late) = self.wait_until(phase, deadline);
        }
        match phase.ending {
            None => Ok(()),
            Some(_) => Err(PauseError::Ended),
        }
    }

    /// Takes one request to pause back: the machine runs on unless somebody else asked for a pause too,
    /// or the guest has crashed.
    pub fn withdraw_pause(&self) {
        let mut phase = self.lock();
        phase.pauses = phase.pauses.saturating_sub(1);
        if !phase.is_paused() {
            self.let_run(&phase);
        }
    }

    /// A reset that is under way goes first, and ends in the pause.
    pub(super) fn request_pause(&self, phase: &mut Phase) {
        phase.pauses += 1;
        if phase.reset.is_none() {
            self.request.store(PAUSE, Ordering::Release);
        }
    }

    fn let_run(&self, phase: &Phase) {
        if phase.ending.is_none() && phase.reset.is_none() {
            self.request.store(RUN, Ordering::Release);
        }
        self.changed.notify_all();
    }

    /// Whether a paused machine may run again: it has neither ended nor crashed for good.
    pub fn may_resume(&self) -> bool {
        self.lock().may_resume()
    }

    /// Everything that was to come to rest for a pause has: told to all, if the pause lasts.
    pub fn is_at_rest(&self) {
        let phase = self.lock();
        if phase.is_paused() && phase.ending.is_none() {
            self.publish(Event::Paused);
        }
    }

    /// Lets every vCPU run again; `was_at_rest` says whether the [pause was told](Self::is_at_rest).
    pub fn resume(&self, was_at_rest: bool) {
        let mut phase = self.lock();
        if phase.may_resume() {
            phase.pauses = 0;
            if was_at_rest {
                self.publish(Event::Resumed);
            }
            self.let_run(&phase);
        }
    }
}
