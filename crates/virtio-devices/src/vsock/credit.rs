//! Flow control of one connection (section 5.10.6.3): each side tells how large its buffer is and
//! how much has left it, and the other never sends more than fits.

use super::packet::VsockHeader;

/// The buffer for data that the guest has sent and the host has not taken, in bytes.
pub(super) const BUF_ALLOC: u32 = 256 << 10;
/// The guest is told of new room when it is this much. It never waits for less: half of the buffer
/// is then still free as far as it knows.
const UPDATE_AT: u32 = BUF_ALLOC / 2;

/// The credit in both directions. Counts of bytes are modulo 2^32, as they are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Credit {
    /// The guest's buffer, and what has left it.
    peer_buf_alloc: u32,
    peer_fwd_cnt: u32,
    /// Bytes sent to the guest.
    tx_cnt: u32,
    /// Bytes that came from the guest.
    rx_cnt: u32,
    /// Bytes of that which have left our buffer, and which the guest knows of.
    fwd_cnt: u32,
    told: u32,
}

impl Credit {
    /// The guest told of its buffer, as each of its packets does.
    pub(super) fn update(&mut self, header: &VsockHeader) {
        self.peer_buf_alloc = header.buf_alloc;
        self.peer_fwd_cnt = header.fwd_cnt;
    }

    /// How many bytes the guest has room for: none where it tells of bytes that were never sent.
    pub(super) fn free(&self) -> u32 {
        let under_way = self.tx_cnt.wrapping_sub(self.peer_fwd_cnt);
        self.peer_buf_alloc.saturating_sub(under_way)
    }

    /// Data was sent to the guest.
    pub(super) fn sent(&mut self, bytes: u32) {
        self.tx_cnt = self.tx_cnt.wrapping_add(bytes);
    }

    /// Data came from the guest; whether it knew that there is room for it. If not, it does not
    /// count.
    #[must_use]
    pub(super) fn accept(&mut self, bytes: u32) -> bool {
        let taken = self.rx_cnt.wrapping_sub(self.told);
        if bytes > BUF_ALLOC.saturating_sub(taken) {
            return false;
        }
        self.rx_cnt = self.rx_cnt.wrapping_add(bytes);
        true
    }

    /// Data has left our buffer; whether the guest should be told.
    #[must_use]
    pub(super) fn forwarded(&mut self, bytes: u32) -> bool {
        self.fwd_cnt = self.fwd_cnt.wrapping_add(bytes);
        self.fwd_cnt.wrapping_sub(self.told) >= UPDATE_AT
    }

    /// The fields of a packet to the guest: `buf_alloc` and `fwd_cnt`.
    pub(super) fn tell(&mut self) -> (u32, u32) {
        self.told = self.fwd_cnt;
        (BUF_ALLOC, self.fwd_cnt)
    }
}
