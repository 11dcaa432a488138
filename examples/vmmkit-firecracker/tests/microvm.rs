//! The program: exit codes, its API over the socket, and machines of a few instructions on KVM.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use support::{Folder, Process, program};
use vmmkit_tests::micro::{echo_guest, elf, has_kvm, triple_fault_guest};

fn run(words: &[&str]) -> Output {
    let mut command = Command::new(program());
    command.args(words).stdin(Stdio::null());
    command.output().unwrap()
}

#[test]
fn the_version_is_the_second_word() {
    let output = run(&["--version"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let first = text.lines().next().unwrap();
    assert_eq!(
        first,
        format!("Firecracker v{}", vmmkit_firecracker::API_VERSION)
    );
    assert!(run(&["--help"]).stdout.starts_with(b"usage: "));
}

#[test]
fn an_exit_code_says_what_was_wrong() {
    let folder = Folder::new("codes");
    assert_eq!(run(&["--what"]).status.code(), Some(153));
    let gone = folder.path("gone");
    let config = |path: &str| run(&["--no-api", "--config-file", path]);
    assert_eq!(config(&gone).status.code(), Some(152));
    assert_eq!(config(&folder.file("no", "{")).status.code(), Some(152));
    let lacking = folder.file(
        "lacking",
        r#"{"boot-source": {"kernel_image_path": "/k"}, "drives": []}"#,
    );
    let output = config(&lacking);
    assert_eq!(output.status.code(), Some(152));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        said.contains("The kernel file cannot be opened: /k"),
        "{said}"
    );
    let there = folder.file("there", "");
    let output = run(&["--api-sock", &there]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        said.contains("Check that it is not already used."),
        "{said}"
    );
    assert!(Path::new(&there).exists());
}

#[test]
fn a_process_without_a_machine_serves_its_api() {
    let folder = Folder::new("idle");
    let log = folder.path("log");
    let mut process = Process::serving(
        &folder,
        &[
            "--http-api-max-payload-size",
            "64",
            "--log-path",
            &log,
            "--show-level",
        ],
    );
    let (status, info) = process.ask("GET", "/", "");
    assert_eq!(status, 200);
    assert!(
        info.contains(r#""id":"vm1""#) && info.contains(r#""state":"Not started""#),
        "{info}"
    );
    let (status, fault) = process.ask("PUT", "/vsock", &"x".repeat(65));
    assert_eq!(status, 413);
    assert!(
        fault.contains("of 65 bytes is larger than the limit of 64"),
        "{fault}"
    );
    assert_eq!(process.ask("PUT", "/vsock", &"x".repeat(64)).0, 400);
    assert!(
        process.threads().contains(&"fc_api".to_owned()),
        "{:?}",
        process.threads()
    );
    let text = fs::read_to_string(log).unwrap();
    for line in [
        "vm1:main:INFO] Running Firecracker v",
        "] Listening on API socket (",
        "] API server started.",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    // The signal that clients end it by.
    let pid = rustix::process::Pid::from_child(&process.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(process.ends().signal(), Some(15));
}

#[test]
fn a_machine_is_made_and_run_by_the_api() {
    if !has_kvm("Firecracker's API") {
        return;
    }
    let folder = Folder::new("api");
    let kernel = folder.file("kernel", echo_guest());
    let drive = folder.file("drive", [0; 4096]);
    let metrics = folder.path("metrics");
    let mut process = Process::serving(&folder, &["--level", "Off"]);
    process.does(
        "PUT",
        "/metrics",
        &format!(r#"{{"metrics_path": "{metrics}"}}"#),
    );
    process.does(
        "PUT",
        "/machine-config",
        r#"{"vcpu_count": 2, "mem_size_mib": 64}"#,
    );
    process.does(
        "PUT",
        "/boot-source",
        &format!(r#"{{"kernel_image_path": "{kernel}"}}"#),
    );
    let limiter =
        r#""rate_limiter": {"ops": {"size": 9, "one_time_burst": 2, "refill_time": 100}}"#;
    process.does(
        "PUT",
        "/drives/root",
        &format!(r#"{{"drive_id": "root", "path_on_host": "{drive}", "is_root_device": true, {limiter}}}"#),
    );
    let vsock = folder.path("v.sock");
    process.does(
        "PUT",
        "/vsock",
        &format!(r#"{{"guest_cid": 3, "uds_path": "{vsock}"}}"#),
    );
    process.does("PUT", "/entropy", "{}");
    process.does(
        "PUT",
        "/balloon",
        r#"{"amount_mib": 0, "deflate_on_oom": false}"#,
    );
    process.does("PUT", "/actions", r#"{"action_type": "InstanceStart"}"#);
    assert_eq!(process.says("R"), "R");
    assert!(Path::new(&vsock).exists());
    let threads = process.threads();
    for name in ["fc_vcpu 0", "fc_vcpu 1", "fc_api"] {
        assert!(threads.contains(&name.to_owned()), "{name}: {threads:?}");
    }
    let state = |process: &Process| process.ask("GET", "/", "").1;
    assert!(state(&process).contains(r#""state":"Running""#));
    process.does("PATCH", "/vm", r#"{"state": "Paused"}"#);
    assert!(state(&process).contains(r#""state":"Paused""#));
    process.does("PATCH", "/vm", r#"{"state": "Resumed"}"#);
    let bucket =
        r#"{"drive_id": "root", "rate_limiter": {"bandwidth": {"size": 5, "refill_time": 1}}}"#;
    process.does("PATCH", "/drives/root", bucket);
    process.does("PATCH", "/balloon", r#"{"amount_mib": 8}"#);
    process.does("PUT", "/actions", r#"{"action_type": "SendCtrlAltDel"}"#);
    process.does("PUT", "/actions", r#"{"action_type": "FlushMetrics"}"#);
    process.types("a");
    assert_eq!(process.says("a"), "a");
    // It asks for a reset, which ends the process.
    process.types("q");
    assert_eq!(process.ends().code(), Some(0));
    let text = fs::read_to_string(metrics).unwrap();
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(text.contains(r#""block_root":{"#), "{text}");
    assert!(!Path::new(&vsock).exists());
}

#[test]
fn a_configuration_file_boots_without_an_api() {
    if !has_kvm("Firecracker's configuration file") {
        return;
    }
    let folder = Folder::new("file");
    let config = folder.config(&echo_guest());
    let mut command = Command::new(program());
    command.args(["--no-api", "--config-file", &config]);
    let mut process = Process::start(&mut command, String::new());
    process.says("from one single json\n");
    process.types("q");
    let said = process.says("exit_code=0\n");
    assert!(said.contains("Vmm is stopping: Reset."), "{said}");
    assert_eq!(process.ends().code(), Some(0));
    // A triple fault is how a kernel reboots that has nothing else.
    let config = folder.config(&triple_fault_guest());
    assert_eq!(
        run(&["--no-api", "--config-file", &config]).status.code(),
        Some(0)
    );
}

#[test]
fn a_configuration_file_and_an_api_go_together() {
    if !has_kvm("Firecracker's file and API") {
        return;
    }
    let folder = Folder::new("both");
    // It waits for ever.
    let config = folder.config(&elf(&[0xf4, 0xeb, 0xfd]));
    let serial = folder.path("serial");
    let log = folder.path("log");
    let process = Process::serving(
        &folder,
        &["--config-file", &config, "--log-path", &log, "--enable-pci"],
    );
    assert!(
        process
            .ask("GET", "/", "")
            .1
            .contains(r#""state":"Running""#)
    );
    let (status, fault) = process.ask(
        "PUT",
        "/serial",
        &format!(r#"{{"serial_out_path": "{serial}"}}"#),
    );
    assert_eq!(status, 400);
    assert!(
        fault.contains("not supported after starting the microVM"),
        "{fault}"
    );
    let (status, config) = process.ask("GET", "/vm/config", "");
    assert_eq!(status, 200);
    assert!(config.contains(r#""kernel_image_path":"#), "{config}");
}
