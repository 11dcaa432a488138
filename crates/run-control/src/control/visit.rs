//! Work on the threads of the vCPUs for other threads: reading and setting registers.

use std::ops::Range;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use vmmkit_hypervisor::VcpuId;
use vmmkit_hypervisor::x86::{VcpuDump, VcpuState};

use super::Control;
use crate::slot::Visit;

/// How long vCPUs may take to say what they are at: one that waits for a device may take far longer.
const DUMP_TIME: Duration = Duration::from_secs(1);

impl Control {
    /// The registers of every vCPU, each read on its own thread; none before the start and
    /// after the end. A vCPU that ends in the meantime is omitted, and so is one that does not answer within
    /// 1 s, because it waits for a device.
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

    /// One round of visits is whole before the next, for which others wait, until `deadline` too.
    fn visit_until<T: Send + 'static>(
        &self,
        deadline: Option<Instant>,
        vcpus: Range<u32>,
        work: impl Fn(VcpuId, &mut dyn VcpuState) -> T + Send + Sync + 'static,
    ) -> Vec<T> {
        let work = Arc::new(work);
        let (answer, answers) = mpsc::channel();
        let visit = |id: VcpuId| -> Visit {
            let (work, answer) = (work.clone(), answer.clone());
            Box::new(move |state| {
                // Nobody waits any more where the run has ended.
                let _ = answer.send((id, work(id, state)));
            })
        };
        let ids = (0..self.vcpus()).map(VcpuId);
        let mut visits = ids
            .map(|id| vcpus.contains(&id.0).then(|| visit(id)))
            .collect();
        let has_begun = self.core.change_when(
            deadline,
            |state| state.visits_left.is_none() || state.has_ended(),
            |state, _| state.begin_round(&mut visits),
        );
        if !has_begun {
            return Vec::new();
        }
        self.core.kick(|vcpu| vcpus.contains(&vcpu));
        let unreceived = self.core.change_when(
            deadline,
            |state| state.visits_left == Some(0) || state.has_ended(),
            |state, _| state.end_round(),
        );
        drop(unreceived);
        let mut answers: Vec<_> = answers.try_iter().collect();
        answers.sort_by_key(|(id, _)| *id);
        answers.into_iter().map(|(_, answer)| answer).collect()
    }
}
