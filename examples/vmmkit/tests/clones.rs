//! Copies of a guest: of one that runs, and several of one snapshot.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use support::has_kvm;
use support::running::{Place, waiting_guest};

/// Whether this test can run: a software KVM does not give all its state.
fn can_save(name: &str) -> bool {
    let is_software = vmmkit_hypervisor_kvm::kvm_kind() == vmmkit_hypervisor_kvm::KvmKind::Software;
    has_kvm(name) && !is_software
}

fn stat(place: &Place, name: &str) -> Value {
    let text = place.says(&["stat", "-n", name, "--json"]);
    let all: Value = serde_json::from_str(&text).unwrap();
    all[0]["machine"].clone()
}

/// Directories that forks have left in `folder`.
fn left_over(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let is_fork = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with("vmmkit-fork-")
    };
    paths.filter(is_fork).collect()
}

fn memory(pid: &Value, what: &str) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let lines = rollup.lines().filter(|line| line.starts_with(what));
    let kibibytes = |line: &str| line.split_whitespace().nth(1)?.parse::<u64>().ok();
    lines.map(|line| kibibytes(line).unwrap()).sum()
}

#[test]
fn a_running_guest_is_forked_and_its_copy_too() {
    if !can_save("a_running_guest_is_forked_and_its_copy_too") {
        return;
    }
    let place = Place::new("fork", &waiting_guest());
    let folder = place.folder.path().to_owned();
    let file = |name: &str| {
        place
            .folder
            .file(name, vec![0; 1 << 20])
            .display()
            .to_string()
    };
    let (disk, copy, third) = (file("disk"), file("copy"), file("third"));
    let vsock = |name: &str| format!("cid=3,socket={}", folder.join(name).display());
    let fork = |words: &[&str]| {
        let mut command = place.command(&[&["fork"], words].concat());
        let output = command.env("TMPDIR", &folder).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
            error,
        )
    };
    let mut guest = place.guest(
        "web",
        &["--disk", &disk, "--vsock", &vsock("v1"), "--cpus", "2"],
    );
    for (words, code, part) in [
        (
            &["web", "--name", "web"][..],
            2,
            "a guest of that name runs",
        ),
        (
            &["web", "--dry-run"],
            2,
            "--dry-run cannot be used with fork",
        ),
        (&["nobody", "--name", "two"], 1, "these run: web"),
        (&["web", "--name", "two"], 1, "the guest has it"),
        (
            &["web", "--name", "two", "--disk", &copy],
            1,
            "the guest has it",
        ),
        (
            &["web", "--name", "two", "--disk", &copy, "--vsock", "cid=3"],
            2,
            "--vsock cid=3",
        ),
    ] {
        let (failed, _, error) = fork(words);
        assert_eq!(failed, Some(code), "{words:?}: {error}");
        assert!(
            error.contains(part) && error.contains("\n  next: "),
            "{error}"
        );
        assert_eq!(stat(&place, "web")["state"], "running");
    }
    let mut words = [
        "web",
        "--name",
        "two",
        "--disk",
        &copy,
        "--vsock",
        &vsock("v2"),
    ];
    let (code, said, error) = fork(&words);
    assert_eq!((code, said.as_str()), (Some(0), "two\n"), "{error}");
    // No later snapshot builds on what the copy was made of.
    let diff = folder.join("diff").display().to_string();
    let (code, error) = place.fails(&["snapshot", "web", &diff, "--diff"]);
    assert!(
        code == Some(1) && error.contains("was neither restored"),
        "{error}"
    );
    (words[0], words[2], words[4]) = ("two", "three", &third);
    let own = vsock("v3");
    words[6] = &own;
    let (code, said, error) = fork(&words);
    assert_eq!((code, said.as_str()), (Some(0), "three\n"), "{error}");
    assert_eq!(left_over(&folder), Vec::<PathBuf>::new());
    let mut pids = Vec::new();
    for name in ["web", "two", "three"] {
        let machine = stat(&place, name);
        assert_eq!(
            (&machine["state"], &machine["vcpus"]),
            (&"running".into(), &2.into())
        );
        assert!(!pids.contains(&machine["pid"]));
        pids.push(machine["pid"].clone());
    }
    // Its memory was a file that is gone: a snapshot of it is whole.
    let saved = folder.join("saved").display().to_string();
    place.says(&["snapshot", "two", &saved]);
    for name in ["web", "two", "three"] {
        place.says(&["stop", name, "--timeout", "0"]);
    }
    assert_eq!(guest.ends().code(), Some(0));
}

#[test]
fn guests_of_one_snapshot_are_told_apart_by_their_number() {
    if !can_save("guests_of_one_snapshot_are_told_apart_by_their_number") {
        return;
    }
    let place = Place::new("count", &waiting_guest());
    let folder = place.folder.path().to_owned();
    let saved = folder.join("saved").display().to_string();
    let vsock = |name: &str| format!("cid=3,socket={}/{name}", folder.display());
    let own = vsock("v");
    let mut guest = place.guest("web", &["--vsock", &own, "--memory", "64M"]);
    place.says(&["snapshot", "web", &saved, "--stop"]);
    assert_eq!(guest.ends().code(), Some(0));
    let restore = ["restore", &saved, "--quiet", "--name", "web"];
    for (words, code, part) in [
        (&["--count", "0"][..], 2, "not a number of guests"),
        (&["--count", "-1"], 2, "not a number of guests"),
        (&["--count", "1001"], 2, "from 1 to 1000"),
        (
            &["--count", "2", "--dry-run"],
            2,
            "--dry-run cannot be used with --count",
        ),
        (&["--count", "2"], 1, "all of them would have it"),
        (
            &["--count", "2", "--vsock", &own],
            1,
            "all of them would have it",
        ),
    ] {
        let (failed, error) = place.fails(&[&restore, words].concat());
        assert_eq!(failed, Some(code), "{words:?}: {error}");
        assert!(error.contains(part), "{error}");
    }
    let number = vsock("v{n}");
    let said = place.says(&[&restore[..], &["--count", "10", "--vsock", &number]].concat());
    let names: Vec<String> = (1..=10).map(|number| format!("web-{number}")).collect();
    assert_eq!(said, names.join("\n") + "\n");
    for (number, name) in (1..).zip(&names) {
        let machine = stat(&place, name);
        assert_eq!(machine["state"], "running");
        assert!(folder.join(format!("v{number}")).exists());
        let private = memory(&machine["pid"], "Private_");
        println!(
            "{name}: {private} KiB of private memory, Pss {} KiB",
            memory(&machine["pid"], "Pss:")
        );
        assert!(private <= 6 << 10, "{private} KiB");
    }
    for name in &names {
        place.says(&["stop", name, "--timeout", "0"]);
    }
}

#[test]
fn a_guest_that_was_not_restored_saves_its_changes_and_while_it_runs() {
    if !can_save("a_guest_that_was_not_restored_saves_its_changes_and_while_it_runs") {
        return;
    }
    let place = Place::new("changes", &waiting_guest());
    let folder = |name: &str| place.folder.path().join(name).display().to_string();
    let mut guest = place.guest("web", &["--cpus", "2"]);
    for live in [&[][..], &["--live"]] {
        let names = ["whole", "one", "two"].map(|name| format!("{name}{}", live.len()));
        let [whole, one, two] = names.each_ref().map(|name| folder(name));
        let save = |words: &[&str]| {
            let said = place.says(&[&["snapshot", "web", "--json"], words, live].concat());
            let saved: Value = serde_json::from_str(&said).unwrap();
            assert!(saved["pause_microseconds"].as_u64().unwrap() > 0, "{saved}");
            assert_eq!(saved["machine"]["state"], "running");
            println!("{words:?} {live:?}: {} us", saved["pause_microseconds"]);
        };
        // A second whole one takes the place of the first one, and changes are those since then.
        save(&[&whole]);
        save(&[&whole]);
        save(&[&one, "--diff"]);
        save(&[&two, "--diff"]);
        let (_, error) = place.fails(&["snapshot", "web", &whole, "--diff"]);
        assert!(
            error.contains("which the new snapshot builds on"),
            "{error}"
        );
        for (folder, name) in [(&one, "first"), (&two, "second")] {
            let shown = place.says(&["inspect", &format!("{folder}/"), "chain"]);
            let shown: Value = serde_json::from_str(&shown).unwrap();
            assert_eq!(shown["snapshots"].as_array().unwrap().len(), 2, "{shown}");
            let said = place.says(&["restore", folder, "--detach", "--name", name]);
            assert_eq!(said, format!("{name}\n"));
            assert_eq!(stat(&place, name)["state"], "running");
            place.says(&["stop", name, "--timeout", "0"]);
        }
    }
    // The base is gone: it says so, and the next whole one is one.
    fs::remove_dir_all(folder("whole1")).unwrap();
    let (code, error) = place.fails(&["snapshot", "web", &folder("late"), "--diff"]);
    assert_eq!(code, Some(1), "{error}");
    place.says(&["snapshot", "web", &folder("new")]);
    place.says(&["snapshot", "web", &folder("late"), "--diff"]);
    place.says(&["snapshot", "web", &folder("last"), "--live", "--stop"]);
    assert_eq!(guest.ends().code(), Some(0));
}
