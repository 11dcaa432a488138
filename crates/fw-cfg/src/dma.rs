//! Requests by DMA.

use vmmkit_guest_memory::{AccessError, GuestAddress};

use crate::FwCfg;
use crate::device::Registers;
use crate::spec::{
    CONTROL_ERROR, CONTROL_READ, CONTROL_SELECT, CONTROL_SKIP, CONTROL_WRITE, REQUEST_SIZE,
};

/// A request as the guest wrote it.
struct Request {
    control: u32,
    length: u32,
    address: GuestAddress,
}

impl FwCfg {
    /// Carries out the request at `at`, and writes there how it went: 0, or the error bit. A request that is not in
    /// RAM is nobody's.
    pub(crate) fn transfer(&self, registers: &mut Registers, at: u64) {
        let at = GuestAddress(at);
        let Ok(request) = self.read_request(at) else {
            return;
        };
        let done = self.carry_out(registers, &request);
        let control = if done.is_ok() { 0 } else { CONTROL_ERROR };
        // It was read from there.
        let _ = self.ram.write_bytes(at, &control.to_be_bytes());
    }

    fn read_request(&self, at: GuestAddress) -> Result<Request, AccessError> {
        let mut bytes = [0; REQUEST_SIZE];
        self.ram.read_bytes(at, &mut bytes)?;
        let [a, b, c, d, e, f, g, h, address @ ..] = bytes;
        Ok(Request {
            control: u32::from_be_bytes([a, b, c, d]),
            length: u32::from_be_bytes([e, f, g, h]),
            address: GuestAddress(u64::from_be_bytes(address)),
        })
    }

    fn carry_out(&self, registers: &mut Registers, request: &Request) -> Result<(), Refused> {
        if request.control & CONTROL_SELECT != 0 {
            // The high half.
            registers.selector = (request.control >> 16) as u16;
            registers.offset = 0;
        }
        if request.control & CONTROL_READ != 0 {
            self.read_item(registers, request)?;
        } else if request.control & CONTROL_SKIP == 0 {
            // No item can be written.
            return match request.control & CONTROL_WRITE {
                0 => Ok(()),
                _ => Err(Refused),
            };
        }
        registers.offset = registers.offset.saturating_add(request.length);
        Ok(())
    }

    /// Copies as many bytes as are asked for, and zeroes beyond the item's end.
    fn read_item(&self, registers: &Registers, request: &Request) -> Result<(), Refused> {
        let length = usize::try_from(request.length).map_err(|_| Refused)?;
        let rest = self.rest(registers);
        let copied = rest.get(..length).unwrap_or(rest);
        self.ram.write_bytes(request.address, copied)?;
        // No more than `length`, which has 32 bits.
        let end = request.address.0.checked_add(copied.len() as u64);
        let end = GuestAddress(end.ok_or(Refused)?);
        Ok(self.ram.fill(end, length.saturating_sub(copied.len()), 0)?)
    }
}

/// The request cannot be carried out.
struct Refused;

impl From<AccessError> for Refused {
    fn from(_: AccessError) -> Self {
        Self
    }
}
