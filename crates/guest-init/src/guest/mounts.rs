//! The file systems of the guest.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{MountFlags, mount, mount_move};
use rustix::process::{chdir, chroot};

use super::InitError;
use crate::task::Task;

const LOWER: &str = "/lower";
const UPPER: &str = "/upper";
const ROOT: &str = "/root";
const OVERLAY: &CStr = c"lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work";

/// Those that the kernel shows itself by.
pub(super) fn of_the_kernel() -> Result<(), InitError> {
    let safe = MountFlags::NOSUID | MountFlags::NOEXEC | MountFlags::NODEV;
    attach("proc", "/proc", "proc", safe, None)?;
    attach("sys", "/sys", "sysfs", safe, None)?;
    // The kernel may have it there already.
    match attach("dev", "/dev", "devtmpfs", MountFlags::NOSUID, None) {
        Err(InitError::Mount { source, .. }) if is_busy(&source) => Ok(()),
        other => other,
    }
}

fn is_busy(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::BUSY)
}

/// Makes the shared directory of `task` the root of this process, and of those that it starts.
pub(super) fn root(task: &Task) -> Result<(), InitError> {
    let place = if task.writable { ROOT } else { LOWER };
    let flags = match task.writable {
        true => MountFlags::empty(),
        false => MountFlags::RDONLY,
    };
    attach(&task.tag, place, "virtiofs", flags, None)?;
    if !task.writable {
        attach("upper", UPPER, "tmpfs", MountFlags::empty(), None)?;
        for folder in ["files", "work"] {
            let made = fs::create_dir(Path::new(UPPER).join(folder));
            made.map_err(kernel("a directory over the root"))?;
        }
        attach("root", ROOT, "overlay", MountFlags::empty(), Some(OVERLAY))?;
    }
    for name in ["dev", "proc", "sys"] {
        if has_place(task, name) {
            let (from, to) = (Path::new("/").join(name), Path::new(ROOT).join(name));
            mount_move(from, to).map_err(|errno| kernel("moving a mount")(errno.into()))?;
        }
    }
    own_files(task);
    let moved = chdir(ROOT)
        .and_then(|()| mount_move(".", "/"))
        .and_then(|()| chroot("."))
        .and_then(|()| chdir("/"));
    moved.map_err(|errno| kernel("changing the root")(errno.into()))
}

/// Whether the root has a directory of that name, or can be given one that the host does not see.
fn has_place(task: &Task, name: &str) -> bool {
    let place = Path::new(ROOT).join(name);
    place.is_dir() || !task.writable && fs::create_dir(place).is_ok()
}

/// File systems that are the guest's own, where the root has places for them. A command may do without.
fn own_files(task: &Task) {
    let safe = MountFlags::NOSUID | MountFlags::NODEV;
    if has_place(task, "dev") {
        for (name, kind) in [("dev/pts", "devpts"), ("dev/shm", "tmpfs")] {
            let place = Path::new(ROOT).join(name);
            let _ = fs::create_dir(&place);
            let _ = mount(kind, place, kind, safe, None);
        }
    }
    if has_place(task, "run") {
        let run = Path::new(ROOT).join("run");
        let _ = mount("run", run, "tmpfs", safe, None);
    }
}

fn attach(
    source: &str,
    place: &str,
    what: &'static str,
    flags: MountFlags,
    data: Option<&CStr>,
) -> Result<(), InitError> {
    mount(source, place, what, flags, data).map_err(|errno| InitError::Mount {
        what,
        source: errno.into(),
    })
}

fn kernel(what: &'static str) -> impl FnOnce(io::Error) -> InitError {
    move |source| InitError::Kernel { what, source }
}
