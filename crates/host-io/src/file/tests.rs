//! Files by their paths, in a folder of each test's own.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;

/// A folder of its own, gone after the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("vmmkit-file-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(&self.0)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn make_pipe(path: &Path) {
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
}

fn plan(path: &Path) -> Result<OutputPlan, FileError> {
    OutputPlan::new(path, Sharing::Alone)
}

#[test]
fn nothing_that_is_opened_for_reading_is_waited_for() {
    let folder = Folder::new("input");
    make_pipe(&folder.at("pipe"));
    let _listener = UnixListener::bind(folder.at("socket")).unwrap();
    open_input(&folder.at("pipe")).unwrap();
    open_input(&folder.0).unwrap();
    let error = open_input(&folder.at("socket")).unwrap_err().to_string();
    assert_eq!(error, "it is a socket, which cannot be used here");
    let error = open_input(&folder.at("none")).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

#[test]
fn a_text_may_come_from_a_pipe_that_somebody_writes_to() {
    let folder = Folder::new("text");
    let (file, pipe) = (folder.at("file"), folder.at("pipe"));
    fs::write(&file, "cpus = 2").unwrap();
    assert_eq!(read_text(&file, 9).unwrap(), "cpus = 2");
    assert!(matches!(read_text(&file, 8), Err(FileError::TooLong(8))));
    fs::write(&file, b"\xff").unwrap();
    assert!(read_text(&file, 9).is_err());
    assert!(matches!(
        read_text(Path::new("/dev/zero"), 99),
        Err(FileError::TooLong(99))
    ));
    assert!(read_text(&folder.0, 99).is_err());
    make_pipe(&pipe);
    assert!(matches!(read_text(&pipe, 99), Err(FileError::NoWriter)));
    // As a shell passes `<(command)`.
    let (reader, mut writer) = io::pipe().unwrap();
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reader));
    let read = std::thread::spawn(move || read_text(Path::new(&path), 99).unwrap());
    writer.write_all(b"cpus = ").unwrap();
    writer.write_all(b"2").unwrap();
    drop(writer);
    assert_eq!(read.join().unwrap(), "cpus = 2");
}

#[test]
fn output_is_made_when_it_is_kept_and_not_before() {
    let folder = Folder::new("made");
    let path = folder.at("out");
    let planned = plan(&path).unwrap();
    drop(planned.open(0o600).unwrap());
    assert!(folder.names().is_empty(), "a start that failed");
    let mut output = planned.open(0o600).unwrap();
    output.file().write_all(b"one").unwrap();
    output.keep().unwrap();
    drop(output);
    assert_eq!(fs::read(&path).unwrap(), b"one");
    // Then it is added to.
    let mut output = plan(&path).unwrap().open(0o600).unwrap();
    output.file().write_all(b"two").unwrap();
    output.keep().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"onetwo");
    assert_eq!(folder.names(), ["out"]);
}

#[test]
fn a_file_made_by_somebody_else_meanwhile_is_left_alone() {
    let folder = Folder::new("race");
    let path = folder.at("out");
    let mut output = plan(&path).unwrap().open(0o600).unwrap();
    // A file system without O_TMPFILE has given it its name already.
    if File::create_new(&path).is_ok() {
        fs::write(&path, "theirs").unwrap();
        assert!(output.keep().is_err());
        drop(output);
        assert_eq!(fs::read(&path).unwrap(), b"theirs");
    }
    // One that was replaced since is not taken for the one that was looked at.
    let old = folder.at("old");
    fs::write(&old, "").unwrap();
    let planned = plan(&old).unwrap();
    fs::write(folder.at("other"), "").unwrap();
    fs::rename(folder.at("other"), &old).unwrap();
    assert!(matches!(planned.open(0o600), Err(FileError::Changed)));
}

#[test]
fn a_locked_file_gets_no_output_and_keeps_its_content() {
    let folder = Folder::new("locked");
    let path = folder.at("disk");
    fs::write(&path, "disk").unwrap();
    let disk = File::open(&path).unwrap();
    lock_file(&disk, false).unwrap();
    for sharing in [Sharing::Alone, Sharing::Lines] {
        let error = OutputPlan::new(&path, sharing).unwrap_err();
        assert!(matches!(error, FileError::InUse { .. }), "{error}");
    }
    let error = replace_file(&path, b"metrics", Duration::ZERO).unwrap_err();
    assert!(matches!(error, FileError::InUse { .. }), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"disk");
    drop(disk);
    let first = plan(&path).unwrap().open(0o600).unwrap();
    assert!(matches!(plan(&path), Err(FileError::InUse { .. })));
    drop(first);
    let lines = OutputPlan::new(&path, Sharing::Lines).unwrap();
    let _one = lines.open(0o600).unwrap();
    lines.open(0o600).unwrap();
}

#[test]
fn output_is_for_files_pipes_and_character_devices() {
    let folder = Folder::new("kinds");
    let _listener = UnixListener::bind(folder.at("socket")).unwrap();
    for path in [folder.at("socket"), folder.0.clone(), folder.at("x/")] {
        assert!(matches!(plan(&path), Err(FileError::Kind(_))), "{path:?}");
    }
    assert!(matches!(plan(&folder.at("no/x")), Err(FileError::Host(_))));
    plan(Path::new("/dev/null")).unwrap().open(0).unwrap();
    // Without a reader: what is written waits for one.
    let pipe = folder.at("pipe");
    make_pipe(&pipe);
    let output = plan(&pipe).unwrap().open(0).unwrap();
    output.file().write_all(b"early").unwrap();
    let mut bytes = [0; 5];
    File::open(&pipe).unwrap().read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"early");
}

#[test]
fn one_file_is_the_same_by_every_name() {
    let folder = Folder::new("names");
    fs::write(folder.at("file"), "").unwrap();
    fs::hard_link(folder.at("file"), folder.at("hard")).unwrap();
    symlink("file", folder.at("soft")).unwrap();
    symlink("new", folder.at("dangling")).unwrap();
    let id = |name: &str| FileId::of_path(&folder.at(name)).unwrap();
    assert_eq!(id("file"), id("hard"));
    assert_eq!(id("file"), id("soft"));
    assert_eq!(id("new"), id("dangling"));
    assert_ne!(id("new"), id("newer"));
    assert_ne!(id("new"), id("file"));
    assert_eq!(FileId::of_path(Path::new("/dev/null")), None);
}

#[test]
fn a_replaced_file_is_never_half_and_nothing_is_left_beside_it() {
    let folder = Folder::new("replace");
    let path = folder.at("metrics.prom");
    let replace = |path: &Path, text: &str| replace_file(path, text.as_bytes(), Duration::ZERO);
    replace(&path, "one").unwrap();
    symlink("metrics.prom", folder.at("link")).unwrap();
    replace(&folder.at("link"), "two").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"two");
    assert!(
        fs::symlink_metadata(folder.at("link"))
            .unwrap()
            .is_symlink()
    );
    assert_eq!(folder.names(), ["link", "metrics.prom"]);
    assert!(replace(&folder.at("none/x"), "").is_err());
    assert!(matches!(replace(&folder.0, ""), Err(FileError::Kind(_))));
}

#[test]
fn a_pipe_without_a_reader_or_a_full_one_is_not_waited_for() {
    let folder = Folder::new("full");
    let path = folder.at("pipe");
    make_pipe(&path);
    let error = replace_file(&path, b"lost", Duration::from_secs(600)).unwrap_err();
    assert!(matches!(error, FileError::NoReader), "{error}");
    let reader = OpenOptions::new()
        .read(true)
        .custom_flags(FLAGS)
        .open(&path);
    let mut reader = reader.unwrap();
    replace_file(&path, b"read", Duration::ZERO).unwrap();
    let mut bytes = [0; 4];
    reader.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"read");
    // More than any pipe holds (pipe-max-size), and nobody takes it.
    let error = replace_file(&path, &vec![0; 8 << 20], Duration::ZERO).unwrap_err();
    assert!(matches!(error, FileError::Host(_)), "{error}");
}

/// A link of another user's can only be made by root.
#[test]
fn a_link_of_another_users_in_an_open_folder_is_not_followed() {
    use std::os::unix::fs::{PermissionsExt, lchown};

    let folder = Folder::new("planted");
    fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o1777)).unwrap();
    fs::write(folder.at("precious"), "precious").unwrap();
    let link = folder.at("out");
    symlink("precious", &link).unwrap();
    assert!(plan(&link).is_ok(), "our own");
    if let Err(error) = lchown(&link, Some(65534), Some(65534)) {
        eprintln!("SKIPPED: a link of another user's: {error}");
        return;
    }
    assert!(matches!(plan(&link), Err(FileError::PlantedLink)));
    let replaced = replace_file(&link, b"", Duration::ZERO);
    assert!(matches!(replaced, Err(FileError::PlantedLink)));
    assert_eq!(fs::read(folder.at("precious")).unwrap(), b"precious");
}
