//! Any file as a qcow2 image, to read and to write: it is refused, or answers with errors at worst.
#![no_main]

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd};

use libfuzzer_sys::fuzz_target;
use vmmkit_guest_memory::{GuestAddress, GuestRam, RamConfig, RamSize, Segment};
use vmmkit_virtio_devices::{BlockConfig, Disk, DiskFormat, Qcow2Disk};

fn memory_file(bytes: &[u8]) -> File {
    // SAFETY: the name is a C string; the descriptor is new and nobody else's.
    let fd = unsafe { libc::memfd_create(c"image".as_ptr(), libc::MFD_CLOEXEC) };
    assert!(fd >= 0);
    // SAFETY: see above.
    let mut file = unsafe { File::from_raw_fd(fd) };
    file.write_all(bytes).unwrap();
    file
}

fuzz_target!(|data: &[u8]| {
    for read_only in [true, false] {
        let file = memory_file(data);
        let config = BlockConfig {
            path: format!("/proc/self/fd/{}", file.as_raw_fd()).into(),
            format: Some(DiskFormat::Qcow2),
            read_only,
            ..BlockConfig::default()
        };
        if let Ok(disk) = Qcow2Disk::open(&config) {
            exercise(&disk, read_only);
        }
    }
});

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
