//! The host's side of a network device.

mod packets;
mod scatter;
mod stream;

use std::io;
use std::os::fd::BorrowedFd;

use vmmkit_guest_memory::{GuestRam, Segment};
use vmmkit_virtio::Chain;

pub(super) use scatter::{Scatter, write_at};

/// The host's side of one pair of queues. Only one thread calls it at a time, and no call blocks:
/// [`io::ErrorKind::WouldBlock`] says that the [descriptor](Self::fd) must be waited for.
///
/// A packet is a virtio-net header of 12 bytes (virtio 1.2, section 5.1.6) and an Ethernet frame.
pub trait NetBackend: Send {
    /// The descriptor to wait for. It stays the same.
    fn fd(&self) -> BorrowedFd<'_>;

    /// The feature bits of offloads that it is able to do (5.1.3), both ways. None: each header is
    /// zero.
    fn features(&self) -> u64 {
        0
    }

    /// The driver takes these offloads, of the features, for all pairs.
    ///
    /// # Errors
    /// The host's.
    fn set_offloads(&mut self, features: u64) -> io::Result<()> {
        let _ = features;
        Ok(())
    }

    /// Whether this pair of several is used: one that is not gets no packets.
    ///
    /// # Errors
    /// The host's.
    fn set_attached(&mut self, is_attached: bool) -> io::Result<()> {
        let _ = is_attached;
        Ok(())
    }

    /// Sends the packet in the readable buffers of a chain: 13 bytes to 65,562.
    ///
    /// # Errors
    /// The host's; the packet is lost then, but for [`io::ErrorKind::WouldBlock`].
    fn send(&mut self, ram: &GuestRam, chain: &Chain) -> io::Result<()>;

    /// Sends what `send` has only kept. Called after each batch.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] where something is left; any other is the end.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Puts the next packet into the segments, and what they have no room for into `spare`; the
    /// size of all of it. `num_buffers` is left to the device.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] where there is none; any other is the end.
    fn receive(
        &mut self,
        ram: &GuestRam,
        segments: &[Segment],
        spare: &mut [u8],
    ) -> io::Result<usize>;
}
