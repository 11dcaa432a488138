//! The loop of one vCPU: run the guest, answer its accesses by the buses, again.

use std::fmt;
use std::sync::Arc;

use vmmkit_device_bus::{BusView, Mmio, Ports};
use vmmkit_hypervisor::x86::{ClockControl, VcpuState};
use vmmkit_hypervisor::{ExitCounter, InternalError, SystemEvent, Vcpu, VcpuExit, VcpuId};
use vmmkit_telemetry::Milestone;

use crate::{Ending, Outcome, RunError, VcpuDump, VcpuThread};

/// An instruction could not be emulated (KVM API, `KVM_EXIT_INTERNAL_ERROR`).
const EMULATION: u32 = 1;
/// Where a processor fetches its first instruction (Intel SDM vol. 3, 10.1.4).
const RESET_VECTOR: u64 = 0xffff_fff0;

/// One vCPU with its own view of the buses. It lives on one thread.
pub struct VcpuLoop<V> {
    /// Its number; what the hypervisor calls it by is its APIC ID.
    id: VcpuId,
    vcpu: V,
    buses: Buses,
    /// It did not run for a while, which the guest is to be told where the host can.
    is_interrupted: bool,
    exits: Arc<ExitCounter>,
}

/// Called at the end of a level-triggered interrupt, with its vector.
pub type EndOfInterrupt = Arc<dyn Fn(u8) + Send + Sync>;

/// The views that answer the accesses of one vCPU.
pub struct Buses {
    /// Its ports, and its guest-physical addresses that are not RAM.
    pub views: (BusView<Ports>, BusView<Mmio>),
    /// The I/O APIC, where it is not the hypervisor's.
    pub end_of_interrupt: Option<EndOfInterrupt>,
}

impl Buses {
    #[cold]
    fn end_of_interrupt(&self, vector: u8) {
        if let Some(end) = &self.end_of_interrupt {
            end(vector);
        }
    }
}

impl<V> fmt::Debug for VcpuLoop<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VcpuLoop").field(&self.id).finish()
    }
}

impl fmt::Debug for Buses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buses").finish_non_exhaustive()
    }
}

impl<V: Vcpu + VcpuState + ClockControl> VcpuLoop<V> {
    /// A loop of `vcpu`, the `id`th of its machine.
    pub fn new(id: VcpuId, vcpu: V, buses: Buses, exits: Arc<ExitCounter>) -> Self {
        Self {
            id,
            vcpu,
            buses,
            is_interrupted: false,
            exits,
        }
    }

    /// Runs until the machine ends; `Some` when this vCPU is what ended it.
    ///
    /// Accesses are answered inside `run_with`, where the back end decodes them. Who wants this
    /// vCPU to wait or to end kicks it, and a kick is never lost: [`VcpuThread`] is asked before the
    /// first run and after each kick, not for each exit.
    pub fn run(&mut self, thread: &VcpuThread<'_>) -> Option<Ending> {
        if !self.may_run_on(thread) {
            return None;
        }
        let mut first = self.first_run(thread);
        loop {
            let exit = match first.take() {
                Some(exit) => exit,
                None => self.vcpu.run_with(&mut self.buses.views),
            };
            if let Some(ending) = self.after(exit, thread) {
                return Some(ending);
            }
            if !self.may_run_on(thread) {
                return None;
            }
        }
    }

    /// Runs until the first exit, which is noted, so that the loop need not look; `None` where it was
    /// an access and is answered.
    #[cold]
    fn first_run(
        &mut self,
        thread: &VcpuThread<'_>,
    ) -> Option<vmmkit_hypervisor::Result<VcpuExit>> {
        let is_first = self.id == VcpuId(0);
        if is_first {
            thread.boot_log().mark(Milestone::Entry);
        }
        let exit = self.vcpu.run();
        if is_first {
            thread.boot_log().mark(Milestone::FirstExit);
        }
        match exit {
            Ok(exit) => exit
                .answered_by(&mut self.buses.views, self.vcpu.data())
                .map(Ok),
            Err(source) => Some(Err(source)),
        }
    }

    /// Handles an exit that is not an access.
    #[cold]
    fn after(
        &mut self,
        exit: vmmkit_hypervisor::Result<VcpuExit>,
        thread: &VcpuThread<'_>,
    ) -> Option<Ending> {
        if let Ok(exit) = &exit {
            self.exits.count(exit);
        }
        match exit {
            // By a kick, or since the whole process was stopped (SIGSTOP) and goes on.
            Ok(VcpuExit::Interrupted) => {
                self.is_interrupted = true;
                None
            }
            Ok(VcpuExit::IoapicEoi(vector)) => {
                self.buses.end_of_interrupt(vector);
                None
            }
            Ok(VcpuExit::Debug(exit)) if thread.stop_for_debugger(*exit) => None,
            Ok(other) => self.rare(other, thread),
            Err(source) => Some(self.failed(source)),
        }
    }

    /// Waits while the machine is paused; whether this vCPU may run then, or must end. No access is
    /// pending here, so the registers read true meanwhile.
    #[cold]
    fn may_run_on(&mut self, thread: &VcpuThread<'_>) -> bool {
        let may_run = thread.may_run() || (!thread.is_over() && thread.park(&mut self.vcpu));
        if may_run && std::mem::take(&mut self.is_interrupted) {
            let _ = self.vcpu.mark_paused();
        }
        may_run
    }

    #[cold]
    fn failed(&self, source: vmmkit_hypervisor::Error) -> Ending {
        Err(RunError::Vcpu {
            vcpu: self.id,
            source,
        })
    }

    /// The exits that end a run.
    #[cold]
    fn rare(&mut self, exit: VcpuExit, thread: &VcpuThread<'_>) -> Option<Ending> {
        let outcome = match exit {
            VcpuExit::Shutdown => Outcome::TripleFault(self.id),
            VcpuExit::SystemEvent(SystemEvent::Shutdown) => Outcome::PowerOff,
            VcpuExit::SystemEvent(SystemEvent::Reset) => Outcome::Reset,
            VcpuExit::SystemEvent(SystemEvent::Crash) => Outcome::GuestPanic,
            VcpuExit::InternalError(error) if self.is_at_reset_vector(&error) => Outcome::Reset,
            other => return Some(Err(self.unanswered(other))),
        };
        thread.guest_asks(outcome);
        None
    }

    /// Whether the guest jumped to where a processor begins, and nothing is there: without firmware, what a
    /// PC's firmware would make of a jump to it.
    fn is_at_reset_vector(&mut self, error: &InternalError) -> bool {
        let registers = (self.vcpu.registers(), self.vcpu.special_registers());
        let (Ok(registers), Ok(special)) = registers else {
            return false;
        };
        let linear = special.cs.base.wrapping_add(registers.rip);
        error.suberror == EMULATION && error.instruction.is_empty() && linear == RESET_VECTOR
    }

    /// The exits that nothing answers.
    fn unanswered(&mut self, exit: VcpuExit) -> RunError {
        let vcpu = self.id;
        let mut state = self.dump();
        match exit {
            VcpuExit::InternalError(error) => {
                // The error has the instruction that it is about.
                state.instruction = None;
                RunError::InternalError { vcpu, error, state }
            }
            VcpuExit::FailEntry(error) => RunError::FailEntry { vcpu, error, state },
            other => {
                let number = match other {
                    VcpuExit::Unknown(number) => number,
                    VcpuExit::SystemEvent(SystemEvent::Other(kind)) => kind,
                    _ => 0,
                };
                RunError::UnhandledExit {
                    vcpu,
                    name: other.name(),
                    number,
                    state,
                }
            }
        }
    }

    fn dump(&mut self) -> Box<VcpuDump> {
        Box::new(VcpuDump::of(self.id, &mut self.vcpu))
    }
}
