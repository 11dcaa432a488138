//! The file systems of the guest.

use core::ffi::CStr;
use core::fmt::Write;

use crate::syscall::{self, Errno};
use crate::text::Line;
use crate::wire::{TaskText, WRITABLE};
use crate::{Fault, c_text};

const READ_ONLY: usize = 1;
const NO_SUID: usize = 2;
const NO_DEVICES: usize = 4;
const NO_PROGRAMS: usize = 8;
const MOVE: usize = 0x2000;
const OVERLAY: &CStr = c"lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work";

/// Those that the kernel shows itself by.
pub fn of_the_kernel() -> Result<(), Fault> {
    let safe = NO_SUID | NO_PROGRAMS | NO_DEVICES;
    attach(c"proc", c"/proc", c"proc", safe, c"")?;
    attach(c"sys", c"/sys", c"sysfs", safe, c"")?;
    // The kernel may have it there already.
    match syscall::mount(c"dev", c"/dev", c"devtmpfs", NO_SUID, c"") {
        Err(errno) if errno != Errno::BUSY => Err(not_mounted(c"devtmpfs", errno)),
        _ => Ok(()),
    }
}

/// Mounts the shared directory of `task` on /root, with what is written over it where it is not to be changed.
pub fn root(task: &TaskText<'_>) -> Result<(), Fault> {
    let tag = c_text(task.tag);
    if task.has(WRITABLE) {
        return attach(tag, c"/root", c"virtiofs", 0, c"");
    }
    attach(tag, c"/lower", c"virtiofs", READ_ONLY, c"")?;
    attach(c"upper", c"/upper", c"tmpfs", 0, c"")?;
    let _ = syscall::make_directory(c"/upper/files");
    let _ = syscall::make_directory(c"/upper/work");
    attach(c"root", c"/root", c"overlay", 0, OVERLAY)
}

/// Makes /root the root of this process, and of those that it starts.
pub fn enter(task: &TaskText<'_>) -> Result<(), Fault> {
    let kernels = [
        (c"/dev", c"/root/dev"),
        (c"/proc", c"/root/proc"),
        (c"/sys", c"/root/sys"),
    ];
    for (from, to) in kernels {
        // A root that the host sees is given no places.
        if !task.has(WRITABLE) {
            let _ = syscall::make_directory(to);
        }
        match syscall::mount(from, to, c"", MOVE, c"") {
            Err(errno) if errno != Errno::NOT_FOUND && errno != Errno::NO_DIRECTORY => {
                return Err(kernel("moving a mount", errno));
            }
            _ => {}
        }
    }
    own_files(task);
    let moved = syscall::change_directory(c"/root")
        .and_then(|()| syscall::mount(c".", c"/", c"", MOVE, c""))
        .and_then(|()| syscall::change_root(c"."))
        .and_then(|()| syscall::change_directory(c"/"));
    moved.map_err(|errno| kernel("changing the root", errno))
}

/// File systems that are the guest's own, where the root has places for them. A command may do without.
fn own_files(task: &TaskText<'_>) {
    let safe = NO_SUID | NO_DEVICES;
    let _ = syscall::make_directory(c"/root/dev/pts");
    let _ = syscall::make_directory(c"/root/dev/shm");
    let _ = syscall::mount(c"devpts", c"/root/dev/pts", c"devpts", safe, c"");
    let _ = syscall::mount(c"tmpfs", c"/root/dev/shm", c"tmpfs", safe, c"");
    if !task.has(WRITABLE) {
        let _ = syscall::make_directory(c"/root/run");
    }
    let _ = syscall::mount(c"run", c"/root/run", c"tmpfs", safe, c"");
}

fn attach(
    source: &CStr,
    place: &CStr,
    kind: &CStr,
    flags: usize,
    data: &CStr,
) -> Result<(), Fault> {
    let mounted = syscall::mount(source, place, kind, flags, data);
    mounted.map_err(|errno| not_mounted(kind, errno))
}

/// With the option that a kernel lacks which does not know a file system.
fn not_mounted(kind: &CStr, errno: Errno) -> Fault {
    let name = kind.to_str().unwrap_or_default();
    let option = match name {
        "virtiofs" => "CONFIG_VIRTIO_FS",
        "overlay" => "CONFIG_OVERLAY_FS",
        "tmpfs" => "CONFIG_TMPFS",
        _ => "",
    };
    let mut line = Line::default();
    let _ = match errno {
        Errno::NO_DEVICE if !option.is_empty() => write!(
            line,
            "cannot mount {name}: the guest's kernel is built without it ({option}=y)"
        ),
        Errno(number) => write!(line, "cannot mount {name}: error {number}"),
    };
    line
}

/// An attempt that the kernel refuses.
pub fn kernel(what: &str, errno: Errno) -> Fault {
    let mut line = Line::default();
    let _ = write!(line, "{what}: error {}", errno.0);
    line
}
