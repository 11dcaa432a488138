//! Snapshots that build on others: which are taken for their base, and which are not.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

mod scratch;

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use scratch::Scratch;
use vmmkit_snapshot::{Chain, Folder, FolderError, MAX_CHAIN};

impl Scratch {
    fn folder(&self, name: &str) -> Folder {
        Folder::new(self.0.join(name))
    }
}

/// Saves `text` as RAM, as changes of `base` if there is one.
fn save(folder: &Folder, base: Option<&Chain>, text: &str) -> Result<(), FolderError> {
    let write = |_: &mut vmmkit_snapshot::Writer, mut ram: &fs::File| {
        ram.write_all(text.as_bytes()).unwrap();
        Ok(())
    };
    match base {
        Some(base) => folder.save_changes(&base.lineage()?, write).map(drop),
        None => folder.save(write).map(drop),
    }
}

fn texts(chain: &Chain) -> Vec<String> {
    let text = |snapshot: &vmmkit_snapshot::Snapshot| {
        let mut text = String::new();
        snapshot.ram().read_to_string(&mut text).unwrap();
        text
    };
    chain.iter().map(text).collect()
}

/// A base, a child and a grandchild, each in a folder of its own.
fn three(scratch: &Scratch) -> [Folder; 3] {
    let folders = ["base", "child", "grandchild"].map(|name| scratch.folder(name));
    save(&folders[0], None, "base").unwrap();
    for (before, after) in [(0, 1), (1, 2)] {
        let base = folders[before].open_chain(None).unwrap();
        let text = ["child", "grandchild"][before];
        save(&folders[after], Some(&base), text).unwrap();
    }
    folders
}

fn refused(folder: &Folder, named: Option<&Path>) -> String {
    folder.open_chain(named).unwrap_err().to_string()
}

#[test]
fn a_chain_is_found_beside_it_or_where_it_is_named_under_any_name() {
    let scratch = Scratch::new("found");
    let [base, child, grandchild] = three(&scratch);
    let expected = ["base", "child", "grandchild"];
    assert_eq!(texts(&grandchild.open_chain(None).unwrap()), expected);
    assert_eq!(texts(&child.open_chain(None).unwrap()), expected[..2]);

    fs::rename(base.path(), scratch.0.join("another name")).unwrap();
    assert_eq!(texts(&grandchild.open_chain(None).unwrap()), expected);
    let away = scratch.0.join("away");
    fs::create_dir(&away).unwrap();
    for name in ["another name", "child"] {
        fs::rename(scratch.0.join(name), away.join(name)).unwrap();
    }
    let error = refused(&grandchild, None);
    assert!(error.contains("is not beside it"), "{error}");
    let chain = grandchild.open_chain(Some(&away)).unwrap();
    assert_eq!(texts(&chain), expected);
    assert_eq!(chain.bases()[0].folder, away.join("another name"));
}

#[test]
fn a_base_that_is_another_one_or_was_changed_is_refused() {
    let scratch = Scratch::new("changed");
    let [base, child, grandchild] = three(&scratch);
    let ram = base.path().join(base.open().unwrap().name());
    let file = fs::File::options().write(true).open(&ram).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    for (length, later) in [(4, 1), (5, 0), (3, 0)] {
        file.set_len(length).unwrap();
        file.set_modified(modified + Duration::from_secs(later))
            .unwrap();
        for folder in [&child, &grandchild] {
            let error = refused(folder, None);
            assert!(error.contains("was changed"), "{error}");
            assert!(error.contains(ram.to_str().unwrap()), "{error}");
        }
    }
    file.set_len(4).unwrap();
    file.set_modified(modified).unwrap();
    child.open_chain(None).unwrap();
    // Another container beside the file.
    let other = scratch.folder("other");
    save(&other, None, "base").unwrap();
    fs::copy(
        other.path().join("machine.snapshot"),
        base.path().join("machine.snapshot"),
    )
    .unwrap();
    assert!(child.open_chain(None).is_err());
    // Another snapshot in its place.
    save(&base, None, "base").unwrap();
    let error = refused(&child, None);
    assert!(error.contains("is not beside it"), "{error}");
}

#[test]
fn changes_of_what_is_gone_or_in_the_way_are_refused_and_leave_all_as_it_was() {
    let scratch = Scratch::new("gone");
    let [base, child, _] = three(&scratch);
    let chain = child.open_chain(None).unwrap();
    for folder in [&base, &child] {
        let error = save(folder, Some(&chain), "more").unwrap_err();
        assert!(matches!(error, FolderError::HoldsBase { .. }), "{error}");
    }
    let next = scratch.folder("next");
    save(&next, Some(&chain), "next").unwrap();
    let ram = fs::File::options()
        .write(true)
        .open(base.path().join(base.open().unwrap().name()))
        .unwrap();
    let modified = ram.metadata().unwrap().modified().unwrap();
    ram.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    let lineage = || chain.lineage().unwrap();
    let changed = {
        ram.set_modified(modified).unwrap();
        let lineage = lineage();
        ram.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        lineage
    };
    let write = |_: &mut vmmkit_snapshot::Writer, _: &fs::File| Ok(());
    let error: FolderError = next.save_changes(&changed, write).unwrap_err();
    assert!(matches!(error, FolderError::BaseChanged { .. }), "{error}");
    ram.set_modified(modified).unwrap();
    // The file is open, and has no name any more.
    fs::remove_dir_all(base.path()).unwrap();
    let error = save(&next, Some(&chain), "later").unwrap_err();
    assert!(matches!(error, FolderError::BaseGone { .. }), "{error}");
    assert_eq!(fs::read_dir(next.path()).unwrap().count(), 2);
}

#[test]
fn a_chain_is_not_longer_than_it_may_be() {
    let scratch = Scratch::new("long");
    save(&scratch.folder("0"), None, "0").unwrap();
    let mut answer = Ok(());
    let mut made = 1;
    while answer.is_ok() {
        let base = scratch.folder(&(made - 1).to_string()).open_chain(None);
        answer = save(
            &scratch.folder(&made.to_string()),
            Some(&base.unwrap()),
            "changes",
        );
        made += 1;
    }
    assert!(matches!(answer, Err(FolderError::LongChain)));
    assert_eq!(made - 1, MAX_CHAIN);
    assert!(!scratch.0.join((made - 1).to_string()).exists());
}
