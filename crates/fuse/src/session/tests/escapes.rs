//! A guest that wants out of the directory, by raw messages: 30 ways, and what is outside stays unread and as it was.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::UnixListener;

use super::*;
use crate::opcode::{
    LINK, MKDIR, MKNOD, READDIR, READLINK, RENAME, RENAME2, RMDIR, SET_HANDLE, SET_MODE, SET_SIZE,
    SETATTR, SYMLINK, UNLINK,
};

type Try = fn(&mut Guest) -> Result<Vec<u8>, Errno>;

fn found(node: Result<u64, Errno>) -> Result<Vec<u8>, Errno> {
    node.map(|node| node.to_le_bytes().to_vec())
}

/// Makes `name` a symbolic link to `target` by the guest's own message; its node.
fn link(guest: &mut Guest, name: &str, target: &str) -> Result<u64, Errno> {
    let made = guest.ask(SYMLINK, ROOT, &texts(name, target))?;
    Ok(word(&made, 0))
}

fn outside(guest: &Guest) -> String {
    guest.place.join("secret").to_str().unwrap().to_owned()
}

fn fields(numbers: &[u32], name: &str) -> Vec<u8> {
    [halves(numbers), text(name)].concat()
}

fn set(valid: u32, handle: u64, size: u64, mode: u32) -> Vec<u8> {
    let mut fields = halves(&[valid, 0]);
    fields.extend(words(&[handle, size, 0, 0, 0, 0]));
    fields.extend(halves(&[0, 0, 0, mode, 0, 0, 0, 0]));
    fields
}

/// Each is refused.
const REFUSED: &[(&str, Try)] = &[
    ("look up ..", |guest| found(guest.look_up(ROOT, ".."))),
    ("look up .. of a directory", |guest| {
        let inner = guest.walk("inner")?;
        found(guest.look_up(inner, ".."))
    }),
    ("look up .", |guest| found(guest.look_up(ROOT, "."))),
    ("look up an absolute path", |guest| {
        let path = outside(guest);
        found(guest.look_up(ROOT, &path))
    }),
    ("look up a path with ..", |guest| {
        found(guest.look_up(ROOT, "../secret"))
    }),
    ("look up a path that goes down first", |guest| {
        found(guest.look_up(ROOT, "inner/../../secret"))
    }),
    (
        "look up the empty name, which O_PATH could take for the directory",
        |guest| found(guest.look_up(ROOT, "")),
    ),
    ("look up beneath a link to a directory", |guest| {
        let link = link(guest, "up", "..")?;
        found(guest.look_up(link, "secret"))
    }),
    ("open a link to a file", |guest| {
        let path = outside(guest);
        let link = link(guest, "out", &path)?;
        found(guest.open(link, 0))
    }),
    ("open a link to a directory", |guest| {
        let link = link(guest, "up", "..")?;
        found(guest.open_directory(link))
    }),
    ("create through a link", |guest| {
        link(guest, "out", "../new")?;
        found(guest.create(ROOT, "out", 1).map(|made| made.0))
    }),
    ("create with a path", |guest| {
        found(guest.create(ROOT, "../new", 1).map(|made| made.0))
    }),
    ("make a directory with a path", |guest| {
        guest.ask(MKDIR, ROOT, &fields(&[0o777, 0], "../new"))
    }),
    ("make a link with a path", |guest| {
        guest.ask(SYMLINK, ROOT, &texts("../new", "x"))
    }),
    ("make a device of the host's memory", |guest| {
        guest.ask(MKNOD, ROOT, &fields(&[0o020_666, 0x101, 0, 0], "mem"))
    }),
    ("make a block device", |guest| {
        guest.ask(MKNOD, ROOT, &fields(&[0o060_666, 0x800, 0, 0], "sda"))
    }),
    ("rename out by a path", |guest| {
        let names = [words(&[ROOT]), texts("file", "../new")].concat();
        guest.ask(RENAME, ROOT, &names)
    }),
    ("rename in by a path", |guest| {
        let names = [words(&[ROOT]), texts("../secret", "mine")].concat();
        guest.ask(RENAME, ROOT, &names)
    }),
    ("rename into the directory behind a link", |guest| {
        let link = link(guest, "up", "..")?;
        let names = [words(&[link]), texts("file", "new")].concat();
        guest.ask(RENAME, ROOT, &names)
    }),
    ("exchange with ..", |guest| {
        let names = [words(&[ROOT, 2]), texts("inner", "..")].concat();
        guest.ask(RENAME2, ROOT, &names)
    }),
    ("move a directory into itself", |guest| {
        let inner = guest.walk("inner")?;
        let names = [words(&[inner]), texts("inner", "loop")].concat();
        guest.ask(RENAME, ROOT, &names)
    }),
    ("remove by a path", |guest| {
        guest.ask(UNLINK, ROOT, &text("../secret"))
    }),
    ("remove the directory itself", |guest| {
        guest.ask(RMDIR, ROOT, &text("."))
    }),
    ("remove the directory above", |guest| {
        guest.ask(RMDIR, ROOT, &text(".."))
    }),
    ("link a file of a node that was never told", |guest| {
        guest.ask(LINK, ROOT, &[words(&[77]), text("mine")].concat())
    }),
    ("link with a path", |guest| {
        let file = guest.walk("file")?;
        guest.ask(LINK, ROOT, &[words(&[file]), text("../new")].concat())
    }),
    ("shorten what a link is to", |guest| {
        let path = outside(guest);
        let link = link(guest, "out", &path)?;
        guest.ask(SETATTR, link, &set(SET_SIZE, 0, 0, 0))
    }),
    ("change the mode of what a link is to", |guest| {
        let path = outside(guest);
        let link = link(guest, "out", &path)?;
        guest.ask(SETATTR, link, &set(SET_MODE, 0, 0, 0o666))
    }),
    ("shorten by a handle that is none", |guest| {
        let file = guest.walk("file")?;
        guest.ask(SETATTR, file, &set(SET_SIZE | SET_HANDLE, 12345, 0, 0))
    }),
    ("list by the handle of a file", |guest| {
        let file = guest.walk("file")?;
        let handle = guest.open(file, 0)?;
        guest.ask(READDIR, ROOT, &words(&[handle, 0, 4096, 0, 0]))
    }),
    ("open a socket of the host's", |guest| {
        let _listener = UnixListener::bind(guest.shared("socket")).unwrap();
        let socket = guest.walk("socket")?;
        found(guest.open(socket, 2))
    }),
    (
        "open a FIFO, whose other end would keep the thread",
        |guest| {
            guest.ask(MKNOD, ROOT, &fields(&[0o010_666, 0, 0, 0], "fifo"))?;
            let fifo = guest.walk("fifo")?;
            found(guest.open(fifo, 0))
        },
    ),
    ("follow a link of procfs, made in the directory", |guest| {
        let link = link(guest, "root", "/proc/self/root")?;
        found(guest.look_up(link, "etc"))
    }),
];

#[test]
fn every_way_out_is_refused() {
    assert!(REFUSED.len() >= 30);
    for (name, attempt) in REFUSED {
        let mut guest = Guest::new(Access::ReadWrite);
        let before = fs::metadata(guest.place.join("secret")).unwrap();
        let answer = attempt(&mut guest);
        assert!(answer.is_err(), "{name}: {answer:?}");
        let secret = fs::read(guest.place.join("secret")).unwrap();
        assert_eq!(secret, b"of the host\n", "{name}");
        let after = fs::metadata(guest.place.join("secret")).unwrap();
        let attributes = |found: &fs::Metadata| (found.mode(), found.nlink(), found.mtime_nsec());
        assert_eq!(attributes(&after), attributes(&before), "{name}");
        let mut names: Vec<_> = fs::read_dir(&guest.place)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["secret", "shared"], "{name}");
    }
}

#[test]
fn a_link_that_is_put_in_the_place_of_a_directory_leads_nowhere() {
    let mut guest = Guest::new(Access::ReadWrite);
    let inner = guest.walk("inner").unwrap();
    fs::rename(guest.shared("inner"), guest.shared("moved")).unwrap();
    symlink("..", guest.shared("inner")).unwrap();
    // The node is still the directory that it was, and the name is a link.
    assert_eq!(guest.look_up(inner, "secret"), Err(Errno::NOENT));
    assert!(guest.look_up(inner, "deep").is_ok());
    let link = guest.walk("inner").unwrap();
    assert_ne!(link, inner);
    assert_eq!(guest.look_up(link, "secret"), Err(Errno::NOTDIR));
}

#[test]
fn no_file_can_be_run_as_its_owner() {
    let mut guest = Guest::new(Access::ReadWrite);
    let node = fields(&[0o106_755, 0, 0, 0], "tool");
    let node = word(&guest.ask(MKNOD, ROOT, &node).unwrap(), 0);
    let mode = |guest: &Guest, name| fs::metadata(guest.shared(name)).unwrap().mode() & 0o7777;
    assert_eq!(mode(&guest, "tool"), 0o755);
    let set = set(SET_MODE, 0, 0, 0o7777);
    guest.ask(SETATTR, node, &set).unwrap();
    assert_eq!(mode(&guest, "tool"), 0o1777);
    guest
        .ask(MKDIR, ROOT, &fields(&[0o6777, 0], "folder"))
        .unwrap();
    assert_eq!(mode(&guest, "folder"), 0o777);
}

#[test]
fn the_hosts_processes_and_kernel_are_not_shown() {
    if !Path::new("/proc/self").exists() {
        return;
    }
    let directory = Directory::open("/", Access::ReadOnly).unwrap();
    let mut guest = Guest::new(Access::ReadOnly);
    guest.session = Session::new(directory.into(), Limits::default());
    for name in ["proc", "sys"] {
        let Ok(node) = guest.walk(name) else { continue };
        assert_eq!(half(&guest.attributes(node).unwrap(), 60) >> 12, 0o4);
        for below in ["self", "version", "1", "kernel"] {
            assert_eq!(guest.look_up(node, below), Err(Errno::NOENT));
        }
        let handle = guest.open_directory(node).unwrap();
        let listed = guest.ask(READDIR, node, &words(&[handle, 0, 4096, 0, 0]));
        assert_eq!(listed.unwrap(), b"");
    }
    // What is really a file of the host's root is there.
    assert!(guest.walk("etc").is_ok());
}

#[test]
fn nothing_is_changed_where_the_directory_is_to_be_read_alone() {
    let mut guest = Guest::new(Access::ReadOnly);
    let file = guest.walk("file").unwrap();
    let handle = guest.open(file, 0).unwrap();
    let read_only = Err(Errno::ROFS);
    for flags in [1, 2, 3, 0o1000, 0o1001, 0o2001] {
        assert_eq!(guest.open(file, flags), Err(Errno::ROFS), "{flags:o}");
    }
    assert_eq!(guest.create(ROOT, "new", 0), Err(Errno::ROFS));
    assert_eq!(guest.write(file, handle, 0, b"x"), Err(Errno::ROFS));
    for (opcode, fields) in [
        (MKDIR, fields(&[0o777, 0], "new")),
        (MKNOD, fields(&[0o100_666, 0, 0, 0], "new")),
        (SYMLINK, texts("new", "x")),
        (LINK, [words(&[file]), text("new")].concat()),
        (UNLINK, text("file")),
        (RMDIR, text("inner")),
        (RENAME, [words(&[ROOT]), texts("file", "new")].concat()),
        (SETATTR, set(SET_MODE, 0, 0, 0)),
    ] {
        assert_eq!(guest.ask(opcode, ROOT, &fields), read_only, "{opcode}");
    }
    assert_eq!(guest.ask(READLINK, ROOT, b""), Err(Errno::INVAL));
    assert_eq!(fs::read(guest.shared("file")).unwrap(), b"of both\n");
    assert!(!guest.shared("new").exists());
}
