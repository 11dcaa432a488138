use std::os::unix::fs::{MetadataExt, symlink};
use std::{fs, io};

use super::*;
use crate::opcode::{DESTROY, FORGET, READDIR, READDIRPLUS, READLINK, RELEASE, RELEASEDIR, STATFS};

/// The names of a directory, as many at a time as have room in `size` bytes; with the nodes where `plus`.
fn names(guest: &mut Guest, node: u64, size: u64, plus: bool) -> Vec<(String, u64)> {
    let handle = guest.open_directory(node).unwrap();
    let (opcode, before) = match plus {
        true => (READDIRPLUS, 128),
        false => (READDIR, 0),
    };
    let (mut offset, mut all) = (0, Vec::new());
    loop {
        let fields = words(&[handle, offset, size, 0, 0]);
        let answer = guest.ask(opcode, node, &fields).unwrap();
        assert!(answer.len() as u64 <= size);
        if answer.is_empty() {
            break;
        }
        let mut rest = answer.as_slice();
        while !rest.is_empty() {
            let entry = &rest[before..];
            let length = half(entry, 16) as usize;
            offset = word(entry, 8);
            let name = String::from_utf8(entry[24..24 + length].to_vec()).unwrap();
            all.push((name, if plus { word(rest, 0) } else { 0 }));
            rest = &rest[before + (24 + length).next_multiple_of(8)..];
        }
    }
    guest
        .ask(RELEASEDIR, node, &words(&[handle, 0, 0]))
        .unwrap();
    all.sort();
    all
}

#[test]
fn a_file_is_found_opened_and_read() {
    let mut guest = Guest::new(Access::ReadOnly);
    let node = guest.walk("inner/deep").unwrap();
    let found = guest.attributes(node).unwrap();
    let real = fs::metadata(guest.shared("inner/deep")).unwrap();
    assert_eq!((word(&found, 0), word(&found, 8)), (real.ino(), 5));
    assert_eq!(half(&found, 60), real.mode());
    assert_eq!(
        (half(&found, 68), half(&found, 72)),
        (real.uid(), real.gid())
    );
    assert_eq!(word(&found, 32), real.mtime() as u64);
    let handle = guest.open(node, 0).unwrap();
    assert_eq!(guest.read(node, handle, 0, 100).unwrap(), b"deep\n");
    assert_eq!(guest.read(node, handle, 3, 1).unwrap(), b"p");
    assert_eq!(guest.read(node, handle, 5, 9).unwrap(), b"");
    let too_far = guest.read(node, handle, u64::MAX, 9);
    assert_eq!(too_far, Err(Errno::INVAL));
    guest.ask(RELEASE, node, &words(&[handle, 0, 0])).unwrap();
    assert_eq!(guest.read(node, handle, 0, 1), Err(Errno::BADF));
    let again = guest.ask(RELEASE, node, &words(&[handle, 0, 0]));
    assert_eq!(again, Err(Errno::BADF));
    assert_eq!(guest.session.counters().read_bytes(), 6);
}

#[test]
fn names_that_are_not_there_and_files_that_are_no_directories() {
    let mut guest = Guest::new(Access::ReadOnly);
    assert_eq!(guest.walk("none"), Err(Errno::NOENT));
    assert_eq!(guest.walk("file/deep"), Err(Errno::NOTDIR));
    let file = guest.walk("file").unwrap();
    assert_eq!(guest.open_directory(file), Err(Errno::NOTDIR));
    assert_eq!(guest.open(ROOT, 0), Err(Errno::ACCESS));
    assert_eq!(guest.ask(READLINK, file, b""), Err(Errno::INVAL));
    assert_eq!(guest.ask(999, ROOT, b""), Err(Errno::NOSYS));
}

#[test]
fn a_directory_is_listed_in_pieces_with_and_without_attributes() {
    let mut guest = Guest::new(Access::ReadOnly);
    let mut expected = vec![(".".to_owned(), 0), ("..".to_owned(), 0)];
    for number in 0..200 {
        let name = format!("name-{number}");
        fs::write(guest.shared("inner").join(&name), "").unwrap();
        expected.push((name, 0));
    }
    expected.push(("deep".to_owned(), 0));
    expected.sort();
    let inner = guest.walk("inner").unwrap();
    assert_eq!(names(&mut guest, inner, 256, false), expected);
    let known = guest.session.counters().inodes();
    let plus = names(&mut guest, inner, 700, true);
    assert_eq!(plus.len(), expected.len());
    for (name, node) in plus {
        match name.as_str() {
            "." | ".." => assert_eq!(node, 0),
            _ => assert_eq!(guest.walk(&format!("inner/{name}")), Ok(node)),
        }
    }
    assert_eq!(guest.session.counters().inodes(), known + 201);
    let handle = guest.open_directory(inner).unwrap();
    let none = guest.ask(READDIR, inner, &words(&[handle, 0, 16, 0, 0]));
    assert_eq!(none.unwrap(), b"");
}

#[test]
fn a_symbolic_link_is_read_and_never_followed() {
    let mut guest = Guest::new(Access::ReadOnly);
    symlink("../secret", guest.shared("link")).unwrap();
    let link = guest.walk("link").unwrap();
    assert_eq!(guest.ask(READLINK, link, b"").unwrap(), b"../secret");
    assert_eq!(half(&guest.attributes(link).unwrap(), 60) >> 12, 0o12);
    assert_eq!(guest.open(link, 0), Err(Errno::ACCESS));
}

#[test]
fn an_inode_is_known_until_it_is_forgotten_as_often_as_it_was_found() {
    let mut guest = Guest::new(Access::ReadOnly);
    let node = guest.walk("file").unwrap();
    assert_eq!(guest.walk("file"), Ok(node));
    assert_eq!(guest.ask(FORGET, node, &words(&[1])).unwrap(), b"");
    assert!(guest.attributes(node).is_ok());
    guest.ask(FORGET, node, &words(&[u64::MAX])).unwrap();
    assert_eq!(guest.attributes(node), Err(Errno::STALE));
    let again = guest.walk("file").unwrap();
    assert_ne!(again, node);
    // The root is never forgotten.
    guest.ask(FORGET, ROOT, &words(&[u64::MAX])).unwrap();
    assert!(guest.attributes(ROOT).is_ok());
    guest.ask(DESTROY, 0, b"").unwrap();
    assert_eq!(guest.attributes(again), Err(Errno::STALE));
}

#[test]
fn hard_links_are_one_inode() {
    let mut guest = Guest::new(Access::ReadOnly);
    fs::hard_link(guest.shared("file"), guest.shared("other")).unwrap();
    assert_eq!(guest.walk("file"), guest.walk("other"));
}

#[test]
fn the_file_system_has_the_hosts_size() {
    let mut guest = Guest::new(Access::ReadOnly);
    let found = guest.ask(STATFS, ROOT, b"").unwrap();
    let real = rustix::fs::statvfs(guest.shared("")).unwrap();
    assert_eq!((found.len(), word(&found, 0)), (80, real.f_blocks));
    assert_eq!(u64::from(half(&found, 44)), real.f_namemax);
}

#[test]
fn what_cannot_be_shared_is_said() {
    let error = Directory::open("/none/of/it", Access::ReadOnly).unwrap_err();
    assert!(error.to_string().contains("/none/of/it"), "{error}");
    let source = std::error::Error::source(&error).unwrap();
    let source = source.downcast_ref::<io::Error>().unwrap();
    assert_eq!(source.kind(), io::ErrorKind::NotFound);
    let error = Directory::open("/proc/self", Access::ReadOnly).unwrap_err();
    assert!(matches!(error, crate::DirectoryError::OfTheKernel { .. }));
    assert!(Directory::open("/proc/version", Access::ReadOnly).is_err());
}
