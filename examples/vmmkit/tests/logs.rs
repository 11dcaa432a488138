//! `--log`: what the crates say of a machine, on stderr or in a file.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::fs;
use std::io::Read;

use support::has_kvm;
use support::running::{Place, spinning_guest, wait_for};

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
        "DEBUG vcpu0 vmmkit_run_control::supervisor: thread began vcpu=0",
        "request method=POST path=\"/v1/machine/pause\" status=200",
        "paused",
        "resumed",
        "INFO vcpu0 vmmkit_run_control::log: reset cause=Host count=1",
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
