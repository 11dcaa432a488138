//! `--console`: a console by virtio, the guest's hvc0.

use std::io;
use std::sync::Arc;

use vmmkit_host_io::{Listener, Sharing};
use vmmkit_virtio_devices::{Console, Port};

use super::{Choice, Plan, failed};
use crate::failure::Failure;
use crate::files::{self, Named, Role};
use crate::os_text;
use crate::serial::{self, CONSOLE_MODE, Input, PATIENCE};

const NEXT: &str = "give stdio, null, pty, file=PATH or socket=PATH";

/// A console, as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ConsoleChoice(String);

impl ConsoleChoice {
    pub(super) fn new(text: &str) -> Result<Self, Failure> {
        match text.split_once('=') {
            None if ["stdio", "null", "pty"].contains(&text) => {}
            Some(("file" | "socket", path)) if !path.is_empty() => {}
            Some(("file" | "socket", _)) => {
                return Err(Failure::usage(
                    format!("--console {text}: the path is empty"),
                    NEXT,
                ));
            }
            _ => {
                let what = format!("--console {text:?}: there is no such place");
                return Err(Failure::usage(what, NEXT));
            }
        }
        Ok(Self(text.to_owned()))
    }

    fn port(&self, plan: &Plan) -> io::Result<Port> {
        let streams = |input: Input, output| Port::streams(input, Some(output));
        Ok(match self.0.split_once('=') {
            Some(("file", path)) => {
                let file =
                    plan.outputs()
                        .open(&os_text::path(path), Sharing::Alone, CONSOLE_MODE)?;
                Port::streams(None, Some(file.into())).with_patience(PATIENCE)?
            }
            Some((_, path)) if plan.outputs().is_dry() => {
                Listener::check(&os_text::path(path))?;
                Port::null()
            }
            Some((_, path)) => Port::listen(&os_text::path(path))?.with_patience(PATIENCE)?,
            None if self.0 == "stdio" => streams(
                serial::stdin(plan.remote(), plan.end_of_input())?,
                serial::stdout()?,
            ),
            None if self.0 == "pty" => {
                let (input, output) = serial::pty("virtio console")?;
                streams(input, output).with_patience(PATIENCE)?
            }
            None => Port::null(),
        })
    }
}

impl Choice for ConsoleChoice {
    fn option(&self) -> (&'static str, Option<String>) {
        ("--console", Some(self.0.clone()))
    }

    fn files(&self) -> Vec<Named> {
        let (path, role) = match self.0.split_once('=') {
            Some(("file", path)) => (path, Role::Output(Sharing::Alone)),
            Some((_, path)) => (path, Role::Socket),
            None => return Vec::new(),
        };
        let option = format!("--console {}", self.0);
        vec![Named::new(option, &os_text::path(path), role)]
    }

    fn plug(&self, plan: Plan) -> Result<Plan, Failure> {
        let wrong =
            |error: &dyn std::error::Error| failed("--console", &self.0, error, files::NEXT);
        let port = self.port(&plan).map_err(|error| wrong(&error))?;
        // A kernel whose console is this one tells of its panic here.
        let remote = plan.remote().clone();
        let port = port.heard_by(move |bytes| {
            remote.with(|machine| machine.boot_log().hear(bytes));
        });
        let port = match self.0.as_str() {
            "null" => port,
            "stdio" => port.on_lost_output(|lost| serial::say_lost("stdout", &lost)),
            place => {
                let place = format!("--console {place}");
                port.on_lost_output(move |lost| serial::say_lost(&place, &lost))
            }
        };
        let console = Console::new(vec![port]).map_err(|error| wrong(&error))?;
        let console = Arc::new(console);
        if self.0 == "stdio" {
            plan.remote().show_on(console.clone());
        }
        Ok(plan.with(console))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_console_has_a_place() {
        for text in ["stdio", "null", "pty", "file=a=b", "socket=/tmp/c"] {
            assert!(ConsoleChoice::new(text).is_ok(), "{text}");
        }
        for text in ["", "file", "socket=", "tcp=1", "STDIO"] {
            assert!(ConsoleChoice::new(text).is_err(), "{text}");
        }
    }
}
