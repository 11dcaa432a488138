//! What is written to stdout and is no guest's: help, completions, the manual page.

use std::io::{self, Write};
use std::process::ExitCode;

use clap_complete::Shell;

use crate::failure::Failure;
use crate::{cli, exit_code};

/// Writes text to stdout.
pub(crate) fn write(text: &[u8]) -> Result<ExitCode, Failure> {
    let mut stdout = io::stdout();
    match stdout.write_all(text).and_then(|()| stdout.flush()) {
        // `vmmkit man | head` has read enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::host("stdout", &error, "write to another place"))
        }
        _ => Ok(exit_code::SUCCESS.into()),
    }
}

/// Writes the completions of `shell`.
pub(crate) fn completions(shell: Shell) -> Result<ExitCode, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut cli::command(), "vmmkit", &mut text);
    write(&text)
}

/// Writes the manual page: that of vmmkit, then one section for each command.
pub(crate) fn man() -> Result<ExitCode, Failure> {
    let mut command = cli::command();
    command.build();
    let mut page = Vec::new();
    let mut render = || -> io::Result<()> {
        clap_mangen::Man::new(command.clone()).render(&mut page)?;
        for subcommand in command.get_subcommands() {
            clap_mangen::Man::new(subcommand.clone()).render(&mut page)?;
        }
        Ok(())
    };
    render().map_err(|error| Failure::host("man", &error, "please report this"))?;
    write(&page)
}
