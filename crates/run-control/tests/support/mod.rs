//! A machine whose vCPUs compute without end until they are kicked, and can be told to do something then.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use vmmkit_hypervisor::fake::{End, FakeHypervisor, FakeVcpu, Script};
use vmmkit_hypervisor::{Hypervisor, Kick, Vcpu, VcpuExit, VcpuId, Vm, VmSettings};
use vmmkit_run_control::{
    Ending, Hardware, LastEvent, Settings, Supervisor, VcpuBody, VcpuThread, Vcpus,
};

/// The work of a guest on each vCPU in each of its lives, counted from 0, before it computes without end.
pub(crate) type Guest = fn(&VcpuThread<'_>, life: usize);

/// The hardware under the vCPUs.
pub(crate) struct Board {
    guest: Guest,
    vcpus: u32,
    /// How often the machine was powered on.
    pub(crate) lives: AtomicUsize,
    /// How often devices came to rest for a crash.
    pub(crate) rests: AtomicUsize,
    /// Each vCPU has it.
    pub(crate) alive: Arc<()>,
    /// Runs while the machine is made as after power-on.
    amid_power_on: Box<dyn Fn() + Send + Sync>,
}

impl Board {
    fn vcpus(&self) -> Vcpus {
        let life = self.lives.fetch_add(1, Ordering::SeqCst);
        let guest = self.guest;
        let mut fake = FakeHypervisor::new();
        for id in 0..self.vcpus {
            fake = fake.with_script(VcpuId(id), Script::new().then(End::WaitForKick));
        }
        let vm = fake.create_vm(&VmSettings::default()).unwrap();
        let mut vcpus = Vcpus {
            bodies: Vec::new(),
            kickers: Vec::new(),
        };
        for id in 0..self.vcpus {
            let vcpu = vm.create_vcpu(VcpuId(id)).unwrap();
            vcpus.kickers.push(vcpu.kicker());
            let alive = self.alive.clone();
            let body: VcpuBody = Box::new(move |thread| {
                let _alive = alive;
                run(vcpu, thread, guest, life)
            });
            vcpus.bodies.push(body);
        }
        vcpus
    }
}

impl Hardware for Board {
    fn power_on(&self) -> Result<Vcpus, Box<dyn Error + Send + Sync>> {
        (self.amid_power_on)();
        Ok(self.vcpus())
    }

    fn quiesce(&self, supervisor: &Supervisor) {
        self.rests.fetch_add(1, Ordering::SeqCst);
        supervisor.report_paused();
    }
}

fn run(mut vcpu: FakeVcpu, thread: &VcpuThread<'_>, guest: Guest, life: usize) -> Option<Ending> {
    let mut has_begun = false;
    while thread.may_run() || (!thread.is_over() && thread.park(&mut vcpu)) {
        if !has_begun {
            has_begun = true;
            guest(thread, life);
            continue;
        }
        assert!(matches!(vcpu.run(), Ok(VcpuExit::Interrupted)));
    }
    None
}

/// A machine with threads. Dropping it ends the run.
pub(crate) struct Machine {
    pub(crate) supervisor: Supervisor,
    pub(crate) board: Arc<Board>,
    first: Option<Vcpus>,
    threads: Vec<JoinHandle<()>>,
    _last: LastEvent,
}

impl Machine {
    pub(crate) fn new(settings: Settings, guest: Guest) -> Self {
        Self::with_power_on(settings, guest, |_| Box::new(|| ()))
    }

    /// The same, with something that is done in the midst of each reset.
    pub(crate) fn with_power_on(
        settings: Settings,
        guest: Guest,
        amid: impl FnOnce(Supervisor) -> Box<dyn Fn() + Send + Sync>,
    ) -> Self {
        let supervisor = Supervisor::new(settings, Arc::default());
        let board = Arc::new(Board {
            guest,
            vcpus: settings.vcpus,
            lives: AtomicUsize::new(0),
            rests: AtomicUsize::new(0),
            alive: Arc::default(),
            amid_power_on: amid(supervisor.clone()),
        });
        let first = Some(board.vcpus());
        Self {
            _last: supervisor.last_event(),
            supervisor,
            board,
            first,
            threads: Vec::new(),
        }
    }

    pub(crate) fn start(&mut self) {
        let first = self.first.take().unwrap();
        let kickers: Vec<Arc<dyn Kick>> = first.kickers;
        self.supervisor.start(kickers);
        for (id, body) in (0..).map(VcpuId).zip(first.bodies) {
            let (supervisor, board) = (self.supervisor.clone(), self.board.clone());
            let thread = thread::spawn(move || supervisor.run_vcpu(id, body, &*board));
            self.threads.push(thread);
        }
    }

    pub(crate) fn lives(&self) -> usize {
        self.board.lives.load(Ordering::SeqCst)
    }

    /// Waits for the end and for every thread.
    pub(crate) fn join(mut self) -> Ending {
        self.supervisor.wait_for_end();
        self.join_all();
        self.supervisor.take_ending()
    }

    fn join_all(&mut self) {
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.supervisor.control().stop();
        self.join_all();
    }
}
