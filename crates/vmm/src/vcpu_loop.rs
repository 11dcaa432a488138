//! The loop of one vCPU: run the guest, answer its exit, again.

use vmmkit_device_bus::{BusView, Mmio, Ports};
use vmmkit_hypervisor::x86::VcpuState;
use vmmkit_hypervisor::{SystemEvent, Vcpu, VcpuExit};

use crate::control::{Control, Ending};
use crate::{Outcome, RunError, VcpuDump};

/// One vCPU with its own view of the buses. It lives on one thread.
pub(crate) struct VcpuLoop<V> {
    pub(crate) vcpu: V,
    pub(crate) ports: BusView<Ports>,
    pub(crate) mmio: BusView<Mmio>,
}

impl<V: Vcpu + VcpuState> VcpuLoop<V> {
    /// Runs until the machine ends; `Some` when this vCPU is what ended it.
    pub(crate) fn run(&mut self, control: &Control) -> Option<Ending> {
        loop {
            if !control.may_run() {
                if control.is_over() {
                    return None;
                }
                // So that a pause leaves registers that read true.
                if let Err(source) = self.vcpu.complete_access() {
                    return Some(Err(RunError::Vcpu {
                        vcpu: self.vcpu.id(),
                        source,
                    }));
                }
                if !control.park() {
                    return None;
                }
            }
            let exit = match self.vcpu.run() {
                Ok(exit) => exit,
                Err(source) => {
                    return Some(Err(RunError::Vcpu {
                        vcpu: self.vcpu.id(),
                        source,
                    }));
                }
            };
            if let Some(ending) = self.answer(exit) {
                return Some(ending);
            }
        }
    }

    /// Answers one exit; `Some` when it ends the run.
    #[inline]
    fn answer(&mut self, exit: VcpuExit) -> Option<Ending> {
        match exit {
            VcpuExit::PortWrite(a) => {
                self.ports
                    .write_string(a.port, a.width.bytes(), self.vcpu.data());
            }
            VcpuExit::PortRead(a) => {
                self.ports
                    .read_string(a.port, a.width.bytes(), self.vcpu.data());
            }
            VcpuExit::MmioWrite(a) => self.mmio.write(a.address, self.vcpu.data()),
            VcpuExit::MmioRead(a) => self.mmio.read(a.address, self.vcpu.data()),
            VcpuExit::Interrupted => {}
            other => return Some(self.rare(other)),
        }
        None
    }

    /// The exits that end a run.
    #[cold]
    fn rare(&mut self, exit: VcpuExit) -> Ending {
        let vcpu = self.vcpu.id();
        match exit {
            VcpuExit::Shutdown => Ok(Outcome::TripleFault(vcpu)),
            VcpuExit::SystemEvent(SystemEvent::Shutdown) => Ok(Outcome::PowerOff),
            VcpuExit::SystemEvent(SystemEvent::Reset) => Ok(Outcome::Reset),
            VcpuExit::SystemEvent(SystemEvent::Crash) => Ok(Outcome::GuestPanic),
            VcpuExit::InternalError(error) => Err(RunError::InternalError {
                vcpu,
                error,
                state: self.dump(),
            }),
            VcpuExit::FailEntry(error) => Err(RunError::FailEntry {
                vcpu,
                error,
                state: self.dump(),
            }),
            other => {
                let number = match other {
                    VcpuExit::Unknown(number) => number,
                    VcpuExit::SystemEvent(SystemEvent::Other(kind)) => kind,
                    _ => 0,
                };
                Err(RunError::UnhandledExit {
                    vcpu,
                    name: other.name(),
                    number,
                    state: self.dump(),
                })
            }
        }
    }

    fn dump(&mut self) -> Box<VcpuDump> {
        Box::new(VcpuDump {
            registers: self.vcpu.registers().ok(),
            special: self.vcpu.special_registers().ok(),
        })
    }
}
