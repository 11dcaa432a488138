//! Child processes that always end: each has a deadline, and is killed by its own id at it.

use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The remains of a child.
#[derive(Debug)]
pub struct Finished {
    /// How it ended; `None` if it had to be killed.
    pub status: Option<ExitStatus>,
    /// It was killed since it had said nothing for too long.
    pub fell_silent: bool,
    /// Its stdout, invalid UTF-8 replaced.
    pub stdout: String,
    /// Its stderr, invalid UTF-8 replaced.
    pub stderr: String,
}

impl Finished {
    /// The exit code, if it exited by itself and not by a signal.
    pub fn code(&self) -> Option<i32> {
        self.status.and_then(|status| status.code())
    }
}

/// Runs `command` with `input` on its stdin until it ends or `limit` has passed.
///
/// # Errors
/// Where the child cannot be started or waited for.
pub fn run_bounded(
    command: &mut Command,
    input: &[u8],
    limit: Duration,
) -> std::io::Result<Finished> {
    run_watched(command, input, limit, limit)
}

/// Runs `command` as [`run_bounded`] does, and kills it too when it has written nothing for
/// `silence`.
///
/// # Errors
/// Where the child cannot be started or waited for.
pub fn run_watched(
    command: &mut Command,
    input: &[u8],
    limit: Duration,
    silence: Duration,
) -> std::io::Result<Finished> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let written = Arc::new(AtomicUsize::new(0));
    let stdout = collect(child.stdout.take(), written.clone());
    let stderr = collect(child.stderr.take(), written.clone());
    if let Some(mut stdin) = child.stdin.take() {
        // A child that ends without reading its input is for the test to judge.
        let _ = stdin.write_all(input);
    }
    let deadline = Instant::now() + limit;
    let mut seen = 0;
    let (status, fell_silent) = loop {
        let until = deadline.min(Instant::now() + silence);
        if let Some(status) = poll_until(&mut child, until)? {
            break (Some(status), false);
        }
        let now = written.load(Ordering::Relaxed);
        if Instant::now() >= deadline || now == seen {
            kill(&mut child)?;
            break (None, Instant::now() < deadline);
        }
        seen = now;
    };
    let text = |thread: thread::JoinHandle<Vec<u8>>| {
        String::from_utf8_lossy(&thread.join().unwrap_or_default()).into_owned()
    };
    Ok(Finished {
        status,
        fell_silent,
        stdout: text(stdout),
        stderr: text(stderr),
    })
}

/// The SHA-256 sum of `bytes`, by sha256sum(1).
///
/// # Errors
/// Where it cannot be started.
pub fn sha256(bytes: &[u8]) -> std::io::Result<String> {
    let limit = Duration::from_secs(120);
    let sum = run_bounded(&mut Command::new("sha256sum"), bytes, limit)?;
    Ok(sum.stdout.split(' ').next().unwrap_or_default().to_owned())
}

/// Waits for `child` until `deadline`, then kills it.
///
/// # Errors
/// Where the host cannot wait for it.
pub fn wait_until(child: &mut Child, deadline: Instant) -> std::io::Result<Option<ExitStatus>> {
    let status = poll_until(child, deadline)?;
    if status.is_none() {
        kill(child)?;
    }
    Ok(status)
}

fn poll_until(child: &mut Child, deadline: Instant) -> std::io::Result<Option<ExitStatus>> {
    loop {
        let status = child.try_wait()?;
        if status.is_some() || Instant::now() >= deadline {
            return Ok(status);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn kill(child: &mut Child) -> std::io::Result<()> {
    child.kill()?;
    child.wait()?;
    Ok(())
}

/// Reads a pipe to its end, and counts in `written` what has come so far.
fn collect<R: Read + Send + 'static>(
    pipe: Option<R>,
    written: Arc<AtomicUsize>,
) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let (mut all, mut bytes) = (Vec::new(), [0; 4096]);
        if let Some(mut pipe) = pipe {
            while let Ok(length @ 1..) = pipe.read(&mut bytes) {
                all.extend_from_slice(bytes.get(..length).unwrap_or_default());
                written.fetch_add(length, Ordering::Relaxed);
            }
        }
        all
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn who_falls_silent_is_killed_and_what_it_said_is_kept() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo word; exec sleep 1000"]);
        let run = run_watched(&mut command, b"", LONG, Duration::from_millis(200)).unwrap();
        assert!(run.fell_silent && run.status.is_none(), "{run:?}");
        assert_eq!(run.stdout, "word\n");
    }

    #[test]
    fn who_talks_on_and_who_is_late_did_not_fall_silent() {
        let mut talker = Command::new("sh");
        talker.args(["-c", "for n in 1 2 3 4 5 6 7 8; do echo; sleep 0.1; done"]);
        let run = run_watched(&mut talker, b"", LONG, Duration::from_millis(500)).unwrap();
        assert!(!run.fell_silent && run.code() == Some(0), "{run:?}");
        let mut sleeper = Command::new("sleep");
        let run = run_bounded(sleeper.arg("1000"), b"", Duration::from_millis(50)).unwrap();
        assert!(!run.fell_silent && run.status.is_none(), "{run:?}");
    }
}
