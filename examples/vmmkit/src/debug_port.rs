//! Where the bytes of the debug port go.

use std::fs::File;
use std::io::{self, Write};

use vmmkit_host_io::{LostOutput, Sharing};
use vmmkit_legacy_devices::SerialOutput;
use vmmkit_machine_spec::DebugPortSpec;

use crate::failure::Failure;
use crate::files::{self, Outputs};
use crate::messages;
use crate::serial::{self, CONSOLE_MODE};

/// The output for the port at `place`; `None` where there is no port.
pub(crate) fn open(
    place: &DebugPortSpec,
    outputs: &Outputs,
) -> Result<Option<Box<dyn SerialOutput>>, Failure> {
    let file = match place {
        DebugPortSpec::Null => return Ok(None),
        DebugPortSpec::Stderr => None,
        DebugPortSpec::File(path) => {
            let file = outputs.open(path, Sharing::Alone, CONSOLE_MODE);
            let what = format!("--debug-port {place}");
            Some(file.map_err(|error| Failure::host(&what, &error, files::NEXT))?)
        }
    };
    Ok(Some(Box::new(Output {
        place: place.to_string(),
        file,
        has_lost: false,
    })))
}

/// Where bytes go. Each is written at once: it cost an exit already, and the last one before a guest gets
/// stuck is the most wanted.
struct Output {
    /// As the option says it.
    place: String,
    /// stderr without one.
    file: Option<File>,
    /// The user was told that bytes are lost.
    has_lost: bool,
}

impl Output {
    fn tell_lost(&mut self, error: io::Error) {
        if std::mem::replace(&mut self.has_lost, true) {
            return;
        }
        let lost = match error.kind() {
            io::ErrorKind::WouldBlock => LostOutput::NoReader,
            _ => LostOutput::Failed(error),
        };
        serial::say_lost(&format!("--debug-port {}", self.place), &lost);
    }
}

impl SerialOutput for Output {
    fn push(&mut self, byte: u8) -> bool {
        match &mut self.file {
            // What does not fit any more is lost, as on a port that nobody listens to.
            Some(file) => match file.write_all(&[byte]) {
                Ok(()) => true,
                Err(error) => {
                    self.tell_lost(error);
                    false
                }
            },
            None => {
                messages::write(&String::from_utf8_lossy(&[byte]));
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_to_a_file_is_there_at_once() {
        let name = format!("vmmkit-debug-port-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let place = DebugPortSpec::File(path.clone());
        let outputs = Outputs::default();
        let mut output = open(&place, &outputs).unwrap().unwrap();
        outputs.keep().unwrap();
        for byte in b"first\nsecond" {
            assert!(output.push(*byte));
        }
        assert_eq!(std::fs::read(&path).unwrap(), b"first\nsecond");
        std::fs::remove_file(path).unwrap();
    }
}
