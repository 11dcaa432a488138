//! Code at the reset vector of a machine without firmware: it resets the machine.
//!
//! A kernel that reboots by the BIOS (Linux's `reboot=b`) goes back to real mode and jumps to ffff:0, where a PC's
//! firmware begins; f000:fff0 is the same place. Without code there, it would run through zeroes for ever.

use vmmkit_guest_memory::{AccessError, GuestRam};

use crate::memory_map::RESET_VECTOR;

/// The same bytes in 16-bit and in 32-bit code: the keyboard controller's reset (0xfe to port 0x64), and a halt.
const CODE: [u8; 8] = [
    0xb0, 0xfe, // mov al, 0xfe
    0xe6, 0x64, // out 0x64, al
    0xfa, // cli
    0xf4, // hlt
    0xeb, 0xfd, // jmp to the hlt
];

/// Writes it, where RAM reaches so far.
pub(crate) fn write(ram: &GuestRam) -> Result<(), AccessError> {
    ram.write_bytes(RESET_VECTOR, &CODE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::ram;

    #[test]
    fn it_ends_below_1_mib() {
        assert!(RESET_VECTOR.0 + CODE.len() as u64 <= crate::memory_map::HIGH_MEMORY.0);
        let ram = ram(4);
        write(&ram).unwrap();
        assert_eq!(ram.read::<u16>(RESET_VECTOR), Ok(0xfeb0));
    }
}
