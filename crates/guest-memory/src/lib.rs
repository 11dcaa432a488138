//! x
mod layout;
mod ram;
mod size;

pub use layout::{Layout, MMIO_HOLE_END, MMIO_HOLE_START};
pub use ram::{AccessError, Backing, GuestRam, RamConfig, RamError, RamRegion, ThpAdvice};
pub use size::{PAGE_SIZE, RamSize, RamSizeError};
pub use vm_memory::{ByteValued, GuestAddress};
