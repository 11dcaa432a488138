//! Requests of a driver, and the answers.

use super::spec;

/// A request (virtio 1.2, section 5.15.6). Nothing of it is checked but that it is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MemRequest {
    /// Plug these blocks.
    Plug(MemBlocks),
    /// Take these blocks away.
    Unplug(MemBlocks),
    /// Take all blocks away.
    UnplugAll,
    /// Say whether these blocks are plugged.
    State(MemBlocks),
}

/// Blocks as a driver names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemBlocks {
    /// The guest-physical address of the first.
    pub address: u64,
    /// How many there are.
    pub count: u16,
}

/// The answer to a request (5.15.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MemAnswer {
    /// It is done.
    Ack,
    /// It would be more than the host asks for.
    Nack,
    /// It cannot be: there are no such blocks, or they are in another state.
    Error,
    /// The state of the blocks.
    State(MemState),
}

/// The state of some blocks together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemState {
    /// All of them are plugged.
    Plugged,
    /// None of them is.
    Unplugged,
    /// Some are.
    Mixed,
}

impl MemRequest {
    /// The request in what the driver sent: 24 bytes, of which the padding is not looked at.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (request, _) = bytes.split_first_chunk::<{ spec::REQUEST_SIZE }>()?;
        let [
            t0,
            t1,
            _,
            _,
            _,
            _,
            _,
            _,
            a0,
            a1,
            a2,
            a3,
            a4,
            a5,
            a6,
            a7,
            n0,
            n1,
            ..,
        ] = *request;
        let blocks = MemBlocks {
            address: u64::from_le_bytes([a0, a1, a2, a3, a4, a5, a6, a7]),
            count: u16::from_le_bytes([n0, n1]),
        };
        match u16::from_le_bytes([t0, t1]) {
            spec::REQ_PLUG => Some(Self::Plug(blocks)),
            spec::REQ_UNPLUG => Some(Self::Unplug(blocks)),
            spec::REQ_UNPLUG_ALL => Some(Self::UnplugAll),
            spec::REQ_STATE => Some(Self::State(blocks)),
            _ => None,
        }
    }
}

impl MemAnswer {
    /// The answer as the driver reads it.
    pub fn bytes(self) -> [u8; spec::RESPONSE_SIZE] {
        let (kind, state) = match self {
            Self::Ack => (spec::RESP_ACK, 0),
            Self::Nack => (spec::RESP_NACK, 0),
            Self::Error => (spec::RESP_ERROR, 0),
            Self::State(MemState::Plugged) => (spec::RESP_ACK, spec::STATE_PLUGGED),
            Self::State(MemState::Unplugged) => (spec::RESP_ACK, spec::STATE_UNPLUGGED),
            Self::State(MemState::Mixed) => (spec::RESP_ACK, spec::STATE_MIXED),
        };
        let ([k0, k1], [s0, s1]) = (kind.to_le_bytes(), state.to_le_bytes());
        [k0, k1, 0, 0, 0, 0, 0, 0, s0, s1]
    }
}
