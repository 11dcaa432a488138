//! This process for the consoles and devices of its machine: keys, streams and notices.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use parking_lot::Mutex;
use vmmkit_assembly::{Host, Input, Notice, NoticeKind};
use vmmkit_host_io::{LostOutput, Pollable, TimerFd};
use vmmkit_machine_spec::{ConsoleSpec, DeviceSpec, Field, ForwardSpec, MachineSpec};
use vmmkit_process::{Keyboard, StreamInput};

use crate::passt::Passt;
use crate::remote::Remote;
use crate::settings::Settings;
use crate::{messages, options};

/// A process whose terminal's keys go to its machine.
pub(crate) struct Process {
    remote: Arc<Remote>,
    /// Fires at the end of piped input.
    end: Arc<TimerFd>,
    spec: MachineSpec,
    device_texts: Vec<String>,
    /// The networks of `--net user`.
    networks: Mutex<Vec<(Field, Passt)>>,
}

impl Process {
    /// The process that runs the machine of `settings`.
    pub(crate) fn new(settings: &Settings, remote: Arc<Remote>, end: Arc<TimerFd>) -> Self {
        Self {
            remote,
            end,
            spec: settings.spec.clone(),
            device_texts: settings.device_texts.clone(),
            networks: Mutex::default(),
        }
    }

    /// The option of `field` with its value, as it was given.
    fn option(&self, field: Field) -> String {
        options::shown(&self.spec, field, &self.device_texts)
    }

    /// The complaint of the network of `field`, behind a colon; empty where there is none.
    fn complaint(&self, field: Field) -> String {
        let networks = self.networks.lock();
        let own = networks.iter().find(|(of, _)| *of == field);
        let complaint = own.map(|(_, passt)| passt.complaint());
        complaint
            .filter(|words| !words.is_empty())
            .map_or_else(String::new, |words| format!(": {words}"))
    }

    /// The console of `field`, as messages call it.
    fn output(&self, field: Field) -> String {
        let is_stdout = match field {
            Field::Serial => self.spec.serial_console() == ConsoleSpec::Stdio,
            Field::Device(index) => matches!(
                self.spec.devices.get(index),
                Some(DeviceSpec::Console(ConsoleSpec::Stdio))
            ),
            _ => false,
        };
        match is_stdout {
            true => "stdout".to_owned(),
            false => self.option(field),
        }
    }
}

impl Host for Process {
    /// stdin, with the keys of a terminal taken out; nothing for /dev/null.
    fn stdin(&self) -> io::Result<Input> {
        let fd = io::stdin().as_fd().try_clone_to_owned()?;
        Ok(match Pollable::kind(fd.as_fd()) {
            Pollable::Null => None,
            Pollable::Terminal => {
                let keys = self.remote.clone();
                let act = Box::new(move |command| keys.act(command));
                let (job, escape) = (self.remote.job().clone(), self.remote.escape());
                let (keyboard, input) = Keyboard::new(fd, job, escape, act)?;
                self.remote.type_on(keyboard);
                Some(Box::new(input))
            }
            _ => Some(Box::new(StreamInput::new(fd, self.end.clone()))),
        })
    }

    fn stdout(&self) -> io::Result<OwnedFd> {
        io::stdout().as_fd().try_clone_to_owned()
    }

    fn stderr(&self, bytes: &[u8]) {
        messages::write(&String::from_utf8_lossy(bytes));
    }

    fn user_network(&self, field: Field, forward: &[ForwardSpec]) -> io::Result<UnixStream> {
        let (socket, passt) = Passt::start(forward)?;
        self.networks.lock().push((field, passt));
        Ok(socket)
    }

    fn report(&self, notice: &Notice<'_>) {
        let field = notice.field;
        let option = || self.option(field);
        messages::say(&match &notice.kind {
            NoticeKind::Pty(path) => {
                let console = match field {
                    Field::Serial => "serial console",
                    _ => "virtio console",
                };
                format!("{console}: {}", path.display())
            }
            NoticeKind::OutputLost(lost) => output_lost(&self.output(field), lost),
            NoticeKind::CdImage => format!(
                "{}: this is a CD image (ISO 9660): the guest can read it, and not write it",
                option()
            ),
            NoticeKind::DiskFailed(error) => format!("{}: {error}", option()),
            NoticeKind::LinkLost(reason) => format!(
                "{}: {reason}{}; the guest's link is down for good\n  next: start the machine again, once the \
                 other end is there",
                option(),
                self.complaint(field)
            ),
            NoticeKind::Mtu { guest, host } => format!(
                "{}: the guest is told an MTU of {guest}, and the interface has {host}\n  next: sudo ip link \
                 set dev NAME mtu {guest}",
                option()
            ),
            _ => return,
        });
    }
}

/// Output of a guest is never lost in silence; the guest goes on.
fn output_lost(place: &str, lost: &LostOutput) -> String {
    match lost {
        LostOutput::NoReader => format!(
            "warning: {place}: nobody reads it any more; the guest goes on, and its output is dropped"
        ),
        LostOutput::NotRead => format!(
            "warning: {place}: nobody reads it; the guest goes on, and the last 64 KiB are kept"
        ),
        LostOutput::Failed(error) => {
            format!("warning: {place}: {error}; the guest goes on, and some of its output is lost")
        }
        _ => format!("warning: {place}: some of the guest's output is lost"),
    }
}
