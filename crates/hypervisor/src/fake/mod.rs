//! A hypervisor without a host: vCPUs that replay a script of exits and write down the answers.
//!
//! It runs no guest code. It exists so that everything above the traits (a vCPU loop, devices, a
//! whole machine) is tested without /dev/kvm, on the same code that runs on KVM.
//!
//! ```
//! use vmmkit_hypervisor::fake::{FakeHypervisor, Script};
//! use vmmkit_hypervisor::{Hypervisor, Vcpu, VcpuExit, VcpuId, Vm, VmSettings, Width};
//!
//! let script = Script::new().port_write(0x3f8, b"A").port_read(0x3fd, Width::Byte, 0x60);
//! let hypervisor = FakeHypervisor::new().with_script(VcpuId(0), script);
//!
//! let vm = hypervisor.create_vm(&VmSettings::default())?;
//! let mut vcpu = vm.create_vcpu(VcpuId(0))?;
//! assert!(matches!(vcpu.run()?, VcpuExit::PortWrite(access) if access.port == 0x3f8));
//! assert_eq!(vcpu.data(), b"A");
//! assert!(matches!(vcpu.run()?, VcpuExit::PortRead(_)));
//! vcpu.data().fill(0x60);
//! assert_eq!(vcpu.run()?, VcpuExit::Shutdown);
//!
//! let transcript = hypervisor.transcript(VcpuId(0));
//! assert_eq!(transcript.answers[0].data, [0x60]);
//! assert!(transcript.surprises.is_empty());
//! # Ok::<(), vmmkit_hypervisor::Error>(())
//! ```

mod hypervisor;
mod initial;
mod record;
mod saved;
mod script;
mod state;
mod vcpu;
mod vm;

pub use hypervisor::FakeHypervisor;
pub use record::{Answer, ClockChange, LineChange, Transcript, VcpuSnapshot};
pub use script::{End, Script};
pub use vcpu::FakeVcpu;
pub use vm::FakeVm;

#[cfg(test)]
mod tests;
