//! The names of most programs: `use vmmkit::prelude::*;`.

#[cfg(feature = "machine")]
pub use crate::config::*;

pub use vmmkit_device_bus::{
    AddressRange, DeviceId, DeviceMmio, DevicePio, Gsi, GuestRequest, IrqLine, Lifecycle,
    MmioAddress, MmioAddressOffset, MmioBus, MutDeviceMmio, MutDevicePio, PioAddress,
    PioAddressOffset, PortBus, RequestSink, SaveState,
};
pub use vmmkit_guest_memory::{
    Backing, GuestAddress, GuestMemoryMmap, GuestRam, RamConfig, RamSize,
};
#[cfg(feature = "host")]
pub use vmmkit_host_io::{Console, EventFd, HostCpus, OutputBuffer, ThreadPolicy, ThreadPriority};
pub use vmmkit_hypervisor::x86::{Registers, VcpuState};
pub use vmmkit_hypervisor::{
    Hypervisor, Interrupts, IoEvents, Irqchip, Vcpu, VcpuExit, VcpuId, Vm, VmSettings,
};
#[cfg(feature = "kvm")]
pub use vmmkit_hypervisor_kvm::{Kvm, KvmOptions};
#[cfg(feature = "pci")]
pub use vmmkit_pci::{ConfigSpace, Identity, PciFunction};
#[cfg(feature = "run-control")]
pub use vmmkit_run_control::{Event, MachineState, Outcome, RunError};
pub use vmmkit_telemetry::Inspect;
#[cfg(feature = "virtio")]
pub use vmmkit_virtio::{
    ActivateError, Activation, Active, Chain, Context, Device, DeviceKind, Engine,
};
#[cfg(feature = "balloon")]
pub use vmmkit_virtio_devices::Balloon;
#[cfg(feature = "mem")]
pub use vmmkit_virtio_devices::Mem;
#[cfg(feature = "net")]
pub use vmmkit_virtio_devices::Net;
#[cfg(feature = "pmem")]
pub use vmmkit_virtio_devices::Pmem;
#[cfg(feature = "rng")]
pub use vmmkit_virtio_devices::Rng;
#[cfg(feature = "vsock")]
pub use vmmkit_virtio_devices::Vsock;
#[cfg(feature = "blk")]
pub use vmmkit_virtio_devices::{Block, BlockConfig};
#[cfg(feature = "vhost-user")]
pub use vmmkit_virtio_devices::{VhostUser, VhostUserDevice};
#[cfg(feature = "machine")]
pub use vmmkit_vmm::{
    Handle, Machine, MachineBuilder, OwnDevice, OwnPlace, PauseOutcome, Paused, PciSlot, Ready,
    Running, Slot, WeakHandle,
};
