//! The header of a packet (section 5.10.6).

use super::spec::{HEADER_SIZE, op};

/// The header of a packet, in either direction: `struct virtio_vsock_hdr` (virtio 1.2, section
/// 5.10.6). It is what was there: no value of it is checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VsockHeader {
    /// The CID of the sender.
    pub src_cid: u64,
    /// The CID that it is for.
    pub dst_cid: u64,
    /// The port of the sender.
    pub src_port: u32,
    /// The port that it is for.
    pub dst_port: u32,
    /// Bytes of data that follow.
    pub len: u32,
    /// The kind of socket: 1 for a stream.
    pub kind: u16,
    /// Its operation.
    pub op: u16,
    /// Flags of that.
    pub flags: u32,
    /// The sender's buffer for data of this connection, in bytes.
    pub buf_alloc: u32,
    /// How many bytes have left that buffer so far, modulo 2^32.
    pub fwd_cnt: u32,
}

impl VsockHeader {
    /// Its size in bytes.
    pub const SIZE: usize = HEADER_SIZE;

    /// The header that `bytes` begin with; `None` where they are too few.
    pub fn parse(mut bytes: &[u8]) -> Option<Self> {
        Some(Self {
            src_cid: u64::from_le_bytes(take(&mut bytes)?),
            dst_cid: u64::from_le_bytes(take(&mut bytes)?),
            src_port: u32::from_le_bytes(take(&mut bytes)?),
            dst_port: u32::from_le_bytes(take(&mut bytes)?),
            len: u32::from_le_bytes(take(&mut bytes)?),
            kind: u16::from_le_bytes(take(&mut bytes)?),
            op: u16::from_le_bytes(take(&mut bytes)?),
            flags: u32::from_le_bytes(take(&mut bytes)?),
            buf_alloc: u32::from_le_bytes(take(&mut bytes)?),
            fwd_cnt: u32::from_le_bytes(take(&mut bytes)?),
        })
    }

    /// The header as it is sent.
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        let mut rest = bytes.as_mut_slice();
        put(&mut rest, self.src_cid.to_le_bytes());
        put(&mut rest, self.dst_cid.to_le_bytes());
        put(&mut rest, self.src_port.to_le_bytes());
        put(&mut rest, self.dst_port.to_le_bytes());
        put(&mut rest, self.len.to_le_bytes());
        put(&mut rest, self.kind.to_le_bytes());
        put(&mut rest, self.op.to_le_bytes());
        put(&mut rest, self.flags.to_le_bytes());
        put(&mut rest, self.buf_alloc.to_le_bytes());
        put(&mut rest, self.fwd_cnt.to_le_bytes());
        bytes
    }
}

/// The operation of a packet (5.10.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum Op {
    Request = op::REQUEST,
    Response = op::RESPONSE,
    Reset = op::RST,
    Shutdown = op::SHUTDOWN,
    Data = op::RW,
    CreditUpdate = op::CREDIT_UPDATE,
    CreditRequest = op::CREDIT_REQUEST,
}

impl Op {
    /// The operation `number`; `None` where there is no such one.
    pub(super) fn parse(number: u16) -> Option<Self> {
        Some(match number {
            op::REQUEST => Self::Request,
            op::RESPONSE => Self::Response,
            op::RST => Self::Reset,
            op::SHUTDOWN => Self::Shutdown,
            op::RW => Self::Data,
            op::CREDIT_UPDATE => Self::CreditUpdate,
            op::CREDIT_REQUEST => Self::CreditRequest,
            _ => return None,
        })
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}

fn put<const N: usize>(rest: &mut &mut [u8], value: [u8; N]) {
    // `to_bytes` has room for each field.
    if let Some((first, others)) = std::mem::take(rest).split_first_chunk_mut() {
        *first = value;
        *rest = others;
    }
}
