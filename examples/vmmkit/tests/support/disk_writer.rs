//! A guest that writes its disk, as a driver of a few instructions does.

use super::elf;

/// Bytes of one request.
pub(crate) const REQUEST: usize = 64 << 10;
/// From one request's place on the disk to the next one's.
pub(crate) const STRIDE: usize = 2 * REQUEST;
/// The byte that fills them.
pub(crate) const CONTENT: u8 = 0x5a;

/// Where its three rings are (virtio 1.2, section 2.7), its requests and their data.
const TABLE: u32 = 0x20_0000;
const AVAILABLE: u32 = 0x20_1000;
const USED: u32 = 0x20_2000;
const WRITE: u32 = 0x21_0000;
const FLUSH: u32 = 0x21_0200;
const STATUS: u32 = 0x21_0100;
const DATA: u32 = 0x30_0000;

/// Descriptor flags: another one follows; the device writes it.
const NEXT: u32 = 1;
const DEVICE_WRITES: u32 = 2;

/// A guest that writes `count` requests to the first virtio device by MMIO, flushes them if it `flushes`, and
/// prints `D` if all went well. It resets the machine then if it `ends`, and waits for ever else.
pub(crate) fn writing_guest(count: u32, flushes: bool, ends: bool) -> Vec<u8> {
    let mut code = Vec::new();
    fill(&mut code);
    // xor ecx, ecx: ch is where all statuses come together.
    code.extend([0x31, 0xc9]);
    drive(&mut code);
    code.push(0xbb); // mov ebx, count
    code.extend(count.to_le_bytes());
    let start = code.len();
    submit(&mut code);
    add(&mut code, WRITE + 8, (STRIDE / 512) as u32);
    code.extend([0xff, 0xcb, 0x0f, 0x85]); // dec ebx; jnz start
    let back = start as i32 - (code.len() as i32 + 4);
    code.extend(back.to_le_bytes());
    if flushes {
        for pair in 0..4 {
            put(&mut code, AVAILABLE + 4 + 4 * pair, 0x0003_0003);
        }
        submit(&mut code);
    }
    // mov dx, 0x3f8; mov al, 'D'; add al, ch; out dx, al
    code.extend([0x66, 0xba, 0xf8, 0x03, 0xb0, b'D', 0x00, 0xe8, 0xee]);
    if ends {
        code.extend([0xb0, 0xfe, 0xe6, 0x64]); // the keyboard controller's reset
    }
    code.extend([0xf4, 0xeb, 0xfd]); // hlt; jmp to it
    elf(&code)
}

/// Fills the data.
fn fill(code: &mut Vec<u8>) {
    code.push(0xbf); // mov edi, DATA
    code.extend(DATA.to_le_bytes());
    code.push(0xb9); // mov ecx, dwords
    code.extend((REQUEST as u32 / 4).to_le_bytes());
    code.push(0xb8); // mov eax, content
    code.extend([CONTENT; 4]);
    code.extend([0xf3, 0xab]); // rep stosd
}

/// Has the device ready with FLUSH and VERSION_1 (sections 3.1.1, 4.2.2 and 5.2.3), and the requests
/// described.
fn drive(code: &mut Vec<u8>) {
    let device = 0xd000_0000;
    let registers = [
        (0x70, 1),
        (0x70, 3),
        (0x24, 0),
        (0x20, 1 << 9),
        (0x24, 1),
        (0x20, 1),
        (0x70, 11),
        (0x30, 0),
        (0x38, 8),
        (0x80, TABLE),
        (0x90, AVAILABLE),
        (0xa0, USED),
        (0x44, 1),
        (0x70, 15),
    ];
    for (offset, value) in registers {
        put(code, device + offset, value);
    }
    let descriptors = [
        (WRITE, 16, NEXT, 1),
        (DATA, REQUEST as u32, NEXT, 2),
        (STATUS, 1, DEVICE_WRITES, 0),
        (FLUSH, 16, NEXT, 4),
        (STATUS, 1, DEVICE_WRITES, 0),
    ];
    for ((address, length, flags, next), at) in descriptors.into_iter().zip((TABLE..).step_by(16)) {
        put(code, at, address);
        put(code, at + 8, length);
        put(code, at + 12, flags | next << 16);
    }
    // VIRTIO_BLK_T_OUT and VIRTIO_BLK_T_FLUSH (section 5.2.6).
    put(code, WRITE, 1);
    put(code, FLUSH, 4);
}

/// Submits the request that the available ring names, and waits until it is used.
fn submit(code: &mut Vec<u8>) {
    add(code, AVAILABLE, 1 << 16);
    put(code, 0xd000_0050, 0); // the queue's number
    code.push(0xbf); // mov edi, USED
    code.extend(USED.to_le_bytes());
    code.push(0xbe); // mov esi, AVAILABLE
    code.extend(AVAILABLE.to_le_bytes());
    // mov ax, [rdi + 2]; cmp ax, [rsi + 2]; jne back
    code.extend([0x66, 0x8b, 0x47, 0x02, 0x66, 0x3b, 0x46, 0x02, 0x75, 0xf6]);
    code.push(0xbf); // mov edi, STATUS
    code.extend(STATUS.to_le_bytes());
    code.extend([0x0a, 0x2f]); // or ch, [rdi]
}

/// mov edi, address; mov dword [rdi], value
fn put(code: &mut Vec<u8>, address: u32, value: u32) {
    code.push(0xbf);
    code.extend(address.to_le_bytes());
    code.extend([0xc7, 0x07]);
    code.extend(value.to_le_bytes());
}

/// mov edi, address; add dword [rdi], value
fn add(code: &mut Vec<u8>, address: u32, value: u32) {
    code.push(0xbf);
    code.extend(address.to_le_bytes());
    code.extend([0x81, 0x07]);
    code.extend(value.to_le_bytes());
}
