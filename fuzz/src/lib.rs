//! The fuzz targets of vmmkit: each module has one, `run`, which takes any bytes. Each is a program of its own for
//! `cargo fuzz run NAME`; the program `all` has all of them, and is linked once.

pub mod balloon_pfns;
pub mod blk_request;
pub mod bus;
pub mod bzimage;
pub mod console_control;
pub mod control_api;
pub mod cpu_model;
pub mod cpu_profile;
pub mod disk_image;
pub mod elf;
pub mod emulator;
pub mod firecracker_api;
pub mod flash;
pub mod fuse_request;
pub mod fw_cfg;
pub mod guest_status;
pub mod hostile_ring;
pub mod ioapic;
mod kernel_file;
pub mod legacy;
pub mod machine_spec;
pub mod mem_request;
pub mod migration_stream;
pub mod multiboot;
pub mod net_frame;
pub mod payload;
pub mod pci_config;
pub mod qcow2;
pub mod saved_state;
pub mod serial;
pub mod snapshot_load;
pub mod timeline;
pub mod uki;
pub mod vhost_user_reply;
pub mod virtio_mmio;
pub mod virtio_queue;
pub mod vsock_packet;

/// A target: its name and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("balloon_pfns", balloon_pfns::run),
    ("blk_request", blk_request::run),
    ("bus", bus::run),
    ("bzimage", bzimage::run),
    ("console_control", console_control::run),
    ("control_api", control_api::run),
    ("cpu_model", cpu_model::run),
    ("cpu_profile", cpu_profile::run),
    ("disk_image", disk_image::run),
    ("elf", elf::run),
    ("emulator", emulator::run),
    ("firecracker_api", firecracker_api::run),
    ("flash", flash::run),
    ("fuse_request", fuse_request::run),
    ("fw_cfg", fw_cfg::run),
    ("guest_status", guest_status::run),
    ("hostile_ring", hostile_ring::run),
    ("ioapic", ioapic::run),
    ("legacy", legacy::run),
    ("machine_spec", machine_spec::run),
    ("mem_request", mem_request::run),
    ("migration_stream", migration_stream::run),
    ("multiboot", multiboot::run),
    ("net_frame", net_frame::run),
    ("payload", payload::run),
    ("pci_config", pci_config::run),
    ("qcow2", qcow2::run),
    ("saved_state", saved_state::run),
    ("serial", serial::run),
    ("snapshot_load", snapshot_load::run),
    ("timeline", timeline::run),
    ("uki", uki::run),
    ("vhost_user_reply", vhost_user_reply::run),
    ("virtio_mmio", virtio_mmio::run),
    ("virtio_queue", virtio_queue::run),
    ("vsock_packet", vsock_packet::run),
];
