//! A stream of frames, without headers and offloads. Each frame is copied once, and a batch of them
//! is one system call.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use vmmkit_guest_memory::{GuestRam, Segment};
use vmmkit_host_io::StreamSocket;
use vmmkit_virtio::Chain;

use super::{NetBackend, Scatter};
use crate::net::PacketHeader;
use crate::net::spec::HEADER;

impl NetBackend for StreamSocket {
    fn fd(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }

    fn send(&mut self, ram: &GuestRam, chain: &Chain) -> io::Result<()> {
        let mut reader = chain.reader(ram);
        let mut header = [0; HEADER];
        reader.read(&mut header);
        // The driver was offered no offload.
        if PacketHeader::parse(&header).leaves_work() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let length = usize::try_from(reader.left()).unwrap_or(usize::MAX);
        reader.read(self.frame(length)?);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        StreamSocket::flush(self)
    }

    fn receive(
        &mut self,
        ram: &GuestRam,
        segments: &[Segment],
        spare: &mut [u8],
    ) -> io::Result<usize> {
        let frame = StreamSocket::receive(self)?;
        let mut packet = Scatter::new(ram, segments, spare);
        packet.put(&[0; HEADER]);
        packet.put(frame);
        Ok(packet.total())
    }
}
