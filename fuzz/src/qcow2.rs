//! Any file as a qcow2 image, to read and to write: it is refused, or answers with errors at worst. No
//! file that it names is opened, and none is left open.

use std::ffi::CString;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::LazyLock;

use vmmkit_guest_memory::{GuestAddress, GuestRam, RamConfig, RamSize, Segment};
use vmmkit_virtio_devices::{BlockConfig, Disk, DiskFormat, Qcow2Disk};

/// What images of the corpus and of the mutator name: they are there, and can be opened.
const NAMES: [&str; 7] = ["base.img", "victim", "base.raw", "data", "a", "b", "raw"];

/// A folder with these files, and who tells of each that is opened in it: inotify(7).
struct Watched {
    folder: PathBuf,
    inotify: i32,
}

static WATCHED: LazyLock<Watched> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("vmmkit-qcow2-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for name in NAMES {
        std::fs::write(folder.join(name), [0x5a; 4096]).unwrap();
    }
    let path = CString::new(folder.as_os_str().as_bytes()).unwrap();
    // SAFETY: it has no preconditions.
    let inotify = unsafe { libc::inotify_init1(libc::IN_NONBLOCK | libc::IN_CLOEXEC) };
    // SAFETY: the path is a C string that outlives the call.
    let watch = unsafe { libc::inotify_add_watch(inotify, path.as_ptr(), libc::IN_OPEN) };
    assert!(inotify >= 0 && watch >= 0);
    // SAFETY: it has no preconditions; what is called at the end lives as long as the program.
    unsafe { libc::atexit(remove_folder) };
    Watched { folder, inotify }
});

extern "C" fn remove_folder() {
    let _ = std::fs::remove_dir_all(&WATCHED.folder);
}

impl Watched {
    /// Forgets what the target itself has opened.
    fn forget(&self) {
        while !self.opened().is_empty() {}
    }

    /// Names of files that were opened since the last call.
    fn opened(&self) -> Vec<String> {
        let mut bytes = [0_u8; 4096];
        // SAFETY: the buffer has room for so many bytes.
        let length = unsafe { libc::read(self.inotify, bytes.as_mut_ptr().cast(), bytes.len()) };
        let mut rest = &bytes[..usize::try_from(length).unwrap_or(0)];
        let mut names = Vec::new();
        // struct inotify_event: the length of the name is its fourth number.
        while let Some((head, after)) = rest.split_at_checked(16) {
            let length = u32::from_ne_bytes(head[12..].try_into().unwrap()) as usize;
            let (name, after) = after.split_at(length.min(after.len()));
            let name = String::from_utf8_lossy(name)
                .trim_end_matches('\0')
                .to_owned();
            names.push(name);
            rest = after;
        }
        names
    }
}

/// Descriptors of this process.
fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn memory_file(bytes: &[u8]) -> File {
    // SAFETY: the name is a C string; the descriptor is new and nobody else's.
    let fd = unsafe { libc::memfd_create(c"image".as_ptr(), libc::MFD_CLOEXEC) };
    assert!(fd >= 0);
    // SAFETY: see above.
    let mut file = unsafe { File::from_raw_fd(fd) };
    file.write_all(bytes).unwrap();
    file
}

/// The image where it lies: in memory, or beside the files that it may name.
fn try_image(path: PathBuf, read_only: bool) {
    let config = BlockConfig {
        path,
        format: Some(DiskFormat::Qcow2),
        read_only,
        ..BlockConfig::default()
    };
    if let Ok(disk) = Qcow2Disk::open(&config) {
        exercise(&disk, read_only);
    }
}

/// Takes one input.
pub fn run(data: &[u8]) {
    let watched = &*WATCHED;
    let before = descriptors();
    for read_only in [true, false] {
        let file = memory_file(data);
        try_image(
            format!("/proc/self/fd/{}", file.as_raw_fd()).into(),
            read_only,
        );
    }
    let image = watched.folder.join("image.qcow2");
    std::fs::write(&image, data).unwrap();
    watched.forget();
    try_image(image, true);
    let opened = watched.opened();
    // The image itself, which shows that opening is seen.
    assert!(!opened.is_empty());
    for name in opened {
        assert_eq!(name, "image.qcow2", "an image had a file opened");
    }
    assert_eq!(descriptors(), before, "a file stayed open");
}

fn exercise(disk: &dyn Disk, read_only: bool) {
    let ram = GuestRam::new(&RamConfig {
        size: RamSize::mebibytes(1),
        ..RamConfig::default()
    });
    let ram = ram.unwrap();
    let segments = [Segment {
        address: GuestAddress(0x1000),
        length: 4096,
    }];
    let size = disk.size().unwrap();
    for offset in [0, 64 << 10, size.saturating_sub(4096) & !511] {
        if offset.checked_add(4096).is_none_or(|end| end > size) {
            continue;
        }
        let _ = disk.read(&ram, &segments, offset);
        if !read_only {
            let _ = disk.write(&ram, &segments, offset);
            let _ = disk.discard(offset, 4096);
            let _ = disk.write_zeroes(offset, 4096, true);
            let _ = disk.write(&ram, &segments, offset);
            let _ = disk.flush();
        }
    }
}
