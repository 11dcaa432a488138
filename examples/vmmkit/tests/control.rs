//! Guests by their names: found, told what to do, and gone without a trace.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde_json::Value;
use support::back_end::{Dripping, driving_guest};
use support::running::{self, Place, spinning_guest, wait_for, waiting_guest};
use support::{echo_guest, elf, has_kvm, vmmkit};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// The state of the guest called `name`.
fn state(place: &Place, name: &str) -> String {
    let stat = json(&place.says(&["stat", "-n", name, "--json"]));
    stat[0]["machine"]["state"].as_str().unwrap().to_owned()
}

#[test]
fn a_guest_is_found_by_its_name_and_obeys() {
    if !has_kvm("a_guest_is_found_by_its_name_and_obeys") {
        return;
    }
    let place = Place::new("obeys", &spinning_guest());
    let mut guest = place.guest("web", &["--rng"]);
    let list = json(&place.says(&["list", "--json"]));
    assert_eq!(list[0]["name"], "web");
    assert_eq!(list[0]["pid"], guest.pid());
    assert_eq!(list[0]["machine"]["memory_bytes"], 16 << 20);
    assert!(
        place
            .says(&["stat", "-n", "web"])
            .contains("rng0: no driver yet")
    );

    assert_eq!(
        place.says(&["pause", "-n", "web"]),
        "NAME  STATE\nweb   paused\n"
    );
    assert_eq!(state(&place, "web"), "paused");
    place.says(&["resume", "-n", "web"]);
    place.says(&["reset", "-n", "web"]);
    wait_for("the guest runs anew", || state(&place, "web") == "running");

    place.says(&["stop", "-n", "web", "--timeout", "0"]);
    assert_eq!(guest.ends().code(), Some(0));
    assert_eq!(place.entries(), [""; 0]);
    assert_eq!(place.says(&["list"]), "");
}

#[test]
fn a_name_is_one_guests() {
    if !has_kvm("a_name_is_one_guests") {
        return;
    }
    let place = Place::new("names", &waiting_guest());
    let guest = place.guest("web", &[]);
    let mut second = place.start(&["--name", "web"]);
    assert_eq!(second.ends().code(), Some(1));
    let mut error = String::new();
    second
        .child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut error)
        .unwrap();
    let expected = format!(
        "vmmkit: error: --name web: a machine with this name is there (process {})\n",
        guest.pid()
    );
    assert!(error.starts_with(&expected), "{error}");
    assert!(error.contains("\n  next: "), "{error}");
}

#[test]
fn what_a_killed_guest_left_is_recognised() {
    if !has_kvm("what_a_killed_guest_left_is_recognised") {
        return;
    }
    let place = Place::new("killed", &waiting_guest());
    let mut guest = place.guest("web", &[]);
    guest.child.kill().unwrap();
    guest.ends();
    assert_eq!(place.entries(), ["web"]);
    let (code, error) = place.fails(&["pause", "-n", "web"]);
    assert_eq!(code, Some(1));
    assert!(
        error.contains("web: its process has ended without a word"),
        "{error}"
    );
    assert!(error.contains("next: no guest runs now"), "{error}");
    assert_eq!(place.entries(), [""; 0]);

    let mut guest = place.guest("web", &[]);
    guest.child.kill().unwrap();
    guest.ends();
    let mut again = place.guest("web", &[]);
    place.says(&["stop", "--all", "--timeout", "0"]);
    again.ends();
    assert_eq!(place.entries(), [""; 0]);
}

#[test]
fn a_guest_that_was_created_waits_to_be_told() {
    if !has_kvm("a_guest_that_was_created_waits_to_be_told") {
        return;
    }
    let place = Place::new("created", &echo_guest());
    let mut guest = place.guest("web", &["--paused"]);
    assert_eq!(state(&place, "web"), "created");
    place.says(&["pause", "-n", "web"]);
    assert_eq!(state(&place, "web"), "created");
    assert_eq!(
        place.says(&["boot", "-n", "web"]),
        "NAME  STATE\nweb   running\n"
    );
    let (code, error) = place.fails(&["boot", "-n", "web"]);
    assert_eq!(code, Some(1));
    assert!(error.contains("has booted already"), "{error}");
    let mut first = [0];
    guest
        .child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut first)
        .unwrap();
    assert_eq!(&first, b"R");
    place.says(&["stop", "-n", "web", "--timeout", "0"]);
    guest.ends();
}

#[test]
fn what_happens_is_told_in_order() {
    if !has_kvm("what_happens_is_told_in_order") {
        return;
    }
    let place = Place::new("events", &spinning_guest());
    let mut guest = place.guest("web", &[]);
    let mut events = place
        .command(&["events", "-n", "web", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = events.stdout.take().unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"\n") {
        let mut byte = [0];
        stdout.read_exact(&mut byte).unwrap();
        seen.extend(byte);
    }
    place.says(&["pause", "-n", "web"]);
    place.says(&["resume", "-n", "web"]);
    place.says(&["stop", "-n", "web", "--timeout", "0"]);
    guest.ends();
    stdout.read_to_end(&mut seen).unwrap();
    assert!(events.wait().unwrap().success());
    let text = String::from_utf8(seen).unwrap();
    // The guest may answer before it starts.
    let kinds: Vec<Value> = text
        .lines()
        .map(|line| json(line)["kind"].clone())
        .filter(|kind| kind != "started")
        .collect();
    assert_eq!(kinds, ["state", "paused", "resumed", "ended"], "{text}");
}

#[test]
fn a_guest_may_have_a_socket_of_its_own_and_no_entry() {
    if !has_kvm("a_guest_may_have_a_socket_of_its_own_and_no_entry") {
        return;
    }
    let place = Place::new("unlisted", &waiting_guest());
    let path = place.folder.path().join("own.sock");
    let path = path.to_str().unwrap();
    let mut guest = place.start(&["--no-instance", "--api-socket", path]);
    wait_for("it answers", || {
        place.does(&["stat", "--api-socket", path]).status.success()
    });
    assert_eq!(place.says(&["list"]), "");
    place.says(&["stop", "--api-socket", path, "--timeout", "0"]);
    guest.ends();
    assert!(!fs::exists(path).unwrap());
    let (code, error) = place.fails(&["pause", "--api-socket", path]);
    assert_eq!(code, Some(1));
    assert!(error.contains("nobody answers at"), "{error}");
}

#[test]
fn a_guest_that_ignores_the_button_is_stopped_when_its_time_is_over() {
    if !has_kvm("a_guest_that_ignores_the_button_is_stopped_when_its_time_is_over") {
        return;
    }
    let place = Place::new("ignores", &waiting_guest());
    let mut guest = place.guest("web", &[]);
    let output = place.does(&["stop", "-n", "web", "--timeout", "1"]);
    let told = "web: did not answer the power button in 1 s, stopped\n";
    assert_eq!(String::from_utf8_lossy(&output.stdout), told);
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(guest.ends().code(), Some(0));
    let mut said = String::new();
    std::io::Read::read_to_string(&mut guest.child.stderr.take().unwrap(), &mut said).unwrap();
    assert!(
        said.contains("did not power off when it was asked"),
        "{said}"
    );
}

#[test]
fn stop_says_what_became_of_each_guest() {
    if !has_kvm("stop_says_what_became_of_each_guest") {
        return;
    }
    let place = Place::new("became", &waiting_guest());
    let _cut = place.guest("cut", &[]);
    let _new = place.guest("new", &["--paused"]);
    let output = place.does(&["stop", "--all", "--timeout", "1", "--json"]);
    assert_eq!(output.status.code(), Some(3));
    let ends = json(&String::from_utf8(output.stdout).unwrap());
    assert_eq!(
        (&ends[0]["name"], &ends[0]["cut_off"]),
        (&"cut".into(), &true.into())
    );
    assert_eq!(
        (&ends[1]["name"], &ends[1]["cut_off"]),
        (&"new".into(), &false.into())
    );
    for end in [&ends[0], &ends[1]] {
        assert_eq!(
            (&end["state"], &end["outcome"]),
            (&"ended".into(), &"stopped".into())
        );
    }
    let _quick = place.guest("quick", &[]);
    let said = place.says(&["stop", "-n", "quick", "--timeout", "0"]);
    assert!(said.starts_with("quick: stopped after "), "{said}");
}

/// `vmmkit wait` for `names`, which listens to its guests by now.
fn waiter(place: &Place, names: &[&str]) -> Child {
    let mut words = vec!["wait"];
    words.extend(names);
    let waiter = place
        .command(&words)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let files = format!("/proc/{}/fd", waiter.id());
    wait_for("the events are heard", || {
        let links = fs::read_dir(&files).unwrap().flatten();
        let targets = links.filter_map(|link| fs::read_link(link.path()).ok());
        let sockets = targets.filter(|target| target.to_string_lossy().starts_with("socket:"));
        sockets.count() == names.len()
    });
    // A connection is made; the request follows it at once.
    std::thread::sleep(Duration::from_millis(300));
    waiter
}

#[test]
fn wait_ends_with_the_exit_code_of_the_guest() {
    if !has_kvm("wait_ends_with_the_exit_code_of_the_guest") {
        return;
    }
    // mov al, 7; out 0xf4, al (the debug exit)
    let place = Place::new("wait", &elf(&[0xb0, 0x07, 0xe6, 0xf4]));
    let mut first = place.guest("first", &["--paused"]);
    let mut second = place.guest("second", &["--paused"]);
    let waits = waiter(&place, &["second", "first"]);
    place.says(&["boot", "first"]);
    assert_eq!(first.ends().code(), Some(7));
    terminate(&second);
    assert_eq!(second.ends().signal(), Some(Signal::TERM.as_raw()));
    let output = waits.wait_with_output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "first: exit code 7 (debug-exit 7)\nsecond: exit code 143 (stopped)\n"
    );
    // That of the first that was named.
    assert_eq!(output.status.code(), Some(143));

    let mut killed = place.guest("killed", &["--paused"]);
    let waits = waiter(&place, &["killed"]);
    killed.child.kill().unwrap();
    killed.ends();
    let output = waits.wait_with_output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "killed: its process ended without a word\n"
    );
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_detached_guest_runs_when_the_command_has_ended() {
    if !has_kvm("a_detached_guest_runs_when_the_command_has_ended") {
        return;
    }
    let place = Place::new("detached", &waiting_guest());
    let run = |more: &[&str]| {
        let mut command = place.run(&[&["--detach"], more].concat());
        command.output().unwrap()
    };
    for confined in ["off", "on"] {
        let output = run(&["--name", "web", "--sandbox", confined]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), &*error), (Some(0), ""));
        assert_eq!(String::from_utf8_lossy(&output.stdout), "web\n");
        let list = json(&place.says(&["list", "--json"]));
        let pid = Pid::from_raw(list[0]["pid"].as_i64().unwrap() as i32).unwrap();
        assert_eq!(rustix::process::getsid(Some(pid)).unwrap(), pid);
        assert_eq!(state(&place, "web"), "running");
        let named = fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_nonzero())).unwrap();
        assert!(named.starts_with("vmmkit"), "{named}");
        place.says(&["stop", "web", "--timeout", "0"]);
    }
    // A start that fails has said why.
    let output = run(&["--name", "web", "--initrd", "/nowhere"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("--initrd /nowhere: No such file"), "{error}");
    for unfit in [["--serial", "stdio"], ["--console", "stdio"]] {
        assert_eq!(run(&unfit).status.code(), Some(2));
    }
    assert_eq!(run(&["--no-instance"]).status.code(), Some(2));
    assert_eq!(place.entries(), [""; 0]);
}

#[test]
fn a_detached_guest_that_nobody_waits_for_ends() {
    if !has_kvm("a_detached_guest_that_nobody_waits_for_ends") {
        return;
    }
    let place = Place::new("abandoned", &waiting_guest());
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    // The process that `--detach` starts.
    let output = place
        .run(&["--detached", "--name", "web"])
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        error.contains("nobody hears that the guest runs"),
        "{error}"
    );
    assert_eq!(place.entries(), [""; 0]);
}

/// A guest that has never run, or has crashed, hears no button: it is not waited for.
#[test]
fn sigterm_at_a_guest_that_cannot_hear_ends_it_at_once() {
    if !has_kvm("sigterm_at_a_guest_that_cannot_hear_ends_it_at_once") {
        return;
    }
    for (kernel, way) in [
        (waiting_guest(), &["--paused"][..]),
        (support::triple_fault_guest(), &["--on-crash", "pause"]),
    ] {
        let place = Place::new("deaf", &kernel);
        let patient = ["--stop-timeout", "86400"];
        let mut guest = place.guest("web", &[way, &patient].concat());
        if way[0] == "--on-crash" {
            wait_for("it has crashed", || {
                json(&place.says(&["list", "--json"]))[0]["state"] == "crashed"
            });
        }
        let pid = rustix::process::Pid::from_child(&guest.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let status = guest.ends();
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&status),
            Some(15)
        );
    }
}

#[test]
fn a_balloon_and_limits_change_while_the_guest_runs() {
    if !has_kvm("a_balloon_and_limits_change_while_the_guest_runs") {
        return;
    }
    let place = Place::new("limits", &waiting_guest());
    let disk = place.folder.file("disk", vec![0; 1 << 20]);
    let _guest = place.guest("web", &["--balloon", "--disk", disk.to_str().unwrap()]);
    assert_eq!(
        place.says(&["balloon", "-n", "web", "4M"]),
        "wanted 4 MiB, has 0 MiB\n"
    );
    let (_, error) = place.fails(&["balloon", "-n", "web", "16M"]);
    assert!(error.contains("less than the 16777216 bytes"), "{error}");

    let limit = |words: &[&str]| place.says(&[&["limit", "-n", "web", "blk0"], words].concat());
    assert_eq!(limit(&[]), "requests: any bytes, any requests\n");
    let both = "requests: 67108864 bytes a second, 500 requests a second\n";
    assert_eq!(limit(&["bandwidth=64M,iops=500"]), both);
    assert_eq!(limit(&[]), both);
    let one = json(&limit(&["iops=none", "--json"]));
    assert_eq!(one["requests"]["bandwidth"]["size"], 64 << 20);
    assert!(one["requests"]["operations"].is_null());
    limit(&["bandwidth=none"]);
    for (words, code, part) in [
        (["blk7", "iops=5"], 1, "this machine has no blk7"),
        (
            ["balloon0", "iops=5"],
            1,
            "balloon0 has no configurable limits",
        ),
        (
            ["blk0", "packets=5"],
            2,
            "limit packets=5: there is no limit in it",
        ),
        (
            ["blk0", "iops=many"],
            2,
            "iops=many is not a number a second",
        ),
        (
            ["../machine", "iops=5"],
            2,
            "this is not the name of a device",
        ),
    ] {
        let (exit, error) = place.fails(&[&["limit", "-n", "web"], &words[..]].concat());
        assert_eq!(exit, Some(code), "{error}");
        assert!(error.contains(part), "no {part} in {error}");
        assert!(error.contains("\n  next: "), "{error}");
    }
    assert_eq!(
        place.says(&["power-button", "-n", "web"]),
        "NAME  STATE\nweb   running\n"
    );

    let client = vmmkit_control::Client::new(&place.socket("web"));
    let limits = serde_json::json!({
        "requests": {"operations": {"size": 100, "burst": 0, "refill_milliseconds": 1000}}
    });
    let set: Value = client.put("/v1/devices/blk0/limits", &limits).unwrap();
    assert_eq!(set["requests"]["operations"]["size"], 100);
    let device: Value = client.get("/v1/devices/blk0").unwrap();
    assert_eq!(device["limits"], set);
    assert_eq!(device["counters"]["reads"], 0);
    let wrong = client.put::<Value>(
        "/v1/devices/blk0/limits",
        &serde_json::json!({"receive": {}}),
    );
    assert!(
        wrong
            .unwrap_err()
            .to_string()
            .contains("its flow is called requests")
    );
}

/// A kernel that ends with the code in the low byte of its first disk's `blk_size` by 512 once the
/// capacity of that is 4,096 sectors.
fn guest_that_waits_for_2_mib() -> Vec<u8> {
    elf(&[
        // again: mov eax, [0xd0000100] (capacity, virtio 1.2 section 5.2.4)
        0xa1, 0x00, 0x01, 0x00, 0xd0, 0, 0, 0, 0, //
        0x3d, 0x00, 0x10, 0x00, 0x00, // cmp eax, 4096
        0x75, 0xf0, // jne again
        // mov eax, [0xd0000114] (blk_size)
        0xa1, 0x14, 0x01, 0x00, 0xd0, 0, 0, 0, 0, //
        0xc1, 0xe8, 0x09, // shr eax, 9
        0x83, 0xc0, 0x28, // add eax, 40
        0xe6, 0xf4, // out 0xf4, al (the debug exit)
        0xf4, // hlt
    ])
}

/// Whether this machine's KVM gives all its state: a software one does not.
fn has_saved_state() -> bool {
    vmmkit_hypervisor_kvm::kvm_kind() != vmmkit_hypervisor_kvm::KvmKind::Software
}

/// A snapshot of changes in `folder`, which builds on the one in `base`: its guest goes on, and changes can build on it.
fn check_changes(place: &Place, base: &str, folder: &str) {
    let shown = json(&place.says(&["inspect", &format!("{folder}/")]));
    let chain = shown["chain"]["snapshots"].as_array().unwrap();
    assert_eq!(chain.len(), 2, "{shown}");
    assert_eq!(chain[0]["directory"], base);
    assert!(shown["ram-pages"]["pages"].as_u64().unwrap() > 0, "{shown}");
    let disk = place.folder.file("third.img", vec![0; 1 << 20]);
    let mut third = place.restores(
        folder,
        &["--name", "third", "--disk", disk.to_str().unwrap()],
    );
    wait_for("it runs", || {
        place.does(&["stat", "-n", "third"]).status.success()
    });
    wait_for("it runs", || state(place, "third") == "running");
    let next = format!("{folder}-next");
    place.says(&["snapshot", "third", &next, "--diff", "--stop"]);
    assert_eq!(third.ends().code(), Some(0));
    let away = place.folder.path().join("away");
    fs::create_dir(&away).unwrap();
    fs::rename(base, away.join("base")).unwrap();
    let (code, error) = place.fails(&["restore", &next, "--name", "fourth"]);
    assert_eq!(code, Some(1), "{error}");
    assert!(
        error.contains("is not beside it") && error.contains("--base DIR"),
        "{error}"
    );
    let away = away.to_str().unwrap();
    let disk = disk.to_str().unwrap();
    let words = ["--name", "fourth", "--disk", disk, "--base", away];
    let mut fourth = place.restores(&next, &words);
    wait_for("it runs", || {
        place.does(&["stat", "-n", "fourth"]).status.success()
    });
    place.says(&["stop", "-n", "fourth", "--timeout", "0"]);
    assert_eq!(fourth.ends().code(), Some(0));
    fs::rename(format!("{away}/base"), base).unwrap();
}

#[test]
fn a_guest_is_saved_and_goes_on_under_another_name() {
    if !has_kvm("a_guest_is_saved_and_goes_on_under_another_name") {
        return;
    }
    let place = Place::new("snapshot", &spinning_guest());
    let disk = place.folder.file("disk", vec![0; 1 << 20]);
    let folder = place.folder.path().join("saved");
    let (folder, shown) = (folder.to_str().unwrap(), disk.to_str().unwrap());
    let mut guest = place.guest("web", &["--disk", shown, "--rng", "--cpus", "2"]);
    for (words, part) in [
        (&["snapshot", "web"][..], "DIR: it is missing"),
        (&["restore", folder], "cannot open"),
        (&["inspect", "/nowhere/"], "cannot open"),
    ] {
        let (_, error) = place.fails(words);
        assert!(
            error.contains(part) && error.contains("\n  next: "),
            "{error}"
        );
    }
    if !has_saved_state() {
        // It says so, and the guest runs on.
        let (code, error) = place.fails(&["snapshot", "web", folder]);
        assert_eq!(code, Some(1), "{error}");
        assert!(error.contains("software KVM"), "{error}");
        assert_eq!(state(&place, "web"), "running");
        place.says(&["stop", "-n", "web", "--timeout", "0"]);
        assert_eq!(guest.ends().code(), Some(0));
        return;
    }
    let (code, error) = place.fails(&["snapshot", "web", folder, "--diff"]);
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("there is none to differ from"), "{error}");
    place.says(&["snapshot", "web", folder]);
    assert_eq!(state(&place, "web"), "running");
    place.says(&["snapshot", "web", folder, "--stop"]);
    assert_eq!(guest.ends().code(), Some(0));
    let saved = json(&place.says(&["inspect", &format!("{folder}/")]));
    assert_eq!(saved["machine"]["state"]["vcpus"], 2);
    assert_eq!(saved["blk0"]["kind"], "virtio-mmio");

    let mut clones = ["one", "two"].map(|name| {
        let disk = place.folder.file(name, vec![0; 1 << 20]);
        let disk = disk.to_str().unwrap().to_owned();
        let clone = place.restores(folder, &["--name", name, "--disk", &disk]);
        wait_for("the clone answers", || {
            place.does(&["stat", "-n", name]).status.success()
        });
        clone
    });
    let changes = |name: &str| format!("{folder}-{name}");
    // In the place of its base, or a second time under the same name: both are refused or whole.
    let (_, error) = place.fails(&["snapshot", "one", folder, "--diff"]);
    assert!(
        error.contains("which the new snapshot builds on"),
        "{error}"
    );
    for (name, clone) in ["one", "two"].into_iter().zip(&mut clones) {
        wait_for("the clone runs", || state(&place, name) == "running");
        for _ in 0..2 {
            place.says(&["snapshot", name, &changes(name), "--diff"]);
        }
        assert_eq!(state(&place, name), "running");
        place.says(&["stop", "-n", name, "--timeout", "0"]);
        assert_eq!(clone.ends().code(), Some(0));
    }
    check_changes(&place, folder, &changes("one"));
    // Another machine than the one that was saved.
    let (code, error) = place.fails(&["restore", folder, "--cpus", "1"]);
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("vcpus 2: this machine has 1"), "{error}");
    // The name of a guest that runs, and a disk that was written to since.
    let running = place.guest("web", &[]);
    let (code, error) = place.fails(&["restore", folder, "--name", "web"]);
    assert_ne!(code, Some(0));
    assert!(error.contains("web"), "{error}");
    drop(running);
    fs::write(&disk, [1; 512]).unwrap();
    let (code, error) = place.fails(&["restore", folder, "--name", "late"]);
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("has 512 bytes, and had 1048576"), "{error}");
    fs::remove_file(&disk).unwrap();
    let (_, error) = place.fails(&["restore", folder, "--name", "late"]);
    assert!(error.contains("the disk is gone"), "{error}");
}

#[test]
fn a_confined_guest_is_saved_restored_and_saves_its_changes() {
    let name = "a_confined_guest_is_saved_restored_and_saves_its_changes";
    if !has_kvm(name) || !has_saved_state() {
        return;
    }
    let place = Place::new("confined-snapshot", &spinning_guest());
    let folder = |name: &str| place.folder.path().join(name).display().to_string();
    let (whole, changes) = (folder("whole"), folder("changes"));
    let mut first = place.guest("first", &["--sandbox", "on", "--cpus", "2"]);
    place.says(&["snapshot", "first", &whole, "--stop"]);
    assert_eq!(first.ends().code(), Some(0));
    for (from, to, name) in [
        (&whole, &changes, "second"),
        (&changes, &folder("more"), "third"),
    ] {
        let mut guest = place.restores(from, &["--name", name, "--sandbox", "on"]);
        wait_for("it runs", || {
            place.does(&["stat", "-n", name]).status.success() && state(&place, name) == "running"
        });
        place.says(&["snapshot", name, to, "--diff"]);
        assert_eq!(state(&place, name), "running");
        place.says(&["snapshot", name, to, "--diff", "--stop"]);
        assert_eq!(guest.ends().code(), Some(0));
    }
}

#[test]
fn a_disk_grows_while_its_guest_runs() {
    let name = "a_disk_grows_while_its_guest_runs";
    if !has_kvm(name) {
        return;
    }
    let place = Place::new("resize", &guest_that_waits_for_2_mib());
    let disk = place.folder.file("disk", vec![0; 1 << 20]);
    let image = place.folder.file("fixed.qcow2", small_qcow2());
    for (options, code) in [("", 41), (",block-size=4096", 48)] {
        fs::write(&disk, vec![0; 1 << 20]).unwrap();
        let shown = format!("{}{options}", disk.display());
        let disks = ["--disk", &shown, "--disk", image.to_str().unwrap(), "--rng"];
        let mut guest = place.guest("web", &disks);
        let asked = |words: &[&'static str]| [&["resize", "-n", "web"], words].concat();
        assert_eq!(place.says(&asked(&["blk0"])), "blk0 has 1048576 bytes\n");
        for (words, code, part) in [
            (
                &["blk0", "512K"][..],
                1,
                "has 1048576 bytes and is not made smaller",
            ),
            (&["blk0", "1000"], 2, "this is not the size of a disk"),
            (&["blk1"], 1, "qemu-img resize"),
            (&["blk1", "1G"], 1, "qemu-img resize"),
            (&["blk9"], 1, "this machine has no blk9"),
            (&["rng0"], 1, "rng0 has no size, which only disks have"),
            (&["../x"], 2, "this is not the name of a device"),
        ] {
            let (exit, error) = place.fails(&asked(words));
            assert_eq!(exit, Some(code), "{error}");
            assert!(error.contains(part), "no {part} in {error}");
            assert!(error.contains("\n  next: "), "{error}");
        }
        // What another program makes larger is seen when it is asked for.
        let file = fs::File::options().write(true).open(&disk).unwrap();
        file.set_len(0x17_0000).unwrap();
        let told = json(&place.says(&asked(&["blk0", "--json"])));
        assert_eq!(told["size_bytes"], 0x17_0000);
        assert_eq!(
            place.says(&asked(&["blk0", "2M"])),
            "blk0 has 2097152 bytes\n"
        );
        assert_eq!(guest.ends().code(), Some(code));
        assert_eq!(fs::metadata(&disk).unwrap().len(), 2 << 20);
    }
}

/// An image of 1 MiB without clusters: header, refcount table, refcount block and L1 table (QEMU,
/// docs/interop/qcow2).
fn small_qcow2() -> Vec<u8> {
    let mut image = vec![0; 4 << 16];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"QFI\xfb\0\0\0\x02");
    put(20, &16_u32.to_be_bytes());
    put(24, &(1_u64 << 20).to_be_bytes());
    put(36, &1_u32.to_be_bytes());
    put(40, &(3_u64 << 16).to_be_bytes());
    put(48, &(1_u64 << 16).to_be_bytes());
    put(56, &1_u32.to_be_bytes());
    put(1 << 16, &(2_u64 << 16).to_be_bytes());
    for cluster in 0..4 {
        put((2 << 16) + 2 * cluster, &[0, 1]);
    }
    image
}

#[test]
fn how_much_memory_a_guest_should_have_is_changed_while_it_runs() {
    if !has_kvm("how_much_memory_a_guest_should_have_is_changed_while_it_runs") {
        return;
    }
    let place = Place::new("memory", &waiting_guest());
    let pmem = place.folder.file("pmem", vec![0; 2 << 20]);
    let arguments = ["--memory", "16M,max=144M", "--pmem", pmem.to_str().unwrap()];
    let _guest = place.guest("web", &arguments);
    let _other = place.guest("fixed", &[]);
    let asked = ["memory", "-n", "web"];
    let has = |wanted| format!("wanted {wanted} MiB, has 16 MiB, of 16 to 144 MiB\n");
    assert_eq!(place.says(&asked), has(16));
    assert_eq!(place.says(&[&asked, &["80M"][..]].concat()), has(80));
    let told = json(&place.says(&[&asked, &["--json"][..]].concat()));
    assert_eq!(told["target_bytes"], 80 << 20);
    for (size, reason) in [
        ("1G", "1G: the guest can have no more than 144M"),
        ("8M", "8M: the guest has 16M from the start"),
        ("17M", "give 16M or 18M"),
        ("x", "this is not a size"),
    ] {
        let (_, error) = place.fails(&[&asked, &[size][..]].concat());
        assert!(error.contains(reason), "{error}");
    }
    let (_, error) = place.fails(&["memory", "-n", "fixed", "80M"]);
    assert!(
        error.contains("run it with --memory SIZE,max=SIZE"),
        "{error}"
    );

    // What the command refuses the API does too.
    let client = vmmkit_control::Client::new(&place.socket("web"));
    for (bytes, reason) in [
        (146_u64 << 20, "more than the 134217728 that can be plugged"),
        (8 << 20, "the guest has 16777216 bytes from the start"),
        ((16 << 20) + 4096, "not a multiple of 2 MiB"),
    ] {
        let body = serde_json::json!({ "target_bytes": bytes });
        let error = client.put::<Value>("/v1/memory", &body).unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
    }
    let device: Value = client.get("/v1/devices/mem0").unwrap();
    assert_eq!(device["driven"], false);
    assert_eq!(device["counters"]["requested_bytes"], 64 << 20);
    let tree = place.says(&["inspect", "-n", "web"]);
    assert!(tree.contains("mem0:"), "{tree}");
}

/// A process of user 65534 that does something to the socket at `path`.
fn as_nobody(program: &std::path::Path, path: &str) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(program)
        .args(["stat", "--api-socket", path]);
    command
}

#[test]
fn another_users_process_is_refused() {
    let name = "another_users_process_is_refused";
    if !has_kvm(name) {
        return;
    }
    let mut can = Command::new("setpriv");
    can.args([
        "--reuid",
        "65534",
        "--regid",
        "65534",
        "--clear-groups",
        "true",
    ]);
    if !can.output().is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: {name}: to become another user needs root and setpriv");
        return;
    }
    let place = Place::new("others", &waiting_guest());
    // Where others can get at the program, and at the socket but for its mode.
    let open = |path: &std::path::Path, mode| {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    };
    open(place.folder.path(), 0o755);
    let program = place.folder.path().join("program");
    fs::copy(vmmkit(), &program).unwrap();
    open(&program, 0o755);
    let path = place.folder.path().join("own.sock");
    let socket = path.to_str().unwrap();
    let _guest = place.guest("web", &["--api-socket", socket]);
    assert!(
        place
            .does(&["stat", "--api-socket", socket])
            .status
            .success()
    );

    let refused = as_nobody(&program, socket).output().unwrap();
    let error = String::from_utf8(refused.stderr).unwrap();
    assert!(error.contains("caused by: Permission denied"), "{error}");
    // The entry's folder does not even let it see the socket.
    let entry = place.socket("web");
    let refused = as_nobody(&program, entry.to_str().unwrap())
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(1));
    // With a mode that lets it connect, the server looks at who it is.
    open(&path, 0o666);
    let refused = as_nobody(&program, socket).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let error = String::from_utf8(refused.stderr).unwrap();
    assert!(
        error.contains("belongs to user 0, and you are user 65534"),
        "{error}"
    );
}

#[test]
fn a_suspended_guest_is_listed_as_such() {
    if !has_kvm("a_suspended_guest_is_listed_as_such") {
        return;
    }
    let place = Place::new("suspended", &waiting_guest());
    let guest = place.guest("web", &[]);
    let pid = rustix::process::Pid::from_child(&guest.child);
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    wait_for("it is suspended", || {
        json(&place.says(&["list", "--json"]))[0]["state"] == "suspended"
    });
    // What never changes is known all the same.
    let list = json(&place.says(&["list", "--json"]));
    assert_eq!(list[0]["machine"]["vcpus"], 1);
    assert_eq!(list[0]["machine"]["memory_bytes"], 16 << 20);
    for words in [
        &["stat", "-n", "web"][..],
        &["pause", "--all"],
        &["inspect", "-n", "web"],
    ] {
        let (code, error) = place.fails(words);
        assert_eq!(code, Some(1));
        assert!(error.contains("web: it is suspended (process "), "{error}");
        assert!(error.contains("kill -CONT "), "{error}");
    }
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    wait_for("it runs", || state(&place, "web") == "running");
}

#[test]
fn a_suspended_guest_is_woken_to_be_stopped() {
    if !has_kvm("a_suspended_guest_is_woken_to_be_stopped") {
        return;
    }
    let place = Place::new("woken", &waiting_guest());
    let mut guest = place.guest("web", &[]);
    let pid = rustix::process::Pid::from_child(&guest.child);
    // Not SIGTSTP: what runs the tests may have no shell above it that would resume a job, and there the
    // host discards that (a process group that is orphaned).
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    wait_for("it is suspended", || {
        json(&place.says(&["list", "--json"]))[0]["state"] == "suspended"
    });
    let said = place.says(&["stop", "-n", "web", "--timeout", "0"]);
    assert!(said.starts_with("web: stopped after "), "{said}");
    assert_eq!(guest.ends().code(), Some(0));
}

#[test]
fn who_asks_for_nobody_is_told_whom_there_is() {
    if !has_kvm("who_asks_for_nobody_is_told_whom_there_is") {
        return;
    }
    let place = Place::new("nobody", &waiting_guest());
    let (code, error) = place.fails(&["pause"]);
    assert_eq!(code, Some(2));
    assert!(
        error.contains("no guest was named\n  next: give NAME or --all"),
        "{error}"
    );
    let _guest = place.guest("web", &[]);
    let (code, error) = place.fails(&["pause", "-n", "wbe"]);
    assert_eq!(code, Some(1));
    assert!(
        error.contains("wbe: there is no machine of this name"),
        "{error}"
    );
    assert!(error.contains("next: these run: web"), "{error}");
    assert_eq!(place.fails(&["pause", "-n", "../x"]).0, Some(2));
    assert_eq!(
        place.fails(&["stop", "-n", "web", "--timeout", "x"]).0,
        Some(2)
    );
}

#[test]
fn the_document_is_the_one_that_is_served() {
    let place = Place::new("document", &[]);
    let written = json(&place.says(&["openapi"]));
    let served = include_str!("../../../crates/control/openapi.json");
    assert_eq!(
        json(served),
        written,
        "run: vmmkit openapi >crates/control/openapi.json"
    );
}

#[test]
fn a_machine_shows_its_parts_and_its_metrics() {
    if !has_kvm("a_machine_shows_its_parts_and_its_metrics") {
        return;
    }
    let place = Place::new("parts", &waiting_guest());
    let _guest = place.guest("web", &["--rng"]);
    let tree = json(&place.says(&["inspect", "-n", "web", "--json"]));
    assert_eq!(tree["machine"]["memory"], 16 << 20);
    let text = place.says(&["inspect", "-n", "web"]);
    assert!(text.starts_with("machine:\n  name"), "{text}");
    assert!(text.contains("\n  memory   16 MiB\n"), "{text}");
    let part = place.says(&["inspect", "web", "serial/divisor"]);
    assert_eq!(part, "divisor  12\n");
    let part = json(&place.says(&["inspect", "web", "machine", "--json"]));
    assert_eq!(part["memory"], 16 << 20);
    let (code, error) = place.fails(&["inspect", "web", "rng1"]);
    assert_eq!(code, Some(2));
    assert!(error.contains("next: did you mean rng0?"), "{error}");
    let metrics = place.says(&["metrics", "-n", "web"]);
    assert!(
        metrics.contains("\nvmmkit_ram_bytes{name=\"web\"} 16777216\n"),
        "{metrics}"
    );
}

#[test]
fn a_client_that_says_nothing_holds_up_nobody() {
    if !has_kvm("a_client_that_says_nothing_holds_up_nobody") {
        return;
    }
    let place = Place::new("silent", &waiting_guest());
    let mut guest = place.guest("web", &[]);
    let mut silent: Vec<UnixStream> = Vec::new();
    for _ in 0..8 {
        let mut stream = UnixStream::connect(place.socket("web")).unwrap();
        stream.write_all(b"GET /v1/machi").unwrap();
        silent.push(stream);
    }
    assert_eq!(state(&place, "web"), "running");
    place.says(&["stop", "-n", "web", "--timeout", "0"]);
    assert_eq!(guest.ends().code(), Some(0));
}

/// A guest called `slow` whose disk is a back end that drips.
fn dripping(test: &str, resets: bool) -> (Place, running::Guest, Dripping) {
    let place = Place::new(test, &driving_guest(resets));
    let socket = place.folder.path().join("disk.sock");
    let back_end = Dripping::at(&socket);
    let disk = format!("vhost-user={}", socket.display());
    let memory = ["--memory", "32M,backend=memfd", "--disk", &disk];
    let guest = place.guest("slow", &memory);
    (place, guest, back_end)
}

/// Sends the signal of `kill -TERM`.
fn terminate(guest: &running::Guest) {
    let pid = guest.pid().to_string();
    let status = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    assert!(status.success());
}

/// The first signal asks a guest that does not hear it; the second ends it, whatever it waits for.
fn ends_at_the_second_signal(mut guest: running::Guest) {
    let began = Instant::now();
    terminate(&guest);
    // Two that come at once are one.
    std::thread::sleep(Duration::from_millis(100));
    terminate(&guest);
    assert_eq!(guest.ends().signal(), Some(15));
    // Far less than a back end, or the guest, is waited for otherwise.
    assert!(
        began.elapsed() < Duration::from_secs(8),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn a_guest_that_waits_for_a_slow_back_end_is_reported_and_ends() {
    if !has_kvm("a_guest_that_waits_for_a_slow_back_end_is_reported_and_ends") {
        return;
    }
    let (place, guest, back_end) = dripping("drips-at-reset", true);
    wait_for("the driver resets the disk", || back_end.is_asked());
    let tree = json(&place.says(&["inspect", "-n", "slow", "--json"]));
    assert_eq!(tree["blk0"]["busy"], true, "{tree}");
    let (code, error) = place.fails(&["pause", "-n", "slow"]);
    assert_eq!(code, Some(1), "{error}");
    assert!(
        error.contains("waiting for blk0; the guest runs on"),
        "{error}"
    );
    assert_eq!(state(&place, "slow"), "running");
    ends_at_the_second_signal(guest);
    assert_eq!(place.entries(), Vec::<String>::new());
}

#[test]
fn a_pause_that_a_slow_back_end_holds_up_is_refused() {
    if !has_kvm("a_pause_that_a_slow_back_end_holds_up_is_refused") {
        return;
    }
    let (place, guest, back_end) = dripping("drips-at-pause", false);
    wait_for("the disk is driven", || {
        let devices = json(&place.says(&["inspect", "-n", "slow", "--json"]));
        devices["blk0"]["was_driven"] == true
    });
    let (code, error) = place.fails(&["pause", "-n", "slow"]);
    assert_eq!(code, Some(1), "{error}");
    assert!(
        error.contains("blk0 did not come to rest in time"),
        "{error}"
    );
    assert!(back_end.is_asked());
    assert_eq!(state(&place, "slow"), "running");
    ends_at_the_second_signal(guest);
}

#[test]
fn a_machine_that_does_not_end_is_given_up_at_the_second_signal() {
    if !has_kvm("a_machine_that_does_not_end_is_given_up_at_the_second_signal") {
        return;
    }
    let place = Place::new("hangs", &waiting_guest());
    let mut command = place.command(&["run", "--quiet", "--memory", "16M", "--name", "hangs"]);
    command.env("VMMKIT_TEST_HANG", "1").arg("--kernel");
    let child = command
        .arg(place.folder.path().join("kernel"))
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut guest = running::Guest { child };
    wait_for("it answers", || {
        place.does(&["stat", "-n", "hangs"]).status.success()
    });
    let stderr = guest.child.stderr.take().unwrap();
    ends_at_the_second_signal(guest);
    let said = std::io::read_to_string(stderr).unwrap();
    assert!(said.contains("the machine did not come to rest"), "{said}");
    assert_eq!(place.entries(), Vec::<String>::new());
}

#[test]
fn names_are_plain_arguments_too() {
    if !has_kvm("names_are_plain_arguments_too") {
        return;
    }
    let place = Place::new("plain-names", &waiting_guest());
    let mut guests = ["g10", "g2", "g1"].map(|name| place.guest(name, &["--balloon"]));
    // In the order of people.
    assert_eq!(place.says(&["list", "-q"]), "g1\ng2\ng10\n");
    let paused = "NAME  STATE\ng2    paused\ng1    paused\n";
    assert_eq!(place.says(&["pause", "g2", "g1", "-n", "g2"]), paused);
    place.says(&["resume", "--all"]);
    for words in [
        &["stat", "g1"][..],
        &["inspect", "g1"],
        &["metrics", "g1", "g2"],
        &["memory", "g1", "--json"],
        &["balloon", "g1", "1M"],
        &["balloon", "-n", "g1", "0"],
    ] {
        let output = place.does(words);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        // Without --memory max=SIZE there is no memory to change.
        let is_well = output.status.success() || words[0] == "memory";
        assert!(is_well, "{words:?}: {error}");
    }
    let (code, error) = place.fails(&["limit", "g1", "blk0"]);
    assert_eq!(code, Some(1));
    assert!(error.contains("error: g1: "), "{error}");
    place.says(&["stop", "g10", "g2", "--timeout", "0"]);
    place.says(&["stop", "g1", "--timeout", "0"]);
    for guest in &mut guests {
        assert_eq!(guest.ends().code(), Some(0));
    }
    assert_eq!(place.says(&["help"]), place.says(&["--help"]));
    assert_eq!(
        place.says(&["help", "stop"]),
        place.says(&["stop", "--help"])
    );
    assert!(place.says(&["version"]).starts_with("vmmkit "));
}
