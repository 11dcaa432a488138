//! The threads of a running machine: one for each vCPU (`vcpu0`, ...), one for events (`vmm`), and one that starts
//! and stops devices for them (`setup`).

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use vmmkit_host_io::{EventLoopStop, ThreadRole};
use vmmkit_hypervisor::VcpuId;
use vmmkit_run_control::{Ending, LastEvent, OnWorkThread, Supervisor};

use crate::RunError;
use crate::devices::Devices;
use crate::handle::Shared;
use crate::ready::Ready;

/// The running threads. Dropping it ends the run and joins them.
#[derive(Debug)]
pub(crate) struct Threads {
    supervisor: Supervisor,
    devices: Arc<Devices>,
    vcpus: Vec<JoinHandle<()>>,
    events: Option<(EventLoopStop, JoinHandle<()>)>,
    _last: LastEvent,
}

impl Threads {
    /// Starts the event loop and every vCPU.
    pub(crate) fn start(shared: &Shared, ready: Ready) -> io::Result<Self> {
        let Ready {
            vcpus,
            board,
            event_loop,
            last,
        } = ready;
        let supervisor = &shared.supervisor;
        let mut threads = Self {
            supervisor: supervisor.clone(),
            devices: shared.devices.clone(),
            vcpus: Vec::with_capacity(vcpus.bodies.len()),
            events: None,
            _last: last,
        };
        let (stop, ends) = (event_loop.stop_handle(), supervisor.clone());
        let spec = |role, name: &str| shared.threads.spec(role, name);
        let events = spec(ThreadRole::Device, "vmm").spawn(move || {
            if let Some(error) = guarded("vmm", || Ok(event_loop.run()?)) {
                ends.end(Err(error));
            }
        })?;
        threads.events = Some((stop, events));
        threads
            .devices
            .work
            .start(spec(ThreadRole::Helper, "setup"))?;
        let board = Arc::new(OnWorkThread::new(board, threads.devices.work.clone()));
        threads.devices.start()?;
        threads.devices.begin(supervisor, shared.clock_after_pause);
        supervisor.start(vcpus.kickers);
        for (id, body) in (0..).map(VcpuId).zip(vcpus.bodies) {
            let (supervisor, board) = (supervisor.clone(), board.clone());
            let run = move || supervisor.run_vcpu(id, body, &*board);
            threads
                .vcpus
                .push(spec(ThreadRole::Vcpu, &id.to_string()).spawn(run)?);
        }
        Ok(threads)
    }

    /// Waits for the run to end and for every thread, and says how it ended.
    pub(crate) fn join(mut self) -> Ending {
        self.join_all();
        self.supervisor.take_ending()
    }

    fn join_all(&mut self) {
        self.supervisor.wait_for_end();
        // A vCPU may wait for a device.
        self.devices.abandon();
        for thread in self.vcpus.drain(..) {
            // A panic was caught and reported in `run_vcpu`.
            let _ = thread.join();
        }
        self.devices.stop();
        self.devices.work.stop();
        if let Some((stop, thread)) = self.events.take() {
            stop.stop();
            let _ = thread.join();
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if self.events.is_some() {
            self.supervisor.control().stop();
            self.join_all();
        }
    }
}

/// Runs `body`, turning a panic into the error that names the thread.
fn guarded(name: &str, body: impl FnOnce() -> Result<(), RunError>) -> Option<RunError> {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(result) => result.err(),
        Err(panic) => Some(RunError::panicked(name, panic.as_ref())),
    }
}
