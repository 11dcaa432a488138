//! Guests of a few instructions, as files that a VMM boots.

/// Where guests are loaded and entered: 1 MiB.
const ENTRY: u64 = 0x10_0000;

/// A kernel that prints `R`, then echoes every byte of its serial port, and asks the keyboard
/// controller for a reset when that byte is `q`.
pub fn echo_guest() -> Vec<u8> {
    elf(&[
        0x66, 0xba, 0xf9, 0x03, // mov dx, 0x3f9 (interrupt enable)
        0xb0, 0x01, // mov al, 1 (received data)
        0xee, // out dx, al
        0x66, 0xba, 0xf8, 0x03, // mov dx, 0x3f8 (transmitter)
        0xb0, b'R', // mov al, 'R'
        0xee, // out dx, al
        // wait:
        0x66, 0xba, 0xfd, 0x03, // mov dx, 0x3fd (line status)
        0xec, // in al, dx
        0xa8, 0x01, // test al, 1 (data ready)
        0x74, 0xf7, // jz wait
        0x66, 0xba, 0xf8, 0x03, // mov dx, 0x3f8 (receiver)
        0xec, // in al, dx
        0xee, // out dx, al
        0x3c, b'q', // cmp al, 'q'
        0x75, 0xed, // jne wait
        0xb0, 0xfe, // mov al, 0xfe (pulse the reset line)
        0xe6, 0x64, // out 0x64, al
        0xeb, 0xfe, // jmp to itself
    ])
}

/// A kernel whose first instruction is undefined, without an IDT: a triple fault.
pub fn triple_fault_guest() -> Vec<u8> {
    elf(&[0x0f, 0x0b, 0xf4])
}

/// Whether this host has a KVM; says so if not.
#[expect(clippy::print_stderr, reason = "a skip is loud")]
pub fn has_kvm(test: &str) -> bool {
    let opened = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/kvm");
    if let Err(error) = &opened {
        eprintln!("SKIPPED: {test}: /dev/kvm: {error}");
    }
    opened.is_ok()
}

/// `code` as a 64-bit ELF executable with one segment at `ENTRY` (System V ABI, chapter 4).
pub fn elf(code: &[u8]) -> Vec<u8> {
    const OFFSET: u64 = 0x1000;
    let length = code.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    file.extend([2u16, 62].map(u16::to_le_bytes).concat()); // ET_EXEC, EM_X86_64
    file.extend(1u32.to_le_bytes());
    file.extend([ENTRY, 64, 0].map(u64::to_le_bytes).concat()); // e_entry, e_phoff, e_shoff
    file.extend(0u32.to_le_bytes());
    file.extend([64u16, 56, 1, 0, 0, 0].map(u16::to_le_bytes).concat());
    file.extend([1u32, 5].map(u32::to_le_bytes).concat()); // PT_LOAD; read and execute
    let segment = [OFFSET, ENTRY, ENTRY, length, length, 0x1000];
    file.extend(segment.map(u64::to_le_bytes).concat());
    file.resize(OFFSET as usize, 0);
    file.extend(code);
    file
}

/// `code` of 32 bits as an ELF executable that is entered by PVH: its note names `ENTRY` (Xen, "HVM
/// direct boot ABI"), and it has no other entry.
pub fn pvh_elf(code: &[u8]) -> Vec<u8> {
    const NOTE: usize = 64 + 2 * 56;
    const PHYS32_ENTRY: u32 = 18;
    let mut note = [4, 4, PHYS32_ENTRY].map(u32::to_le_bytes).concat(); // sizes, type
    note.extend(b"Xen\0");
    note.extend((ENTRY as u32).to_le_bytes());
    let mut header = [4_u32, 4].map(u32::to_le_bytes).concat(); // PT_NOTE; read
    let length = note.len() as u64;
    header.extend(
        [NOTE as u64, 0, 0, length, length, 4]
            .map(u64::to_le_bytes)
            .concat(),
    );
    let mut file = elf(code);
    let mut put = |offset: usize, bytes: &[u8]| {
        for (place, byte) in file.iter_mut().skip(offset).zip(bytes) {
            *place = *byte;
        }
    };
    put(24, &0_u64.to_le_bytes()); // e_entry
    put(56, &2_u16.to_le_bytes()); // e_phnum
    put(120, &header);
    put(NOTE, &note);
    file
}
