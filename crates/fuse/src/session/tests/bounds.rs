use std::fs;

use super::*;
use crate::opcode::FORGET;

const FEW: Limits = Limits {
    inodes: 40,
    files: 3,
    descriptors: 8,
};

/// A guest with 30 files, each with its number in it.
fn many() -> Guest {
    let guest = Guest::with_limits(Access::ReadWrite, FEW);
    for number in 0..30 {
        let name = format!("inner/{number}");
        fs::write(guest.shared(name), number.to_string()).unwrap();
    }
    guest
}

#[test]
fn descriptors_are_closed_and_opened_again() {
    let mut guest = many();
    let nodes: Vec<_> = (0..30)
        .map(|number| guest.walk(&format!("inner/{number}")).unwrap())
        .collect();
    assert_eq!(guest.session.counters().inodes(), 31);
    for (number, node) in nodes.iter().enumerate() {
        let handle = guest.open(*node, 0).unwrap();
        let text = guest.read(*node, handle, 0, 9).unwrap();
        assert_eq!(text, number.to_string().as_bytes());
        guest.ask(18, *node, &words(&[handle, 0, 0])).unwrap();
        assert!(guest.session.counters().descriptors() <= 8);
    }
}

#[test]
fn an_inode_whose_name_is_another_files_by_now_is_stale() {
    let mut guest = many();
    let first = guest.walk("inner/0").unwrap();
    for number in 1..30 {
        guest.walk(&format!("inner/{number}")).unwrap();
    }
    fs::rename(guest.shared("inner/1"), guest.shared("inner/0")).unwrap();
    assert_eq!(guest.attributes(first), Err(Errno::STALE));
    // A symbolic link in its place is not followed either.
    let second = guest.walk("inner/2").unwrap();
    for number in 3..30 {
        guest.walk(&format!("inner/{number}")).unwrap();
    }
    fs::remove_file(guest.shared("inner/2")).unwrap();
    std::os::unix::fs::symlink("../../secret", guest.shared("inner/2")).unwrap();
    assert_eq!(guest.attributes(second), Err(Errno::STALE));
}

#[test]
fn directories_that_the_host_turns_round_end_no_search() {
    let mut guest = many();
    fs::create_dir_all(guest.shared("a/b")).unwrap();
    let inner = guest.walk("a/b").unwrap();
    let outer = guest.walk("a").unwrap();
    fs::rename(guest.shared("a/b"), guest.shared("b")).unwrap();
    fs::rename(guest.shared("a"), guest.shared("b/a")).unwrap();
    assert_eq!(guest.look_up(inner, "a"), Ok(outer));
    // Each is the other's parent now; their descriptors are closed.
    for number in 0..30 {
        guest.walk(&format!("inner/{number}")).unwrap();
    }
    assert_eq!(guest.attributes(inner), Err(Errno::STALE));
}

#[test]
fn inodes_and_open_files_have_a_bound() {
    let mut guest = many();
    for number in 0..30 {
        guest.walk(&format!("inner/{number}")).unwrap();
        fs::write(guest.shared(format!("more-{number}")), "").unwrap();
    }
    let more: Vec<_> = (0..30)
        .map(|number| guest.walk(&format!("more-{number}")))
        .collect();
    assert_eq!(more[8], more[8].map_err(|_| Errno::NFILE));
    assert_eq!(more[9], Err(Errno::NFILE));
    assert_eq!(guest.session.counters().inodes(), 40);
    let node = more[0].unwrap();
    let handles: Vec<_> = (0..3).map(|_| guest.open(node, 0).unwrap()).collect();
    assert_eq!(guest.open(node, 0), Err(Errno::NFILE));
    assert_eq!(guest.open_directory(ROOT), Err(Errno::NFILE));
    assert_eq!(guest.create(ROOT, "new", 1), Err(Errno::NFILE));
    assert!(!guest.shared("new").exists());
    guest.ask(18, node, &words(&[handles[0], 0, 0])).unwrap();
    assert!(guest.open(node, 0).is_ok());
    // A place that is given back is taken again.
    guest.ask(FORGET, more[1].unwrap(), &words(&[1])).unwrap();
    assert!(guest.walk("more-9").is_ok());
}

#[test]
fn any_bytes_are_a_message_or_none() {
    use proptest::prelude::*;
    let guest = std::cell::RefCell::new(Guest::new(Access::ReadOnly));
    proptest!(|(opcode in 0_u32..60, node in 0_u64..4, rest in prop::collection::vec(any::<u8>(), 0..300))| {
        let _ = guest.borrow_mut().ask(opcode, node, &rest);
    });
    assert_eq!(
        fs::read(guest.borrow().shared("file")).unwrap(),
        b"of both\n"
    );
}
