//! The RAM of one guest: its layout around the 32-bit MMIO hole, the host memory behind it, and
//! checked, typed access for everyone who reads or writes it.
//!
//! It is not a memory map of the whole guest (devices live on the buses of `device-bus`), and it
//! knows no hypervisor: a back end takes [`GuestRam::regions`] as its memory slots. Start with
//! [`GuestRam::new`].
//!
//! ```
//! use vmmkit_guest_memory::{GuestAddress, GuestRam, RamConfig};
//!
//! let config = RamConfig { size: "16M".parse()?, ..RamConfig::default() };
//! let ram = GuestRam::new(&config)?;
//! ram.write(GuestAddress(0x1000), 0x1234_5678_u32)?;
//! assert_eq!(ram.read::<u16>(GuestAddress(0x1002))?, 0x1234);
//! assert!(ram.read::<u64>(GuestAddress(16 << 20)).is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod access;
mod backing;
mod beside;
mod config;
mod dirty;
mod discard;
mod error;
#[cfg(target_arch = "x86_64")]
mod exchange;
mod faults;
mod file;
mod guard;
mod host;
mod image;
mod layers;
mod layout;
mod lent;
mod mapping;
mod origin;
mod page_set;
mod pluggable;
mod prefault;
mod ram;
mod rom;
mod runs;
mod scatter;
mod size;
mod stream;
mod window;
mod write_log;

pub use config::{Backing, RamConfig, ThpAdvice};
pub use error::{
    AccessError, ChangesError, ExchangeError, FillError, ImageError, LentMemoryError, MapFileError,
    RamError,
};
pub use faults::{FaultRange, Faults, FaultsError, PageEvent, PageProvider};
pub use file::FileRegion;
pub use layers::RamImage;
pub use layout::{Layout, MMIO_HOLE_END, MMIO_HOLE_START};
pub use page_set::PageSet;
pub use pluggable::BLOCK_SIZE;
pub use ram::{GuestRam, RamRegion};
pub use rom::{MAX_ROM, Rom, RomError};
pub use runs::{PageRun, PageRuns, PageRunsError};
pub use scatter::{MAX_SEGMENTS, Segment};
pub use size::{ByteCount, PAGE_SIZE, RamSize, RamSizeError};
/// [`GuestRam::from_memory`] takes its memory.
pub use vm_memory;
pub use vm_memory::{ByteValued, GuestAddress, GuestMemoryMmap, ReadVolatile};
pub use window::{RamView, RamWindow};
pub use write_log::WriteLog;
