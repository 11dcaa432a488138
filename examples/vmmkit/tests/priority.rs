//! `--priority`: threads are scheduled as asked, or it is said why they cannot be.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test that cannot go on fails, and a skip is loud"
)]

mod support;

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use support::running::{Guest, Place, wait_for, waiting_guest};
use support::{Folder, has_kvm, vmmkit};

/// How a thread is scheduled: policy, real-time priority, nice value.
type Scheduled = (u32, u32, i32);

/// The name of the first thread here, whatever the program's name.
const MAIN: &str = "(main)";

/// The threads of a guest's process by their names (proc(5), /proc/PID/stat fields 41, 40 and 19).
fn threads(guest: &Guest) -> BTreeMap<String, Scheduled> {
    let tasks = fs::read_dir(format!("/proc/{}/task", guest.pid())).unwrap();
    let read = |task: std::io::Result<fs::DirEntry>| {
        let task = task.unwrap();
        // A thread may just have ended.
        let stat = fs::read_to_string(task.path().join("stat")).ok()?;
        let (start, rest) = stat.rsplit_once(") ").unwrap();
        let name = match task.file_name().to_str() == Some(&guest.pid().to_string()) {
            true => MAIN,
            false => start.split_once('(').unwrap().1,
        };
        // The first of these is field 3.
        let fields: Vec<&str> = rest.split(' ').collect();
        let field = |number: usize| fields[number - 3];
        let policy = field(41).parse().unwrap();
        let scheduled = (
            policy,
            field(40).parse().unwrap(),
            field(19).parse().unwrap(),
        );
        Some((name.to_owned(), scheduled))
    };
    tasks.filter_map(read).collect()
}

/// Waits until these threads are scheduled so.
fn are_scheduled(guest: &Guest, wanted: &[(&str, Scheduled)]) {
    wait_for(&format!("threads are {wanted:?}"), || {
        let seen = threads(guest);
        wanted
            .iter()
            .all(|(name, scheduled)| seen.get(*name) == Some(scheduled))
    });
}

/// The nice value of this process, which its children have too.
fn own_nice() -> i32 {
    rustix::process::getpriority_process(None).unwrap()
}

/// Whether this process may have any priority; says so if not.
fn may_have_any(test: &str) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("SKIPPED: {test}: it needs root");
    }
    is_root
}

#[test]
fn threads_are_scheduled_as_asked() {
    let name = "threads_are_scheduled_as_asked";
    if !has_kvm(name) || !may_have_any(name) {
        return;
    }
    let place = Place::new("priority", &waiting_guest());
    let words = ["--cpus", "2", "--priority", "vcpu=fifo:3,io=nice:-5"];
    let mut guest = place.guest("web", &words);
    // A thread has its name before it has its priority.
    are_scheduled(
        &guest,
        &[
            ("vcpu0", (1, 3, own_nice())),
            ("vcpu1", (1, 3, own_nice())),
            ("vmm", (0, 0, -5)),
            // Neither of a vCPU nor of a device: as this test is.
            (MAIN, (0, 0, own_nice())),
        ],
    );
    // The threads have new vCPUs, and are what they were.
    place.says(&["reset", "-n", "web"]);
    wait_for("the guest runs anew", || {
        place.does(&["pause", "-n", "web"]).status.success()
    });
    are_scheduled(&guest, &[("vcpu0", (1, 3, own_nice()))]);
    place.says(&["stop", "-n", "web", "--timeout", "0"]);
    guest.ends();

    let guest = place.guest("web", &["--priority", "vcpu=rr:1"]);
    are_scheduled(
        &guest,
        &[("vcpu0", (2, 1, own_nice())), ("vmm", (0, 0, own_nice()))],
    );
}

/// `vmmkit run` by a user without privileges, with the limits of `prlimit`'s words.
fn as_nobody(folder: &Folder, limits: &[&str], priority: &str) -> Output {
    let program = folder.path().join("program");
    Command::new("prlimit")
        .args(limits)
        .args([
            "setpriv",
            "--reuid",
            "65534",
            "--regid",
            "65534",
            "--clear-groups",
        ])
        .args(["--inh-caps=-all", "--bounding-set=-all"])
        .arg(program)
        .args(["run", "--kernel", "/nowhere", "--priority", priority])
        .output()
        .unwrap()
}

#[test]
fn what_a_user_may_not_have_is_refused_with_the_limit_to_raise() {
    let name = "what_a_user_may_not_have_is_refused_with_the_limit_to_raise";
    if !may_have_any(name) {
        return;
    }
    let mut can = Command::new("prlimit");
    can.args(["--rtprio=0", "setpriv", "--reuid", "65534", "true"]);
    if !can.output().is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: {name}: it needs prlimit and setpriv");
        return;
    }
    let folder = Folder::new("priority-refused");
    let program = folder.path().join("program");
    fs::copy(vmmkit(), &program).unwrap();
    for path in [folder.path(), &program] {
        fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    }
    let none = ["--rtprio=0", "--nice=0"];
    for (priority, says, next) in [
        (
            "vcpu=fifo:7",
            "--priority vcpu=fifo:7: fifo:7: Operation not permitted",
            "ulimit -r 7",
        ),
        (
            "io=nice:-5",
            "--priority io=nice:-5: nice:-5: Permission denied",
            "ulimit -e 25",
        ),
    ] {
        let refused = as_nobody(&folder, &none, priority);
        let error = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(1), "{error}");
        assert!(
            error.starts_with(&format!("vmmkit: error: {says}")),
            "{error}"
        );
        assert!(error.contains(next), "{error}");
        // With the limit that was named it goes on to the next thing that is wrong.
        let allowed = as_nobody(&folder, &["--rtprio=7", "--nice=25"], priority);
        let error = String::from_utf8(allowed.stderr).unwrap();
        assert!(!error.contains("--priority"), "{error}");
    }
}
