//! `console`: this terminal at the console of a guest that runs elsewhere.

use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::ExitCode;

use vmmkit_control::{Client, ClientError, ConsoleInput, ConsoleOutput, ConsoleSize};
use vmmkit_host_io::{
    ThreadRole, ThreadSpec, WindowSize, die_by, restore_on_fatal_signals, window_size,
};
use vmmkit_process::{ATTACHED_HELP, Attachment, EscapeKey, Left, RemoteConsole};

use super::options::ConsoleOptions;
use super::{nothing_more, wait};
use crate::failure::Failure;
use crate::{exit_code, messages, options};

/// Attaches to a guest's console until the user leaves or the guest ends. The exit code is that of the guest's
/// process where it has ended.
pub(super) fn console(asked: &ConsoleOptions) -> Result<ExitCode, Failure> {
    let (one, words) = asked.one.split(&asked.words);
    nothing_more(words)?;
    let escape = asked.escape.as_deref().map(options::escape).transpose()?;
    let escape = escape.unwrap_or_default();
    let target = one.target()?;
    let client = target.client();
    let refused = |error| target.refused(error);
    let failed = |error| Failure::host("console", &error, "free descriptors of this process");
    let end = wait::end_of(&target).map_err(|error| target.failure(&error))?;
    let mut output = client.console_output().map_err(refused)?;
    let name = target.name.clone().unwrap_or(target.option.clone());
    let input = match client.console_input(asked.take) {
        Ok(input) => Some(input),
        Err(ClientError::Refused(problem)) if problem.code == "taken" => {
            messages::say(&format!(
                "{name}: {}: this terminal only shows it\n  next: `vmmkit console --take {name}` types instead",
                problem.message
            ));
            None
        }
        Err(error) => return Err(refused(error)),
    };
    if input.is_some() && io::stdin().is_terminal() {
        let keys = match escape.is_none() {
            true => "no key leaves".to_owned(),
            false => escape.in_text("Ctrl-a d leaves, Ctrl-a h shows the keys"),
        };
        messages::say(&format!("attached to {name}; {keys}"));
    }
    replay(&mut output)
        .map_err(|error| Failure::host("stdout", &error, "write to another place"))?;
    let attached = Attached {
        client: client.patient_for(PATIENCE),
        output,
        input,
        escape,
    };
    let attachment = Attachment::new(attached, escape).map_err(failed)?;
    restore_on_fatal_signals();
    // Read all the time, so that the last of the events is not lost.
    let thread = ThreadSpec::new(ThreadRole::Helper, "end");
    let end = thread.spawn(move || end.come()).map_err(failed)?;
    match attachment.run().map_err(failed)? {
        Left::Detached => {
            messages::say(&format!("left {name}, which runs on"));
            Ok(exit_code::SUCCESS.into())
        }
        Left::Signal(signal) => die_by(signal),
        Left::Ended => match end.join() {
            Ok(end) => {
                messages::say(&wait::line(&end));
                Ok(end.exit_code.into())
            }
            Err(panic) => std::panic::resume_unwind(panic),
        },
    }
}

/// How long the machine may take to hear of a size: keys wait meanwhile.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(1);

/// Shows the output from before: all of it in a pipe or file, and a screenful on a terminal.
fn replay(output: &mut ConsoleOutput) -> io::Result<()> {
    let mut bytes = Vec::new();
    // Where the machine is gone there is less.
    let _ = output.take(output.replayed()).read_to_end(&mut bytes);
    let mut stdout = io::stdout();
    let rows = match stdout.is_terminal() {
        true => window_size(stdout.as_fd()).map_or(24, |size| size.rows),
        false => u16::MAX,
    };
    let lines = bytes.iter().enumerate().rev();
    let mut starts = lines.filter(|(_, byte)| **byte == b'\n');
    let start = starts.nth(usize::from(rows.saturating_sub(1)));
    let start = start.map_or(0, |(index, _)| index + 1);
    stdout.write_all(bytes.get(start..).unwrap_or_default())?;
    stdout.flush()
}

/// A guest's console, by its API.
struct Attached {
    client: Client,
    output: ConsoleOutput,
    input: Option<ConsoleInput>,
    escape: EscapeKey,
}

impl RemoteConsole for Attached {
    fn output(&self) -> BorrowedFd<'_> {
        self.output.as_fd()
    }

    fn has_output(&self) -> bool {
        self.output.is_ready()
    }

    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.output.read(bytes)
    }

    fn input(&self) -> Option<BorrowedFd<'_>> {
        self.input.as_ref().map(ConsoleInput::as_fd)
    }

    fn is_flushed(&self) -> bool {
        self.input.as_ref().is_none_or(ConsoleInput::is_flushed)
    }

    fn type_bytes(&mut self, bytes: &[u8]) {
        if let Some(input) = &mut self.input {
            // An error is the end of the typing, which the descriptor tells.
            let _ = input.type_bytes(bytes);
        }
    }

    fn finish(&mut self) {
        if let Some(input) = &mut self.input {
            let _ = input.finish();
        }
    }

    fn lose_input(&mut self) {
        if let Some(ClientError::Refused(problem)) = self.input.take().and_then(ConsoleInput::end) {
            messages::say(&format!("{}; this terminal only shows it", problem.message));
        }
    }

    fn resize(&mut self, size: WindowSize) {
        let size = ConsoleSize {
            columns: size.columns,
            rows: size.rows,
        };
        // A serial port has none.
        let _ = self.client.put::<ConsoleSize>("/v1/console/size", &size);
    }

    fn help(&mut self) {
        messages::say(&self.escape.in_text(ATTACHED_HELP));
    }
}
