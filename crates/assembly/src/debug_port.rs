//! The port that a guest writes its debugging output to.

use std::fs::File;
use std::io::{self, Write};
use std::mem;
use std::sync::Arc;

use vmmkit_device_bus::AddressRange;
use vmmkit_host_io::{LostOutput, Sharing};
use vmmkit_legacy_devices::{DebugConsole, SerialOutput};
use vmmkit_machine_spec::{DebugPortSpec, Field};
use vmmkit_vmm::MachineBuilder;

use crate::consoles::CONSOLE_MODE;
use crate::{Host, Notice, NoticeKind, Outputs};

/// Plugs the port in, where `place` is somewhere.
pub(crate) fn plug(
    builder: MachineBuilder,
    place: &DebugPortSpec,
    host: &Arc<dyn Host>,
    outputs: &Outputs,
) -> io::Result<MachineBuilder> {
    let Some(output) = open(place, host, outputs)? else {
        return Ok(builder);
    };
    let range = AddressRange::new(DebugConsole::PORT.into(), DebugConsole::LENGTH.into());
    let console = Arc::new(DebugConsole::new(output));
    Ok(builder
        .plug_port_device(DebugConsole::NAME, range, console.clone())
        .lead(DebugConsole::NAME, console))
}

/// The output of the port at `place`; `None` where there is no port.
fn open(
    place: &DebugPortSpec,
    host: &Arc<dyn Host>,
    outputs: &Outputs,
) -> io::Result<Option<Box<dyn SerialOutput>>> {
    let file = match place {
        DebugPortSpec::Null => return Ok(None),
        DebugPortSpec::Stderr => None,
        DebugPortSpec::File(path) => Some(outputs.open(path, Sharing::Alone, CONSOLE_MODE)?),
    };
    Ok(Some(Box::new(Output {
        host: host.clone(),
        file,
        has_lost: false,
    })))
}

/// The place of the bytes. Each is written at once: it cost an exit already, and the last one before a guest gets
/// stuck is the most wanted.
struct Output {
    host: Arc<dyn Host>,
    /// stderr without one.
    file: Option<File>,
    /// The user was told that bytes are lost.
    has_lost: bool,
}

impl Output {
    fn report_lost(&mut self, error: io::Error) {
        if mem::replace(&mut self.has_lost, true) {
            return;
        }
        let lost = match error.kind() {
            io::ErrorKind::WouldBlock => LostOutput::NoReader,
            _ => LostOutput::Failed(error),
        };
        let notice = Notice::new(Field::DebugPort, NoticeKind::OutputLost(&lost));
        self.host.report(&notice);
    }
}

impl SerialOutput for Output {
    fn push(&mut self, byte: u8) -> bool {
        match &mut self.file {
            // What does not fit any more is lost, as on a port that nobody listens to.
            Some(file) => match file.write_all(&[byte]) {
                Ok(()) => true,
                Err(error) => {
                    self.report_lost(error);
                    false
                }
            },
            None => {
                self.host.stderr(&[byte]);
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PlainStreams;

    #[test]
    fn what_is_written_to_a_file_is_there_at_once() {
        let name = format!("assembly-debug-port-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let place = DebugPortSpec::File(path.clone());
        let outputs = Outputs::default();
        let host: Arc<dyn Host> = Arc::new(PlainStreams);
        let mut output = open(&place, &host, &outputs).unwrap().unwrap();
        outputs.keep().unwrap();
        for byte in b"first\nsecond" {
            assert!(output.push(*byte));
        }
        assert_eq!(std::fs::read(&path).unwrap(), b"first\nsecond");
        std::fs::remove_file(path).unwrap();
    }
}
