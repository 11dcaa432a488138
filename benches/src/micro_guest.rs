//! Guests of a few instructions: what a VMM costs when the guest does one thing only.
//!
//! Each is 64-bit code that runs at [`ENTRY`] with any registers, and ends by asking the keyboard
//! controller for a reset.

/// Where the code is loaded and entered: 1 MiB.
pub const ENTRY: u64 = 0x10_0000;

/// A port that no PC device and no device of vmmkit claims.
pub const UNCLAIMED_PORT: u16 = 0x510;

/// A guest-physical address that is neither RAM nor a device: in the 32-bit MMIO hole.
pub const UNCLAIMED_ADDRESS: u64 = 0xd000_0000;

/// mov al, 0xfe; out 0x64, al; hlt; jmp to the hlt.
const RESET: [u8; 7] = [0xb0, 0xfe, 0xe6, 0x64, 0xf4, 0xeb, 0xfd];

/// The guest's work before it resets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Nothing.
    Nothing,
    /// This many one-byte OUTs to [`UNCLAIMED_PORT`].
    PortWrites(u32),
    /// This many one-byte INs from [`UNCLAIMED_PORT`].
    PortReads(u32),
    /// This many one-byte reads of [`UNCLAIMED_ADDRESS`].
    MmioReads(u32),
    /// This many one-byte writes to [`UNCLAIMED_ADDRESS`].
    MmioWrites(u32),
    /// Every vCPU of a machine of `vcpus` does `count` one-byte OUTs to [`UNCLAIMED_PORT`], all at the same
    /// time: the first one starts the others by INIT and SIPI, and waits for them.
    PortWritesOnAll {
        /// The vCPUs.
        vcpus: u32,
        /// The OUTs of each.
        count: u32,
    },
}

impl Work {
    /// The work that `name` and `count` stand for on a command line.
    pub fn parse(name: &str, count: u32) -> Option<Self> {
        match name {
            "nothing" => Some(Self::Nothing),
            "port-writes" => Some(Self::PortWrites(count)),
            "port-reads" => Some(Self::PortReads(count)),
            "mmio-reads" => Some(Self::MmioReads(count)),
            "mmio-writes" => Some(Self::MmioWrites(count)),
            _ => {
                let vcpus = name.strip_prefix("port-writes-on-")?.parse().ok()?;
                Some(Self::PortWritesOnAll { vcpus, count })
            }
        }
    }

    /// The guest's code.
    pub fn code(self) -> Vec<u8> {
        let mut code = match self {
            Self::Nothing => Vec::new(),
            // out dx, al
            Self::PortWrites(count) => counted(count, &[0xee]),
            // in al, dx
            Self::PortReads(count) => counted(count, &[0xec]),
            // mov al, [rdi]
            Self::MmioReads(count) => counted(count, &[0x8a, 0x07]),
            // mov [rdi], al
            Self::MmioWrites(count) => counted(count, &[0x88, 0x07]),
            Self::PortWritesOnAll { vcpus, count } => on_all(vcpus, count),
        };
        code.extend_from_slice(&RESET);
        code
    }
}

/// `body` run `count` times, with the port in DX and the address in RDI.
fn counted(count: u32, body: &[u8]) -> Vec<u8> {
    let mut code = vec![0xb9]; // mov ecx, count
    code.extend_from_slice(&count.max(1).to_le_bytes());
    code.extend_from_slice(&[0x66, 0xba]); // mov dx, port
    code.extend_from_slice(&UNCLAIMED_PORT.to_le_bytes());
    code.extend_from_slice(&[0x48, 0xbf]); // mov rdi, address
    code.extend_from_slice(&UNCLAIMED_ADDRESS.to_le_bytes());
    code.extend_from_slice(body);
    code.extend_from_slice(&[0xff, 0xc9, 0x75]); // dec ecx; jnz body
    code.push((body.len() as u8 + 4).wrapping_neg());
    code
}

/// Where the other vCPUs start in real mode: a page below 640 KiB that nothing else uses.
const START: u32 = 0x8_0000;
/// Where they count themselves when they are done: the page after it.
const DONE: u32 = 0x8_1000;
/// The local APIC's interrupt command, low half (Intel SDM vol. 3A, 11.6.1).
const ICR: u32 = 0xfee0_0300;
/// INIT to all but itself.
const INIT: u32 = 0xc_4500;
/// SIPI to all but itself, with the page of [`START`].
const SIPI: u32 = 0xc_4600 | START >> 12;

fn on_all(vcpus: u32, count: u32) -> Vec<u8> {
    let other = on_another(count);
    let mut code = vec![0xeb, other.len() as u8]; // jmp over it
    code.extend_from_slice(&other);
    code.extend_from_slice(&[0x48, 0x8d, 0x35]); // lea rsi, [rip - ...]: what was jumped over
    code.extend_from_slice(&(-(other.len() as i32) - 7).to_le_bytes());
    code.push(0xbf); // mov edi, START
    code.extend_from_slice(&START.to_le_bytes());
    code.push(0xb9); // mov ecx, length
    code.extend_from_slice(&(other.len() as u32).to_le_bytes());
    code.extend_from_slice(&[0xf3, 0xa4]); // rep movsb
    code.push(0xbf); // mov edi, ICR
    code.extend_from_slice(&ICR.to_le_bytes());
    for command in [INIT, SIPI] {
        code.extend_from_slice(&[0xc7, 0x07]); // mov dword [rdi], command
        code.extend_from_slice(&command.to_le_bytes());
    }
    code.extend(counted(count, &[0xee]));
    code.push(0xbf); // mov edi, DONE
    code.extend_from_slice(&DONE.to_le_bytes());
    // pause; cmp dword [rdi], the others; jne to the pause
    code.extend_from_slice(&[0xf3, 0x90, 0x81, 0x3f]);
    code.extend_from_slice(&(vcpus.max(1) - 1).to_le_bytes());
    code.extend_from_slice(&[0x75, 0xf6]);
    code
}

/// 16-bit code at the start of a page: the OUTs, and one more that is done in the page after it.
fn on_another(count: u32) -> Vec<u8> {
    let mut code = vec![0x66, 0xb9]; // mov ecx, count
    code.extend_from_slice(&count.max(1).to_le_bytes());
    code.push(0xba); // mov dx, port
    code.extend_from_slice(&UNCLAIMED_PORT.to_le_bytes());
    code.extend_from_slice(&[0xee, 0x66, 0x49, 0x75, 0xfb]); // out dx, al; dec ecx; jnz to the out
    code.push(0xb8); // mov ax, segment
    code.extend_from_slice(&((DONE >> 4) as u16).to_le_bytes());
    code.extend_from_slice(&[0x8e, 0xd8]); // mov ds, ax
    code.extend_from_slice(&[0xf0, 0x66, 0xff, 0x06, 0, 0]); // lock inc dword [0]
    code.extend_from_slice(&[0xfa, 0xf4, 0xeb, 0xfd]); // cli; hlt; jmp to the hlt
    code
}

/// `code` as a 64-bit ELF executable with one segment at [`ENTRY`], which any VMM loads as a kernel.
pub fn elf(code: &[u8]) -> Vec<u8> {
    const OFFSET: u64 = 0x1000;
    let length = code.len() as u64;
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for half in [2u16, 62] {
        file.extend_from_slice(&half.to_le_bytes()); // ET_EXEC, EM_X86_64
    }
    file.extend_from_slice(&1u32.to_le_bytes());
    for word in [ENTRY, 64, 0] {
        file.extend_from_slice(&word.to_le_bytes()); // e_entry, e_phoff, e_shoff
    }
    file.extend_from_slice(&0u32.to_le_bytes());
    for half in [64u16, 56, 1, 0, 0, 0] {
        file.extend_from_slice(&half.to_le_bytes());
    }
    file.extend_from_slice(&1u32.to_le_bytes()); // PT_LOAD
    file.extend_from_slice(&5u32.to_le_bytes()); // read, execute
    for word in [OFFSET, ENTRY, ENTRY, length, length, 0x1000] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    file.resize(OFFSET as usize, 0);
    file.extend_from_slice(code);
    file
}
