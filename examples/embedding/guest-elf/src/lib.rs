//! The executable of a guest of a few bytes, as a boot loader takes it.

/// Where the code is, and where it is entered.
const ENTRY: u64 = 0x10_0000;

/// A 64-bit ELF executable with one segment (System V ABI, chapters 4 and 5).
pub fn elf(code: &[u8]) -> Vec<u8> {
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    for value in [ENTRY, 64, 0] {
        elf.extend(value.to_le_bytes()); // e_entry, e_phoff, e_shoff
    }
    for value in [0_u16, 0, 64, 56, 1, 64, 0, 0] {
        elf.extend(value.to_le_bytes()); // e_flags (4 bytes), e_ehsize, e_phentsize, e_phnum, ...
    }
    elf.extend([1, 0, 0, 0, 5, 0, 0, 0]); // PT_LOAD, readable and executable
    let length = code.len() as u64;
    for value in [120, ENTRY, ENTRY, length, length, 0x1000] {
        elf.extend(value.to_le_bytes());
    }
    elf.extend(code);
    elf
}
