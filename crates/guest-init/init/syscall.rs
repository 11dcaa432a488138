//! System calls of Linux on x86-64, the entry point, and the functions of memory that the compiler calls: the one file
//! of the program with unsafe code.

use core::arch::{asm, global_asm};
use core::ffi::CStr;

// The kernel starts a program with its arguments on the stack; this one has none. What the compiler calls to copy,
// fill and compare memory is a libc's otherwise.
global_asm!(
    ".globl _start",
    "_start: xor ebp, ebp",
    "and rsp, -16",
    "call {main}",
    "ud2",
    ".globl memcpy",
    "memcpy: mov rax, rdi",
    "mov rcx, rdx",
    "rep movsb",
    "ret",
    ".globl memmove",
    "memmove: mov rax, rdi",
    "mov rcx, rdx",
    "mov r8, rdi",
    "sub r8, rsi",
    "cmp r8, rdx",
    "jb 2f",
    "rep movsb",
    "ret",
    "2: lea rdi, [rdi + rdx - 1]",
    "lea rsi, [rsi + rdx - 1]",
    "std",
    "rep movsb",
    "cld",
    "ret",
    ".globl memset",
    "memset: mov r8, rdi",
    "mov eax, esi",
    "mov rcx, rdx",
    "rep stosb",
    "mov rax, r8",
    "ret",
    ".globl bcmp",
    ".globl memcmp",
    "bcmp:",
    "memcmp: xor ecx, ecx",
    "3: cmp rcx, rdx",
    "je 4f",
    "movzx eax, byte ptr [rdi + rcx]",
    "movzx r8d, byte ptr [rsi + rcx]",
    "inc rcx",
    "sub eax, r8d",
    "je 3b",
    "ret",
    "4: xor eax, eax",
    "ret",
    main = sym crate::start,
);

/// A number of errno(3).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub u16);

impl Errno {
    pub const NOT_FOUND: Self = Self(2);
    pub const INTERRUPTED: Self = Self(4);
    pub const NOT_EXECUTABLE: Self = Self(8);
    pub const NOT_NOW: Self = Self(11);
    pub const NO_ACCESS: Self = Self(13);
    pub const BUSY: Self = Self(16);
    pub const NO_DEVICE: Self = Self(19);
    pub const NO_DIRECTORY: Self = Self(20);
}

pub type Result<T> = core::result::Result<T, Errno>;

/// A descriptor. It is open until [`close`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fd(pub u32);

pub const READ: usize = 0;
pub const READ_WRITE: usize = 2;
pub const NONBLOCK: usize = 0o4000;
pub const DIRECTORY: usize = 0o200_000;
const CLOEXEC: usize = 0o2_000_000;

/// One call with numbers and addresses.
///
/// # Safety
/// Memory that the kernel writes to in this call is the caller's to change, and no mapping changes under a reference.
unsafe fn call(number: usize, arguments: &[usize]) -> Result<usize> {
    let at = |index: usize| arguments.get(index).copied().unwrap_or(0);
    let value: isize;
    // SAFETY: the kernel keeps all registers but those named; memory is as the caller vouches for.
    unsafe {
        asm!("syscall", inlateout("rax") number as isize => value, in("rdi") at(0), in("rsi") at(1), in("rdx") at(2),
             in("r10") at(3), in("r8") at(4), in("r9") at(5), lateout("rcx") _, lateout("r11") _);
    }
    match value {
        -4095..=-1 => Err(Errno(value.unsigned_abs() as u16)),
        _ => Ok(value as usize),
    }
}

/// A call in which the kernel writes to no memory of this process.
fn plain(number: usize, arguments: &[usize]) -> Result<usize> {
    // SAFETY: of the calls below none writes to memory, and none changes mappings.
    unsafe { call(number, arguments) }
}

fn address(text: &CStr) -> usize {
    text.as_ptr() as usize
}

pub fn open(path: &CStr, flags: usize) -> Result<Fd> {
    plain(2, &[address(path), flags | CLOEXEC]).map(|number| Fd(number as u32))
}

pub fn close(fd: Fd) {
    let _ = plain(3, &[fd.0 as usize]);
}

pub fn write(fd: Fd, bytes: &[u8]) -> Result<usize> {
    plain(1, &[fd.0 as usize, bytes.as_ptr() as usize, bytes.len()])
}

pub fn read(fd: Fd, bytes: &mut [u8]) -> Result<usize> {
    // SAFETY: the kernel writes to `bytes` alone.
    unsafe {
        call(
            0,
            &[fd.0 as usize, bytes.as_mut_ptr() as usize, bytes.len()],
        )
    }
}

/// struct linux_dirent64, one after the other.
pub fn directory_entries(fd: Fd, bytes: &mut [u8]) -> Result<usize> {
    // SAFETY: the kernel writes to `bytes` alone.
    unsafe {
        call(
            217,
            &[fd.0 as usize, bytes.as_mut_ptr() as usize, bytes.len()],
        )
    }
}

/// Zeroed memory, for good; none where there is no more.
pub fn memory(length: usize) -> Option<&'static mut [u8]> {
    let (readable_writable, private_anonymous) = (3, 0x22);
    // SAFETY: a new mapping, which nothing else has.
    let place = unsafe {
        call(
            9,
            &[
                0,
                length,
                readable_writable,
                private_anonymous,
                usize::MAX,
                0,
            ],
        )
    };
    // SAFETY: the kernel has made that many bytes there, readable, writable and zeroed, and they are never unmapped.
    place
        .ok()
        .map(|place| unsafe { core::slice::from_raw_parts_mut(place as *mut u8, length) })
}

/// Zeroed words, as [`memory`].
pub fn words(count: usize) -> Option<&'static mut [usize]> {
    let bytes = memory(count.checked_mul(size_of::<usize>())?)?;
    // SAFETY: a mapping is aligned to pages, and any bytes are words.
    Some(unsafe { core::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), count) })
}

/// The ends to read and to write.
pub fn pipe() -> Result<[Fd; 2]> {
    let mut ends = [0_u32; 2];
    // SAFETY: the kernel writes two words to `ends`.
    unsafe { call(293, &[ends.as_mut_ptr() as usize, CLOEXEC])? };
    Ok(ends.map(Fd))
}

/// struct pollfd.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Poll {
    pub fd: i32,
    pub wanted: u16,
    pub found: u16,
}

pub fn poll(list: &mut [Poll], milliseconds: i32) -> Result<usize> {
    // SAFETY: the kernel writes to the list alone.
    unsafe {
        call(
            7,
            &[
                list.as_mut_ptr() as usize,
                list.len(),
                milliseconds as usize,
            ],
        )
    }
}

/// Makes `to` the same file as `from`, open in a program that this process becomes.
pub fn duplicate(from: Fd, to: Fd) {
    let _ = plain(33, &[from.0 as usize, to.0 as usize]);
}

pub fn set_nonblocking(fd: Fd) {
    let (set_flags, read_write) = (4, 2);
    let _ = plain(72, &[fd.0 as usize, set_flags, NONBLOCK | read_write]);
}

/// 0 in the new process.
pub fn fork() -> Result<i32> {
    plain(57, &[]).map(|process| process as i32)
}

/// `arguments` and `environment` are addresses of texts that end with 0, and a 0.
pub fn execute(path: &CStr, arguments: &[usize], environment: &[usize]) -> Errno {
    let lists = [arguments.as_ptr() as usize, environment.as_ptr() as usize];
    match plain(59, &[address(path), lists[0], lists[1]]) {
        Err(errno) => errno,
        Ok(_) => Errno(0),
    }
}

/// A child that has ended, and its status (wait(2)); none where all run.
pub fn ended_child() -> Option<(i32, i32)> {
    let mut status = 0_i32;
    let no_wait = 1;
    // SAFETY: the kernel writes to `status`.
    let child = unsafe { call(61, &[usize::MAX, &raw mut status as usize, no_wait, 0]) };
    child
        .ok()
        .filter(|child| *child > 0)
        .map(|child| (child as i32, status))
}

pub fn kill(process: i32, signal: u8) {
    let _ = plain(62, &[process as isize as usize, signal.into()]);
}

const CHILD_SIGNAL: u64 = 1 << 16;

/// Has the end of children told by a descriptor to read.
pub fn child_ends() -> Result<Fd> {
    set_signals(0, CHILD_SIGNAL);
    let mask = CHILD_SIGNAL;
    plain(
        289,
        &[usize::MAX, &raw const mask as usize, 8, NONBLOCK | CLOEXEC],
    )
    .map(|number| Fd(number as u32))
}

/// Undoes what [`child_ends`] did to signals, in a new process.
pub fn unblock_signals() {
    set_signals(1, CHILD_SIGNAL);
}

fn set_signals(how: usize, mask: u64) {
    let _ = plain(14, &[how, &raw const mask as usize, 0, 8]);
}

pub fn mount(source: &CStr, place: &CStr, kind: &CStr, flags: usize, data: &CStr) -> Result<()> {
    let texts = [
        address(source),
        address(place),
        address(kind),
        flags,
        address(data),
    ];
    plain(165, &texts).map(drop)
}

pub fn make_directory(path: &CStr) -> Result<()> {
    plain(83, &[address(path), 0o755]).map(drop)
}

pub fn change_directory(path: &CStr) -> Result<()> {
    plain(80, &[address(path)]).map(drop)
}

pub fn change_root(path: &CStr) -> Result<()> {
    plain(161, &[address(path)]).map(drop)
}

pub fn set_host_name(name: &[u8]) {
    let _ = plain(170, &[name.as_ptr() as usize, name.len()]);
}

/// No other groups, the group, the user.
pub fn become_user(user: u32, group: u32) -> Result<()> {
    plain(116, &[0, 0])?;
    plain(106, &[group as usize])?;
    plain(105, &[user as usize]).map(drop)
}

/// A session of its own, whose terminal is the next that it opens.
pub fn new_session() {
    let _ = plain(112, &[]);
}

/// A process group of its own.
pub fn new_group() {
    let _ = plain(109, &[0, 0]);
}

/// Waits until the host has all that was written to a terminal.
pub fn drain(terminal: Fd) {
    let break_of = 0x5409;
    let _ = plain(16, &[terminal.0 as usize, break_of, 1]);
}

pub fn sleep(microseconds: u64) {
    let time = [microseconds / 1_000_000, microseconds % 1_000_000 * 1000];
    let _ = plain(35, &[time.as_ptr() as usize, 0]);
}

/// Resets the machine. It is over.
pub fn reset() -> ! {
    let (first, second, restart) = (0xfee1_dead, 0x2812_1969, 0x0123_4567);
    loop {
        let _ = plain(169, &[first, second, restart]);
        let _ = plain(60, &[1]);
    }
}

/// Ends this process, which is not the first one.
pub fn exit(code: u8) -> ! {
    loop {
        let _ = plain(60, &[code.into()]);
    }
}
