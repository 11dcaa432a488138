//! A fake vCPU: plays its script.

use std::fmt;
use std::io;
use std::sync::Arc;

use super::record::{Answer, Record, VcpuRecord};
use super::script::{End, Step};
use crate::{Error, Kick, Result, Vcpu, VcpuExit, VcpuId};

/// A vCPU that plays a [`Script`](super::Script).
pub struct FakeVcpu {
    id: VcpuId,
    pub(super) record: Arc<Record>,
    data: Vec<u8>,
    /// The read that was handed out and not completed, and the answer the script expects.
    pending: Option<(VcpuExit, Option<u64>)>,
}

impl FakeVcpu {
    pub(super) fn new(id: VcpuId, record: Arc<Record>) -> Self {
        Self {
            id,
            record,
            data: Vec::new(),
            pending: None,
        }
    }

    /// Calls `f` on this vCPU's record.
    pub(super) fn with<T>(&self, f: impl FnOnce(&mut VcpuRecord) -> T) -> Result<T> {
        let mut state = self.record.lock();
        let vcpu = state.vcpus.get_mut(&self.id);
        vcpu.map(f).ok_or_else(|| gone(self.id))
    }

    /// Writes the answer to the pending read down.
    fn complete(&mut self) -> Result<()> {
        let data = std::mem::take(&mut self.data);
        let Some((exit, expected)) = self.pending.take() else {
            return Ok(());
        };
        self.with(|vcpu| {
            if let Some(expected) = expected {
                let wanted: Vec<u8> = expected
                    .to_le_bytes()
                    .into_iter()
                    .take(data.len())
                    .collect();
                if wanted != data {
                    let surprise = format!("{exit:?} was answered {data:02x?}, not {wanted:02x?}");
                    vcpu.transcript.surprises.push(surprise);
                }
            }
            vcpu.transcript.answers.push(Answer { exit, data });
        })
    }

    /// Waits for a kick and takes it.
    fn wait(&self) -> Result<VcpuExit> {
        let mut state = self.record.lock();
        loop {
            let vcpu = state.vcpus.get_mut(&self.id).ok_or_else(|| gone(self.id))?;
            if std::mem::take(&mut vcpu.kick_pending) {
                return Ok(VcpuExit::Interrupted);
            }
            self.record.kicked.wait(&mut state);
        }
    }
}

impl Vcpu for FakeVcpu {
    fn id(&self) -> VcpuId {
        self.id
    }

    fn run(&mut self) -> Result<VcpuExit> {
        self.complete()?;
        if self.with(|vcpu| std::mem::take(&mut vcpu.kick_pending))? {
            return Ok(VcpuExit::Interrupted);
        }
        let (step, end) = self.with(|vcpu| {
            let step = vcpu.script.steps.pop_front();
            vcpu.transcript.steps += usize::from(step.is_some());
            (step, vcpu.script.end)
        })?;
        match (step, end) {
            (
                Some(Step::Exit {
                    exit,
                    data,
                    expected,
                }),
                _,
            ) => {
                self.data = data;
                if matches!(exit, VcpuExit::PortRead(_) | VcpuExit::MmioRead(_)) {
                    self.pending = Some((exit.clone(), expected));
                }
                Ok(exit)
            }
            (Some(Step::Fail(errno)), _) => {
                Err(Error::host("KVM_RUN", io::Error::from_raw_os_error(errno)))
            }
            (Some(Step::WaitForKick), _) | (None, End::WaitForKick) => self.wait(),
            (None, End::Shutdown) => Ok(VcpuExit::Shutdown),
            (None, End::Halt) => Ok(VcpuExit::Halt),
        }
    }

    fn data(&mut self) -> &mut [u8] {
        &mut self.data
    }

    fn complete_access(&mut self) -> Result<()> {
        self.complete()
    }

    fn kicker(&self) -> Arc<dyn Kick> {
        Arc::new(FakeKick {
            id: self.id,
            record: Arc::clone(&self.record),
        })
    }
}

struct FakeKick {
    id: VcpuId,
    record: Arc<Record>,
}

impl Kick for FakeKick {
    fn kick(&self) {
        let mut state = self.record.lock();
        if let Some(vcpu) = state.vcpus.get_mut(&self.id) {
            vcpu.kick_pending = true;
            vcpu.transcript.kicks += 1;
        }
        drop(state);
        self.record.kicked.notify_all();
    }
}

fn gone(id: VcpuId) -> Error {
    Error::Invalid {
        what: id.to_string(),
        reason: "a newer VM took its record's place",
    }
}

impl fmt::Debug for FakeVcpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeVcpu")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
