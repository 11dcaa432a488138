//! `--console`: a console by virtio, the guest's hvc0.

use std::io;
use std::sync::Arc;

use vmmkit_host_io::{Listener, Sharing};
use vmmkit_machine_spec::ConsoleSpec;
use vmmkit_virtio_devices::{Console, Port};

use super::{Plan, failed};
use crate::failure::Failure;
use crate::files;
use crate::serial::{self, CONSOLE_MODE, Input, PATIENCE};

fn port(place: &ConsoleSpec, plan: &Plan) -> io::Result<Port> {
    let streams = |input: Input, output| Port::streams(input, Some(output));
    Ok(match place {
        ConsoleSpec::File(path) => {
            let file = plan.outputs().open(path, Sharing::Alone, CONSOLE_MODE)?;
            Port::streams(None, Some(file.into())).with_patience(PATIENCE)?
        }
        ConsoleSpec::Socket(path) if plan.outputs().is_dry() => {
            Listener::check(path)?;
            Port::null()
        }
        ConsoleSpec::Socket(path) => Port::listen(path)?.with_patience(PATIENCE)?,
        ConsoleSpec::Stdio => streams(
            serial::stdin(plan.remote(), plan.end_of_input())?,
            serial::stdout()?,
        ),
        ConsoleSpec::Pty => {
            let (input, output) = serial::pty("virtio console")?;
            streams(input, output).with_patience(PATIENCE)?
        }
        ConsoleSpec::Null => Port::null(),
    })
}

pub(super) fn plug(spec: &ConsoleSpec, text: &str, plan: Plan) -> Result<Plan, Failure> {
    let wrong =
        |error: &dyn std::error::Error| failed("--console", text, error, files::next_of(spec));
    let port = port(spec, &plan).map_err(|error| wrong(&error))?;
    // A kernel whose console is this one tells of its panic here.
    let remote = plan.remote().clone();
    let port = port.heard_by(move |bytes| {
        remote.with(|machine| machine.boot_log().hear(bytes));
    });
    let port = match spec {
        ConsoleSpec::Null => port,
        ConsoleSpec::Stdio => port.on_lost_output(|lost| serial::say_lost("stdout", &lost)),
        _ => {
            let place = format!("--console {text}");
            port.on_lost_output(move |lost| serial::say_lost(&place, &lost))
        }
    };
    let console = Console::new(vec![port]).map_err(|error| wrong(&error))?;
    let console = Arc::new(console);
    if *spec == ConsoleSpec::Stdio {
        plan.remote().show_on(console.clone());
    }
    Ok(plan.with(console))
}
