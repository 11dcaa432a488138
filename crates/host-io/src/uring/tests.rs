use std::fs::File;
use std::os::unix::fs::FileExt;

use rustix::fs::{MemfdFlags, memfd_create};
use vm_memory::bitmap::{AtomicBitmap, Bitmap, NewBitmap};
use vm_memory::mmap::MmapRegionBuilder;
use vm_memory::{Bytes, GuestMemoryBackend, GuestMemoryRegion, GuestRegionMmap};

use super::*;
use crate::{Interest, Poller};

const SIZE: usize = 1 << 20;

/// RAM of 1 MiB from 0, with a dirty log.
fn memory() -> SharedMemory<AtomicBitmap> {
    let log = AtomicBitmap::with_len(SIZE);
    let mapping = MmapRegionBuilder::new_with_bitmap(SIZE, log)
        .with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE)
        .with_mmap_flags(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS)
        .build()
        .unwrap();
    let region = GuestRegionMmap::new(mapping, GuestAddress(0)).unwrap();
    Arc::new(GuestMemoryMmap::from_regions(vec![region]).unwrap())
}

fn is_dirty(memory: &SharedMemory<AtomicBitmap>, address: u64) -> bool {
    let region = memory.find_region(GuestAddress(address)).unwrap();
    region.bitmap().dirty_at(address as usize)
}

fn file(bytes: &[u8]) -> File {
    let file = File::from(memfd_create("test", MemfdFlags::CLOEXEC).unwrap());
    file.write_all_at(bytes, 0).unwrap();
    file
}

/// A ring, unless this host refuses it.
fn ring(
    memory: &SharedMemory<AtomicBitmap>,
    file: &File,
    depth: u16,
) -> Option<Uring<AtomicBitmap>> {
    match Uring::new(memory.clone(), file, depth) {
        Ok(ring) => Some(ring),
        Err(error) if Uring::is_refused(&error) => None,
        Err(error) => panic!("{error}"),
    }
}

/// Waits for everything in flight; the results by number.
fn finish(ring: &mut Uring<AtomicBitmap>) -> Vec<(u64, io::Result<()>)> {
    let mut results = Vec::new();
    while ring.in_flight() > 0 {
        ring.wait().unwrap();
        while let Some(done) = ring.completed() {
            results.push((done.user_data, done.result));
        }
    }
    results.sort_by_key(|result| result.0);
    results
}

fn buffer(address: u64, length: u32) -> (GuestAddress, u32) {
    (GuestAddress(address), length)
}

#[test]
fn many_operations_go_by_one_submission_and_come_back_by_their_numbers() {
    let (memory, file) = (memory(), file(b"0123456789abcdef"));
    let Some(mut ring) = ring(&memory, &file, 8) else {
        return;
    };
    let poller = Poller::new().unwrap();
    poller
        .add(&**ring.event(), 1, Interest::EachArrival)
        .unwrap();
    memory.write_slice(b"WXYZ", GuestAddress(0x5000)).unwrap();
    ring.read(7, 4, [buffer(0x3000, 2), buffer(0x1000, 6)])
        .unwrap();
    ring.write(8, 12, true, [buffer(0x5000, 4)]).unwrap();
    assert_eq!(ring.in_flight(), 2);
    ring.submit().unwrap();
    poller.wait(&mut Vec::new()).unwrap();
    let results = finish(&mut ring);
    assert_eq!(
        results.iter().map(|result| result.0).collect::<Vec<_>>(),
        [7, 8]
    );
    assert!(results.iter().all(|result| result.1.is_ok()));
    let mut read = [0; 6];
    memory.read_slice(&mut read, GuestAddress(0x1000)).unwrap();
    assert_eq!(&read, b"6789ab");
    memory
        .read_slice(&mut read[..2], GuestAddress(0x3000))
        .unwrap();
    assert_eq!(&read[..2], b"45");
    file.read_exact_at(&mut read[..4], 12).unwrap();
    assert_eq!(&read[..4], b"WXYZ");
    assert!(is_dirty(&memory, 0x1000) && is_dirty(&memory, 0x3000));
    assert!(!is_dirty(&memory, 0x2000));
}

#[test]
fn holes_and_zeroes_are_made_and_data_is_synced() {
    let (memory, file) = (memory(), file(&[7; 3 * 4096]));
    let Some(mut ring) = ring(&memory, &file, 4) else {
        return;
    };
    ring.punch_hole(1, 4096, 4096).unwrap();
    ring.sync_data(2).unwrap();
    assert!(finish(&mut ring).iter().all(|result| result.1.is_ok()));
    let mut bytes = [0; 3 * 4096];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert!(
        bytes[..4096]
            .iter()
            .chain(&bytes[8192..])
            .all(|byte| *byte == 7)
    );
    assert!(bytes[4096..8192].iter().all(|byte| *byte == 0));
    // tmpfs, which a memfd lies in, has no FALLOC_FL_ZERO_RANGE.
    ring.zero_range(3, 0, 4096).unwrap();
    let error = finish(&mut ring).remove(0).1.unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EOPNOTSUPP));
}

#[test]
fn a_full_disk_and_the_end_of_a_file_are_errors() {
    let memory = memory();
    let full = File::options()
        .read(true)
        .write(true)
        .open("/dev/full")
        .unwrap();
    let Some(mut ring) = ring(&memory, &full, 4) else {
        return;
    };
    ring.write(1, 0, false, [buffer(0, 512)]).unwrap();
    let error = finish(&mut ring).remove(0).1.unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));
    let short = file(&[1; 600]);
    let mut ring = Uring::new(memory.clone(), &short, 4).unwrap();
    ring.read(2, 512, [buffer(0, 512)]).unwrap();
    let error = finish(&mut ring).remove(0).1.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn more_buffers_than_one_call_takes_are_done_in_parts() {
    let bytes: Vec<u8> = (0..3000).map(|index| (index % 251) as u8).collect();
    let (memory, file) = (memory(), file(&bytes));
    let Some(mut ring) = ring(&memory, &file, 4) else {
        return;
    };
    ring.read(1, 0, (0..3000).map(|index| buffer(index * 2, 1)))
        .unwrap();
    finish(&mut ring).remove(0).1.unwrap();
    let mut read = vec![0; 6000];
    memory.read_slice(&mut read, GuestAddress(0)).unwrap();
    assert!(read.iter().step_by(2).eq(&bytes));
}

#[test]
fn a_full_ring_and_a_buffer_outside_ram_are_refused() {
    let (memory, file) = (memory(), file(&[0; 4096]));
    let Some(mut ring) = ring(&memory, &file, 2) else {
        return;
    };
    for outside in [buffer(SIZE as u64 - 1, 2), buffer(u64::MAX, 1)] {
        let error = ring.read(1, 0, [buffer(0, 1), outside]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
    assert_eq!(ring.in_flight(), 0);
    for number in 0..2 {
        ring.read(number, 0, [buffer(0, 1)]).unwrap();
    }
    assert!(ring.is_full());
    let error = ring.read(2, 0, [buffer(0, 1)]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    assert_eq!(finish(&mut ring).len(), 2);
    assert!(!ring.is_full());
}

#[test]
fn dropping_it_waits_for_what_is_in_flight() {
    let (memory, file) = (memory(), file(&[0; 4096]));
    memory.write_slice(&[9; 4096], GuestAddress(0)).unwrap();
    let Some(mut ring) = ring(&memory, &file, 16) else {
        return;
    };
    for number in 0..16 {
        ring.write(number, number * 256, false, [buffer(0, 256)])
            .unwrap();
    }
    drop(ring);
    let mut bytes = [0; 4096];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(bytes, [9; 4096]);
    assert_eq!(Arc::strong_count(&memory), 1);
}

#[test]
fn refusals_are_told_from_other_errors() {
    for errno in [libc::EPERM, libc::ENOSYS] {
        assert!(Uring::is_refused(&io::Error::from_raw_os_error(errno)));
    }
    assert!(!Uring::is_refused(&io::Error::from_raw_os_error(
        libc::EMFILE
    )));
}

#[test]
fn a_host_that_refuses_for_good_is_an_error_after_some_time_and_no_end_waits_for_it() {
    let (memory, file) = (memory(), file(&[1; 4096]));
    for refusal in [
        |_: &IoUring, _| Err(io::Error::from_raw_os_error(libc::EAGAIN)),
        |_: &IoUring, _| Err(io::Error::from_raw_os_error(libc::EBUSY)),
        |_: &IoUring, _| Err(io::Error::from_raw_os_error(libc::ENOMEM)),
    ] {
        let Some(mut ring) = ring(&memory, &file, 4) else {
            return;
        };
        let works = ring.call;
        ring.call = refusal;
        // For a while it is tried again, and then goes on.
        ring.read(1, 0, [(GuestAddress(0), 512)]).unwrap();
        ring.submit().unwrap();
        ring.wait().unwrap();
        assert_eq!(ring.in_flight(), 1);
        ring.call = works;
        assert_eq!(finish(&mut ring).len(), 1);
        // For good.
        (ring.call, ring.patience) = (refusal, Duration::from_millis(20));
        ring.read(2, 0, [(GuestAddress(0), 512)]).unwrap();
        while ring.wait().is_ok() {}
        assert!(ring.submit().is_err());
        drop(ring);
    }
}

#[test]
fn a_ring_that_is_closed_gives_back_what_the_host_has_not_taken_and_completes_the_rest() {
    let (memory, file) = (memory(), file(&[1; 4096]));
    let Some(mut ring) = ring(&memory, &file, 4) else {
        return;
    };
    ring.read(1, 0, [buffer(0, 512)]).unwrap();
    ring.submit().unwrap();
    ring.call = |_, _| Err(io::Error::from_raw_os_error(libc::EAGAIN));
    ring.patience = Duration::ZERO;
    ring.read(2, 0, [buffer(512, 512)]).unwrap();
    ring.read(3, 0, [buffer(1024, 512)]).unwrap();
    assert!(ring.submit().is_err());
    let mut untaken = ring.close();
    untaken.sort_unstable();
    assert_eq!((untaken, ring.close()), (vec![2, 3], vec![]));
    let taken = finish(&mut ring);
    assert_eq!(taken.len(), 1);
    assert_eq!(ring.in_flight(), 0);
    let error = ring.read(4, 0, [buffer(0, 512)]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    ring.submit().unwrap();
    ring.wait().unwrap();
    assert!(ring.completed().is_none());
}

#[test]
fn a_ring_takes_nothing_but_its_operations_on_its_file() {
    use io_uring::{opcode, types};
    let (memory, file) = (memory(), file(b"0123456789abcdef"));
    let Some(mut ring) = ring(&memory, &file, 8) else {
        return;
    };
    let path = c"/etc/passwd".as_ptr();
    let zero = types::Fixed(0);
    let raw = types::Fd(file.as_raw_fd());
    let mut byte = [libc::iovec {
        iov_base: std::ptr::null_mut(),
        iov_len: 0,
    }];
    let refused = [
        (
            "openat",
            opcode::OpenAt::new(types::Fd(libc::AT_FDCWD), path).build(),
        ),
        (
            "socket",
            opcode::Socket::new(libc::AF_INET, libc::SOCK_STREAM, 0).build(),
        ),
        (
            "another file",
            opcode::Readv::new(raw, byte.as_mut_ptr(), 1).build(),
        ),
        ("fsync of another file", opcode::Fsync::new(raw).build()),
        ("nop", opcode::Nop::new().build()),
        (
            "read",
            opcode::Read::new(zero, std::ptr::null_mut(), 0).build(),
        ),
        (
            "provide buffers",
            opcode::ProvideBuffers::new(std::ptr::null_mut(), 0, 1, 0, 0).build(),
        ),
        (
            "unlinkat",
            opcode::UnlinkAt::new(types::Fd(libc::AT_FDCWD), c"/x".as_ptr()).build(),
        ),
        (
            "linked",
            opcode::Fsync::new(zero)
                .build()
                .flags(io_uring::squeue::Flags::IO_LINK),
        ),
    ];
    for (name, entry) in refused {
        // SAFETY: what the entries point to is static or outlives the wait below; none is performed.
        unsafe { ring.ring.submission().push(&entry).unwrap() };
        ring.ring.submit_and_wait(1).unwrap();
        let result = ring.ring.completion().next().unwrap().result();
        assert_eq!(result, -libc::EACCES, "{name}");
    }
    let other = ring.ring.submitter().register_files(&[file.as_raw_fd()]);
    assert_eq!(other.unwrap_err().raw_os_error(), Some(libc::EACCES));
    // What it is for goes on.
    ring.read(1, 0, [buffer(0x1000, 4)]).unwrap();
    ring.sync_data(2).unwrap();
    assert!(finish(&mut ring).iter().all(|(_, result)| result.is_ok()));
}
