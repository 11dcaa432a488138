//! The command, and its streams.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group, setsid};
use rustix::termios::tcdrain;
use vmmkit_host_io::{ThreadRole, ThreadSpec};

use super::{InitError, ports};
use crate::frames::unpack;
use crate::monitor::Status;
use crate::signals;
use crate::task::Task;
use crate::{STDERR, STDIN, STDOUT};

/// The exit codes of a shell for a command that is not there, and for one that cannot be run.
const NOT_FOUND: u8 = 127;
const NOT_RUN: u8 = 126;
/// Bytes at a time.
const PIECE: usize = 32 << 10;
/// How long a port without a host is left alone.
const PAUSE: Duration = Duration::from_millis(5);
/// The guest's first virtio console.
const TERMINAL: &str = "/dev/hvc0";

/// The host's ends of the command's streams.
#[derive(Debug)]
pub(super) enum Streams {
    /// A terminal, which is the controlling one.
    Terminal(File),
    /// stdin, stdout and stderr.
    Ports([File; 3]),
}

impl Streams {
    pub(super) fn open(task: &Task) -> Result<Self, InitError> {
        if !task.terminal {
            let [stdin, stdout, stderr] = [STDIN, STDOUT, STDERR].map(ports::open);
            return Ok(Self::Ports([stdin?, stdout?, stderr?]));
        }
        // The first terminal that the leader of a session opens is its controlling one.
        let _ = setsid();
        let opened = OpenOptions::new().read(true).write(true).open(TERMINAL);
        opened
            .map(Self::Terminal)
            .map_err(|source| InitError::Kernel {
                what: TERMINAL,
                source,
            })
    }
}

/// Runs the command to its end. Signals for it come from the port `status`.
pub(super) fn run(task: &Task, streams: Streams, status: &File) -> Status {
    match streams {
        Streams::Terminal(terminal) => at_terminal(task, &terminal, status),
        Streams::Ports(ports) => with_ports(task, ports, status),
    }
}

fn command(task: &Task) -> Command {
    let mut arguments = task.arguments.iter();
    let program = arguments.next().cloned().unwrap_or_default();
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .envs(task.environment.iter().cloned());
    if task.uid != 0 {
        command.uid(task.uid).gid(task.gid);
    }
    command.current_dir(match Path::new(&task.directory).is_dir() {
        true => Path::new(&task.directory),
        false => Path::new("/"),
    });
    command
}

/// The exit code of a command that could not be started, and a line about it.
fn not_started(task: &Task, error: &io::Error) -> (u8, String) {
    let name = task.arguments.first().cloned().unwrap_or_default();
    let code = match error.kind() {
        io::ErrorKind::NotFound => NOT_FOUND,
        _ => NOT_RUN,
    };
    (code, format!("{}: {error}\n", name.display()))
}

fn code(status: io::Result<ExitStatus>) -> u8 {
    let number = status.ok().and_then(|status| {
        let signal = status.signal().map(|signal| signal + 128);
        status.code().or(signal)
    });
    number
        .and_then(|it| u8::try_from(it).ok())
        .unwrap_or(u8::MAX)
}

fn at_terminal(task: &Task, mut terminal: &File, status: &File) -> Status {
    let stream = || terminal.try_clone().map_or(Stdio::null(), Stdio::from);
    let mut command = command(task);
    command.stdin(stream()).stdout(stream()).stderr(stream());
    let code = match command.spawn() {
        Ok(mut child) => {
            // A shell has its commands in groups of their own, and ends them itself.
            pass_signals(&child, status, kill_process);
            code(child.wait())
        }
        Err(error) => {
            let (code, line) = not_started(task, &error);
            let _ = terminal.write_all(line.as_bytes());
            code
        }
    };
    let _ = tcdrain(terminal);
    Status::Exited(code, 0, 0)
}

fn with_ports(task: &Task, [stdin, stdout, mut stderr]: [File; 3], status: &File) -> Status {
    let mut command = command(task);
    // As a shell has it: what a terminal's key ends is all of it.
    command.process_group(0);
    let piped = Stdio::piped;
    command.stdin(piped()).stdout(piped()).stderr(piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            let (code, line) = not_started(task, &error);
            let written = stderr.write_all(line.as_bytes()).map_or(0, |()| line.len());
            return Status::Exited(code, 0, written as u64);
        }
    };
    pass_signals(&child, status, kill_process_group);
    feed(&mut child, stdin);
    let stdout = child.stdout.take().and_then(|from| relay(from, stdout));
    let stderr = child.stderr.take().and_then(|from| relay(from, stderr));
    let code = code(child.wait());
    // Processes that it has left running would keep its output open.
    end_others();
    let sent = |relay: Option<JoinHandle<u64>>| relay.and_then(|it| it.join().ok());
    Status::Exited(code, sent(stdout).unwrap_or(0), sent(stderr).unwrap_or(0))
}

/// Sends the signals that come from the port `status` to the command, by `send`. The thread ends with the guest.
fn pass_signals(
    child: &Child,
    status: &File,
    send: impl Fn(Pid, Signal) -> rustix::io::Result<()> + Send + 'static,
) {
    let process = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let (Some(process), Ok(port)) = (process, status.try_clone()) {
        let work = move || {
            signals::each(Connected(port), |number| {
                if let Some(signal) = Signal::from_named_raw(number) {
                    // It may have ended meanwhile.
                    let _ = send(process, signal);
                }
            });
        };
        // Without it the command runs as well, and the host ends the guest.
        let _ = ThreadSpec::new(ThreadRole::Helper, "signals").spawn(work);
    }
}

/// Gives the command its input. The thread ends with the guest.
fn feed(child: &mut Child, port: File) {
    if let Some(mut to) = child.stdin.take() {
        let work = move || {
            // An end that the command makes, or the host: there is no more input either way.
            let _ = unpack(&mut Connected(port), &mut to);
        };
        let _ = ThreadSpec::new(ThreadRole::Helper, "stdin").spawn(work);
    }
}

/// A port whose host may not be there yet: it has no bytes until then.
struct Connected(File);

impl Read for Connected {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(bytes) {
                Ok(0) if !bytes.is_empty() => std::thread::sleep(PAUSE),
                other => return other,
            }
        }
    }
}

/// Passes output on to a port; how many bytes there were.
fn relay(mut from: impl Read + Send + 'static, mut to: File) -> Option<JoinHandle<u64>> {
    let work = move || {
        let (mut sent, mut bytes) = (0, vec![0; PIECE]);
        loop {
            let length = match from.read(&mut bytes) {
                Ok(0) => return sent,
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return sent,
            };
            if to
                .write_all(bytes.get(..length).unwrap_or_default())
                .is_err()
            {
                return sent;
            }
            sent += length as u64;
        }
    };
    let spec = ThreadSpec::new(ThreadRole::Helper, "output");
    spec.spawn(work).ok()
}

/// Ends all processes but this one. The kernel's own take no notice.
fn end_others() {
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let number = entry.file_name().to_string_lossy().parse().ok();
        if let Some(process) = number.and_then(Pid::from_raw).filter(|it| !it.is_init()) {
            let _ = kill_process(process, Signal::KILL);
        }
    }
}
