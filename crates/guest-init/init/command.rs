//! The command, from its start to its end.

use core::ffi::CStr;
use core::fmt::Write;

use crate::mounts::kernel;
use crate::pump::{Output, Pump};
use crate::syscall::{self, Errno, Fd};
use crate::text::Line;
use crate::wire::{self, TERMINAL, TaskText};
use crate::{Fault, c_text, ports};

/// The exit codes of a shell for a command that is not there, and for one that cannot be run.
const NOT_FOUND: u8 = 127;
const NOT_RUN: u8 = 126;
/// Where programs are, where no variable says.
const PLACES: &[u8] = b"/bin:/usr/bin";
const KILL: u8 = 9;

/// The host's ends of the command's streams.
pub enum Streams {
    /// A terminal, which is the controlling one.
    Terminal(Fd),
    /// stdin, stdout and stderr.
    Ports([Fd; 3]),
}

impl Streams {
    pub fn open(task: &TaskText<'_>) -> Result<Self, Fault> {
        if !task.has(TERMINAL) {
            let (stdin, stdout) = (ports::open(wire::STDIN)?, ports::open(wire::STDOUT)?);
            return Ok(Self::Ports([stdin, stdout, ports::open(wire::STDERR)?]));
        }
        // The first terminal that the leader of a session opens is its controlling one.
        syscall::new_session();
        let opened = syscall::open(c"/dev/hvc0", syscall::READ_WRITE);
        opened
            .map(Self::Terminal)
            .map_err(|errno| kernel("/dev/hvc0", errno))
    }
}

/// Runs the command to its end, and tells of it in a line. Signals for it come from the port `status`.
pub fn run(task: &TaskText<'_>, streams: Streams, status: Fd) -> Result<Line, Fault> {
    let mut program = Program::of(task).ok_or(Line::of("the command line is too long"))?;
    syscall::set_host_name(
        task.host_name
            .strip_suffix(&[wire::END])
            .unwrap_or_default(),
    );
    let refused = |errno| kernel("starting the command", errno);
    let ends = syscall::child_ends().map_err(refused)?;
    let mut line = Line::default();
    let _ = match streams {
        Streams::Terminal(terminal) => {
            let child = spawn(&mut program, [terminal; 3], false).map_err(refused)?;
            // A shell has its commands in groups of their own, and ends them itself.
            let code = Pump::new(status, ends, child, child).run();
            syscall::drain(terminal);
            write!(line, "exited {code} 0 0")
        }
        Streams::Ports([stdin, stdout, stderr]) => {
            let pipes = [syscall::pipe(), syscall::pipe(), syscall::pipe()];
            let [[input, feed], [out, output], [err, error]] = [
                pipes[0].map_err(refused)?,
                pipes[1].map_err(refused)?,
                pipes[2].map_err(refused)?,
            ];
            let child = spawn(&mut program, [input, output, error], true).map_err(refused)?;
            for fd in [input, output, error] {
                syscall::close(fd);
            }
            let mut pump = Pump::new(status, ends, child, -child);
            pump.feed(stdin, feed);
            pump.outputs = [
                Some(Output::new(out, stdout)),
                Some(Output::new(err, stderr)),
            ];
            let code = pump.run();
            // Processes that it has left running would keep its output open.
            syscall::kill(-1, KILL);
            pump.finish();
            write!(line, "exited {code} {} {}", pump.sent[0], pump.sent[1])
        }
    };
    Ok(line)
}

/// The program to execute.
struct Program<'a> {
    task: &'a TaskText<'a>,
    name: &'a [u8],
    places: &'a [u8],
    /// Addresses, with a 0 behind: of the arguments, after two words of room, and of the variables.
    arguments: &'static mut [usize],
    environment: &'static mut [usize],
}

impl<'a> Program<'a> {
    fn of(task: &'a TaskText<'a>) -> Option<Self> {
        let count = task.texts.iter().filter(|byte| **byte == wire::END).count();
        let arguments = syscall::words(count + 3)?;
        let environment = syscall::words(count + 1)?;
        let (mut rest, mut number) = (task.texts, 0);
        let (mut name, mut places) = (&b"\0"[..], PLACES);
        while let Some(text) = wire::text(&mut rest) {
            let place = match number < task.arguments as usize {
                true => arguments.get_mut(number + 2)?,
                false => environment.get_mut(number - task.arguments as usize)?,
            };
            *place = text.as_ptr() as usize;
            if number == 0 {
                name = text;
            } else if number >= task.arguments as usize && text.starts_with(b"PATH=") {
                places = text.get(5..text.len() - 1)?;
            }
            number += 1;
        }
        Some(Self {
            task,
            name,
            places,
            arguments,
            environment,
        })
    }

    /// Becomes the program; the reason where that cannot be.
    fn execute(&mut self) -> Errno {
        if self.name.contains(&b'/') {
            return self.execute_at(c_text(self.name));
        }
        let mut reason = Errno::NOT_FOUND;
        for folder in self.places.split(|byte| *byte == b':') {
            let mut path = [0; 4096];
            let folder = if folder.is_empty() { b"." } else { folder };
            let pieces = [folder, b"/", self.name];
            if pieces.iter().map(|it| it.len()).sum::<usize>() > path.len() {
                continue;
            }
            let bytes = pieces.iter().copied().flatten();
            path.iter_mut()
                .zip(bytes)
                .for_each(|(place, byte)| *place = *byte);
            match self.execute_at(c_text(&path)) {
                Errno::NOT_FOUND | Errno::NO_DIRECTORY => {}
                Errno::NO_ACCESS => reason = Errno::NO_ACCESS,
                other => return other,
            }
        }
        reason
    }

    /// A file that the kernel does not know how to run is a shell's script, as execvp(3) has it.
    fn execute_at(&mut self, path: &CStr) -> Errno {
        let arguments = self.arguments.get(2..).unwrap_or_default();
        let reason = syscall::execute(path, arguments, self.environment);
        if reason != Errno::NOT_EXECUTABLE {
            return reason;
        }
        let shell = c"/bin/sh";
        if let [_, first, second, ..] = &mut *self.arguments {
            (*first, *second) = (shell.as_ptr() as usize, path.as_ptr() as usize);
        }
        let arguments = self.arguments.get(1..).unwrap_or_default();
        syscall::execute(shell, arguments, self.environment)
    }
}

/// Starts `program` with its streams; the process.
fn spawn(program: &mut Program<'_>, streams: [Fd; 3], is_grouped: bool) -> syscall::Result<i32> {
    let child = syscall::fork()?;
    if child != 0 {
        return Ok(child);
    }
    become_program(program, streams, is_grouped)
}

fn become_program(program: &mut Program<'_>, streams: [Fd; 3], is_grouped: bool) -> ! {
    let task = program.task;
    syscall::unblock_signals();
    if is_grouped {
        // As a shell has it: what a terminal's key ends is all of it.
        syscall::new_group();
    }
    for (number, stream) in (0..).zip(streams) {
        syscall::duplicate(stream, Fd(number));
    }
    let place = syscall::change_directory(c_text(task.directory));
    if place.is_err() {
        let _ = syscall::change_directory(c"/");
    }
    let user = match task.uid {
        0 => Ok(()),
        user => syscall::become_user(user, task.gid),
    };
    let reason = match user {
        Err(errno) => errno,
        Ok(()) => program.execute(),
    };
    let mut line = Line::default();
    let name = c_text(program.name).to_str().unwrap_or("the command");
    let _ = match reason {
        Errno::NOT_FOUND => writeln!(line, "{name}: No such file or directory"),
        Errno::NO_ACCESS => writeln!(line, "{name}: Permission denied"),
        Errno::NOT_EXECUTABLE => writeln!(line, "{name}: Exec format error"),
        Errno(number) => writeln!(line, "{name}: error {number}"),
    };
    let _ = syscall::write(Fd(2), line.as_str().as_bytes());
    syscall::exit(if reason == Errno::NOT_FOUND {
        NOT_FOUND
    } else {
        NOT_RUN
    })
}
