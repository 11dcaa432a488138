//! Entries, dead ones among them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Barrier;
use std::thread;

use super::*;
use crate::fake::Folder;

fn runtime() -> (Folder, RuntimeFolder) {
    let folder = Folder::new();
    let runtime = RuntimeFolder::at(&folder.path().join("vmmkit")).unwrap();
    (folder, runtime)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn an_entry_is_there_until_it_is_dropped() {
    let (_folder, runtime) = runtime();
    let entry = runtime.enter("web").unwrap();
    let found = runtime.find("web").unwrap();
    assert_eq!(found.pid, Some(std::process::id()));
    assert_eq!(found.socket, entry.socket());
    assert_eq!(runtime.instances().unwrap(), [found]);
    drop(entry);
    assert_eq!(runtime.instances().unwrap(), []);
    assert_eq!(fs::read_dir(runtime.path()).unwrap().count(), 0);
}

#[test]
fn nobody_else_may_look() {
    let (_folder, runtime) = runtime();
    let _entry = runtime.enter("web").unwrap();
    assert_eq!(mode(runtime.path()), 0o700);
    assert_eq!(mode(&runtime.path().join("web")), 0o700);
    assert_eq!(mode(&runtime.path().join("web/pid")), 0o600);
}

#[test]
fn a_name_is_one_machines() {
    let (_folder, runtime) = runtime();
    let _entry = runtime.enter("web").unwrap();
    let error = runtime.enter("web").unwrap_err().to_string();
    assert!(error.contains(&std::process::id().to_string()), "{error}");
    assert_eq!(runtime.enter_any("web").unwrap().name(), "web-2");
}

/// Leaves the folder as a killed process does: everything but the lock.
fn leave(runtime: &RuntimeFolder, name: &str) {
    let folder = runtime.path().join(name);
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join(PID), "4194304\n").unwrap();
    fs::write(folder.join(SOCKET), "").unwrap();
}

#[test]
fn what_a_dead_process_left_is_recognised_and_removed() {
    let (_folder, runtime) = runtime();
    leave(&runtime, "dead");
    assert_eq!(runtime.instances().unwrap(), []);
    assert!(!runtime.path().join("dead").exists());

    leave(&runtime, "dead");
    let error = runtime.find("dead").unwrap_err();
    assert!(matches!(
        error,
        InstanceError::NoSuch {
            was_there: true,
            ..
        }
    ));
    assert!(!runtime.path().join("dead").exists());
    let error = runtime.find("dead").unwrap_err();
    assert!(matches!(
        error,
        InstanceError::NoSuch {
            was_there: false,
            ..
        }
    ));

    leave(&runtime, "dead");
    let entry = runtime.enter("dead").unwrap();
    assert_eq!(runtime.find("dead").unwrap().pid, Some(std::process::id()));
    drop(entry);

    fs::create_dir(runtime.path().join("half")).unwrap();
    assert_eq!(runtime.instances().unwrap(), []);
    assert!(!runtime.path().join("half").exists());
}

#[test]
fn what_is_no_entry_is_left_alone() {
    let (_folder, runtime) = runtime();
    fs::create_dir(runtime.path().join("mine")).unwrap();
    fs::write(runtime.path().join("mine/text"), "").unwrap();
    fs::write(runtime.path().join(".hidden"), "").unwrap();
    assert_eq!(runtime.instances().unwrap(), []);
    assert!(runtime.path().join("mine/text").exists());
    assert!(runtime.path().join(".hidden").exists());
}

#[test]
fn names_that_are_paths_are_refused() {
    let (_folder, runtime) = runtime();
    for name in ["", ".", "..", "../x", "a/b", ".a", "a b", &"x".repeat(65)] {
        let error = runtime.enter(name).unwrap_err();
        assert!(matches!(error, InstanceError::BadName(_)), "{name}");
        assert!(runtime.find(name).is_err(), "{name}");
    }
}

#[test]
fn of_many_at_once_one_gets_the_name() {
    let (_folder, runtime) = runtime();
    let barrier = Barrier::new(8);
    let entries: Vec<_> = thread::scope(|scope| {
        let enter = || {
            barrier.wait();
            // Lookers take locks too, and must not look like owners.
            let _ = runtime.instances();
            runtime.enter("web").ok()
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(enter)).collect();
        let entries = threads.into_iter().map(|thread| thread.join().unwrap());
        entries.collect()
    });
    assert_eq!(entries.iter().flatten().count(), 1);
    drop(entries);
    assert_eq!(runtime.instances().unwrap(), []);
}
