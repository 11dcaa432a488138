//! `logs`: the last output of a guest's console.

use std::io::{self, Read, Write};
use std::process::ExitCode;

use super::nothing_more;
use super::options::LogsOptions;
use crate::failure::Failure;
use crate::{exit_code, generate};

/// Writes the last output, and with `follow` all that comes until the machine ends.
pub(super) fn logs(options: &LogsOptions) -> Result<ExitCode, Failure> {
    let (one, words) = options.one.split(&options.words);
    nothing_more(words)?;
    let target = one.target()?;
    let client = target.client();
    if !options.follow {
        let log = client.console_log();
        return generate::write(&log.map_err(|error| target.refused(error))?);
    }
    let output = client.console_output();
    let mut output = output.map_err(|error| target.refused(error))?;
    let mut bytes = vec![0; 16 << 10];
    loop {
        // A guest that was killed has no more to say.
        let count = output.read(&mut bytes).unwrap_or(0);
        let mut stdout = io::stdout();
        let written = stdout.write_all(bytes.get(..count).unwrap_or_default());
        match written.and_then(|()| stdout.flush()) {
            Ok(()) if count > 0 => {}
            Ok(()) => return Ok(exit_code::SUCCESS.into()),
            // `vmmkit logs -f | head` has read enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                return Ok(exit_code::SUCCESS.into());
            }
            Err(error) => return Err(Failure::host("stdout", &error, "write to another place")),
        }
    }
}
