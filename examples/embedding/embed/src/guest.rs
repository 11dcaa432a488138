//! The guest, which finds each device as a driver would: an ELF executable of a few instructions.

use vmmkit_vmm::OwnPlace;

const ENTRY: u64 = 0x10_0000;

/// Says hello by the serial port; looks for the virtio device; reads the number of the PCI function; has the doubler
/// double it and waits for its interrupt (IRR of the local APIC: Intel SDM volume 3, 12.8.4); leaves with the double.
#[rustfmt::skip]
const CODE: &[u8] = &[
    0xbc, 0x00, 0x00, 0x20, 0x00,             // mov esp, 0x200000
    0x66, 0xba, 0xf8, 0x03,                   // mov dx, 0x3f8
    0x48, 0x8d, 0x35, 0x90, 0x00, 0x00, 0x00, // lea rsi, [rip + text]
    0xb9, 0x11, 0x00, 0x00, 0x00,             // mov ecx, 17
    0xfc, 0xf3, 0x6e,                         // cld; rep outsb
    0xb8, 0x00, 0x08, 0x00, 0x80,             // mov eax, 0x80000800: device 1, register 0
    0xe8, 0x76, 0x00, 0x00, 0x00,             // call config
    0xed, 0x3d, 0xf4, 0x1a, 0x7f, 0x10,       // in eax, dx; cmp eax, 0x107f1af4: virtio device 63
    0x75, 0x67,                               // jne fail
    0xb8, 0x04, 0x10, 0x00, 0x80,             // mov eax, 0x80001004: device 2, command
    0xe8, 0x64, 0x00, 0x00, 0x00,             // call config
    0xb8, 0x02, 0x00, 0x00, 0x00, 0xef,       // mov eax, 2; out dx, eax: memory
    0xb8, 0x10, 0x10, 0x00, 0x80,             // mov eax, 0x80001010: base address 0
    0xe8, 0x54, 0x00, 0x00, 0x00,             // call config
    0xed, 0x24, 0xf0, 0x89, 0xc3,             // in eax, dx; and al, 0xf0; mov ebx, eax
    0x8b, 0x2b,                               // mov ebp, [rbx]: the number
    0x8b, 0x0d, 0x64, 0x00, 0x00, 0x00,       // mov ecx, [rip + pin]
    0xbf, 0x00, 0x00, 0xc0, 0xfe,             // mov edi, 0xfec00000: the I/O APIC
    0x8d, 0x04, 0x4d, 0x10, 0x00, 0x00, 0x00, // lea eax, [rcx * 2 + 0x10]
    0x89, 0x07,                               // mov [rdi], eax
    0xb8, 0x31, 0x00, 0x00, 0x00,             // mov eax, 0x31: the vector, not masked
    0x89, 0x47, 0x10,                         // mov [rdi + 0x10], eax
    0xbf, 0x00, 0x00, 0xe0, 0xfe,             // mov edi, 0xfee00000: the local APIC
    0xb8, 0xff, 0x01, 0x00, 0x00,             // mov eax, 0x1ff: it is on
    0x89, 0x87, 0xf0, 0x00, 0x00, 0x00,       // mov [rdi + 0xf0], eax
    0x8b, 0x1d, 0x34, 0x00, 0x00, 0x00,       // mov ebx, [rip + address]
    0x89, 0x2b,                               // mov [rbx], ebp: double it
    0x8b, 0x87, 0x10, 0x02, 0x00, 0x00,       // wait: mov eax, [rdi + 0x210]
    0xa9, 0x00, 0x00, 0x02, 0x00, 0x74, 0xf3, // test eax, 1 << 17; jz wait
    0x8b, 0x03, 0x89, 0x43, 0x04,             // mov eax, [rbx]; mov [rbx + 4], eax: the end
    0xb0, 0x01, 0xe6, 0xf4, 0xf4, 0xeb, 0xfd, // fail: mov al, 1; out 0xf4, al; hlt; jmp
    0x66, 0xba, 0xf8, 0x0c, 0xef,             // config: mov dx, 0xcf8; out dx, eax
    0xb2, 0xfc, 0xc3,                         // mov dl, 0xfc; ret
];
const TEXT: &[u8; 17] = b"hello from embed\n";

/// The kernel for a machine whose doubler is at `place`.
pub fn kernel(place: OwnPlace) -> Option<Vec<u8>> {
    let address = u32::try_from(place.mmio?.base).ok()?;
    let mut code = [CODE, TEXT].concat();
    code.extend(address.to_le_bytes());
    code.extend(place.gsi?.0.to_le_bytes());
    Some(elf(&code))
}

/// A 64-bit ELF executable with one segment (System V ABI, chapters 4 and 5).
fn elf(code: &[u8]) -> Vec<u8> {
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
