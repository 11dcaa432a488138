//! vmmkit under the host's limits of processes, descriptors, memory and signals: it says what it lacks,
//! and what the person at the shell asks for always comes through.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::fs;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use support::running::{Place, spinning_guest, wait_for};
use support::{elf, has_kvm, vmmkit};

/// A kernel that asks the keyboard controller for a reset, which ends the run.
fn resetting_guest() -> Vec<u8> {
    elf(&[0xb0, 0xfe, 0xe6, 0x64, 0xf4, 0xeb, 0xfd])
}

/// Real-time signals cannot be sent to a process of a user with none left to be queued.
#[test]
fn a_spinning_guest_is_paused_and_stopped_where_no_signal_can_be_queued() {
    if !has_kvm("a_spinning_guest_is_paused_and_stopped_where_no_signal_can_be_queued") {
        return;
    }
    let place = Place::new("sigpending", &spinning_guest());
    let mut guest = place.guest("web", &["--cpus", "2"]);
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let pid = Pid::from_raw(guest.pid().try_into().unwrap());
    prlimit(pid, Resource::Sigpending, none).unwrap();
    for _ in 0..3 {
        assert!(place.says(&["pause", "-n", "web"]).contains("paused"));
        place.says(&["resume", "-n", "web"]);
    }
    kill_process(pid.unwrap(), Signal::TERM).unwrap();
    guest.ends();
}

/// The tool of that name which says that it is `maker`'s: busybox has a setpriv of its own.
fn tool(name: &str, maker: &str) -> Option<String> {
    let folders = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"];
    let mut paths = folders.iter().map(|folder| format!("{folder}/{name}"));
    paths.find(|path| {
        let version = Command::new(path).arg("--version").output();
        version.is_ok_and(|said| String::from_utf8_lossy(&said.stdout).contains(maker))
    })
}

/// vmmkit by a shell that sets `limit`, as a user who is bound by the number of processes; `None` where
/// the tools for that are not here.
fn limited(place: &Place, kernel: &str, limit: &str) -> Option<Command> {
    /// Nobody, and in each test another one: processes are counted by user.
    static NEXT: AtomicU32 = AtomicU32::new(61_234);
    let user = NEXT.fetch_add(1, Ordering::Relaxed);
    let tools = (tool("bash", "GNU bash"), tool("setpriv", "util-linux"));
    let (Some(bash), Some(setpriv)) = tools else {
        return None;
    };
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let mut command = Command::new(bash);
    let kernel = place.folder.file(
        kernel,
        match kernel {
            "spinning" => spinning_guest(),
            _ => resetting_guest(),
        },
    );
    // Root is bound by no number of processes. What it may open stays open to the other user.
    command
        .arg("-c")
        .arg(format!(
            "ulimit {limit} || exit 99; exec {setpriv} --reuid={user} --regid={user} --clear-groups \
             --inh-caps=+dac_override --ambient-caps=+dac_override \"$@\""
        ))
        .arg("bash")
        .arg(vmmkit())
        .args([
            "run",
            "-q",
            "--memory",
            "16M",
            "--no-instance",
            "--stop-timeout",
            "1",
            "--kernel",
        ])
        .arg(kernel)
        .env("XDG_RUNTIME_DIR", place.folder.path())
        .stdin(Stdio::null());
    Some(command)
}

/// How it ended: well, or with a message that is not about a bug of its own.
fn said(limit: &str, output: &Output) -> Option<i32> {
    let error = String::from_utf8_lossy(&output.stderr);
    for bug in ["internal error", "panicked", "bug in vmmkit"] {
        assert!(!error.contains(bug), "ulimit {limit}: {error}");
    }
    if output.status.code() == Some(1) {
        assert!(
            error.contains("error: ") && error.contains("next: "),
            "ulimit {limit}: {error:?}"
        );
    }
    output.status.code()
}

#[test]
fn what_the_host_has_no_more_of_is_said() {
    if !has_kvm("what_the_host_has_no_more_of_is_said") {
        return;
    }
    let place = Place::new("limits", &resetting_guest());
    let processes = (1..=7).map(|n| format!("-u {n}"));
    let descriptors = (6..=26).step_by(2).map(|n| format!("-n {n}"));
    let memory = (2..=6).map(|n| format!("-v {}", n * 12_288));
    let mut least = 0;
    for limit in processes.chain(descriptors).chain(memory) {
        let Some(mut command) = limited(&place, "resetting", &limit) else {
            return eprintln!("SKIPPED: limits of the host: bash, setpriv and root are needed");
        };
        let code = said(&limit, &command.output().unwrap());
        assert!(code != Some(99), "this host does not take ulimit {limit}");
        // An allocation of the C library's or the standard library's that fails ends by SIGABRT.
        let may_abort = limit.starts_with("-v") && code.is_none();
        assert!(
            matches!(code, Some(0 | 1)) || may_abort,
            "ulimit {limit}: {code:?}"
        );
        least += u32::from(code == Some(1));
    }
    assert!(least > 0, "none of the limits was reached");
}

/// Starts a guest that spins, under `limit`.
fn spins(place: &Place, limit: &str) -> Option<Child> {
    let mut command = limited(place, "spinning", limit)?;
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped());
    Some(child.spawn().unwrap())
}

/// With few processes left the host's kernel has no thread for KVM, and KVM_RUN says EAGAIN for ever.
#[test]
fn sigterm_ends_a_guest_that_the_host_has_no_thread_for() {
    if !has_kvm("sigterm_ends_a_guest_that_the_host_has_no_thread_for") {
        return;
    }
    let place = Place::new("nproc", &spinning_guest());
    for processes in 2..=6 {
        let limit = format!("-u {processes}");
        let Some(mut child) = spins(&place, &limit) else {
            return eprintln!("SKIPPED: no thread for KVM: bash, setpriv and root are needed");
        };
        let tasks = format!("/proc/{}/task", child.id());
        let mut ended = false;
        wait_for("the vCPU has a thread, or there is an end", || {
            ended = child.try_wait().unwrap().is_some();
            let tasks = fs::read_dir(&tasks).into_iter().flatten().flatten();
            let names = tasks.map(|task| fs::read_to_string(task.path().join("comm")));
            ended || names.flatten().any(|name| name.trim() == "vcpu0")
        });
        if !ended {
            let pid = Pid::from_raw(child.id().try_into().unwrap()).unwrap();
            kill_process(pid, Signal::TERM).unwrap();
        }
        wait_for("it ends", || child.try_wait().unwrap().is_some());
        said(&limit, &child.wait_with_output().unwrap());
    }
}
