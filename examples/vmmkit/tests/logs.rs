//! `--log`: what the crates say of a machine, on stderr or in a file.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::fs;
use std::io::Read;

use support::running::{Place, spinning_guest, wait_for};
use support::{elf, has_kvm};
use vmmkit_control::{Client, MachineInfo};

#[test]
fn a_log_tells_what_became_of_the_machine_and_its_parts() {
    if !has_kvm("a_log_tells_what_became_of_the_machine_and_its_parts") {
        return;
    }
    let place = Place::new("log", &spinning_guest());
    let file = place.folder.path().join("vm.log");
    let log = format!("debug,{}", file.display());
    let mut guest = place.guest("web", &["--log", &log]);
    place.says(&["pause", "-n", "web"]);
    place.says(&["resume", "-n", "web"]);
    place.says(&["reset", "-n", "web"]);
    wait_for("the guest runs anew", || {
        fs::read_to_string(&file).unwrap().contains(" reset ")
    });
    place.says(&["stop", "-n", "web", "--timeout", "0"]);
    guest.ends();
    let text = fs::read_to_string(&file).unwrap();
    for part in [
        "INFO load vmmkit_boot_loader::load: kernel loaded format=Elf entry=Linux64 address=0x100000",
        "milestone=\"built\"",
        "started",
        "DEBUG vcpu0 vmmkit_run_control::control::reset: thread began vcpu=0",
        "request method=POST path=\"/v1/machine/pause\" status=200",
        "paused",
        "resumed",
        "INFO vcpu0 vmmkit_run_control::control::log: reset cause=Host count=1",
        "thread ends vcpu=0",
        "ended outcome=Stopped",
    ] {
        assert!(text.contains(part), "no {part} in {text}");
    }
    // One event is one line.
    let is_whole = |line: &str| line.contains("DEBUG ") || line.contains("INFO ");
    assert!(text.lines().all(is_whole), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
    let mut error = String::new();
    let mut stderr = guest.child.stderr.take().unwrap();
    stderr.read_to_string(&mut error).unwrap();
    assert_eq!(error, "");
}

#[test]
fn the_environment_asks_for_a_log_where_no_option_does() {
    if !has_kvm("the_environment_asks_for_a_log_where_no_option_does") {
        return;
    }
    let place = Place::new("log-variable", &support::echo_guest());
    let run = |variable: &str, words: &[&str]| {
        let kernel = place.folder.path().join("kernel");
        let mut command = place.command(&["run", "--quiet", "--no-instance"]);
        command.args(words).arg("--kernel").arg(kernel);
        let child = command
            .env("VMMKIT_LOG", variable)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut guest = support::running::Guest { child };
        let stdin = guest.child.stdin.take();
        // A guest that was refused reads nothing.
        let _ = std::io::Write::write_all(&mut stdin.unwrap(), b"q");
        let code = guest.ends().code();
        let mut error = String::new();
        let mut stderr = guest.child.stderr.take().unwrap();
        stderr.read_to_string(&mut error).unwrap();
        (code, error)
    };
    let (code, error) = run("info", &[]);
    assert_eq!(code, Some(0), "{error}");
    assert!(error.contains("ended outcome=Reset"), "{error}");
    assert!(!error.contains("DEBUG"), "{error}");
    let (_, error) = run("info", &["--log", "error"]);
    assert_eq!(error, "");
    let (code, error) = run("loud", &[]);
    assert_eq!(code, Some(2));
    assert!(
        error.starts_with("vmmkit: error: VMMKIT_LOG=loud: there is no level \"loud\"\n"),
        "{error}"
    );
    let (code, error) = run("", &["--log", "info,/nowhere/vm.log"]);
    assert_eq!(code, Some(1));
    assert!(
        error.starts_with("vmmkit: error: --log info,/nowhere/vm.log: No such file"),
        "{error}"
    );
}

#[test]
fn a_guest_and_a_client_that_repeat_themselves_do_not_fill_a_log() {
    if !has_kvm("a_guest_and_a_client_that_repeat_themselves_do_not_fill_a_log") {
        return;
    }
    // A pulse of the reset line, at once: mov al, 0xfe; out 0x64, al; jmp to itself.
    let place = Place::new("log-flood", &elf(&[0xb0, 0xfe, 0xe6, 0x64, 0xeb, 0xfe]));
    let file = place.folder.path().join("vm.log");
    let log = format!("debug,{}", file.display());
    let mut guest = place.guest("web", &["--on-reboot", "reboot", "--log", &log]);
    let client = Client::new(&place.socket("web"));
    for round in 0..600 {
        // A guest that is being reset may refuse it.
        let verb = if round % 2 == 0 { "pause" } else { "resume" };
        let _ = client.post::<MachineInfo>(&format!("/v1/machine/{verb}"), None);
    }
    let text = || fs::read_to_string(&file).unwrap();
    let resets = |count: u32| text().contains(&format!("reset cause=Guest count={count}\n"));
    let _ = client.post::<MachineInfo>("/v1/machine/resume", None);
    wait_for("the guest has reset itself a hundred times", || resets(128));
    place.says(&["stop", "-n", "web", "--timeout", "0"]);
    guest.ends();
    let text = text();
    let count = |part: &str| text.lines().filter(|line| line.contains(part)).count();
    // The first 32, and powers of two up to 2^20.
    for part in ["kernel loaded", "request method", " reset cause"] {
        assert!((32..=48).contains(&count(part)), "{part}: {}", count(part));
    }
    assert!(count("paused") + count("resumed") <= 48, "{text}");
    assert!(text.lines().count() < 250, "{}", text.lines().count());
}
