//! A snapshot in two files: there whole or not at all, and never a container beside RAM that it was not written with.
#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

mod scratch;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::PathBuf;

use scratch::Scratch;
use vmmkit_snapshot::{FolderError, Pair, Section, Writer};

fn add(writer: &mut Writer, contents: &str) -> Result<(), FolderError> {
    let section = Section {
        id: "one",
        kind: "text",
        version: 1,
        must_understand: false,
        contents: contents.as_bytes(),
    };
    writer.add(section).map_err(FolderError::Section)
}

fn save(pair: &Pair, contents: &str) -> Result<(), FolderError> {
    pair.save(|writer, mut ram: &File| {
        ram.write_all(contents.as_bytes()).unwrap();
        add(writer, contents)
    })
}

/// The section, and the RAM.
fn held(pair: &Pair) -> (String, String) {
    let snapshot = pair.open().unwrap();
    let mut ram = String::new();
    snapshot.ram().read_to_string(&mut ram).unwrap();
    let section = snapshot.reader().take("one").unwrap();
    (String::from_utf8(section.contents.to_vec()).unwrap(), ram)
}

fn text(one: &str, ram: &str) -> (String, String) {
    (one.to_owned(), ram.to_owned())
}

fn reason(error: &FolderError) -> String {
    use std::error::Error;
    let source = error.source().map_or_else(String::new, ToString::to_string);
    format!("{error}: {source}")
}

struct Place {
    scratch: Scratch,
    state: PathBuf,
    ram: PathBuf,
    pair: Pair,
}

fn place(name: &str) -> Place {
    let scratch = Scratch::new(name);
    let (state, ram) = (scratch.0.join("state"), scratch.0.join("mem"));
    let pair = Pair::new(&state, &ram);
    Place {
        scratch,
        state,
        ram,
        pair,
    }
}

#[test]
fn a_new_snapshot_takes_the_place_of_the_old_one() {
    let place = place("pair-replaced");
    save(&place.pair, "first").unwrap();
    assert_eq!(held(&place.pair), text("first", "first"));
    for path in [&place.state, &place.ram] {
        let mode = fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let mut old = File::open(&place.ram).unwrap();
    save(&place.pair, "second").unwrap();
    assert_eq!(held(&place.pair), text("second", "second"));
    // Whoever has the old RAM mapped keeps it.
    let mut kept = String::new();
    old.read_to_string(&mut kept).unwrap();
    assert_eq!(kept, "first");
    assert_eq!(fs::read_dir(&place.scratch.0).unwrap().count(), 2);
}

#[test]
fn a_failure_leaves_what_was_there() {
    let place = place("pair-failed");
    save(&place.pair, "first").unwrap();
    let failed = place.pair.save(|writer, mut ram: &File| {
        ram.write_all(b"half").unwrap();
        add(writer, "half")?;
        add(writer, "half")
    });
    assert!(failed.is_err());
    assert_eq!(held(&place.pair), text("first", "first"));
    assert_eq!(fs::read_dir(&place.scratch.0).unwrap().count(), 2);
}

#[test]
fn changes_go_over_what_the_ram_has() {
    let place = place("pair-over");
    save(&place.pair, "12345").unwrap();
    let over = |contents: &str, offset| {
        place.pair.save_over(|writer, ram| {
            add(writer, contents)?;
            let file = ram.open()?;
            assert!(!place.state.exists());
            file.write_all_at(contents.as_bytes(), offset).unwrap();
            Ok::<_, FolderError>(())
        })
    };
    over("ab", 1).unwrap();
    assert_eq!(held(&place.pair), text("ab", "1ab45"));
    // Refused before the RAM is open: nothing happened.
    let refused = place.pair.save_over(|writer, _| {
        add(writer, "no")?;
        add(writer, "no")
    });
    assert!(refused.is_err());
    assert_eq!(held(&place.pair), text("ab", "1ab45"));
    // Failed later: no container says that this RAM is whole.
    let failed: Result<(), FolderError> = place.pair.save_over(|_, ram| {
        ram.open()?.write_all_at(b"x", 0).unwrap();
        Err(FolderError::LongChain)
    });
    assert!(failed.is_err());
    assert!(!place.state.exists());
    // A file that is not there is made.
    fs::remove_file(&place.ram).unwrap();
    over("new", 0).unwrap();
    assert_eq!(held(&place.pair), text("new", "new"));
}

#[test]
fn only_regular_files_are_read_and_replaced_by_way_of_links() {
    let place = place("pair-kinds");
    let (own, link) = (place.scratch.0.join("own"), place.scratch.0.join("link"));
    symlink(&own, &link).unwrap();
    fs::write(&own, "old").unwrap();
    let linked = Pair::new(&place.state, &link);
    save(&linked, "new").unwrap();
    assert!(link.is_symlink());
    assert_eq!(fs::read_to_string(&own).unwrap(), "new");
    assert_eq!(held(&linked), text("new", "new"));

    let same = Pair::new(&place.state, place.scratch.0.join("./state"));
    let said = reason(&save(&same, "both").unwrap_err());
    assert!(
        said.contains("it is to be the file with the RAM, too"),
        "{said}"
    );
    for pair in [
        Pair::new("/dev/null", &place.ram),
        Pair::new(&place.state, "/dev/null"),
        Pair::new(&place.scratch.0, &place.ram),
    ] {
        let said = reason(&save(&pair, "device").unwrap_err());
        assert!(said.contains("not a regular file"), "{said}");
        let said = reason(&pair.open().unwrap_err());
        assert!(
            said.contains("not a regular file") || said.contains("No such file"),
            "{said}"
        );
    }
    let gone = Pair::new("/none/state", &place.ram);
    let error = save(&gone, "gone").unwrap_err();
    let is_gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    assert!(matches!(&error, FolderError::File { source, .. } if is_gone(source)));
    fs::write(&place.state, "nonsense").unwrap();
    let damaged = Pair::new(&place.state, &own).open().unwrap_err();
    assert!(matches!(damaged, FolderError::Damaged { .. }));
}
