//! `run --detach`: the guest's process in a session of its own, and the command that waits until it runs.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use rustix::fs::{FileType, Mode, OFlags, Stat};

use crate::failure::Failure;
use crate::generate;

/// The longest report: a name, or the path of a socket.
const MAX_REPORT: u64 = 8192;

/// Starts this command again as a process that nobody's terminal ends, and waits until its guest runs; prints its
/// name. Where it fails, it has said why: its exit code is this one's.
pub(crate) fn launch() -> Result<ExitCode, Failure> {
    launch_with(std::env::args_os().skip(1))
}

/// The same of another command of this program.
pub(crate) fn launch_with(words: impl Iterator<Item = OsString>) -> Result<ExitCode, Failure> {
    match launched(words)? {
        Launched::Runs(report) => generate::write(report.as_bytes()),
        Launched::Ended(code) => Ok(code),
    }
}

/// A process in the background.
pub(crate) enum Launched {
    /// Its guest runs: the line with its name.
    Runs(String),
    /// It has said why not.
    Ended(ExitCode),
}

/// The same, without a word about it.
pub(crate) fn launched(words: impl Iterator<Item = OsString>) -> Result<Launched, Failure> {
    let mut child = start(words).map_err(|error| {
        Failure::host(
            "--detach",
            &error,
            "raise the limit of processes (ulimit -u)",
        )
    })?;
    let mut report = String::new();
    if let Some(pipe) = child.stdout.take() {
        // Nothing came if it is gone.
        let _ = pipe.take(MAX_REPORT).read_to_string(&mut report);
    }
    if report.ends_with('\n') {
        return Ok(Launched::Runs(report));
    }
    let status = child.wait();
    let code = status.ok().and_then(|status| status.code());
    let code = code.and_then(|code| u8::try_from(code).ok());
    match code {
        Some(code) => Ok(Launched::Ended(code.into())),
        None => Err(Failure::because(
            "--detach: the guest's process ended without a word".to_owned(),
            Vec::new(),
            "run it without --detach, to see why",
        )),
    }
}

fn start(words: impl Iterator<Item = OsString>) -> io::Result<Child> {
    let name = std::env::args_os().next().unwrap_or_default();
    Command::new(itself(&name))
        .arg0(name)
        .args(words)
        .arg("--detached")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
}

/// This program: by its path, which names its process; where its file was replaced, as it runs; and where there is no
/// /proc, as it was called.
pub(crate) fn itself(name: &OsStr) -> PathBuf {
    let running = Path::new("/proc/self/exe");
    match std::env::current_exe() {
        Ok(path) if path.exists() => path,
        _ if running.exists() => running.to_owned(),
        _ => name.into(),
    }
}

/// In the guest's process, before anything else: no terminal's signals come from here on.
pub(crate) fn enter() {
    // It does not lead a process group, so it cannot fail.
    let _ = rustix::process::setsid();
}

/// The word that the guest runs, for the command that waits for it.
pub(crate) struct Report {
    /// The name or the socket by which it is found.
    found_by: String,
    /// Opened before the process confines itself.
    null: OwnedFd,
}

impl Report {
    /// To say that the guest is found by `found_by`.
    pub(crate) fn new(found_by: String) -> Result<Self, Failure> {
        let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
        let null = null.map_err(|error| not_told(error.into()))?;
        Ok(Self { found_by, null })
    }

    /// The guest runs: says so, and lets go of the pipe and of the terminal. An error if nobody waits for it any
    /// more.
    pub(crate) fn tell(self) -> Result<(), Failure> {
        let told = || {
            let mut stdout = io::stdout();
            writeln!(stdout, "{}", self.found_by)?;
            stdout.flush()?;
            rustix::stdio::dup2_stdout(&self.null)?;
            // Messages go on into a file. Whoever reads a pipe would wait for its end as long as the guest runs.
            let stderr = rustix::fs::fstat(io::stderr());
            let is_file = |stat: &Stat| FileType::from_raw_mode(stat.st_mode).is_file();
            if !stderr.as_ref().is_ok_and(is_file) {
                rustix::stdio::dup2_stderr(&self.null)?;
            }
            Ok(())
        };
        told().map_err(not_told)
    }
}

fn not_told(error: io::Error) -> Failure {
    let next = "start it again, and let the command wait until the guest runs";
    Failure::host("--detach: nobody hears that the guest runs", &error, next)
}
