//! Crates to build virtual machine monitors with, as one library.
//!
//! Each module is one of the crates, under a shorter name; the facade has no code of its own, so a program that
//! needs a single layer can depend on its crate instead. Start with [`prelude`], and with `vmm::MachineBuilder` for
//! a machine that boots Linux:
//!
//! ```no_run
//! # #[cfg(all(feature = "machine", feature = "kvm"))]
//! # fn boot() -> Result<(), Box<dyn std::error::Error>> {
//! use vmmkit::prelude::*;
//!
//! let config = MachineConfig::new(Boot::kernel("vmlinux"));
//! let machine = MachineBuilder::new(config).build(&Kvm::open()?)?;
//! // Every descriptor is open and all memory is mapped: drop privileges here.
//! let outcome = machine.start()?.wait()?;
//! assert_eq!(outcome, Outcome::PowerOff);
//! # Ok(())
//! # }
//! ```
//!
//! | module | crate | feature |
//! | --- | --- | --- |
//! | `memory` | vmmkit-guest-memory | always |
//! | `bus` | vmmkit-device-bus | always |
//! | `hypervisor` | vmmkit-hypervisor | always |
//! | `telemetry` | vmmkit-telemetry | always |
//! | `host` | vmmkit-host-io | `host` |
//! | `kvm` | vmmkit-hypervisor-kvm | `kvm` |
//! | `fw_cfg` | vmmkit-fw-cfg | `fw-cfg` |
//! | `legacy` | vmmkit-legacy-devices | `legacy` |
//! | `pci` | vmmkit-pci | `pci` |
//! | `virtio` | vmmkit-virtio | `virtio` |
//! | `devices` | vmmkit-virtio-devices | one for each device: `balloon`, `blk`, `console`, `fs`, `mem`, `net`, `pmem`, `rng`, `vsock`; `qcow2`, `images`; `vhost-user` |
//! | `disk_image` | vmmkit-disk-image | `disk-image` |
//! | `fuse` | vmmkit-fuse | `fuse` |
//! | `boot` | vmmkit-boot-loader | `boot`; for compressed kernels `bzip2`, `gzip`, `lz4`, `xz`, `zstd` |
//! | `cpu` | vmmkit-x86-cpu | `cpu` |
//! | `emulator` | vmmkit-x86-emulator | `emulator` |
//! | `snapshot` | vmmkit-snapshot | `snapshot` |
//! | `run_control` | vmmkit-run-control | `run-control` |
//! | `platform`, `vmm` | vmmkit-pc-platform, vmmkit-vmm | `machine`, which has all of the above but `kvm`, `devices` and `emulator` |
//! | `spec`, `assembly` | vmmkit-machine-spec, vmmkit-assembly | `assembly` |
//! | `control`, `controlled` | vmmkit-control, vmmkit-controlled | `control` |
//! | `gdb` | vmmkit-gdb | `gdb` |
//! | `guest_init` | vmmkit-guest-init | `guest-init` |
//! | `process` | vmmkit-process | `process` |
//! | `sandbox` | vmmkit-sandbox | `sandbox` |
//!
//! The default features are `machine`, `kvm`, `blk`, `console`, `net`, `rng`, `vsock`, `gzip`, `lz4`, `xz` and `zstd`. Every
//! feature only adds. The types of other crates that show in signatures, and their versions, are in [`third_party`].
#![forbid(unsafe_code)]

#[cfg(feature = "machine")]
pub mod config;
pub mod prelude;
pub mod third_party;

pub use vmmkit_device_bus as bus;
pub use vmmkit_guest_memory as memory;
pub use vmmkit_hypervisor as hypervisor;
pub use vmmkit_telemetry as telemetry;

#[cfg(feature = "assembly")]
pub use vmmkit_assembly as assembly;
#[cfg(feature = "boot")]
pub use vmmkit_boot_loader as boot;
#[cfg(feature = "control")]
pub use vmmkit_control as control;
#[cfg(feature = "control")]
pub use vmmkit_controlled as controlled;
#[cfg(feature = "disk-image")]
pub use vmmkit_disk_image as disk_image;
#[cfg(feature = "fuse")]
pub use vmmkit_fuse as fuse;
#[cfg(feature = "fw-cfg")]
pub use vmmkit_fw_cfg as fw_cfg;
#[cfg(feature = "gdb")]
pub use vmmkit_gdb as gdb;
#[cfg(feature = "guest-init")]
pub use vmmkit_guest_init as guest_init;
#[cfg(feature = "host")]
pub use vmmkit_host_io as host;
#[cfg(feature = "kvm")]
pub use vmmkit_hypervisor_kvm as kvm;
#[cfg(feature = "legacy")]
pub use vmmkit_legacy_devices as legacy;
#[cfg(feature = "assembly")]
pub use vmmkit_machine_spec as spec;
#[cfg(feature = "machine")]
pub use vmmkit_pc_platform as platform;
#[cfg(feature = "pci")]
pub use vmmkit_pci as pci;
#[cfg(feature = "process")]
pub use vmmkit_process as process;
#[cfg(feature = "run-control")]
pub use vmmkit_run_control as run_control;
#[cfg(feature = "sandbox")]
pub use vmmkit_sandbox as sandbox;
#[cfg(feature = "snapshot")]
pub use vmmkit_snapshot as snapshot;
#[cfg(feature = "virtio")]
pub use vmmkit_virtio as virtio;
#[cfg(feature = "devices")]
pub use vmmkit_virtio_devices as devices;
#[cfg(feature = "machine")]
pub use vmmkit_vmm as vmm;
#[cfg(feature = "cpu")]
pub use vmmkit_x86_cpu as cpu;
#[cfg(feature = "emulator")]
pub use vmmkit_x86_emulator as emulator;
