use std::fs;
use std::os::unix::fs::MetadataExt;

use super::*;
use crate::opcode::{
    FALLOCATE, FSYNC, FSYNCDIR, LINK, MKDIR, MKNOD, RENAME, RENAME2, RMDIR, SET_MODE, SET_MTIME,
    SET_SIZE, SET_UID, SETATTR, SYMLINK, UNLINK,
};

const WRITE_ONLY: u32 = 1;
const READ_WRITE: u32 = 2;
const EXCLUSIVE: u32 = 0o200;

/// The fields of SETATTR.
fn set(valid: u32, size: u64, mtime: u64, mode: u32, uid: u32) -> Vec<u8> {
    let mut fields = halves(&[valid, 0]);
    fields.extend(words(&[0, size, 0, 0, mtime, 0]));
    fields.extend(halves(&[0, 7, 0, mode, 0, uid, 0, 0]));
    fields
}

#[test]
fn a_file_is_made_written_cut_and_synced() {
    let mut guest = Guest::new(Access::ReadWrite);
    let (node, handle) = guest.create(ROOT, "new", READ_WRITE).unwrap();
    assert_eq!(guest.write(node, handle, 2, b"words").unwrap(), 5);
    assert_eq!(guest.read(node, handle, 0, 99).unwrap(), b"\0\0words");
    guest.ask(FSYNC, node, &words(&[handle, 1])).unwrap();
    guest.ask(FSYNC, node, &words(&[handle, 0])).unwrap();
    let allocated = words(&[handle, 0, 100, 0]);
    guest.ask(FALLOCATE, node, &allocated).unwrap();
    assert_eq!(fs::metadata(guest.shared("new")).unwrap().len(), 100);
    let odd = guest.ask(FALLOCATE, node, &words(&[handle, 0, 100, 0x40]));
    assert_eq!(odd, Err(Errno::OPNOTSUPP));
    let answer = guest
        .ask(SETATTR, node, &set(SET_SIZE | SET_MTIME, 4, 1000, 0, 0))
        .unwrap();
    assert_eq!(word(&answer, 24), 4);
    let real = fs::metadata(guest.shared("new")).unwrap();
    assert_eq!((real.len(), real.mtime(), real.mtime_nsec()), (4, 1000, 7));
    guest
        .ask(SETATTR, node, &set(SET_MODE, 0, 0, 0o600, 0))
        .unwrap();
    assert_eq!(
        fs::metadata(guest.shared("new")).unwrap().mode() & 0o7777,
        0o600
    );
    let nobody = guest.ask(SETATTR, node, &set(SET_UID, 0, 0, 0, u32::MAX));
    assert_eq!(nobody, Err(Errno::INVAL));
    assert_eq!(guest.session.counters().written_bytes(), 5);
}

#[test]
fn a_write_of_more_than_the_message_has_is_refused() {
    let mut guest = Guest::new(Access::ReadWrite);
    let (node, handle) = guest.create(ROOT, "new", WRITE_ONLY).unwrap();
    let short = words(&[handle, 0, 100, 0, 0]);
    assert_eq!(guest.ask(WRITE, node, &short), Err(Errno::INVAL));
    assert_eq!(guest.read(node, handle, 0, 1), Err(Errno::BADF));
    assert_eq!(guest.write(node, 99, 0, b"x"), Err(Errno::BADF));
}

#[test]
fn names_are_made_moved_linked_and_removed() {
    let mut guest = Guest::new(Access::ReadWrite);
    let made = [halves(&[0o750, 0]), text("folder")].concat();
    let folder = word(&guest.ask(MKDIR, ROOT, &made).unwrap(), 0);
    assert_eq!(
        fs::metadata(guest.shared("folder")).unwrap().mode() & 0o777,
        0o750
    );
    assert_eq!(guest.ask(MKDIR, ROOT, &made), Err(Errno::EXIST));
    guest.ask(SYMLINK, folder, &texts("link", "/etc")).unwrap();
    let target = fs::read_link(guest.shared("folder/link")).unwrap();
    assert_eq!(target, Path::new("/etc"));
    let fifo = [halves(&[0o010_640, 0, 0, 0]), text("fifo")].concat();
    guest.ask(MKNOD, folder, &fifo).unwrap();

    let file = guest.walk("file").unwrap();
    let moved = [words(&[folder]), texts("file", "moved")].concat();
    guest.ask(RENAME, ROOT, &moved).unwrap();
    assert_eq!(guest.walk("folder/moved"), Ok(file));
    let linked = [words(&[file]), text("linked")].concat();
    assert_eq!(word(&guest.ask(LINK, ROOT, &linked).unwrap(), 0), file);
    // With RENAME_NOREPLACE, and with a flag that a guest may not have: RENAME_WHITEOUT.
    let rename = |flags: u64| [words(&[ROOT, flags]), texts("moved", "linked")].concat();
    assert_eq!(guest.ask(RENAME2, folder, &rename(1)), Err(Errno::EXIST));
    assert_eq!(guest.ask(RENAME2, folder, &rename(4)), Err(Errno::INVAL));

    for name in ["link", "fifo", "moved"] {
        guest.ask(UNLINK, folder, &text(name)).unwrap();
    }
    let handle = guest.open_directory(folder).unwrap();
    guest.ask(FSYNCDIR, folder, &words(&[handle, 0])).unwrap();
    guest.ask(RMDIR, ROOT, &text("folder")).unwrap();
    assert!(!guest.shared("folder").exists());
    assert_eq!(fs::read(guest.shared("linked")).unwrap(), b"of both\n");
}

#[test]
fn a_file_that_is_there_is_made_only_once() {
    let mut guest = Guest::new(Access::ReadWrite);
    let exclusive = guest.create(ROOT, "file", WRITE_ONLY | EXCLUSIVE);
    assert_eq!(exclusive, Err(Errno::EXIST));
    let (node, handle) = guest.create(ROOT, "file", WRITE_ONLY).unwrap();
    guest.write(node, handle, 0, b"OF").unwrap();
    assert_eq!(fs::read(guest.shared("file")).unwrap(), b"OF both\n");
    assert_eq!(guest.create(ROOT, "inner", WRITE_ONLY), Err(Errno::EXIST));
}

#[test]
fn a_file_without_a_name_lives_as_long_as_it_is_open() {
    let mut guest = Guest::new(Access::ReadWrite);
    let (node, handle) = guest.create(ROOT, "gone", READ_WRITE).unwrap();
    guest.write(node, handle, 0, b"here").unwrap();
    guest.ask(UNLINK, ROOT, &text("gone")).unwrap();
    assert_eq!(guest.read(node, handle, 0, 9).unwrap(), b"here");
    assert_eq!(half(&guest.attributes(node).unwrap(), 64), 0);
    // Another file of that name is another inode.
    let (other, _) = guest.create(ROOT, "gone", READ_WRITE).unwrap();
    assert_ne!(other, node);
}
