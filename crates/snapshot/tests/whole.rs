//! A snapshot is there whole or not at all: whatever ends the process that saves, and whatever the host refuses.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

mod scratch;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use scratch::Scratch;
use vmmkit_snapshot::{Folder, FolderError, Lineage, Section, Writer};

/// The folder that a child of this test saves into, and whether its files are limited.
const FOLDER: &str = "VMMKIT_TEST_SNAPSHOT_FOLDER";

/// The snapshot beside `folder` that others build on, if there is one.
fn base(folder: &Path) -> Option<Lineage> {
    let base = Folder::new(folder.with_file_name("base"));
    let chain = base.open_chain(None).ok()?;
    Some(chain.lineage().unwrap())
}

/// Saves `number` in the container and 64 times in RAM, each in a page of its own; as changes where there is a base.
fn save(folder: &Path, number: u32) -> Result<(), FolderError> {
    let write = |writer: &mut Writer, mut ram: &File| {
        let mut page = vec![0; 4096];
        page[..4].copy_from_slice(&number.to_le_bytes());
        for _ in 0..64 {
            ram.write_all(&page).map_err(|source| FolderError::File {
                action: "write",
                path: folder.to_owned(),
                source,
            })?;
        }
        let section = Section {
            id: "number",
            kind: "number",
            version: 1,
            must_understand: true,
            contents: &number.to_le_bytes(),
        };
        writer.add(section).map_err(FolderError::Section)
    };
    match base(folder) {
        Some(lineage) => Folder::new(folder).save_changes(&lineage, write).map(drop),
        None => Folder::new(folder).save(write).map(drop),
    }
}

/// A folder for snapshots; with `has_base` they are changes of one beside it.
fn place(scratch: &Scratch, has_base: bool) -> PathBuf {
    if has_base {
        save(&scratch.0.join("base"), 1).unwrap();
    }
    scratch.0.join("snapshot")
}

/// The number that the folder holds everywhere.
fn held(folder: &Path) -> u32 {
    let chain = Folder::new(folder).open_chain(None).unwrap();
    let is_changes = base(folder).is_some();
    assert_eq!(chain.bases().len(), usize::from(is_changes));
    let snapshot = chain.top();
    let number = snapshot.reader().take("number").unwrap();
    let number = u32::from_le_bytes(number.contents.try_into().unwrap());
    let mut ram = Vec::new();
    snapshot.ram().read_to_end(&mut ram).unwrap();
    assert_eq!(ram.len(), 64 * 4096);
    for page in ram.chunks(4096) {
        assert_eq!(page[..4], number.to_le_bytes());
    }
    number
}

/// This test program again, as `prelude` of a shell leaves it: it saves into `folder` until it is killed, or
/// cannot, and says the number of each snapshot once that is there.
fn child(folder: &Path, prelude: &str) -> Child {
    let script = format!("{prelude}exec \"$0\" --exact saves_for_ever --ignored --nocapture");
    let command = &mut Command::new("sh");
    let command = command
        .args(["-c", &script])
        .arg(std::env::current_exe().unwrap());
    let command = command.env(FOLDER, folder).stdout(Stdio::piped());
    command.stderr(Stdio::null()).spawn().unwrap()
}

#[test]
#[ignore = "the others run it in processes of their own"]
fn saves_for_ever() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    for number in 1.. {
        match save(Path::new(&folder), number) {
            Ok(()) => println!("saved {number}"),
            Err(error) => {
                println!("refused: {error}");
                return;
            }
        }
    }
}

#[test]
fn sigkill_at_any_moment_leaves_the_old_snapshot_or_the_new_one() {
    for has_base in [false, true] {
        killed(has_base);
    }
}

fn killed(has_base: bool) {
    let scratch = Scratch::new(if has_base { "killed-changes" } else { "killed" });
    let folder = place(&scratch, has_base);
    for round in 0..20 {
        let mut child = child(&folder, "");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let told = |line: String| line.strip_prefix("saved ")?.parse::<u32>().ok();
        // Somewhere in the snapshot after this one.
        let mut saved = lines.by_ref().map_while(Result::ok).filter_map(told);
        let last = saved.nth(round % 5).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let last = saved.last().unwrap_or(last);
        let number = held(&folder);
        assert!(
            (last..=last + 1).contains(&number),
            "{number}, {last} was told"
        );
    }
    // What the killed ones left goes with the next.
    save(&folder, 7).unwrap();
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
    assert_eq!(held(&folder), 7);
}

#[test]
fn a_host_without_room_leaves_the_old_snapshot_and_nothing_half_made() {
    for has_base in [false, true] {
        without_room(has_base);
    }
}

fn without_room(has_base: bool) {
    let scratch = Scratch::new(if has_base { "full-changes" } else { "full" });
    let folder = place(&scratch, has_base);
    save(&folder, 3).unwrap();
    // Files of at most 64 KiB, and an error, not a signal, beyond.
    let mut child = child(&folder, "trap '' XFSZ; ulimit -f 64; ");
    let mut text = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    child.wait().unwrap();
    assert!(text.contains("refused: cannot write"), "{text}");
    assert_eq!(held(&folder), 3);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
}

#[test]
fn a_place_that_is_another_thing_is_refused_and_left() {
    let scratch = Scratch::new("other");
    let file = scratch.0.join("file");
    fs::write(&file, "mine").unwrap();
    let error = save(&file, 1).unwrap_err();
    assert!(error.to_string().contains("is not a directory"), "{error}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    let error = save(&scratch.0.join("none/snapshot"), 1).unwrap_err();
    assert!(error.to_string().contains("cannot make"), "{error}");

    // Files of others stay beside it; an entry with its name that is not a file is not followed.
    let folder = scratch.0.join("folder");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("notes"), "mine").unwrap();
    std::os::unix::fs::symlink(&file, folder.join("machine.snapshot")).unwrap();
    let error = Folder::new(&folder).open().unwrap_err();
    assert!(error.to_string().contains("cannot open"), "{error}");
    save(&folder, 5).unwrap();
    assert_eq!(held(&folder), 5);
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    assert_eq!(fs::read_to_string(folder.join("notes")).unwrap(), "mine");
}
