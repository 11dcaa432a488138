//! A directory of the host as the root of a guest, and one command there: its streams, its signals and its exit code
//! are those of `vmmkit run`.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use vmmkit_tests::diskless::{Diskless, Kernel, skip};
use vmmkit_tests::guest::BOOT_LIMIT;
use vmmkit_tests::process::{Finished, run_bounded, wait_until};
use vmmkit_tests::terminal::Terminal;

const BUSYBOX: &str = "/bin/busybox";
/// Catches SIGINT, and says when it does.
const CATCHER: &str =
    "trap 'echo caught; exit 9' INT; echo ready; while :; do busybox sleep 1; done";

/// A guest, and a directory with a busybox that can be its root.
struct Place {
    guest: Diskless,
    root: PathBuf,
}

impl Place {
    fn new(name: &str) -> Option<Self> {
        Self::with(name, Kernel::Lean)
    }

    fn with(name: &str, kernel: Kernel) -> Option<Self> {
        let guest = Diskless::find(name, kernel).unwrap()?;
        let root = guest.scratch.path().join("root");
        for name in ["bin", "dev", "proc", "sys", "run", "data", "home/user"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        let Ok(busybox) = fs::read(BUSYBOX) else {
            skip(name, "there is no /bin/busybox");
            return None;
        };
        fs::write(root.join("bin/busybox"), busybox).unwrap();
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(root.join("bin/busybox"), mode).unwrap();
        Some(Self { guest, root })
    }

    /// A run of `words` by `kernel`; `more` follows the directory, or is further options.
    fn command_by(&self, kernel: &Path, more: &str, options: &[&str], words: &[&str]) -> Command {
        let mut command = self.guest.guests.command(kernel, &["--quiet"]);
        let root = format!("{}{more}", self.root.display());
        command.args(["--memory", "256M", "--root", &root]);
        command.args(options).arg("--").args(words);
        command
    }

    fn command(&self, more: &str, options: &[&str], words: &[&str]) -> Command {
        self.command_by(&self.guest.guests.lean_elf(), more, options, words)
    }

    /// A shell's `script`, with nothing on its stdin.
    fn shell(&self, script: &str) -> Command {
        self.command("", &[], &["busybox", "sh", "-c", script])
    }

    /// A folder for the names of guests.
    fn runtime(&self) -> PathBuf {
        let runtime = self.guest.scratch.path().join("runtime");
        fs::create_dir(&runtime).unwrap();
        fs::set_permissions(&runtime, fs::Permissions::from_mode(0o700)).unwrap();
        runtime
    }

    fn runs(&self, command: &mut Command) -> Finished {
        self.guest.guests.run(command, b"").unwrap()
    }
}

/// All there is below `folder`: mode, time of the last change, and contents.
fn contents(folder: &Path) -> BTreeMap<PathBuf, (u32, i64, Vec<u8>)> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let data = fs::symlink_metadata(&path).unwrap();
        let bytes = match data.is_dir() {
            true => Vec::new(),
            false => fs::read(&path).unwrap(),
        };
        all.insert(path.clone(), (data.mode(), data.mtime(), bytes));
        if data.is_dir() {
            all.extend(contents(&path));
        }
    }
    all
}

/// 1 MiB with every byte there is, and no two pages the same.
fn binary() -> Vec<u8> {
    let numbers = (0..1_u32 << 18).map(|number| number.wrapping_mul(0x9e37_79b1));
    numbers.flat_map(u32::to_le_bytes).collect()
}

#[test]
fn a_command_has_the_streams_and_the_exit_code_of_the_process() {
    let Some(place) = Place::new("streams") else {
        return;
    };
    let bytes = binary();
    fs::write(place.root.join("data/bytes"), &bytes).unwrap();
    let before = contents(&place.root);
    let stdout = place.guest.scratch.path().join("stdout");
    let script = "busybox cat /data/bytes; busybox cat; echo to stderr >&2; echo x >/data/bytes; \
                  busybox rm /bin/busybox; echo y >/new; exit 7";
    let mut command = place.shell(script);
    command
        .stdin(Stdio::piped())
        .stdout(File::create(&stdout).unwrap());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    // Backwards, so that it is other bytes than the file's.
    let input: Vec<u8> = bytes.iter().rev().copied().collect();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), &input).unwrap();
    let status = wait_until(&mut child, Instant::now() + BOOT_LIMIT).unwrap();
    let stderr = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
    assert_eq!(status.and_then(|status| status.code()), Some(7), "{stderr}");
    assert_eq!(stderr, "to stderr\n");
    assert!(fs::read(&stdout).unwrap() == [bytes, input].concat());
    // The host's files are as they were.
    assert!(contents(&place.root) == before);
}

#[test]
fn a_command_has_the_folder_the_environment_and_the_user_of_the_process() {
    let Some(place) = Place::new("surroundings") else {
        return;
    };
    let mut command = place.shell("busybox pwd; echo $WORD; busybox id -u; busybox id -g");
    command.current_dir(place.root.join("home/user"));
    let run = place.runs(command.env("WORD", "a 'b'\n c"));
    let expected = format!(
        "/home/user\na 'b' c\n{}\n{}\n",
        rustix::process::getuid().as_raw(),
        rustix::process::getgid().as_raw()
    );
    assert_eq!(run.stdout, expected, "{}", run.stderr);
    assert_eq!(run.code(), Some(0));
}

#[test]
fn a_writable_root_is_the_hosts() {
    let Some(place) = Place::new("writable root") else {
        return;
    };
    fs::write(place.root.join("data/old"), "old").unwrap();
    let script = "echo new >/data/new && busybox rm /data/old";
    let run = place.runs(&mut place.command(",rw", &[], &["busybox", "sh", "-c", script]));
    assert_eq!(run.code(), Some(0), "{}", run.stderr);
    assert_eq!(fs::read(place.root.join("data/new")).unwrap(), b"new\n");
    assert!(!place.root.join("data/old").exists());
}

#[test]
fn a_command_that_cannot_run_has_the_codes_of_a_shell() {
    let Some(place) = Place::new("no command") else {
        return;
    };
    fs::write(place.root.join("data/text"), "text").unwrap();
    for (word, code) in [("there-is-none", 127), ("/data/text", 126)] {
        let run = place.runs(&mut place.command("", &[], &[word]));
        assert_eq!(run.code(), Some(code), "{}", run.stderr);
        assert!(
            run.stderr.starts_with(&format!("{word}: ")),
            "{}",
            run.stderr
        );
        assert_eq!(run.stdout, "");
    }
}

/// Starts `command`, which says that it is ready: the process, and what else it says.
fn started(command: &mut Command) -> (Child, BufReader<ChildStdout>) {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    (child, stdout)
}

/// The end of a command that gets `signal` once it says that it is ready, and what else it says.
fn ends_by(place: &Place, script: &str, signal: Signal) -> (ExitStatus, String) {
    let (mut child, stdout) = started(&mut place.shell(script));
    kill_process(Pid::from_child(&child), signal).unwrap();
    let status = wait_until(&mut child, Instant::now() + BOOT_LIMIT).unwrap();
    let rest = std::io::read_to_string(stdout).unwrap();
    (status.unwrap(), rest)
}

#[test]
fn a_signal_reaches_the_command() {
    let Some(place) = Place::new("signals") else {
        return;
    };
    let (status, said) = ends_by(&place, CATCHER, Signal::INT);
    assert_eq!((status.code(), said.as_str()), (Some(9), "caught\n"));
    // The process ends as its command does.
    let (status, said) = ends_by(&place, "echo ready; exec busybox sleep 1000", Signal::TERM);
    assert_eq!(
        (status.signal(), said.as_str()),
        (Some(Signal::TERM.as_raw()), "")
    );
}

#[test]
fn a_reader_who_leaves_ends_the_command() {
    let Some(place) = Place::new("closed output") else {
        return;
    };
    let mut command = place.shell("busybox yes");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "y\n");
    let status = wait_until(&mut child, Instant::now() + BOOT_LIMIT).unwrap();
    assert_eq!(status.and_then(|status| status.code()), Some(141));
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    let Some(place) = Place::new("full disk") else {
        return;
    };
    let mut command = place.shell("echo lost");
    command
        .stdin(Stdio::null())
        .stdout(File::create("/dev/full").unwrap());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let status = wait_until(&mut child, Instant::now() + BOOT_LIMIT).unwrap();
    let stderr = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
    assert_eq!(status.and_then(|status| status.code()), Some(1), "{stderr}");
    assert!(
        stderr.contains("the command's output could not be written"),
        "{stderr}"
    );
}

#[test]
fn a_guest_that_ends_without_its_command_is_an_error() {
    let Some(place) = Place::with("guest's end", Kernel::Cloud) else {
        return;
    };
    // Time is up, and the command goes on.
    let run =
        place.runs(&mut place.command("", &["--timeout", "20"], &["busybox", "sleep", "1000"]));
    assert_eq!(run.code(), Some(124), "{}", run.stderr);
    assert!(
        run.stderr
            .contains("error: --timeout 20: the guest still ran"),
        "{}",
        run.stderr
    );
    // It turns itself off.
    let run = place.runs(&mut place.shell("busybox reboot -f; busybox sleep 1000"));
    assert_eq!(run.code(), Some(1), "{}", run.stderr);
    assert!(
        run.stderr.contains("the guest ended before its command"),
        "{}",
        run.stderr
    );
    // Its kernel panics: there is no first program of that name.
    let mut small = place.command(
        "",
        &[
            "--cmdline",
            "console=ttyS0 panic=-1 rdinit=/none init=/none",
        ],
        &["busybox"],
    );
    let run = place.runs(&mut small);
    assert_eq!(run.code(), Some(4), "{}", run.stderr);
    assert!(
        run.stderr.contains("the guest's kernel panicked"),
        "{}",
        run.stderr
    );
    // Debian's kernel has the drivers as modules.
    let cloud = place.guest.guests.cloud();
    let run = place.runs(&mut place.command_by(&cloud, "", &[], &["busybox", "true"]));
    assert_eq!(run.code(), Some(1), "{}", run.stderr);
    assert!(
        run.stderr.contains("there is no virtio port"),
        "{}",
        run.stderr
    );
    assert!(run.stderr.contains("next: "), "{}", run.stderr);
}

#[test]
fn a_command_at_a_terminal_has_its_keys_and_its_size() {
    let Some(place) = Place::new("terminal of a command") else {
        return;
    };
    let mut terminal = Terminal::start(
        &place.shell("echo ready; busybox stty size; busybox cat; echo end; exit 5"),
    )
    .unwrap();
    terminal.sees("ready\r\n", BOOT_LIMIT).unwrap();
    terminal.sees("24 80\r\n", BOOT_LIMIT).unwrap();
    assert!(terminal.is_raw());
    terminal.types("a line\r");
    // The echo of it, and what cat makes of it.
    terminal.sees("a line\r\na line\r\n", BOOT_LIMIT).unwrap();
    terminal.types("\x04");
    terminal.sees("end\r\n", BOOT_LIMIT).unwrap();
    let status = terminal.ends(BOOT_LIMIT).unwrap();
    assert_eq!(status.and_then(|status| status.code()), Some(5));
    assert!(terminal.is_as_before());
    // Ctrl-C.
    let mut terminal = Terminal::start(&place.shell(CATCHER)).unwrap();
    terminal.sees("ready\r\n", BOOT_LIMIT).unwrap();
    terminal.types("\x03");
    terminal.sees("caught\r\n", BOOT_LIMIT).unwrap();
    let status = terminal.ends(BOOT_LIMIT).unwrap();
    assert_eq!(status.and_then(|status| status.code()), Some(9));
}

#[test]
fn lines_of_a_terminal_reach_a_command_whose_output_goes_elsewhere() {
    let Some(place) = Place::new("lines") else {
        return;
    };
    let run = place.shell("echo ready; read line; echo \"[$line]\"; busybox cat; echo end");
    let mut piped = Command::new("sh");
    piped.args(["-c", "\"$@\" | cat", "sh"]);
    piped.arg(run.get_program()).args(run.get_args());
    let mut terminal = Terminal::start(&piped).unwrap();
    terminal.sees("ready\r\n", BOOT_LIMIT).unwrap();
    // The terminal stays as it is, and shows what is typed itself.
    assert!(!terminal.is_raw());
    terminal.types("a line\r");
    terminal.sees("a line\r\n[a line]\r\n", BOOT_LIMIT).unwrap();
    terminal.types("another\r");
    terminal.sees("another\r\nanother\r\n", BOOT_LIMIT).unwrap();
    terminal.types("\x04");
    terminal.sees("end\r\n", BOOT_LIMIT).unwrap();
    assert!(terminal.ends(BOOT_LIMIT).unwrap().unwrap().success());
}

#[test]
fn a_guest_is_stopped_by_the_end_of_its_command() {
    let Some(place) = Place::new("stopped command") else {
        return;
    };
    let runtime = place.runtime();
    let of_runtime = |words: &[&str]| {
        let mut command = Command::new(&place.guest.guests.vmmkit);
        command.args(words).env("XDG_RUNTIME_DIR", &runtime);
        command
    };
    let words = ["busybox", "sh", "-c"];
    let catcher = CATCHER.replace("INT", "TERM");
    // What it answers, and what becomes of one that does not.
    let deaf = "trap '' TERM; echo ready; while :; do busybox sleep 1; done";
    for (script, timeout, code, said) in [
        (catcher.as_str(), "60", 9, "web: its command ended after "),
        (
            deaf,
            "1",
            1,
            "web: did not answer the power button in 1 s, stopped",
        ),
    ] {
        let mut command = place.command("", &["--name", "web"], &[&words[..], &[script]].concat());
        command.env("XDG_RUNTIME_DIR", &runtime);
        let (mut child, stdout) = started(&mut command);
        let waiting = of_runtime(&["wait", "web"]).stdout(Stdio::null()).spawn();
        let mut stop = of_runtime(&["stop", "web", "--timeout", timeout]);
        let stopped = run_bounded(&mut stop, b"", BOOT_LIMIT).unwrap();
        assert!(stopped.stdout.starts_with(said), "{}", stopped.stdout);
        let is_heard = code == 9;
        assert_eq!(stopped.code(), Some(if is_heard { 0 } else { 3 }));
        let status = wait_until(&mut child, Instant::now() + BOOT_LIMIT).unwrap();
        assert_eq!(status.and_then(|status| status.code()), Some(code));
        // Who begins to wait after the end finds no guest.
        let waited = wait_until(&mut waiting.unwrap(), Instant::now() + BOOT_LIMIT).unwrap();
        assert!(waited.is_some());
        let rest = std::io::read_to_string(stdout).unwrap();
        assert_eq!(rest, if is_heard { "caught\n" } else { "" });
    }
}

/// Descriptors, processes and files that a run leaves behind would be found by the next one.
#[test]
fn runs_one_after_the_other_leave_nothing() {
    let Some(place) = Place::new("one after the other") else {
        return;
    };
    let runtime = place.runtime();
    for code in 0..8 {
        let mut command = place.shell(&format!("exit {code}"));
        let run = run_bounded(command.env("XDG_RUNTIME_DIR", &runtime), b"", BOOT_LIMIT).unwrap();
        assert_eq!((run.code(), run.stderr.as_str()), (Some(code), ""));
    }
    let left: Vec<_> = contents(&runtime)
        .into_keys()
        .filter(|path| !path.is_dir())
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
