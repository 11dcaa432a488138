//! The crates of others whose types show in signatures here. A release of one of them that breaks its users breaks
//! users of vmmkit too, and comes with a release that says so.
//!
//! | crate | version | shows in |
//! | --- | --- | --- |
//! | vm-memory | 0.18.0 | guest memory: `GuestAddress`, `ByteValued`, `GuestMemoryMmap` |
//! | vm-device | 0.1.0 | devices on buses: `DevicePio`, `DeviceMmio` |
//! | kvm-ioctls | 0.25.1 | descriptors of KVM: `Kvm::fd`, `KvmVm::with_fd`, `KvmVcpu::with_fd` (feature `kvm`) |
//! | kvm-bindings | 0.14.2 | arguments of those (feature `kvm`) |
//! | event-manager | 0.4.2 | subscribers of an event loop (feature `host`) |
//! | vm-superio | 0.8.2 | its serial port as a device (feature `legacy`) |
//! | parking_lot | 0.12 | the lock around a function's configuration space: `pci::Mutex` (feature `pci`) |
//! | serde | 1.0.229 | saved states and specifications are `Serialize` and `Deserialize`; not re-exported |

pub use vmmkit_device_bus::vm_device;
pub use vmmkit_guest_memory::vm_memory;
#[cfg(feature = "host")]
pub use vmmkit_host_io::event_manager;
#[cfg(feature = "kvm")]
pub use vmmkit_hypervisor_kvm::{kvm_bindings, kvm_ioctls};
#[cfg(feature = "legacy")]
pub use vmmkit_legacy_devices::vm_superio;
