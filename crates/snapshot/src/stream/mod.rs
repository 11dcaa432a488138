//! A machine on its way to another process, over any two-way stream of bytes: a socket, or two pipes.
//!
//! The process that has the machine is the source, and has a [`Sender`]; the other is the target, and has what
//! [`Offer::read`] returns. Each step is a value of its own, so that none can be left out:
//!
//! ```text
//! source                                   target
//! Sender::begin        -- manifest -->     Offer::read
//!                      <-- accepted --     Offer::accept
//! Sender::pages, zeros -- pages ---->      Receiving::receive
//! Sender::round        -- round ---->
//!                      <-- received --
//!      (the guest is paused, and its last pages are sent)
//! Sender::state        -- state ---->      Received: the machine is made of it
//!                      <-- ready -----     Received::ready
//! Prepared::commit     -- commit --->      Committed: from here on the guest is the target's
//!                      <-- running ---     Committed::running
//! ```
//!
//! Until the whole of the commit message is written the guest is the source's, whatever else happens: the stream may
//! break at any byte. From then on it is the target's, unless the target itself says that it does not run it
//! ([`Parting`]).
//!
//! The target reads input of a stranger: every length is checked before it is used, nothing is allocated that a
//! message alone names, and a page outside of RAM is an error. Time limits are the stream's: reads and writes that
//! end with an error.
//!
//! # The format, version 1
//!
//! Both sides begin with 12 bytes: "VMMKITMV" and the version, which must be equal. All numbers are little-endian.
//! Then there are messages:
//!
//! ```text
//! offset  bytes
//!      0      2  kind
//!      2      2  flags: bit 0 of a state, the guest runs
//!      4      4  bytes of the contents
//!      8      4  CRC-32C of the bytes before this, and of the contents, of pages only of the first 8 bytes of these
//!     12         the contents
//!
//! kind  of the source       contents
//!    1  manifest            8 bytes: bytes of RAM; then at most 1 MiB
//!    2  pages               8 bytes: number of the first page; then 1 to 256 pages of 4096 bytes
//!    3  zeros               8 bytes: number of the first page; 8 bytes: how many, from 1
//!    4  round               none: the target answers when it has come to this place
//!    5  state               at most 64 MiB: a container
//!    6  commit              none
//!
//! kind  of the target
//!   17  accepted            none
//!   18  received            none
//!   19  ready               none
//!   20  running             none
//!   21  refused             at most 4096 bytes: why, as text
//! ```
//!
//! RAM is zero before the first message about it.

mod error;
mod message;
mod source;
mod target;

#[cfg(test)]
mod tests;

use std::io;

pub use error::StreamError;
pub use source::{Parting, Prepared, Sender};
pub use target::{Committed, Offer, Received, Receiving};

/// The first bytes of both sides.
pub const MAGIC: [u8; 8] = *b"VMMKITMV";
/// The version of the stream.
pub const VERSION: u32 = 1;
/// The longest manifest, in bytes.
pub const MAX_MANIFEST: usize = 1 << 20;
/// The longest state, in bytes.
pub const MAX_STATE: usize = 64 << 20;
/// The longest reason, in bytes.
pub const MAX_REASON: usize = 4096;
/// The most pages of one message.
pub const MAX_PAGES: usize = 256;
/// Bytes of a page.
pub const PAGE: usize = 4096;

/// RAM that is received.
pub trait PageStore {
    /// Writes `bytes`, whole pages, at `offset` of RAM.
    ///
    /// # Errors
    /// The host's.
    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes `length` bytes zero, whole pages, from `offset` of RAM on.
    ///
    /// # Errors
    /// The host's.
    fn zero(&mut self, offset: u64, length: u64) -> io::Result<()>;
}
