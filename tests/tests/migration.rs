//! Linux that goes from process to process, and stays where the other side fails.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use vmmkit_tests::guest::wait_for;
use vmmkit_tests::scripted::Scripted;

/// Counts, and has each number on the disk before it says it. The disk holds the last number.
const COUNTS: &str = "n=0; while :; do n=$((n + 1))
{ echo $n; head -c 505 /dev/zero; } | dd of=/dev/vdc bs=512 count=1 conv=fsync 2>/dev/null
echo \"count $n on disk $(head -n 1 /dev/vdc)\"; sleep 0.2; done
";

/// The guests of one test.
struct Place {
    guest: Scripted,
    vmmkit: PathBuf,
}

/// A process with the guest, killed when it is dropped.
struct Running {
    child: Child,
    errors: PathBuf,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    fn end(&mut self) -> (ExitStatus, String) {
        let status = self.child.wait().unwrap();
        (status, fs::read_to_string(&self.errors).unwrap())
    }
}

impl Place {
    fn folder(&self) -> &Path {
        self.guest.folder()
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.vmmkit);
        command.args(words).current_dir(self.folder());
        command.env("XDG_RUNTIME_DIR", self.folder());
        command
    }

    /// Starts `command`, whose messages are in the file `name`.err.
    fn start(&self, command: &mut Command, name: &str) -> Running {
        let errors = self.folder().join(format!("{name}.err"));
        let file = File::create(&errors).unwrap();
        command
            .current_dir(self.folder())
            .env("XDG_RUNTIME_DIR", self.folder());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.stderr(file).spawn().unwrap();
        Running { child, errors }
    }

    /// The guest called `name`.
    fn boot(&self, name: &str) -> Running {
        let disk = self.folder().join("counted");
        fs::write(&disk, [0; 4096]).unwrap();
        let mut command = self.guest.command(COUNTS, "").unwrap();
        command.args(["--cpus", "2", "--memory", "128M", "--rng", "--disk"]);
        command.arg(&disk).args(["--name", name, "--serial"]);
        command.arg(format!("file={name}.out"));
        let guest = self.start(&mut command, name);
        self.counts(name, 3);
        guest
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    fn says(&self, words: &[&str]) -> String {
        let run = self.run(words);
        assert!(run.status.success(), "{words:?}: {run:?}");
        String::from_utf8(run.stdout).unwrap()
    }

    fn is_there(&self, name: &str) -> bool {
        let names = self.says(&["list", "--quiet"]);
        names.lines().any(|line| line == name)
    }

    /// The numbers that the guest called `name` has said, each of which it had read from its disk.
    fn numbers(&self, name: &str) -> Vec<u32> {
        let path = self.folder().join(format!("{name}.out"));
        let text = fs::read_to_string(path).unwrap_or_default();
        let lines = text
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'));
        let number = |line: &str| {
            let (said, read) = line.trim_end().strip_prefix("count ")?.split_once(' ')?;
            let read = read.strip_prefix("on disk ")?;
            assert_eq!(said, read, "{text}");
            said.parse().ok()
        };
        lines.filter_map(number).collect()
    }

    fn counts(&self, name: &str, least: usize) {
        wait_for(&format!("{name} counts on"), || {
            self.numbers(name).len() >= least
        });
    }
}

fn find(name: &str) -> Option<Place> {
    let guest = Scripted::find(name).unwrap()?;
    let command = guest.command(COUNTS, "").unwrap();
    let vmmkit = PathBuf::from(command.get_program());
    Some(Place { guest, vmmkit })
}

#[test]
fn linux_goes_to_five_processes_and_counts_on_with_its_disk() {
    let Some(place) = find("a Linux that is moved five times") else {
        return;
    };
    let mut guest = Some(place.boot("g0"));
    let mut all = place.numbers("g0");
    for generation in 1..=5 {
        let (from, to) = (format!("g{}", generation - 1), format!("g{generation}"));
        let output = format!("file={to}.out");
        let by_command = generation % 2 == 0;
        let next = match by_command {
            true => {
                let vmmkit = place.vmmkit.display();
                let way = format!("exec:{vmmkit} receive - --name {to} --serial {output}");
                println!(
                    "{}",
                    place.says(&["migrate", &from, "--to", &way, "--json"])
                );
                None
            }
            false => {
                let words = ["receive", "unix:way", "--name", &to, "--serial", &output];
                let next = place.start(&mut place.command(&words), &to);
                let socket = place.folder().join("way");
                wait_for("the socket is there", || socket.exists());
                println!(
                    "{}",
                    place.says(&["migrate", "-n", &from, "--to", "unix:way", "--json"])
                );
                assert!(!socket.exists());
                Some(next)
            }
        };
        if let Some(mut before) = guest.take() {
            let (status, said) = before.end();
            assert_eq!(status.code(), Some(0), "{said}");
            assert!(said.contains("migrated: the guest runs"), "{said}");
        }
        wait_for("the process before has ended", || !place.is_there(&from));
        place.counts(&to, 3);
        // The number that was being said is on both consoles in part, or on one of them.
        let last = place.numbers(&from).last().copied().unwrap();
        let first = place.numbers(&to).first().copied().unwrap();
        assert!(
            (last + 1..=last + 2).contains(&first),
            "{first} after {last}"
        );
        all.extend(place.numbers(&to));
        guest = next;
    }
    assert!(all.is_sorted(), "{all:?}");
    // Paused it goes too, and stays so.
    place.says(&["pause", "g5"]);
    let vmmkit = place.vmmkit.display();
    let way = format!("exec:{vmmkit} receive - --name g6 --serial file=g6.out");
    let waiting = place
        .command(&["wait", "g5"])
        .stdout(Stdio::piped())
        .spawn();
    place.says(&["migrate", "g5", "--to", &way]);
    let waited = waiting.unwrap().wait_with_output().unwrap();
    assert_eq!(
        String::from_utf8(waited.stdout).unwrap(),
        "g5: exit code 0 (migrated)\n"
    );
    assert!(place.says(&["list"]).contains("paused"));
    assert!(place.numbers("g6").is_empty());
    place.says(&["resume", "g6"]);
    place.counts("g6", 2);
    place.says(&["stop", "g6", "--timeout", "0"]);
}

#[test]
fn linux_stays_where_the_other_side_fails() {
    let Some(place) = find("a Linux that is not moved") else {
        return;
    };
    let _guest = place.boot("here");
    let vmmkit = place.vmmkit.display();
    let receive = format!("{vmmkit} receive - --name there --serial file=there.out");
    let none = place.folder().join("none").display().to_string();
    let far = format!("unix:{none}");
    let exec = |command: String| format!("exec:{command}");
    for (to, part) in [
        (far, "cannot connect to the target"),
        (exec("true".to_owned()), "the guest goes on here"),
        (
            exec("echo this is no such stream".to_owned()),
            "does not speak",
        ),
        // The stream breaks in the manifest, and in the pages.
        (
            exec(format!("head -c 100 | {receive}")),
            "the guest goes on here",
        ),
        (
            exec(format!("head -c 3000000 | {receive}")),
            "the guest goes on here",
        ),
        (
            exec(format!("{receive} --memory 64M")),
            "134217728 bytes of memory",
        ),
        (
            exec(format!("{receive} --disk {none}")),
            "the guest goes on here",
        ),
        (
            exec(format!("{receive} --cpus 1")),
            "the guest goes on here",
        ),
    ] {
        let run = place.run(&["migrate", "here", "--to", &to]);
        let error = String::from_utf8(run.stderr).unwrap();
        assert_eq!(run.status.code(), Some(1), "{to}: {error}");
        assert!(
            error.contains(part) && error.contains("next: "),
            "{to}: {error}"
        );
        let before = place.numbers("here").len();
        place.counts("here", before + 3);
        assert!(!place.is_there("there"));
    }
    let numbers = place.numbers("here");
    assert!(
        numbers
            .windows(2)
            .all(|two| matches!(two, [a, b] if a + 1 == *b))
    );
    // Its disk is its own again.
    let words = ["run", "--dry-run", "--kernel"];
    let run = place
        .command(&words)
        .arg(place.guest.kernel())
        .args(["--disk", "counted"])
        .output()
        .unwrap();
    let error = String::from_utf8(run.stderr).unwrap();
    assert!(error.contains("in use"), "{error}");
    place.says(&["migrate", "here", "--to", &exec(receive)]);
    place.counts("there", 3);
    place.says(&["stop", "there", "--timeout", "0"]);
}

#[test]
fn a_target_ends_with_its_source_and_by_a_signal() {
    let Some(place) = find("a target without a source") else {
        return;
    };
    let socket = place.folder().join("way");
    let target = || {
        let target = place.start(&mut place.command(&["receive", "unix:way"]), "target");
        wait_for("the socket is there", || socket.exists());
        target
    };
    let mut waiting = target();
    let pid = rustix::process::Pid::from_child(&waiting.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(waiting.end().0.signal(), Some(15));
    assert!(!socket.exists());
    for bytes in [
        &b""[..],
        b"VMMKITMV\x01\0\0\0",
        b"nonsense, and not a stream",
    ] {
        let mut waiting = target();
        let mut source = UnixStream::connect(&socket).unwrap();
        source.write_all(bytes).unwrap();
        drop(source);
        let (status, said) = waiting.end();
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(
            said.contains("error: receive: ") && said.contains("next: "),
            "{said}"
        );
    }
    // A source that says nothing more does not hold up the end.
    let mut waiting = target();
    let mut source = UnixStream::connect(&socket).unwrap();
    source.write_all(b"VMMKITMV\x01\0\0\0").unwrap();
    wait_for("the socket is gone", || !socket.exists());
    let pid = rustix::process::Pid::from_child(&waiting.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(waiting.end().0.signal(), Some(15));
}

#[test]
fn a_source_runs_and_ends_although_its_target_says_nothing() {
    let Some(place) = find("a source whose target says nothing") else {
        return;
    };
    let mut guest = place.boot("here");
    let socket = place.folder().join("silent");
    let listener = UnixListener::bind(&socket).unwrap();
    let to = format!("unix:{}", socket.display());
    let mut asking = place.command(&["migrate", "here", "--to", &to]);
    let asking = asking.stderr(Stdio::piped()).spawn().unwrap();
    let (_silent, _) = listener.accept().unwrap();
    let before = place.numbers("here").len();
    place.counts("here", before + 3);
    // One at a time.
    let again = place.run(&["migrate", "here", "--to", &to]);
    let error = String::from_utf8(again.stderr).unwrap();
    assert!(error.contains("being saved or moved already"), "{error}");
    let pid = rustix::process::Pid::from_child(&guest.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(guest.end().0.signal(), Some(15));
    let asked = asking.wait_with_output().unwrap();
    let error = String::from_utf8(asked.stderr).unwrap();
    assert_eq!(asked.status.code(), Some(1), "{error}");
    assert!(error.contains("next: "), "{error}");
}
