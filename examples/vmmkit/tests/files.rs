//! The fate of the files that a command line names: nothing before the machine runs, and nothing to
//! what is something else.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirEntryExt, FileTypeExt, MetadataExt, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{FileType, Mode};
use rustix::process::Signal;
use support::running::{Place, spinning_guest, wait_for};
use support::{echo_guest, has_kvm};

/// Each option that names a file or a socket of this process's own, with `OUT` in the place of the path.
const OPTIONS: &[&[&str]] = &[
    &["--serial", "file=OUT"],
    &["--console", "file=OUT"],
    &["--debug-port", "file=OUT"],
    &["--metrics", "OUT"],
    &["--timeline", "OUT.svg"],
    &["--log", "debug,OUT"],
    &["--memory", "16M,backend=file=OUT"],
    &["--serial", "socket=OUT"],
    &["--console", "socket=OUT"],
    &["--vsock", "cid=3,socket=OUT"],
    &["--api-socket", "OUT"],
];

/// An image of qemu-img's whose backing file is base.img beside it, a raw one.
const OVERLAY: &[u8] = include_bytes!("../../../fuzz/corpus/qcow2/overlay.qcow2");

/// Ways in which a start fails; the last one does not run at all.
const FAILURES: &[&[&str]] = &[
    &["--kernel", "none"],
    &["--kernel", "kernel", "--initrd", "none"],
    &["--kernel", "text"],
    &["--kernel", "kernel", "--disk", "none"],
    &["--kernel", "kernel", "--fs", "none,tag=t"],
    &["--kernel", "kernel", "--kvm", "none"],
    &["--kernel", "kernel", "--cpu", "none.toml"],
    &["--kernel", "kernel", "--pmem", "text"],
    &["--kernel", "kernel", "--dry-run"],
];

/// A file's kind, and its content if it is a regular one.
type There = (bool, Vec<u8>);

fn make_pipe(path: &Path) {
    let (kind, mode) = (FileType::Fifo, Mode::from_raw_mode(0o600));
    rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, 0).unwrap();
}

/// The files in a folder; the inode of those without content.
fn snapshot(folder: &Path) -> BTreeMap<String, There> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| {
        let entry = entry.unwrap();
        let is_file = entry.file_type().unwrap().is_file();
        let bytes = match is_file {
            true => fs::read(entry.path()).unwrap(),
            false => entry.ino().to_le_bytes().to_vec(),
        };
        (entry.file_name().into_string().unwrap(), (is_file, bytes))
    });
    entries.collect()
}

/// The folder is as it was.
fn is_unchanged(place: &Place, before: &BTreeMap<String, There>, words: &[&str]) {
    let after = snapshot(place.folder.path());
    let names = |all: &BTreeMap<String, There>| all.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&after), names(before), "{words:?}");
    assert!(after == *before, "{words:?}: a content has changed");
}

fn place(name: &str, kernel: &[u8]) -> Place {
    let place = Place::new(name, kernel);
    place
        .folder
        .file("text", "this is neither a kernel nor a disk");
    place
}

/// vmmkit in the folder of `place`.
fn run(place: &Place, words: &[&str]) -> (Option<i32>, String) {
    let mut command = place.command(&["run", "--quiet"]);
    command.args(words).current_dir(place.folder.path());
    let output = command.stdin(Stdio::null()).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), error)
}

#[test]
fn a_dry_run_or_a_start_that_fails_leaves_every_file_as_it_is() {
    if !has_kvm("a_dry_run_or_a_start_that_fails_leaves_every_file_as_it_is") {
        return;
    }
    let place = place("files-fail", &echo_guest());
    for option in OPTIONS {
        let is_file = option[1].contains("file=") || !option[1].contains("socket");
        let is_file = is_file && option[0] != "--api-socket";
        for content in [None, Some("")] {
            let words: Vec<String> = option
                .iter()
                .map(|word| word.replace("OUT", "out"))
                .collect();
            let name = words[1].rsplit(['=', ',']).next().unwrap();
            let path = place.folder.path().join(name);
            match content {
                Some(content) if is_file => fs::write(&path, content).unwrap(),
                // One that a process has left behind.
                Some(_) => drop(UnixListener::bind(&path).unwrap()),
                None => {}
            }
            let before = snapshot(place.folder.path());
            for failure in FAILURES {
                let mut all: Vec<&str> = words.iter().map(String::as_str).collect();
                all.extend(*failure);
                if option[0] != "--memory" {
                    all.extend(["--memory", "16M"]);
                }
                if failure.contains(&"--fs") && option[0] == "--memory" {
                    continue;
                }
                let (code, error) = run(&place, &all);
                let is_dry = failure.contains(&"--dry-run");
                assert_eq!(code == Some(0), is_dry, "{all:?}: {error}");
                is_unchanged(&place, &before, &all);
            }
            let _ = fs::remove_file(&path);
        }
    }
}

#[test]
fn no_output_goes_over_what_something_else_is() {
    if !has_kvm("no_output_goes_over_what_something_else_is") {
        return;
    }
    let place = place("files-same", &echo_guest());
    let folder = place.folder.path();
    fs::write(folder.join("disk"), vec![7; 1 << 20]).unwrap();
    fs::hard_link(folder.join("disk"), folder.join("hard")).unwrap();
    symlink("disk", folder.join("soft.svg")).unwrap();
    place.folder.file("vm.toml", "cpus = 1");
    place.folder.file("top.qcow2", OVERLAY);
    place.folder.file("base.img", vec![9; 128 << 10]);
    let before = snapshot(folder);
    for (one, other) in [
        (["--serial", "file=disk"], ["--disk", "disk"]),
        (["--serial", "file=hard"], ["--disk", "disk"]),
        (["--console", "file=disk"], ["--disk", "disk,readonly"]),
        (["--debug-port", "file=hard"], ["--pmem", "disk"]),
        (["--metrics", "disk"], ["--disk", "hard"]),
        (["--timeline", "soft.svg"], ["--disk", "disk"]),
        (["--log", "debug,disk"], ["--disk", "disk"]),
        (["--memory", "1M,backend=file=disk"], ["--disk", "hard"]),
        (["--serial", "file=kernel"], ["--no-instance", "--paused"]),
        (["--metrics", "text"], ["--initrd", "text"]),
        (["--log", "info,vm.toml"], ["--config", "vm.toml"]),
        (["--serial", "file=new"], ["--metrics", "new"]),
        (["--serial", "file=new"], ["--console", "file=./new"]),
        (["--debug-port", "file=new"], ["--log", "info,new"]),
        (
            ["--memory", "16M,backend=file=new"],
            ["--serial", "file=new"],
        ),
        (
            ["--metrics", "base.img"],
            ["--disk", "top.qcow2,format=qcow2,backing=on"],
        ),
        (
            ["--console", "file=base.img"],
            ["--disk", "top.qcow2,format=qcow2,backing=on"],
        ),
        (["--serial", "socket=new"], ["--vsock", "cid=3,socket=new"]),
        (["--metrics", "new"], ["--api-socket", "new"]),
    ] {
        let other: &[&str] = match other[0] {
            "--no-instance" => &["--no-instance"],
            _ => &other,
        };
        let words = [&["--kernel", "kernel"], &one[..], other].concat();
        let (code, error) = run(&place, &words);
        assert_eq!(code, Some(1), "{words:?}: {error}");
        assert!(error.contains("is the same file"), "{words:?}: {error}");
        assert!(error.contains(one[0]), "{error}");
        is_unchanged(&place, &before, &words);
    }
}

#[test]
fn a_disk_or_ram_that_another_guest_has_is_left_alone() {
    if !has_kvm("a_disk_or_ram_that_another_guest_has_is_left_alone") {
        return;
    }
    let place = place("files-locked", &spinning_guest());
    let folder = place.folder.path();
    fs::write(folder.join("disk"), vec![7; 1 << 20]).unwrap();
    let at = |name: &str| folder.join(name).display().to_string();
    let memory = format!("16M,backend=file={}", at("ram"));
    let _guest = place.guest("one", &["--disk", &at("disk"), "--memory", &memory]);
    let disk = fs::read(folder.join("disk")).unwrap();
    for words in [
        ["--serial", "file=disk"],
        ["--console", "file=disk"],
        ["--debug-port", "file=disk"],
        ["--metrics", "disk"],
        ["--log", "debug,disk"],
        ["--memory", "16M,backend=file=ram"],
        ["--memory", "1M,backend=file=disk"],
        ["--serial", "file=ram"],
        ["--disk", "ram"],
    ] {
        let (code, error) = run(&place, &[&["--kernel", "kernel"], &words[..]].concat());
        assert_eq!(code, Some(1), "{words:?}: {error}");
        assert!(error.contains("in use"), "{words:?}: {error}");
        assert_eq!(fs::read(folder.join("disk")).unwrap(), disk, "{words:?}");
        assert_eq!(fs::metadata(folder.join("ram")).unwrap().len(), 16 << 20);
    }
}

#[test]
fn a_file_that_is_something_else_is_not_taken_for_ram() {
    let place = place("files-ram", &echo_guest());
    let file = place.folder.file("precious", vec![7; 1_000_000]);
    let words = [
        "--kernel",
        "kernel",
        "--memory",
        "16M,backend=file=precious",
    ];
    let (code, error) = run(&place, &words);
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("is not RAM of 16777216 bytes"), "{error}");
    assert_eq!(fs::read(&file).unwrap(), vec![7; 1_000_000]);
}

#[test]
fn output_is_added_to_a_file_and_a_log_can_be_rotated() {
    if !has_kvm("output_is_added_to_a_file_and_a_log_can_be_rotated") {
        return;
    }
    let place = place("files-append", &echo_guest());
    let out = place.folder.file("out", "before\n");
    let serial = format!("file={}", out.display());
    let mut guest = place.start(&["--serial", &serial, "--name", "one"]);
    wait_for("the first output", || {
        fs::read(&out).unwrap() == b"before\nR"
    });
    // As copytruncate of logrotate(8): what comes next begins the file, without a hole before it.
    File::options()
        .write(true)
        .open(&out)
        .unwrap()
        .set_len(0)
        .unwrap();
    place.cuts_off("one");
    guest.ends();
    assert_eq!(fs::read(&out).unwrap(), b"");
}

#[test]
fn a_pipe_or_socket_at_any_option_is_not_waited_for() {
    let place = place("files-pipe", &echo_guest());
    let folder = place.folder.path();
    for name in ["pipe", "pipe.svg", "pipe.toml"] {
        make_pipe(&folder.join(name));
    }
    for words in [
        &["--kernel", "pipe"][..],
        &["--kernel", "kernel", "--initrd", "pipe"],
        &["--firmware", "pipe"],
        &["--config", "pipe"],
        &["--kernel", "kernel", "--cpu", "pipe.toml"],
        &["--kernel", "kernel", "--disk", "pipe"],
        &["--kernel", "kernel", "--disk", "pipe,readonly"],
        &["--kernel", "kernel", "--pmem", "pipe,discard"],
        &["--kernel", "kernel", "--memory", "16M,backend=file=pipe"],
    ] {
        let (code, error) = run(&place, words);
        assert_eq!(code, Some(1), "{words:?}: {error}");
        assert!(error.contains("pipe"), "{words:?}: {error}");
    }
    assert!(
        fs::metadata(folder.join("pipe"))
            .unwrap()
            .file_type()
            .is_fifo()
    );
}

#[test]
fn a_pipe_for_output_that_nobody_reads_holds_up_nothing() {
    if !has_kvm("a_pipe_for_output_that_nobody_reads_holds_up_nothing") {
        return;
    }
    let place = place("files-out", &echo_guest());
    let folder = place.folder.path();
    for name in ["pipe", "pipe.svg"] {
        make_pipe(&folder.join(name));
    }
    let at = |text: &str| text.replace("OUT", &folder.join("pipe").display().to_string());
    for option in OPTIONS.iter().filter(|option| {
        !option[1].contains("socket") && !["--memory", "--api-socket"].contains(&option[0])
    }) {
        let value = at(option[1]);
        let words = [option[0], &value, "--stop-timeout", "0"];
        let mut guest = place.guest("one", &words);
        place.cuts_off("one");
        guest.ends();
    }
    // Nor one whose reader goes: metrics are written again and again.
    let value = at("OUT,every=0.1");
    let reader = File::options()
        .read(true)
        .write(true)
        .open(folder.join("pipe"))
        .unwrap();
    let mut guest = place.guest("one", &["--metrics", &value, "--stop-timeout", "0"]);
    drop(reader);
    place.cuts_off("one");
    guest.ends();
}

#[test]
fn a_start_that_waits_is_ended_by_a_signal_and_leaves_nothing_behind() {
    let place = place("files-slow", &echo_guest());
    let folder = place.folder.path();
    let socket = folder.join("back-end");
    // A back end that takes the connection and never answers.
    let listener = UnixListener::bind(&socket).unwrap();
    let disk = format!("vhost-user={}", socket.display());
    let [serial, api, stale, ram] = ["serial", "api", "stale", "ram"].map(|name| folder.join(name));
    drop(UnixListener::bind(&stale).unwrap());
    let inode = fs::metadata(&stale).unwrap().ino();
    let at = |path: &Path| format!("socket={}", path.display());
    let vsock = format!("cid=3,{}", at(&stale));
    let memory = format!("16M,backend=file={}", ram.display());
    let words = [
        ["--serial", &at(&serial)],
        ["--api-socket", api.to_str().unwrap()],
        ["--vsock", &vsock],
        ["--memory", &memory],
        ["--disk", &disk],
    ];
    let words = words.concat();
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let mut guest = place.start(&[&["--name", "web"], &words[..]].concat());
        let _connection = listener.accept().unwrap();
        let pid = rustix::process::Pid::from_child(&guest.child);
        rustix::process::kill_process(pid, signal).unwrap();
        let status = guest.ends();
        assert_eq!(status.signal(), Some(signal.as_raw()));
        let files = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["back-end", "kernel", "run", "stale", "text"]);
        assert_eq!(fs::metadata(&stale).unwrap().ino(), inode);
        assert_eq!(place.entries(), [""; 0]);
    }
}

#[test]
fn a_cd_image_is_a_disk_that_is_only_read() {
    if !has_kvm("a_cd_image_is_a_disk_that_is_only_read") {
        return;
    }
    let place = place("files-cd", &echo_guest());
    let mut image = vec![0; 1 << 20];
    image[0x8000..0x8007].copy_from_slice(b"\x01CD001\x01");
    let image = place.folder.file("cd.iso", image);
    let [kernel, image] =
        [place.folder.path().join("kernel"), image].map(|path| path.display().to_string());
    let tried = |disk: &str| {
        let words = ["run", "--dry-run", "--kernel", &kernel, "--disk", disk];
        let output = place.does(&words);
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let said = format!(
        "--disk {image}: this is a CD image (ISO 9660): the guest can read it, and not write it"
    );
    let (code, error) = tried(&image);
    assert_eq!(code, Some(0), "{error}");
    assert!(error.contains(&said), "{error}");
    for told in ["readonly", "format=raw"] {
        let (code, error) = tried(&format!("{image},{told}"));
        assert_eq!(code, Some(0), "{error}");
        assert!(!error.contains("CD image"), "{error}");
    }
}

#[test]
fn any_path_can_be_given() {
    if !has_kvm("any_path_can_be_given") {
        return;
    }
    let place = place("files-names", &echo_guest());
    let folder = place.folder.path();
    for name in [&b"a,b"[..], b"it's \"one\"", b"bytes\xff\xfe", b"tab\tend"] {
        let name = OsStr::from_bytes(name);
        let file = |what: &str| {
            let mut path = OsString::from(format!("{what}-"));
            path.push(name);
            path
        };
        fs::copy(folder.join("kernel"), folder.join(file("kernel"))).unwrap();
        fs::write(folder.join(file("disk")), vec![0; 1 << 20]).unwrap();
        fs::write(folder.join(file("pmem")), vec![0; 2 << 20]).unwrap();
        let value = |before: &str, what: &str, after: &str| {
            // In a list of words a comma of the path is doubled.
            let path = file(what);
            let doubled = path
                .as_bytes()
                .split(|byte| *byte == b',')
                .collect::<Vec<_>>();
            let mut value = OsString::from(before);
            value.push(OsStr::from_bytes(&doubled.join(&b",,"[..])));
            value.push(after);
            value
        };
        let plain = |before: &str, what: &str| {
            let mut value = OsString::from(before);
            value.push(file(what));
            value
        };
        let mut words: Vec<OsString> = ["run", "--quiet", "--dry-run"].map(Into::into).to_vec();
        for (option, value) in [
            ("--kernel", plain("", "kernel")),
            ("--disk", value("", "disk", ",readonly")),
            ("--pmem", value("", "pmem", ",discard")),
            ("--memory", value("16M,backend=file=", "ram", ",dump=on")),
            ("--serial", plain("file=", "serial")),
            ("--console", plain("file=", "console")),
            ("--debug-port", plain("file=", "debug")),
            ("--metrics", value("", "metrics", ",every=2")),
            ("--log", plain("info,", "log")),
            ("--vsock", value("cid=3,socket=", "vsock", "")),
            ("--api-socket", plain("", "api")),
        ] {
            words.extend([option.into(), value]);
        }
        let run = |program: &mut Command| {
            let output = program.current_dir(folder).stdin(Stdio::null()).output();
            let output = output.unwrap();
            let error = String::from_utf8(output.stderr).unwrap();
            assert!(output.status.success(), "{name:?}: {error}");
            error
        };
        let said = run(place.command(&[]).args(&words));
        // What it says is a command that a shell reads as the same.
        let command = said
            .lines()
            .find_map(|line| line.trim().strip_prefix("vmmkit run "));
        let script = format!("\"$0\" run --dry-run --quiet {}", command.unwrap());
        let mut shell = Command::new("bash");
        shell.args(["-c", &script]).arg(support::vmmkit());
        shell.env("XDG_RUNTIME_DIR", folder.join("run"));
        assert_eq!(run(&mut shell), said);
    }
}
