//! The ports of the guest's virtio consoles, by their names.

use core::fmt::Write;

use crate::syscall::{self, Fd};
use crate::text::Line;
use crate::{Fault, c_text, wire};

/// The driver hears of the ports, and of their names, while the first process runs already: 5 seconds.
const TRIES: u32 = 25_000;
const PAUSE: u64 = 200;
/// Bytes of struct linux_dirent64 before the name, and where its length is.
const ENTRY: usize = 19;
const LENGTH: usize = 16;

/// The port for the status.
pub fn status() -> Result<Fd, Fault> {
    open(wire::STATUS)
}

/// Opens the port `name`, when it is there. It waits for nothing.
pub fn open(name: &str) -> Result<Fd, Fault> {
    for _ in 0..TRIES {
        if let Some(port) = find(name) {
            return Ok(port);
        }
        syscall::sleep(PAUSE);
    }
    let mut line = Line::default();
    let _ = write!(line, "there is no virtio port {name}");
    Err(line)
}

fn find(name: &str) -> Option<Fd> {
    let class = syscall::open(c"/sys/class/virtio-ports", syscall::DIRECTORY).ok()?;
    let mut bytes = [0; 4096];
    let mut found = None;
    while let Some(length @ 1..) = syscall::directory_entries(class, &mut bytes).ok() {
        let mut rest = bytes.get(..length).unwrap_or_default();
        while let Some(size @ [_, _]) = rest.get(LENGTH..LENGTH + 2) {
            let size = usize::from(u16::from_le_bytes([size[0], size[1]]));
            let entry = rest.get(ENTRY..size).unwrap_or_default();
            let entry = c_text(entry).to_str().unwrap_or_default();
            found = found.or_else(|| opened(entry, name));
            rest = rest.get(size.max(ENTRY)..).unwrap_or_default();
        }
    }
    syscall::close(class);
    found
}

/// The port `entry`, if it is called `name`.
fn opened(entry: &str, name: &str) -> Option<Fd> {
    let mut path = Line::default();
    let _ = write!(path, "/sys/class/virtio-ports/{entry}/name\0");
    let file = syscall::open(c_text(path.as_str().as_bytes()), syscall::READ).ok()?;
    let mut bytes = [0; 64];
    let length = syscall::read(file, &mut bytes).unwrap_or(0);
    syscall::close(file);
    if bytes.get(..length)?.trim_ascii_end() != name.as_bytes() {
        return None;
    }
    let mut path = Line::default();
    let _ = write!(path, "/dev/{entry}\0");
    let flags = syscall::READ_WRITE | syscall::NONBLOCK;
    syscall::open(c_text(path.as_str().as_bytes()), flags).ok()
}
