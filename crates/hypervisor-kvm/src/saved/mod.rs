//! The saved state of vCPUs and VMs.

mod events;
mod vcpu;
mod vm;

use vmmkit_hypervisor::Error;

/// A software KVM keeps more of a vCPU than KVM says: MSRs of its own, and the bridge's pages.
const SOFTWARE: Error = Error::Unsupported("saved states: it is a software KVM");

fn host(operation: &'static str) -> impl FnOnce(kvm_ioctls::Error) -> Error {
    move |error| Error::host(operation, error)
}
