//! vmmkit without a terminal: in pipelines and with files.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::fs::File;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use support::{Folder, echo_guest, elf, has_kvm};

fn vmmkit(folder: &Folder) -> Command {
    let kernel = folder.file("kernel", echo_guest());
    let mut command = Command::new(support::vmmkit());
    command
        .args(["run", "--memory", "16M", "--kernel"])
        .arg(kernel);
    command
}

fn with_input(mut command: Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn the_guest_reads_the_pipe_and_only_it_writes_to_stdout() {
    if !has_kvm("a guest in a pipeline") {
        return;
    }
    let folder = Folder::new("pipe");
    let output = with_input(vmmkit(&folder), b"hello\nq");
    // What a software KVM asks for is worth a line, and so is the guest's reset; nothing else is said.
    let stderr = String::from_utf8_lossy(&output.stderr);
    let mut lines = stderr.lines();
    assert!(
        lines.all(|line| {
            line.starts_with("vmmkit: software KVM: kernel parameters added: ")
                || line == "vmmkit: the guest reset itself"
        }),
        "{stderr}"
    );
    assert_eq!(String::from_utf8_lossy(&output.stdout), "Rhello\nq");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn no_byte_of_a_long_input_is_lost() {
    if !has_kvm("a long input") {
        return;
    }
    let folder = Folder::new("long");
    let text = "0123456789abcdef\n".repeat(500);
    let output = with_input(vmmkit(&folder), format!("{text}q").as_bytes());
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("R{text}q"));
}

#[test]
fn a_file_is_read_to_its_end() {
    if !has_kvm("a file as input") {
        return;
    }
    let folder = Folder::new("file");
    let input = folder.file("input", "from a file\nq");
    let output = vmmkit(&folder)
        .stdin(File::open(input).unwrap())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "Rfrom a file\nq");
}

#[test]
fn a_file_takes_the_output() {
    if !has_kvm("a file as output") {
        return;
    }
    let folder = Folder::new("serial-file");
    let serial = format!("file={}", folder.path().join("log").display());
    // The guest never ends by itself without input.
    let mut child = vmmkit(&folder)
        .args(["--serial", &serial, "--stop-timeout", "0"])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let log = folder.path().join("log");
    let started = std::time::Instant::now();
    while std::fs::read(&log).unwrap_or_default() != b"R" {
        assert!(started.elapsed().as_secs() < 30, "the guest prints");
        std::thread::yield_now();
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&status),
        Some(15)
    );
}

#[test]
fn a_dry_run_builds_the_machine_and_starts_nothing() {
    if !has_kvm("a dry run") {
        return;
    }
    let folder = Folder::new("dry");
    let output = vmmkit(&folder).arg("--dry-run").output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stdout, b"");
    assert!(String::from_utf8_lossy(&output.stderr).contains("vmmkit run --kernel"));
}

/// Linux's console waits for an empty transmitter before each byte: one that never empties stops the kernel.
#[test]
fn a_guest_is_not_held_up_by_a_pty_that_nobody_opens() {
    if !has_kvm("a pty that nobody opens") {
        return;
    }
    let folder = Folder::new("pty");
    // More than the host's terminal and the console's buffer hold together, 52,199 bytes.
    let kernel = elf(&[
        0x31, 0xdb, // xor ebx, ebx
        0x66, 0xba, 0xfd, 0x03, // mov dx, 0x3fd
        0xec, 0xa8, 0x20, 0x74, 0xfb, // wait: in al, dx; test al, 0x20; jz wait
        0x66, 0xba, 0xf8, 0x03, // mov dx, 0x3f8
        0xb0, 0x78, 0xee, // mov al, 'x'; out dx, al
        0xff, 0xc3, // inc ebx
        0x81, 0xfb, 0x60, 0xea, 0x00, 0x00, // cmp ebx, 60000
        0x75, 0xe6, // jne to the first mov
        0xb0, 0xfe, 0xe6, 0x64, 0xf4, // mov al, 0xfe; out 0x64, al; hlt: a reset
    ]);
    let mut command = Command::new(support::vmmkit());
    command.args(["run", "-q", "--no-instance", "--memory", "16M", "--kernel"]);
    command.arg(folder.file("kernel", kernel));
    command.args(["--serial", "pty"]);
    let output = with_input(command, b"");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}
