//! Pauses: the vCPUs leave the guest, park, and run on.

use std::sync::atomic::Ordering;

use vmmkit_hypervisor::VcpuId;
use vmmkit_hypervisor::x86::VcpuState;

use super::{Control, PAUSE, Phase, RUN};
use crate::Event;

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
                drop(phase);
                visit(state);
                phase = self.lock();
                phase.visitors = phase.visitors.saturating_sub(1);
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
    /// the machine. `false` if the machine has ended.
    pub fn pause(&self) -> bool {
        let mut phase = self.lock();
        if phase.ending.is_some() {
            return false;
        }
        self.request_pause(&mut phase);
        drop(phase);
        self.kick_all();
        let mut phase = self.lock();
        while phase.paused && phase.ending.is_none() && phase.parked < phase.vcpus {
            phase = self.wait(phase);
        }
        phase.ending.is_none()
    }

    /// A reset that is under way goes first, and ends in the pause.
    pub(super) fn request_pause(&self, phase: &mut Phase) {
        phase.paused = true;
        if phase.reset.is_none() {
            self.request.store(PAUSE, Ordering::Release);
        }
    }

    /// Whether a paused machine may run again: it has neither ended nor crashed for good.
    pub fn may_resume(&self) -> bool {
        self.lock().may_resume()
    }

    /// Everything that was to come to rest for a pause has: told to all, if the pause lasts.
    pub fn is_at_rest(&self) {
        let phase = self.lock();
        if phase.paused && phase.ending.is_none() {
            self.publish(Event::Paused);
        }
    }

    /// Lets every vCPU run again; `was_at_rest` says whether the [pause was told](Self::is_at_rest).
    pub fn resume(&self, was_at_rest: bool) {
        let mut phase = self.lock();
        if phase.may_resume() {
            phase.paused = false;
            if was_at_rest {
                self.publish(Event::Resumed);
            }
            if phase.reset.is_none() {
                self.request.store(RUN, Ordering::Release);
            }
            self.changed.notify_all();
        }
    }
}
