//! What is done on the threads of the vCPUs, for other threads: reading registers, and setting them.

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, mpsc};
use std::time::{Duration, Instant};

use vmmkit_hypervisor::VcpuId;
use vmmkit_hypervisor::x86::{VcpuDump, VcpuState};

use super::{Control, Phase};

/// What is done on the thread of one vCPU while it is out of the guest.
pub(super) type Visit = Box<dyn FnOnce(&mut dyn VcpuState) + Send>;

/// How long a vCPU may take to say what it is at: one that waits for a device may take far longer.
const DUMP_TIME: Duration = Duration::from_secs(1);

impl Control {
    /// What the registers of every vCPU hold, each read on its own thread; none before the start and
    /// after the end. A vCPU that ends meanwhile is left out, and so is one that does not answer for a
    /// second, because it waits for a device.
    pub fn dump(&self) -> Vec<VcpuDump> {
        let deadline = Instant::now().checked_add(DUMP_TIME);
        self.visit_until(deadline, 0..u32::MAX, |id, state| VcpuDump::of(id, state))
    }

    /// Does `work` on the thread of each of `vcpus`, by number, and answers with what came of it, in
    /// order. Each leaves the guest for it and runs on, unless the machine is paused. As for
    /// [`dump`](Self::dump), those that are not there are left out.
    ///
    /// It waits for the vCPUs, so a device must not call it from within an access.
    pub fn visit<T: Send + 'static>(
        &self,
        vcpus: Range<u32>,
        work: impl Fn(VcpuId, &mut dyn VcpuState) -> T + Send + Sync + 'static,
    ) -> Vec<T> {
        self.visit_until(None, vcpus, work)
    }

    fn visit_until<T: Send + 'static>(
        &self,
        deadline: Option<Instant>,
        vcpus: Range<u32>,
        work: impl Fn(VcpuId, &mut dyn VcpuState) -> T + Send + Sync + 'static,
    ) -> Vec<T> {
        let turn = self.visit_turn.lock();
        let _turn = turn.unwrap_or_else(PoisonError::into_inner);
        let work = Arc::new(work);
        let (answer, answers) = mpsc::channel();
        let visit = |id: VcpuId| -> Visit {
            let (work, answer) = (work.clone(), answer.clone());
            Box::new(move |state| {
                // Nobody waits any more where the run has ended.
                let _ = answer.send((id, work(id, state)));
            })
        };
        let mut phase = self.lock();
        let ids = (0..phase.vcpus as u32).map(VcpuId);
        phase.visits = ids
            .map(|id| vcpus.contains(&id.0).then(|| visit(id)))
            .collect();
        phase.visitors = phase.visits.iter().flatten().count();
        phase.visit_round += 1;
        if phase.visitors == 0 {
            return Vec::new();
        }
        self.look_for_work(&mut phase);
        drop(phase);
        self.kick(&vcpus);
        self.changed.notify_all();
        let mut phase = self.lock();
        let mut is_late = false;
        while phase.visitors > 0 && phase.ending.is_none() && !is_late {
            (phase, is_late) = self.wait_until(phase, deadline);
        }
        phase.visits.clear();
        phase.visitors = 0;
        phase.visit_round += 1;
        self.look_for_work(&mut phase);
        drop(phase);
        let mut answers: Vec<_> = answers.try_iter().collect();
        answers.sort_by_key(|(id, _)| *id);
        answers.into_iter().map(|(_, answer)| answer).collect()
    }

    fn kick(&self, vcpus: &Range<u32>) {
        let kickers = self.kickers().clone();
        let numbered = (0..).zip(kickers.iter());
        let wanted = numbered.filter(|(index, _)| vcpus.contains(index));
        wanted.for_each(|(_, kicker)| kicker.kick());
    }

    /// Sets or clears what makes vCPUs look at `phase`.
    pub(super) fn look_for_work(&self, phase: &mut Phase) {
        let is_wanted = phase.visitors > 0 || phase.held.contains(&true);
        // Ordering: pairs with the load in `may_run`, as a pause does.
        self.is_wanted.store(is_wanted, Ordering::Release);
    }
}
