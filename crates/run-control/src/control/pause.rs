//! Pauses, and what needs the vCPUs out of the guest for a moment: parking, dumps of registers.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use vmmkit_hypervisor::VcpuId;
use vmmkit_hypervisor::x86::VcpuDump;

use super::{Control, PAUSE, Phase, RUN};
use crate::Event;

impl Control {
    /// Waits, on the thread of `vcpu`, until it may run (`true`) or must end (`false`). Where a dump
    /// is asked for, it gives that first.
    pub fn park(&self, vcpu: VcpuId, mut dump: impl FnMut() -> VcpuDump) -> bool {
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
            if phase.lacks_dump_of(vcpu) {
                drop(phase);
                let dump = dump();
                phase = self.lock();
                phase.add_dump(dump);
                self.changed.notify_all();
                continue;
            }
            match self.request.load(Ordering::Acquire) {
                PAUSE => phase = self.wait(phase),
                request => {
                    phase.parked -= 1;
                    return request == RUN;
                }
            }
        }
    }

    /// What the registers of every vCPU hold, each read on its own thread; none before the start and
    /// after the end. A vCPU that ends meanwhile is left out.
    pub fn dump(&self) -> Vec<VcpuDump> {
        let _turn = self
            .dump_turn
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut phase = self.lock();
        phase.dumps = vec![None; phase.vcpus];
        // Ordering: pairs with the load in `may_run`, as a pause does.
        self.dumping.store(true, Ordering::Release);
        drop(phase);
        self.kick_all();
        self.changed.notify_all();
        let mut phase = self.lock();
        while phase.dumps.iter().flatten().count() + phase.finished < phase.vcpus {
            phase = self.wait(phase);
        }
        self.dumping.store(false, Ordering::Release);
        std::mem::take(&mut phase.dumps)
            .into_iter()
            .flatten()
            .collect()
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
