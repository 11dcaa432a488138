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
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use support::running::{Guest, LIMIT, Place, spinning_guest, wait_for};
use support::{echo_guest, elf, has_kvm, vmmkit};
use vmmkit_host_io::{Deadline, FdSocket};

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
        // The control API's descriptors and thread are wanted too.
        let socket = place.folder.path().join(&limit);
        command.arg("--api-socket").arg(socket);
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

/// Clock ticks of CPU time (1/100 s, proc_pid_stat(5)) that the threads of a process have had which are
/// not vCPUs.
fn ticks(guest: &Guest) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{}/task", guest.pid())).unwrap();
    let ticks = tasks.map(|task| {
        let stat = fs::read_to_string(task.unwrap().path().join("stat")).unwrap_or_default();
        let (before, after) = stat.rsplit_once(')').unwrap_or_default();
        let mut fields = after.split_whitespace();
        let mut number = |nth| {
            fields
                .nth(nth)
                .map_or(0, |text: &str| text.parse().unwrap())
        };
        let used: u64 = number(11) + number(0);
        if before.contains("(vcpu") { 0 } else { used }
    });
    ticks.sum()
}

/// Uses as many ticks of CPU time: what spins beside it gets about the same in that time.
fn use_ticks(ticks: u32) {
    let time = || {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::new(
            now.tv_sec.try_into().unwrap(),
            now.tv_nsec.try_into().unwrap(),
        )
    };
    let until = time() + Duration::from_millis(10) * ticks;
    while time() < until {}
}

/// How many descriptors the process may have: those that it has, or as it was.
fn limit_descriptors(guest: &Guest, limit: Option<Rlimit>) -> Rlimit {
    let pid = Pid::from_raw(guest.pid().try_into().unwrap());
    let now = limit.unwrap_or_else(|| {
        let fds = fs::read_dir(format!("/proc/{}/fd", guest.pid())).unwrap();
        let number = |fd: std::io::Result<fs::DirEntry>| {
            fd.unwrap()
                .file_name()
                .into_string()
                .unwrap()
                .parse::<u64>()
        };
        let most = fds.map(|fd| number(fd).unwrap()).max();
        Rlimit {
            current: most.map(|most| most + 1),
            maximum: rustix::process::getrlimit(Resource::Nofile).maximum,
        }
    });
    prlimit(pid, Resource::Nofile, now).unwrap()
}

/// Thousands of clients that come and go: as many as there is room for are left to be accepted.
fn crowd(socket: &Path) {
    let now = Deadline::after(Duration::ZERO);
    for _ in 0..2000 {
        if let Ok(client) = FdSocket::connect(socket, &now) {
            let _ = client.send(b"x", &[], &now);
        }
    }
}

#[test]
fn clients_beyond_the_descriptors_wait_without_a_loop_and_are_served_later() {
    if !has_kvm("clients_beyond_the_descriptors_wait_without_a_loop_and_are_served_later") {
        return;
    }
    let place = Place::new("emfile", &echo_guest());
    let (serial, api) = (place.folder.path().join("serial"), place.socket("web"));
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap();
    drop(free);
    let at = format!("socket={}", serial.display());
    let gdb = format!("tcp:{port}");
    let arguments = ["--serial", &at, "--gdb", &gdb];
    let mut guest = place.start(&[&["--name", "web"], &arguments[..]].concat());
    // It waits for its debugger, whose thread and the vCPU's come last.
    wait_for("it waits for a debugger", || {
        let tasks = fs::read_dir(format!("/proc/{}/task", guest.pid())).unwrap();
        let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm"));
        let names: Vec<_> = tasks.flatten().flat_map(name).collect();
        ["gdb", "vcpu0"]
            .iter()
            .all(|it| names.iter().any(|name| name.trim() == *it))
    });

    let limit = limit_descriptors(&guest, None);
    crowd(&serial);
    crowd(&api);
    let mut debugger = TcpStream::connect(port).unwrap();
    debugger.set_read_timeout(Some(LIMIT)).unwrap();
    let before = ticks(&guest);
    use_ticks(100);
    let used = ticks(&guest) - before;
    assert!(used < 40, "{used} ticks beside 100 of this test");

    limit_descriptors(&guest, Some(limit));
    debugger.write_all(b"$?#3f").unwrap();
    let mut answer = [0];
    debugger.read_exact(&mut answer).unwrap();
    assert_eq!(answer, *b"+");
    debugger.write_all(b"$D#44").unwrap();
    debugger.read_exact(&mut answer).unwrap();
    drop(debugger);
    wait_for("it answers", || {
        place.does(&["stat", "-n", "web"]).status.success()
    });
    let mut keys = UnixStream::connect(&serial).unwrap();
    keys.write_all(b"q").unwrap();
    assert_eq!(guest.ends().code(), Some(0));
}

#[test]
fn an_ordinary_user_is_told_how_kvm_can_be_had() {
    if !has_kvm("an_ordinary_user_is_told_how_kvm_can_be_had") {
        return;
    }
    let Some(setpriv) = tool("setpriv", "util-linux") else {
        return eprintln!("SKIPPED: an ordinary user: setpriv is needed");
    };
    if !rustix::process::geteuid().is_root() {
        return eprintln!("SKIPPED: an ordinary user: this is one already");
    }
    let place = Place::new("nobody", &resetting_guest());
    let kernel = place.folder.file("resetting", resetting_guest());
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(place.folder.path(), open).unwrap();
    let output = Command::new(setpriv)
        .args(["--reuid=61299", "--regid=61299", "--clear-groups"])
        .arg(vmmkit())
        .args(["run", "-q", "--memory", "16M", "--no-instance", "--kernel"])
        .arg(kernel)
        .env_remove("XDG_RUNTIME_DIR")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    match said("an ordinary user", &output) {
        // Whoever may use /dev/kvm has a guest.
        Some(0) => {}
        Some(1) if error.contains("--kernel") => {
            eprintln!("SKIPPED: an ordinary user: the folder of this test is closed to others");
        }
        Some(1) => {
            assert!(
                error.contains("KVM: /dev/kvm may not be opened by this user"),
                "{error}"
            );
            assert!(
                error.contains("/dev/kvm") && error.contains("next: "),
                "{error}"
            );
        }
        code if error.starts_with("setpriv") => {
            eprintln!("SKIPPED: an ordinary user: vmmkit is closed to others, {code:?}");
        }
        code => panic!("{code:?}: {error}"),
    }
}
