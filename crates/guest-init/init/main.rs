//! The first process of a guest whose root is a directory of the host: it runs one command there. A program of its
//! own, without a library: `build.rs` compiles it, and the host puts it into the initial RAM disk.
#![no_std]
#![no_main]
#![deny(unsafe_code)]

mod command;
mod mounts;
mod ports;
mod pump;
#[allow(unsafe_code, reason = "there is no libc below this program")]
mod syscall;
mod text;
mod wire;

use core::ffi::CStr;
use core::fmt::Write;

use syscall::Fd;
use text::Line;
use wire::{MAX, TaskText};

/// How long the host may take to end a guest whose command has ended.
const PATIENCE: u64 = 30_000_000;

/// Why the guest does not run its command, for a person.
type Fault = Line;

extern "C" fn start() -> ! {
    if let Err(fault) = run() {
        say(Fd(2), "error: ", &fault);
    }
    syscall::reset()
}

fn run() -> Result<(), Fault> {
    let bytes = task().ok_or(Line::of("the task cannot be read"))?;
    let task = TaskText::parse(bytes).ok_or(Line::of("the task cannot be read"))?;
    mounts::of_the_kernel()?;
    occupy_standard_streams();
    // The driver hears of the ports meanwhile.
    let root = mounts::root(&task);
    let status = ports::status()?;
    let ran = root
        .and_then(|()| command::Streams::open(&task))
        .and_then(|streams| mounts::enter(&task).map(|()| streams))
        .and_then(|streams| command::run(&task, streams, status));
    match ran {
        Ok(ended) => say(status, "", &ended),
        Err(fault) => say(status, "failed ", &fault),
    }
    syscall::sleep(PATIENCE);
    Ok(())
}

fn task() -> Option<&'static [u8]> {
    let file = syscall::open(c"/task", syscall::READ).ok()?;
    let bytes = syscall::memory(MAX)?;
    let mut length = 0;
    loop {
        match syscall::read(file, bytes.get_mut(length..)?).ok()? {
            0 => break,
            more => length += more,
        }
    }
    syscall::close(file);
    bytes.get(..length).filter(|it| it.len() < MAX)
}

/// Files that are opened from here on have numbers above those of the standard streams.
fn occupy_standard_streams() {
    while let Ok(file) = syscall::open(c"/dev/null", syscall::READ_WRITE) {
        if file.0 > 2 {
            syscall::close(file);
            return;
        }
    }
}

/// Writes one line.
fn say(to: Fd, before: &str, line: &Line) {
    let mut text = Line::default();
    let _ = writeln!(text, "{before}{}", line.as_str());
    let _ = syscall::write(to, text.as_str().as_bytes());
}

/// `bytes` with their end as the kernel wants them.
fn c_text(bytes: &[u8]) -> &CStr {
    CStr::from_bytes_until_nul(bytes).unwrap_or(c"")
}

#[panic_handler]
fn on_panic(_: &core::panic::PanicInfo<'_>) -> ! {
    say(Fd(2), "error: ", &Line::of("the first process panicked"));
    syscall::reset()
}
