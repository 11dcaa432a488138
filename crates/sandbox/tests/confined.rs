//! Each test confines a child process: the test binary again, running that test alone.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, its helpers too; a skipped test says so"
)]

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::thread;

use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Resource, dumpable_behavior, getppid, getrlimit};
use rustix::thread::{name, set_name};
use syscalls::SysnoSet;

use vmmkit_sandbox::*;

/// Names the test that a child is to run.
const CHILD: &str = "SANDBOX_TEST";

/// Runs `confined` in a child, which is this test binary with the test `name` alone.
fn in_child(name: &str, confined: fn()) -> ExitStatus {
    if std::env::var(CHILD).is_ok_and(|child| child == name) {
        confined();
        std::process::exit(0);
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args([name, "--exact", "--nocapture"]);
    child.env(CHILD, name).status().unwrap()
}

/// All system calls but `numbers`.
fn all_but(numbers: &[Sysno]) -> Vec<Call> {
    let all = SysnoSet::all();
    let all = all.iter().filter(|number| !numbers.contains(number));
    all.map(Call::any).collect()
}

fn skips(what: &str, is_there: bool) -> bool {
    if !is_there {
        eprintln!("SKIPPED: this host's kernel has no {what}");
    }
    !is_there
}

fn skips_filters() -> bool {
    skips("filter of system calls", support().system_calls)
}

#[test]
fn a_call_that_is_not_allowed_ends_the_process() {
    if skips_filters() {
        return;
    }
    let status = in_child("a_call_that_is_not_allowed_ends_the_process", || {
        let filter = Filter::new(&[&all_but(&[Sysno::getppid])], Refusal::Trap).unwrap();
        filter.apply().unwrap();
        let _ = getppid();
    });
    // SIGSYS.
    assert_eq!(status.signal(), Some(31), "{status}");
}

#[test]
fn a_kill_cannot_be_caught() {
    if skips_filters() {
        return;
    }
    let status = in_child("a_kill_cannot_be_caught", || {
        let set = [Call::any(Sysno::getppid)];
        Filter::refusing(&set, Refusal::Kill)
            .unwrap()
            .apply()
            .unwrap();
        let _ = getppid();
    });
    assert_eq!(status.signal(), Some(31), "{status}");
}

#[test]
fn threads_inherit_a_filter_and_others_are_free() {
    if skips_filters() {
        return;
    }
    let status = in_child("threads_inherit_a_filter_and_others_are_free", || {
        let refused = |number| {
            let set = [Call::any(Sysno::getpriority)];
            let filter = Filter::refusing(&set, Refusal::Error(number)).unwrap();
            move || filter.apply().unwrap()
        };
        let nice = || rustix::process::getpriority_process(None);
        let confined = thread::spawn(move || {
            refused(1)();
            let child = thread::spawn(nice).join().unwrap();
            (nice(), child)
        });
        let (own, child) = confined.join().unwrap();
        assert_eq!((own, child), (Err(Errno::PERM), Err(Errno::PERM)));
        assert!(nice().is_ok());
    });
    assert!(status.success(), "{status}");
}

#[test]
fn arguments_decide() {
    if skips_filters() {
        return;
    }
    let status = in_child("arguments_decide", || {
        // PR_GET_NAME, or any but PR_SET_NAME whose lowest bits are those of 1.
        let names = [
            Call::any(Sysno::prctl).with(Argument::equal(0, 16)),
            Call::any(Sysno::prctl)
                .with(Argument::not_equal(0, 15))
                .with(Argument::masked(0, 3, 3)),
        ];
        let others = all_but(&[Sysno::prctl]);
        let filter = Filter::new(&[&others, &names], Refusal::Error(1)).unwrap();
        assert_eq!(filter.numbers(), others.len() + 1);
        filter.apply().unwrap();
        assert!(name().is_ok());
        assert_eq!(set_name(c"other"), Err(Errno::PERM));
        // PR_GET_DUMPABLE is 3, PR_GET_NO_NEW_PRIVS 39, PR_GET_TIMERSLACK 30.
        assert!(dumpable_behavior().is_ok());
        assert_eq!(rustix::thread::no_new_privs(), Ok(true));
        assert_eq!(rustix::thread::current_timer_slack(), Err(Errno::PERM));
    });
    assert!(status.success(), "{status}");
}

#[test]
fn an_argument_that_no_call_has_is_an_error() {
    let call = Call::any(Sysno::mmap).with(Argument::equal(6, 0));
    let error = Filter::new(&[&[call]], Refusal::Trap).unwrap_err();
    assert!(
        matches!(
            error,
            FilterError::NoArgument {
                call: Sysno::mmap,
                index: 6
            }
        ),
        "{error}"
    );
}

#[test]
fn calls_have_names() {
    assert_eq!(call_name(59), Some("execve"));
    for none in [-1, i32::MAX, 1 << 30] {
        assert_eq!(call_name(none), None);
    }
    const SET: [Call; 2] = calls([Sysno::read, Sysno::ioctl]);
    assert_eq!(SET.map(|call| call.number()), [Sysno::read, Sysno::ioctl]);
    assert!(SET.iter().all(Call::is_unconditional));
}

/// A folder of a test's own, removed with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("sandbox-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_pipe_named_by_its_descriptor_goes_on_to_work() {
    if skips("Landlock", support().files) {
        return;
    }
    let status = in_child("a_pipe_named_by_its_descriptor_goes_on_to_work", || {
        let (mut from, to) = std::io::pipe().unwrap();
        let path = format!("/proc/self/fd/{}", to.as_raw_fd());
        let mut rules = FileRules::new();
        rules.write(&path);
        rules.read("/proc");
        assert_ne!(rules.close().unwrap(), FilesClosed::Not);
        fs::write(&path, "text").unwrap();
        drop(to);
        let mut text = String::new();
        from.read_to_string(&mut text).unwrap();
        assert_eq!(text, "text");
    });
    assert!(status.success(), "{status}");
}

#[test]
fn files_that_are_not_named_are_closed() {
    if skips("Landlock", support().files) {
        return;
    }
    let status = in_child("files_that_are_not_named_are_closed", || {
        let scratch = Scratch::new("files");
        let (inside, outside) = (scratch.0.join("in"), scratch.0.join("out"));
        for folder in [&inside, &outside] {
            fs::create_dir(folder).unwrap();
            fs::write(folder.join("old"), "old").unwrap();
        }
        let mut open = File::open(outside.join("old")).unwrap();
        let (read, kept) = (scratch.0.join("read"), inside.clone());
        fs::write(&read, "text").unwrap();
        let mut rules = FileRules::new();
        rules.replace_in(&inside);
        rules.read(&read);
        rules.write(scratch.0.join("missing"));
        assert_eq!(rules.paths().count(), 3);
        let (folder, file) = (outside.clone(), read.clone());
        // In a thread: this one has to remove the files.
        let confined = thread::spawn(move || {
            assert_ne!(rules.close().unwrap(), FilesClosed::Not);
            fs::write(inside.join("new"), "new").unwrap();
            fs::rename(inside.join("new"), inside.join("old")).unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), "text");
            let mut text = String::new();
            open.read_to_string(&mut text).unwrap();
            let denied = |error: std::io::Error| error.kind() == ErrorKind::PermissionDenied;
            assert!(fs::write(&file, "").is_err_and(denied));
            assert!(File::open(inside.join("old")).is_err_and(denied));
            assert!(File::open(folder.join("old")).is_err_and(denied));
            assert!(fs::read_dir("/").is_err_and(denied));
            assert!(fs::write(folder.join("new"), "").is_err_and(denied));
            assert!(fs::remove_file(folder.join("old")).is_err_and(denied));
            assert!(Command::new("/proc/self/exe").spawn().is_err_and(denied));
            let child = thread::spawn(move || File::open(folder.join("old")));
            assert!(child.join().unwrap().is_err_and(denied));
        });
        confined.join().unwrap();
        assert_eq!(fs::read_to_string(kept.join("old")).unwrap(), "new");
    });
    assert!(status.success(), "{status}");
}

#[test]
fn privileges_are_dropped() {
    let status = in_child("privileges_are_dropped", || {
        let was_root = rustix::process::geteuid().is_root();
        let dropped = drop_privileges(CapabilitySet::empty(), ProcessMemory::Closed).unwrap();
        assert!(dropped.bounding_set || !was_root);
        assert_eq!(dumpable_behavior(), Ok(DumpableBehavior::NotDumpable));
        assert_eq!(getrlimit(Resource::Core).maximum, Some(0));
        let none = "0000000000000000";
        let child = thread::spawn(|| fs::read_to_string("/proc/thread-self/status"));
        // Of root: nobody else may read it, but anybody sees its thread's status.
        let status = child.join().unwrap().unwrap();
        let value = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.map(|value| value.trim().to_owned())
                .unwrap_or_default()
        };
        assert_eq!(value("NoNewPrivs:"), "1");
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
            assert_eq!(value(set), none, "{set}");
        }
        assert!(!was_root || value("CapBnd:") == none);
        // What is gone cannot be kept.
        drop_privileges(CapabilitySet::SYS_NICE, ProcessMemory::Closed).unwrap();
        let sets = rustix::thread::capabilities(None).unwrap();
        assert!(sets.permitted.is_empty());
    });
    assert!(status.success(), "{status}");
}

#[test]
fn a_process_may_keep_its_core_files() {
    let status = in_child("a_process_may_keep_its_core_files", || {
        let limit = getrlimit(Resource::Core);
        let dumpable = dumpable_behavior();
        drop_privileges(CapabilitySet::empty(), ProcessMemory::AsBefore).unwrap();
        assert_eq!(getrlimit(Resource::Core), limit);
        assert_eq!(dumpable_behavior(), dumpable);
    });
    assert!(status.success(), "{status}");
}
