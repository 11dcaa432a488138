//! The header before a packet.

use super::spec;

/// The header before a packet (virtio 1.2, section 5.1.6), as a driver wrote it: unchecked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketHeader {
    /// The meaning of the rest.
    pub flags: u8,
    /// How the packet is to be cut.
    pub gso_type: u8,
    /// Bytes of the packet's headers.
    pub header_length: u16,
    /// Bytes of the parts that it is to be cut into.
    pub gso_size: u16,
    /// Where the bytes begin that are to be summed up.
    pub checksum_start: u16,
    /// Where the sum goes, from there.
    pub checksum_offset: u16,
    /// The chains that the packet lies in; for the driver only.
    pub buffers: u16,
}

impl PacketHeader {
    /// Reads one.
    pub fn parse(bytes: &[u8; spec::HEADER]) -> Self {
        let [flags, gso_type, a, b, c, d, e, f, g, h, i, j] = *bytes;
        Self {
            flags,
            gso_type,
            header_length: u16::from_le_bytes([a, b]),
            gso_size: u16::from_le_bytes([c, d]),
            checksum_start: u16::from_le_bytes([e, f]),
            checksum_offset: u16::from_le_bytes([g, h]),
            buffers: u16::from_le_bytes([i, j]),
        }
    }

    /// Whether the frame is not ready to be sent as it is.
    pub fn leaves_work(&self) -> bool {
        self.flags & spec::HDR_F_NEEDS_CSUM != 0 || self.gso_type != spec::HDR_GSO_NONE
    }
}
