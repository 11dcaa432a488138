//! Descriptors whose every read and write is one packet with its header: nothing is copied between
//! them and a guest's buffers.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;

use vmmkit_guest_memory::{GuestRam, Segment};
use vmmkit_host_io::{Tap, TapOffloads};
use vmmkit_virtio::Chain;

use super::NetBackend;
use crate::net::spec::feature;

/// A tap interface of the host, with all offloads.
impl NetBackend for Tap {
    fn fd(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }

    fn features(&self) -> u64 {
        feature::GUEST_OFFLOADS | feature::HOST_OFFLOADS
    }

    fn set_offloads(&mut self, features: u64) -> io::Result<()> {
        let has = |bit| features & bit != 0;
        Tap::set_offloads(
            self,
            TapOffloads {
                checksum: has(feature::GUEST_CSUM),
                tcp4: has(feature::GUEST_TSO4),
                tcp6: has(feature::GUEST_TSO6),
                ecn: has(feature::GUEST_ECN),
            },
        )?;
        Ok(())
    }

    fn set_attached(&mut self, is_attached: bool) -> io::Result<()> {
        Ok(Tap::set_attached(self, is_attached)?)
    }

    #[inline]
    fn send(&mut self, ram: &GuestRam, chain: &Chain) -> io::Result<()> {
        ram.send(&*self, chain.readable()).map(drop)
    }

    #[inline]
    fn receive(
        &mut self,
        ram: &GuestRam,
        segments: &[Segment],
        spare: &mut [u8],
    ) -> io::Result<usize> {
        ram.receive_with_spare(&*self, segments, spare)
    }
}

/// A socket whose other end gives and takes packets with their headers, as a tap interface does: for
/// whoever tests, or joins two guests. It must be non-blocking.
impl NetBackend for UnixDatagram {
    fn fd(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }

    fn features(&self) -> u64 {
        feature::GUEST_OFFLOADS | feature::HOST_OFFLOADS
    }

    fn send(&mut self, ram: &GuestRam, chain: &Chain) -> io::Result<()> {
        ram.send(&*self, chain.readable()).map(drop)
    }

    fn receive(
        &mut self,
        ram: &GuestRam,
        segments: &[Segment],
        spare: &mut [u8],
    ) -> io::Result<usize> {
        ram.receive_with_spare(&*self, segments, spare)
    }
}
