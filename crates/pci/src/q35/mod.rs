//! The bridges of Intel's Q35, as far as UEFI firmware made for QEMU's machine of that name uses them.

mod host_bridge;
mod isa_bridge;
mod state;

pub use host_bridge::Q35HostBridge;
pub use isa_bridge::IsaBridge;
