//! What vmmkit says to input it cannot use: the thing, its value, the reason, the next step.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::os::unix::process::CommandExt;
use std::process::{Command, Output};

use support::{Folder, elf, has_kvm};

/// One bad input.
struct Case {
    /// Whether it is only found out with KVM in hand.
    needs_kvm: bool,
    /// The arguments; `DIR` is the folder of bad files.
    arguments: &'static [&'static str],
    /// The exit code.
    code: i32,
    /// The thing, its value and the reason, as they must be in the message.
    says: &'static [&'static str],
}

const USAGE: i32 = 2;
const HOST: i32 = 1;

/// Found out from the text alone.
const fn text(arguments: &'static [&'static str], says: &'static [&'static str]) -> Case {
    Case {
        needs_kvm: false,
        arguments,
        code: USAGE,
        says,
    }
}

/// Found out from the host before KVM is asked for anything.
const fn host(arguments: &'static [&'static str], says: &'static [&'static str]) -> Case {
    Case {
        needs_kvm: false,
        arguments,
        code: HOST,
        says,
    }
}

/// Found out when the machine is built.
const fn build(arguments: &'static [&'static str], says: &'static [&'static str]) -> Case {
    Case {
        needs_kvm: true,
        arguments,
        code: HOST,
        says,
    }
}

#[rustfmt::skip]
const CASES: &[Case] = &[
    // Commands and options.
    text(&[], &["command", "none was given"]),
    text(&["rnu"], &["command rnu", "no such command"]),
    text(&["run", "--kernle", "x"], &["--kernle", "no such option", "did you mean"]),
    text(&["run", "-z"], &["-z", "no such option"]),
    text(&["run", "vmlinux"], &["vmlinux", "no such option"]),
    text(&["run", "--kernel"], &["--kernel", "value is missing"]),
    text(&["run", "--kernel", "a", "--kernel", "b"], &["--kernel", "given twice"]),
    text(&["run", "--dry-run=yes"], &["--dry-run", "yes", "takes no value"]),
    text(&["run", "--quiet", "--quiet"], &["--quiet", "given twice"]),
    text(&["doctor", "--kernel", "x"], &["--kernel", "no such option"]),
    text(&["completions"], &["SHELL", "missing"]),
    text(&["completions", "tcsh"], &["tcsh", "one of", "bash"]),
    // Numbers.
    text(&["run", "--kernel", "k", "--cpus", "0"], &["--cpus 0", "at least 1"]),
    text(&["run", "--kernel", "k", "--cpus", "-1"], &["--cpus -1", "not a number"]),
    text(&["run", "--kernel", "k", "--cpus", "two"], &["--cpus two", "not a number"]),
    text(&["run", "--kernel", "k", "--cpus", "4294967296"], &["--cpus 4294967296", "not a number"]),
    text(&["run", "--kernel", "k", "--cpus", ""], &["--cpus", "not a number"]),
    text(&["run", "--kernel", "k", "--stop-timeout", "soon"], &["--stop-timeout soon", "seconds"]),
    text(&["run", "--kernel", "k", "--stop-timeout", "-1"], &["--stop-timeout -1", "seconds"]),
    text(&["run", "--kernel", "k", "--stop-timeout", "99999999"], &["--stop-timeout 99999999"]),
    // Memory.
    text(&["run", "--kernel", "k", "--memory", "0"], &["--memory 0", "needs memory"]),
    text(&["run", "--kernel", "k", "--memory", "100"], &["--memory 100", "whole number of 4096"]),
    text(&["run", "--kernel", "k", "--memory", "12Q"], &["--memory 12Q", "not a size"]),
    text(&["run", "--kernel", "k", "--memory", "-1G"], &["--memory -1G", "negative"]),
    text(&["run", "--kernel", "k", "--memory", "1.5G"], &["--memory 1.5G", "not a whole number"]),
    text(&["run", "--kernel", "k", "--memory", "99999999999T"], &["99999999999T", "larger than any"]),
    // Names of things.
    text(&["run", "--kernel", "k", "--serial", "tcp"], &["--serial tcp", "no such place"]),
    text(&["run", "--kernel", "k", "--serial", "file"], &["--serial file", "path is missing"]),
    text(&["run", "--kernel", "k", "--serial", "file="], &["--serial file=", "path is empty"]),
    text(&["run", "--kernel", "k", "--serial", "socket=/x"], &["socket=/x", "cannot listen"]),
    text(&["run", "--kernel", "k", "--entry", "bios"], &["--entry bios", "no such way"]),
    text(&["run", "--kernel", "k", "--cpu", "i486"], &["--cpu i486"]),
    text(&["run", "--kernel", "k", "--name", ""], &["--name \"\"", "cannot be"]),
    text(&["run", "--kernel", "k", "--name", "../x"], &["--name \"../x\"", "cannot be"]),
    text(&["run", "--kernel", "k", "--on-reboot", "dance"], &["--on-reboot dance", "no such action"]),
    text(&["run", "--kernel", "k", "--on-reboot", "reboot"], &["--on-reboot reboot", "cannot reset"]),
    // Configuration files.
    host(&["run", "--config", "DIR/none.toml"], &["none.toml", "No such file"]),
    host(&["run", "--config", "DIR"], &["--config", "Is a directory"]),
    text(&["run", "--config", "DIR/key.toml"], &["key.toml", "line 2", "unknown field `kernal`"]),
    text(&["run", "--config", "DIR/type.toml"], &["type.toml", "line 1", "invalid type"]),
    text(&["run", "--config", "DIR/syntax.toml"], &["syntax.toml", "line 1"]),
    text(&["run", "--config", "DIR/cpus.toml"], &["--cpus 0", "at least 1"]),
    // The host.
    host(&["run", "--kernel", "DIR/text", "--kvm", "DIR/kvm"], &["KVM", "DIR/kvm", "does not exist"]),
    host(&["run", "--kernel", "DIR/text", "--kvm", "DIR/text"], &["KVM"]),
    host(&["doctor", "--kvm", "DIR/kvm"], &["KVM", "DIR/kvm", "does not exist"]),
    build(&["run", "--kernel", "DIR/loop", "--serial", "file=DIR/no/file"], &["DIR/no/file", "No such file"]),
    build(&["run", "--kernel", "DIR/loop", "--cpus", "100000"], &["cpus 100000", "at most"]),
    build(&["run", "--kernel", "DIR/loop", "--memory", "512T"], &["562949953421312", "more than"]),
    // Kernels.
    build(&["run", "--kernel", "DIR/none"], &["--kernel", "DIR/none", "No such file"]),
    build(&["run", "--kernel", "DIR"], &["kernel", "DIR"]),
    build(&["run", "--kernel", "DIR/empty"], &["kernel", "DIR/empty"]),
    build(&["run", "--kernel", "DIR/text"], &["kernel", "DIR/text"]),
    build(&["run", "--kernel", "DIR/elf32"], &["kernel", "DIR/elf32"]),
    build(&["run", "--kernel", "DIR/arm"], &["kernel", "DIR/arm"]),
    build(&["run", "--kernel", "DIR/short"], &["kernel", "DIR/short"]),
    build(&["run", "--kernel", "DIR/loop", "--initrd", "DIR/none"], &["--initrd", "DIR/none", "No such file"]),
    build(&["run", "--kernel", "DIR/loop", "--initrd", "DIR/big", "--memory", "16M"], &["initrd"]),
    build(&["run", "--kernel", "DIR/loop", "--memory", "4K"], &["kernel", "DIR/loop"]),
];

/// The files that the table speaks of.
fn bad_files() -> Folder {
    let folder = Folder::new("bad-input");
    let good = elf(&[0xeb, 0xfe]);
    folder.file("key.toml", "cpus = 2\nkernal = \"x\"\n");
    folder.file("type.toml", "cpus = \"two\"\n");
    folder.file("syntax.toml", "cpus =\n");
    folder.file("cpus.toml", "kernel = \"k\"\ncpus = 0\n");
    folder.file("empty", "");
    folder.file("text", "this is not a kernel\n".repeat(100));
    folder.file("short", &good[..70]);
    folder.file("big", vec![0; 20 << 20]);
    // e_ident[EI_CLASS] = ELFCLASS32; e_machine = EM_AARCH64.
    folder.file("elf32", with(&good, 4, 1));
    folder.file("arm", with(&good, 18, 183));
    folder.file("loop", good);
    folder
}

fn with(file: &[u8], offset: usize, byte: u8) -> Vec<u8> {
    let mut changed = file.to_vec();
    changed[offset] = byte;
    changed
}

#[test]
fn every_bad_input_gets_its_message() {
    let folder = bad_files();
    let kvm = has_kvm("bad inputs that are found out with KVM in hand");
    let cases = CASES.iter().filter(|case| kvm || !case.needs_kvm);
    let complaints: Vec<String> = cases.filter_map(|case| complaint(case, &folder)).collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// What is wrong with the answer to one case.
fn complaint(case: &Case, folder: &Folder) -> Option<String> {
    let place = folder.path().to_str().unwrap();
    let pty = vmmkit_host_io::open_pty().unwrap();
    let before = rustix::termios::tcgetattr(&pty.slave).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_vmmkit"))
        .args(
            case.arguments
                .iter()
                .map(|argument| argument.replace("DIR", place)),
        )
        .stdin(pty.slave.try_clone().unwrap())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let group = rustix::process::Pid::from_child(&child);
    let Output {
        status,
        stdout,
        stderr,
    } = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    let after = rustix::termios::tcgetattr(&pty.slave).unwrap();

    let mut wrong = Vec::new();
    if status.code() != Some(case.code) {
        wrong.push(format!("{status} instead of {}", case.code));
    }
    for expected in case.says.iter().map(|text| text.replace("DIR", place)) {
        if !stderr.contains(&expected) {
            wrong.push(format!("it does not say {expected:?}"));
        }
    }
    for expected in ["vmmkit: error: ", "\n  next: "] {
        if !stderr.contains(expected) {
            wrong.push(format!("it has no {expected:?}"));
        }
    }
    if ["panicked", "internal error", "RUST_BACKTRACE"]
        .iter()
        .any(|text| stderr.contains(text))
    {
        wrong.push("it panicked".to_owned());
    }
    if !stdout.is_empty() {
        wrong.push("stdout is not the guest's alone".to_owned());
    }
    if format!("{before:?}") != format!("{after:?}") {
        wrong.push("the terminal has other settings".to_owned());
    }
    if rustix::process::test_kill_process_group(group).is_ok() {
        wrong.push("a process is left".to_owned());
    }
    (!wrong.is_empty()).then(|| format!("{:?}: {}\n{stderr}", case.arguments, wrong.join("; ")))
}

#[test]
fn the_table_is_long_enough() {
    assert!(CASES.len() >= 40);
}
