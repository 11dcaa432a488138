//! Runs one instruction on the CPU of this machine, with chosen registers and extended state.

use std::ffi::c_void;
use std::ptr;

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect};

/// The registers in the order of their numbers; RSP stays the test's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub(crate) struct Frame {
    pub(crate) gpr: [u64; 16],
    pub(crate) rflags: u64,
    pad: [u64; 7],
    host: Area,
    /// Extended state before the instruction, for XRSTOR64.
    pub(crate) before: Area,
    /// Extended state after it, from XSAVE64.
    pub(crate) after: Area,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub(crate) struct Area(pub(crate) [u8; 4096]);

impl Frame {
    pub(crate) fn new() -> Box<Self> {
        let empty = Area([0; 4096]);
        let mut frame = Box::new(Self {
            gpr: [0; 16],
            rflags: 2,
            pad: [0; 7],
            host: empty,
            before: empty,
            after: empty,
        });
        frame.before.0[24..28].copy_from_slice(&0x1f80_u32.to_le_bytes());
        frame
    }
}

/// The components of the extended state that the trampoline moves: x87, SSE, AVX, AVX-512. Not PKRU, which could
/// lock the test out of its own memory.
pub(crate) const MOVED: u32 = 0xe7;

const PAGE: usize = 4096;

/// A page of code followed by pages of data, below 2 GiB where the host gives such.
pub(crate) struct Arena {
    start: *mut u8,
    data_pages: usize,
    placed: Vec<u8>,
}

impl Arena {
    pub(crate) fn new(data_pages: usize) -> Self {
        let length = PAGE * (1 + data_pages);
        // Each test thread has its own arena.
        let low = (0..64).map(|slot| 0x1000_0000 + slot * 0x10_0000);
        let start = low
            .chain([0])
            .find_map(|address| map(address, length))
            .unwrap();
        Self {
            start: start.cast(),
            data_pages,
            placed: Vec::new(),
        }
    }

    /// The address of the code page.
    pub(crate) fn code(&self) -> u64 {
        self.start as u64
    }

    /// The address of the data.
    pub(crate) fn data(&self) -> u64 {
        self.code() + PAGE as u64
    }

    pub(crate) fn data_bytes(&mut self) -> &mut [u8] {
        let data = self.start.wrapping_add(PAGE);
        // SAFETY: the mapping has `data_pages` pages from `data` on, initialised by the kernel,
        // and `&mut self` says that no other reference to them is about.
        unsafe { std::slice::from_raw_parts_mut(data, self.data_pages * PAGE) }
    }

    /// Where the instruction will be, given its place behind the trampoline's first part.
    pub(crate) fn instruction_address(&self) -> u64 {
        self.code() + enter().len() as u64
    }

    /// Puts `code` into the code page, unless it is there.
    fn place(&mut self, code: &[u8]) {
        if self.placed == code {
            return;
        }
        let page = self.start.cast::<c_void>();
        // SAFETY: the page is this mapping's own, and no code in it runs now.
        unsafe { mprotect(page, PAGE, MprotectFlags::READ | MprotectFlags::WRITE) }.unwrap();
        // SAFETY: `code` is at most a page (asserted), and the page is writable.
        unsafe { ptr::copy_nonoverlapping(code.as_ptr(), self.start, code.len()) };
        // SAFETY: as above.
        unsafe { mprotect(page, PAGE, MprotectFlags::READ | MprotectFlags::EXEC) }.unwrap();
        self.placed = code.to_vec();
    }

    /// Runs `instruction`, which must touch nothing but the data and the frame, keep RSP and not
    /// fault.
    pub(crate) fn run(&mut self, instruction: &[u8], frame: &mut Frame) {
        let code = [&enter()[..], instruction, &leave()].concat();
        assert!(code.len() <= PAGE);
        self.place(&code);
        // SAFETY: the page holds a function of this type: `enter` and `leave` keep the callee-saved
        // registers, RSP, MXCSR and the x87's state; the caller vouches for the instruction.
        let function: unsafe extern "sysv64" fn(*mut Frame) =
            unsafe { std::mem::transmute(self.start) };
        // SAFETY: `frame` is exclusive, and aligned to 64 by its type as XSAVE64 needs.
        unsafe { function(frame) };
    }
}

/// New pages at `address` if nothing is there; anywhere for 0.
fn map(address: usize, length: usize) -> Option<*mut c_void> {
    let hint = ptr::without_provenance_mut::<c_void>(address);
    let access = ProtFlags::READ | ProtFlags::WRITE;
    let mut flags = MapFlags::PRIVATE;
    if address != 0 {
        flags |= MapFlags::FIXED_NOREPLACE;
    }
    // SAFETY: a new anonymous mapping, which replaces nothing.
    unsafe { mmap_anonymous(hint, length, access, flags) }.ok()
}

const HOST: u32 = 192;
const BEFORE: u32 = HOST + 4096;
const AFTER: u32 = BEFORE + 4096;
const RFLAGS: u32 = 128;

/// Saves what the caller needs, and loads the frame that RDI points to.
fn enter() -> Vec<u8> {
    let mut code = vec![0x53, 0x55]; // push rbx, rbp
    code.extend([0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57, 0x57]); // push r12 to r15, rdi
    extended(&mut code, 4, HOST);
    extended(&mut code, 5, BEFORE);
    code.extend([0xff, 0xb7]); // push [rdi + RFLAGS]
    code.extend(RFLAGS.to_le_bytes());
    code.push(0x9d); // popfq
    for number in (0..16).filter(|number| ![4, 7].contains(number)) {
        move_register(&mut code, 0x8b, number);
    }
    move_register(&mut code, 0x8b, 7);
    code
}

/// The way back.
fn leave() -> Vec<u8> {
    let mut code = vec![0x48, 0x87, 0x3c, 0x24]; // xchg [rsp], rdi
    for number in (0..16).filter(|number| ![4, 7].contains(number)) {
        move_register(&mut code, 0x89, number);
    }
    code.extend([0x9c, 0x8f, 0x87]); // pushfq; pop [rdi + RFLAGS]
    code.extend(RFLAGS.to_le_bytes());
    code.extend([0x8f, 0x87]); // pop [rdi + 7 * 8]
    code.extend(56_u32.to_le_bytes());
    extended(&mut code, 4, AFTER);
    extended(&mut code, 5, HOST);
    code.extend([0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c]); // pop r15 to r12
    code.extend([0x5d, 0x5b, 0xfc, 0xc3]); // pop rbp, rbx; cld; ret
    code
}

/// MOV between a register and its place in the frame.
fn move_register(code: &mut Vec<u8>, opcode: u8, number: u8) {
    code.extend([0x48 | (number >> 3 << 2), opcode, 0x87 | (number & 7) << 3]);
    code.extend((u32::from(number) * 8).to_le_bytes());
}

/// XSAVE64 (4) or XRSTOR64 (5) of [`MOVED`] at an offset of the frame.
fn extended(code: &mut Vec<u8>, operation: u8, offset: u32) {
    code.push(0xb8); // mov eax, MOVED
    code.extend(MOVED.to_le_bytes());
    code.extend([0x31, 0xd2]); // xor edx, edx
    code.extend([0x48, 0x0f, 0xae, 0x87 | operation << 3]);
    code.extend(offset.to_le_bytes());
}
