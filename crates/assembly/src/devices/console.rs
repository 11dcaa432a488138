//! Consoles by virtio: the guest's hvc0.

use std::io;
use std::sync::Arc;

use vmmkit_host_io::{ConsoleTap, Listener, Sharing};
use vmmkit_machine_spec::{ConsoleSpec, Field};
use vmmkit_virtio::Device;
use vmmkit_virtio_devices::{Console, Port};

use super::Plan;
use crate::consoles::{CONSOLE_MODE, PATIENCE, pty, tapped};
use crate::{Input, Notice, NoticeKind, Reason};

pub(super) fn open(
    place: &ConsoleSpec,
    field: Field,
    plan: &mut Plan,
) -> Result<Arc<dyn Device>, Reason> {
    let tap = plan.tap.take();
    let port = port(place, field, plan, tap.as_ref()).map_err(Reason::Open)?;
    // A kernel whose console is this one tells of its panic here.
    let log = plan.log.clone();
    let ear = tap.clone();
    let port = port.heard_by(move |bytes| {
        log.hear(bytes);
        if let Some(tap) = &ear {
            tap.append(bytes);
        }
    });
    let port = match place {
        ConsoleSpec::Null => port,
        _ => {
            let host = plan.host.clone();
            port.on_lost_output(move |lost| {
                host.report(&Notice::new(field, NoticeKind::OutputLost(&lost)));
            })
        }
    };
    let console = Arc::new(Console::new(vec![port])?);
    if tap.is_some() {
        plan.tapped = Some(console.clone());
    }
    if *place == ConsoleSpec::Stdio {
        plan.stdio = Some(console.clone());
    }
    Ok(console)
}

fn port(
    place: &ConsoleSpec,
    field: Field,
    plan: &Plan,
    tap: Option<&Arc<ConsoleTap>>,
) -> io::Result<Port> {
    let types = *place == ConsoleSpec::Stdio;
    let streams =
        |input: Input, output| io::Result::Ok(Port::streams(tapped(input, types, tap)?, output));
    Ok(match place {
        ConsoleSpec::File(path) => {
            let file = plan.outputs.open(path, Sharing::Alone, CONSOLE_MODE)?;
            streams(None, Some(file.into()))?.with_patience(PATIENCE)?
        }
        ConsoleSpec::Socket(path) if plan.outputs.is_dry() => {
            Listener::check(path)?;
            Port::null()
        }
        ConsoleSpec::Socket(path) => Port::listen(path)?.with_patience(PATIENCE)?,
        ConsoleSpec::Stdio => streams(plan.host.stdin()?, Some(plan.host.stdout()?))?,
        ConsoleSpec::Pty => {
            let (input, output) = pty(field, &*plan.host)?;
            streams(input, Some(output))?.with_patience(PATIENCE)?
        }
        ConsoleSpec::Null => streams(None, None)?,
    })
}
