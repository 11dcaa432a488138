//! `--sandbox`: what a running guest's process may still do, and its end when it does more.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that cannot go on fails, and a skip is loud"
)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use support::has_kvm;
use support::running::{Guest, Place, wait_for, waiting_guest};

/// Whether the test can say anything here; says so if not.
fn has_all(test: &str) -> bool {
    let has_filters = Path::new("/proc/sys/kernel/seccomp/actions_avail").exists();
    if !has_filters {
        eprintln!("SKIPPED: {test}: this host's kernel has no filter of system calls");
    }
    has_filters && has_kvm(test)
}

/// The lines of /proc/PID/task/*/status that are the sandbox's, by the names of the threads.
fn threads(guest: &Guest) -> BTreeMap<String, BTreeMap<String, String>> {
    let tasks = fs::read_dir(format!("/proc/{}/task", guest.pid())).unwrap();
    let statuses = tasks.filter_map(|task| {
        // A thread may just have ended.
        let status = fs::read_to_string(task.ok()?.path().join("status")).ok()?;
        let lines = status.lines().filter_map(|line| line.split_once(":\t"));
        let lines: BTreeMap<_, _> = lines
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Some((lines.get("Name")?.clone(), lines))
    });
    statuses.collect()
}

/// A guest with a thread of every role that needs no driver.
fn guest(place: &Place, more: &[&str]) -> Guest {
    let metrics = place.folder.path().join("m.prom");
    let gdb = format!("unix:{}", place.folder.path().join("gdb").display());
    let metrics = metrics.to_str().unwrap();
    let mut arguments = vec!["--metrics", metrics, "--rng"];
    arguments.extend(more);
    if more.contains(&"--paused") {
        arguments.extend(["--gdb", &gdb]);
    }
    place.guest("confined", &arguments)
}

#[test]
fn every_thread_is_confined() {
    if !has_all("every_thread_is_confined") {
        return;
    }
    let place = Place::new("sandbox", &waiting_guest());
    let guest = guest(&place, &["--sandbox", "on"]);
    let is = |lines: &BTreeMap<String, String>, name: &str, value: &str| {
        lines.get(name).is_some_and(|it| it == value)
    };
    wait_for("every thread has its filter", || {
        let threads = threads(&guest);
        let all = threads.values().all(|it| is(it, "Seccomp", "2"));
        all && ["vcpu0", "vmm", "api", "reports"]
            .iter()
            .all(|name| threads.contains_key(*name))
    });
    for (name, lines) in threads(&guest) {
        assert!(is(&lines, "NoNewPrivs", "1"), "{name}: {lines:?}");
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert!(is(&lines, set, "0000000000000000"), "{name}: {lines:?}");
        }
    }
    let said = place.says(&["inspect", "-n", "confined", "--json", "sandbox"]);
    assert!(
        said.contains(r#""system_calls": "filtered in all "#),
        "{said}"
    );
    assert!(said.contains(r#""capabilities": "gone in all "#), "{said}");
    assert!(
        said.contains(r#""new_privileges": "impossible in all "#),
        "{said}"
    );
    for fd in fs::read_dir(format!("/proc/{}/fd", guest.pid())).unwrap() {
        let Ok(target) = fs::read_link(fd.unwrap().path()) else {
            continue;
        };
        let target = target.to_str().unwrap().to_owned();
        let own = place.folder.path().to_str().unwrap();
        let known = [
            "anon_inode:[eventfd]",
            "anon_inode:[eventpoll]",
            "anon_inode:[signalfd]",
            "anon_inode:[timerfd]",
            "anon_inode:[io_uring]",
            "anon_inode:kvm-",
            "/dev/kvm",
            "/dev/null",
            "/memfd:",
            "pipe:",
            "socket:",
            own,
        ];
        let is_known = known.iter().any(|prefix| target.starts_with(prefix));
        assert!(is_known, "{target}");
    }
    place.cuts_off("confined");
}

#[test]
fn a_sandbox_that_is_off_confines_nothing() {
    if !has_all("a_sandbox_that_is_off_confines_nothing") {
        return;
    }
    let place = Place::new("no-sandbox", &waiting_guest());
    let guest = guest(&place, &["--sandbox", "off"]);
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let own = own
        .lines()
        .find(|line| line.starts_with("Seccomp:"))
        .unwrap();
    for (name, lines) in threads(&guest) {
        let seccomp = lines.get("Seccomp").unwrap();
        assert_eq!(format!("Seccomp:\t{seccomp}"), own, "{name}");
    }
    place.cuts_off("confined");
}

#[test]
fn a_refused_system_call_ends_the_process_and_is_told() {
    if !has_all("a_refused_system_call_ends_the_process_and_is_told") {
        return;
    }
    let roles = [
        // The file's name.
        ("main", ""),
        ("vcpu", "vcpu0"),
        ("event loop", "vmm"),
        ("helper", "reports"),
    ];
    for (role, thread) in roles {
        let place = Place::new("refused", &waiting_guest());
        let metrics = place.folder.path().join("m.prom");
        let kernel = place.folder.path().join("kernel");
        let mut command = place.command(&["run", "--sandbox", "on", "--no-instance", "--metrics"]);
        command.arg(metrics).arg("--kernel").arg(kernel);
        command.env("VMMKIT_TEST_REFUSED_CALL", role);
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(5), "{role}: {said}");
        let line = format!("vmmkit: error: system call getppid of thread {thread}");
        assert!(said.contains(&line), "{role}: {said}");
        let next = ": the sandbox refuses it\n  next: ";
        assert!(said.contains(next), "{role}: {said}");
    }
}

#[test]
fn a_log_of_refused_calls_ends_nothing() {
    if !has_all("a_log_of_refused_calls_ends_nothing") {
        return;
    }
    let place = Place::new("log-calls", &waiting_guest());
    let mut command = place.command(&["run", "--name", "logs", "--sandbox", "log", "--kernel"]);
    command.arg(place.folder.path().join("kernel"));
    command.env("VMMKIT_TEST_REFUSED_CALL", "vcpu");
    let mut child = command.spawn().unwrap();
    wait_for("the guest answers", || {
        place.does(&["stat", "-n", "logs"]).status.success()
    });
    place.cuts_off("logs");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// The limit of core files of a guest's process, in bytes.
fn core_limit(guest: &Guest) -> String {
    let limits = fs::read_to_string(format!("/proc/{}/limits", guest.pid())).unwrap();
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max core file size"));
    line.unwrap().split_whitespace().nth(1).unwrap().to_owned()
}

#[test]
fn a_guest_that_is_debugged_keeps_its_core_files() {
    if !has_all("a_guest_that_is_debugged_keeps_its_core_files") {
        return;
    }
    let place = Place::new("cores", &waiting_guest());
    let own = fs::read_to_string("/proc/self/limits").unwrap();
    let own = own
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let own = own.unwrap().split_whitespace().nth(5).unwrap().to_owned();
    let debugged = guest(&place, &["--sandbox", "on", "--memory", "16M,dump=on"]);
    wait_for("it is confined", || {
        threads(&debugged)
            .values()
            .all(|lines| lines.get("Seccomp").is_some_and(|it| it == "2"))
    });
    assert_eq!(core_limit(&debugged), own);
    place.cuts_off("confined");
}

#[test]
fn a_confined_guest_leaves_a_report_that_somebody_has_locked() {
    let name = "a_confined_guest_leaves_a_report_that_somebody_has_locked";
    if !has_all(name) {
        return;
    }
    let place = Place::new("locked-report", &waiting_guest());
    let mut guest = guest(&place, &["--sandbox", "on"]);
    let metrics = place.folder.path().join("m.prom");
    wait_for("there are metrics", || metrics.exists());
    let disk = fs::File::options().write(true).open(&metrics).unwrap();
    disk.lock().unwrap();
    disk.set_len(3).unwrap();
    place.cuts_off("confined");
    // They are written once more at the end.
    guest.ends();
    assert_eq!(fs::metadata(&metrics).unwrap().len(), 3);
}

#[test]
fn a_confined_guest_goes_on_to_write_its_reports() {
    let name = "a_confined_guest_goes_on_to_write_its_reports";
    if !has_all(name) {
        return;
    }
    let place = Place::new("reports", &waiting_guest());
    let at = |name: &str| place.folder.path().join(name);
    let metrics = format!("{},every=1", at("m.prom").display());
    let timeline = at("boot.json");
    let arguments = [
        "--sandbox",
        "on",
        "--metrics",
        &metrics,
        "--timeline",
        timeline.to_str().unwrap(),
    ];
    let mut guest = place.guest("reports", &arguments);
    let (metrics, timeline) = (at("m.prom"), at("boot.json"));
    let first = [&metrics, &timeline].map(|file| fs::read(file).unwrap());
    wait_for("there are new metrics", || {
        fs::read(&metrics).unwrap() != first[0]
    });
    place.cuts_off("reports");
    guest.ends();
    assert_ne!(fs::read(&timeline).unwrap(), first[1]);
}
