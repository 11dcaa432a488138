//! The command of a machine with a root of its own: its streams, signals for it, and its end.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::Arc;

use vmmkit_fuse::{Access, Directory, Limits};
use vmmkit_guest_init::{Ended, Frames, Monitor, STATUS, STDERR, STDIN, STDOUT, Signals};
use vmmkit_host_io::{ConsoleTap, FdInput, InputSource, LostOutput, Pollable, Signal, die_by};
use vmmkit_virtio_devices::{Console, Fs, Port};
use vmmkit_vmm::{MachineBuilder, Outcome};

use super::lines::Lines;
use super::{Root, TAG};
use crate::ending::Ending;
use crate::failure::Failure;
use crate::remote::Remote;
use crate::settings::Settings;
use crate::{exit_code, messages};

/// The exit code that a shell shows of a command that SIGPIPE ended.
const OUTPUT_CLOSED: u8 = 128 + 13;
/// The most lines of the guest's console that are shown of one that ended before its command.
const LINES: usize = 12;
/// The most letters of such a line.
const LINE: usize = 160;

/// The command of a machine with a root of its own, and what is heard of it.
pub(crate) struct Command {
    root: Root,
    monitor: Arc<Monitor>,
    /// Output of the guest's kernel and its init.
    console: Arc<ConsoleTap>,
}

/// Plugs the root of `settings`, if there is one, into the machine of `remote`, whose console `console` hears. The machine
/// stops at the end of the command.
pub(crate) fn plug(
    builder: &mut MachineBuilder,
    settings: &Settings,
    remote: &Arc<Remote>,
    console: &Arc<ConsoleTap>,
) -> Result<Option<Command>, Failure> {
    let Some(root) = settings.root.clone() else {
        return Ok(None);
    };
    let monitor = Arc::new(Monitor::new(remote.stop_later()));
    root.plug(builder, &monitor, remote)?;
    Ok(Some(Command {
        root,
        monitor,
        console: console.clone(),
    }))
}

/// The exit code of the command, where there is one; otherwise that of the guest's end, which is told.
pub(crate) fn code(command: Option<&Command>, ending: &Ending) -> ExitCode {
    command.map_or_else(|| ending.tell(), |command| command.code(ending))
}

/// The exit code of a process whose guest's command has ended so.
pub(crate) fn code_of(ended: &Ended) -> u8 {
    match ended {
        Ended::Exited(code) => *code,
        Ended::OutputClosed => OUTPUT_CLOSED,
        _ => exit_code::HOST_ERROR,
    }
}

/// The exit code of a command that caught `signal`. Otherwise this process ends by it.
pub(crate) fn end_by(command: Option<&Command>, signal: Signal) -> ExitCode {
    match command.and_then(|command| command.monitor.ended()) {
        Some(Ended::Exited(code)) if code != exit_code::of_signal(signal) => code.into(),
        _ => die_by(signal),
    }
}

impl Command {
    fn code(&self, ending: &Ending) -> ExitCode {
        let root = &self.root.spec;
        match self.monitor.ended() {
            Some(Ended::Exited(code)) => return code.into(),
            Some(Ended::OutputClosed) => return OUTPUT_CLOSED.into(),
            Some(Ended::OutputLost) => {
                messages::say(&format!(
                    "error: --root {root}: the command's output could not be written\n  next: free space where it goes"
                ));
                return exit_code::HOST_ERROR.into();
            }
            Some(Ended::Failed(reason)) => messages::say(&format!(
                "error: --root {root}: {reason}\n  next: give --kernel PATH, a kernel with virtio-fs, overlayfs and \
                 virtio consoles built in"
            )),
            // The guest's own end says more.
            _ if !ending.is_success() => {
                if ending.outcome == Outcome::GuestPanic {
                    self.show_console();
                }
                return ending.tell();
            }
            _ if ending.outcome == Outcome::Stopped => messages::say(&format!(
                "error: --root {root}: the guest was stopped before its command ended"
            )),
            _ => {
                self.show_console();
                messages::say(&format!(
                    "error: --root {root}: the guest ended before its command\n  next: if the command did not end it, \
                     give --kernel PATH, a kernel with virtio-fs, overlayfs and virtio consoles built in; the guest's \
                     console says more (--serial file=PATH)"
                ));
            }
        }
        exit_code::HOST_ERROR.into()
    }

    /// Shows the last lines of the guest's console.
    fn show_console(&self) {
        let text = self.console.tail();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        let first = lines.len().saturating_sub(LINES);
        let lines = lines.get(first..).unwrap_or_default();
        if lines.is_empty() {
            return;
        }
        let mut shown = "the last lines of the guest's console:".to_owned();
        for line in lines {
            let printable = |letter: &char| letter.is_ascii_graphic() || *letter == ' ';
            shown.push_str("\n  ");
            shown.extend(line.chars().filter(printable).take(LINE));
        }
        messages::say(&shown);
    }
}

impl Root {
    /// Plugs the directory and the command's streams into the machine of `remote`.
    fn plug(
        &self,
        builder: &mut MachineBuilder,
        monitor: &Arc<Monitor>,
        remote: &Remote,
    ) -> Result<(), Failure> {
        let fs = Fs::new(self.open()?, TAG, Limits::default());
        let fs = fs.map_err(|error| self.failed(&error, "please report this"))?;
        builder.add_virtio(Arc::new(fs));
        let ports = self.ports(monitor, remote);
        let ports =
            ports.map_err(|error| self.failed(&error, "free descriptors of this process"))?;
        let console = Console::new(ports);
        let console = console.map_err(|error| self.failed(&error, "please report this"))?;
        builder.add_virtio(Arc::new(console));
        Ok(())
    }

    /// Opens the directory.
    pub(crate) fn open(&self) -> Result<Directory, Failure> {
        let access = match self.spec.writable {
            true => Access::ReadWrite,
            false => Access::ReadOnly,
        };
        let directory = Directory::open(&self.spec.directory, access);
        directory.map_err(|error| self.failed(&error, "check the directory and its permissions"))
    }

    fn ports(&self, monitor: &Arc<Monitor>, remote: &Remote) -> io::Result<Vec<Port>> {
        let (signals, asked) = Signals::new()?;
        remote.connect_command(signals, monitor.clone());
        let heard = monitor.clone();
        let status = Port::streams(Some(asked), None).named(STATUS);
        let status = status.heard_by(move |bytes| heard.hear_status(bytes));
        // The first port always is a console.
        let mut ports = vec![Port::null(), status];
        if self.terminal {
            return Ok(ports);
        }
        let frames = Frames::new(input()?);
        ports.push(Port::streams(Some(Box::new(frames)), None).named(STDIN));
        let counts = monitor.clone();
        let stdout = output(io::stdout(), STDOUT, monitor)?;
        ports.push(stdout.heard_by(move |bytes| counts.count_stdout(bytes.len())));
        let counts = monitor.clone();
        let stderr = Port::streams(None, Some(io::stderr().as_fd().try_clone_to_owned()?));
        let stderr = stderr.named(STDERR);
        ports.push(stderr.heard_by(move |bytes| counts.count_stderr(bytes.len())));
        Ok(ports)
    }
}

/// The port `name`, whose output goes to `file`; the command ends with the first that is lost.
fn output(file: impl AsFd, name: &str, monitor: &Arc<Monitor>) -> io::Result<Port> {
    let closed = monitor.clone();
    let port = Port::streams(None, Some(file.as_fd().try_clone_to_owned()?));
    Ok(port.named(name).on_lost_output(move |lost| match lost {
        LostOutput::NoReader => closed.output_closed(),
        _ => closed.output_lost(),
    }))
}

/// The input of a command that has no terminal: that of this process.
fn input() -> io::Result<Box<dyn InputSource>> {
    let stdin = io::stdin().as_fd().try_clone_to_owned()?;
    Ok(match Pollable::kind(stdin.as_fd()) {
        Pollable::Null => Box::new(FdInput::new(File::open("/dev/null")?.into())),
        Pollable::Terminal => Box::new(Lines::new(stdin)?),
        _ => Box::new(FdInput::new(stdin)),
    })
}
