//! `--gdb`: GDB halts this guest, steps it, and looks into it.

use std::path::Path;
use std::sync::Arc;

use vmmkit_controlled::DebuggedMachine;
use vmmkit_gdb::{Debugged, Ended, Notices, Place, RunningServer, Server, Supported};
use vmmkit_hypervisor_kvm::{Kvm, probe_debug};
use vmmkit_machine_spec::Given;
use vmmkit_vmm::{Event, Handle, MachineBuilder, Outcome};

use crate::failure::Failure;
use crate::follow::Follow;
use crate::messages;
use crate::settings::shown;

/// Where GDB is to come to.
pub(crate) fn place(given: &Given) -> Result<Place, Failure> {
    let text = given.as_text();
    let place = text.parse().map_err(|reason| {
        Failure::usage(
            format!("--gdb {}: {reason}", shown(text)),
            "give a port, such as tcp:1234, or a path, such as unix:guest.gdb",
        )
    })?;
    Ok(match place {
        Place::Unix(path) => Place::Unix(given.path(&path.to_string_lossy())),
        other => other,
    })
}

/// The path of the socket, if it has one.
pub(crate) fn socket(place: &Place) -> Option<&Path> {
    match place {
        Place::Unix(path) => Some(path),
        Place::Tcp(_) => None,
    }
}

/// The abilities of this host's KVM for debugging: tried, not asked. Without steps there is none.
pub(crate) fn check(place: Option<&Place>, kvm: &Kvm) -> Result<Supported, Failure> {
    let Some(place) = place else {
        return Ok(Supported::default());
    };
    let findings = probe_debug(kvm).map_err(|error| {
        let next = "check that no limit of this process is in the way (ulimit -a)";
        Failure::host("probe of guest debugging", &error, next)
    })?;
    let does = |name| findings.iter().any(|it| it.name == name && it.ok);
    if !does("debug step") {
        return Err(Failure::because(
            format!("--gdb {place}: this host's KVM cannot debug guests: it does not step them"),
            Vec::new(),
            "debug on a host with VT-x or AMD-V, or leave --gdb out; see `vmmkit doctor`",
        ));
    }
    Ok(Supported {
        int3: does("debug INT3"),
        execute: does("debug break"),
        data: does("debug watch"),
    })
}

/// The features that GDB's user does without, in its commands.
fn lacking(can: Supported) -> Option<String> {
    let breaks = match (can.int3, can.execute) {
        (false, false) => Some("breakpoints"),
        (false, true) => Some("breakpoints beyond 4"),
        (true, false) => Some("hbreak"),
        (true, true) => None,
    };
    let watch = (!can.data).then_some("watch");
    let lacking: Vec<_> = breaks.into_iter().chain(watch).collect();
    (!lacking.is_empty()).then(|| lacking.join(", "))
}

/// A server that listens and, once started, serves; nothing where none was asked for.
pub(crate) struct Debugger {
    server: Option<(Server, Arc<Notices>)>,
    running: Option<RunningServer>,
    can: Supported,
}

impl Debugger {
    /// Listens at `place`, and follows the events of the machine that `builder` makes.
    pub(crate) fn open(
        builder: MachineBuilder,
        place: Option<&Place>,
        can: Supported,
    ) -> Result<(MachineBuilder, Self), Failure> {
        let mut debugger = Self {
            server: None,
            running: None,
            can,
        };
        let Some(place) = place else {
            return Ok((builder, debugger));
        };
        let server = Server::bind(place).map_err(|error| {
            let next = "give another port or path, where nothing listens";
            Failure::host(&format!("--gdb {place}"), &error, next)
        })?;
        let notices = Arc::new(Notices::new().map_err(no_descriptor)?);
        let told = notices.clone();
        let follow = Follow::new(
            builder.events().map_err(no_descriptor)?,
            move |event: &Event| match event {
                Event::Started => told.started(),
                Event::Reset(_) => told.reset(),
                _ => {}
            },
        );
        debugger.server = Some((server, notices));
        Ok((builder.subscribe(Box::new(follow)), debugger))
    }

    /// Halts the machine before its start, and serves it.
    pub(crate) fn start(&mut self, handle: &Handle, quiet: bool) -> Result<(), Failure> {
        let Some((server, notices)) = self.server.take() else {
            return Ok(());
        };
        let told = notices.clone();
        handle
            .run_control()
            .attach_debugger(move |vcpu, exit| told.stopped(vcpu, exit));
        let machine = DebuggedMachine::new(handle.clone());
        machine.halt();
        if !quiet {
            let gdb = match server.place() {
                Place::Tcp(address) => address.to_string(),
                Place::Unix(path) => path.display().to_string(),
            };
            messages::say(&format!(
                "the guest waits for GDB: gdb vmlinux -ex 'target remote {gdb}'"
            ));
            if let Some(lacking) = lacking(self.can) {
                messages::say(&format!(
                    "warning: not available to GDB on this host's KVM: {lacking} (see `vmmkit doctor`)"
                ));
            }
        }
        let running = server.start(machine, self.can, notices);
        self.running = Some(running.map_err(no_descriptor)?);
        Ok(())
    }

    /// The run has ended so.
    pub(crate) fn finish(&mut self, outcome: &Result<Outcome, Failure>) {
        if let Some(running) = self.running.take() {
            running.finish(ended(outcome));
        }
    }
}

fn no_descriptor(error: std::io::Error) -> Failure {
    Failure::host(
        "--gdb",
        &error,
        "free descriptors and threads of this process",
    )
}

/// The end as a client is told.
fn ended(outcome: &Result<Outcome, Failure>) -> Ended {
    match outcome {
        Ok(Outcome::TripleFault(_)) | Err(_) => Ended::Aborted,
        Ok(outcome) => Ended::Exited(crate::exit_code::of(*outcome, false)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_a_socket_is_relative_to_the_file() {
        let moved = |text| {
            let given = Given::text(text).in_folder(Path::new("/vm"));
            place(&given).unwrap().to_string()
        };
        assert_eq!(moved("unix:g"), "unix:/vm/g");
        assert_eq!(moved("unix:/g"), "unix:/g");
        assert_eq!(moved("tcp:1"), "tcp:127.0.0.1:1");
    }

    #[test]
    fn what_is_no_place_is_told_with_the_next_step() {
        let text = place(&Given::text("1234")).unwrap_err().text();
        let expected =
            "error: --gdb 1234: it is neither tcp:PORT nor unix:PATH\n  next: give a port";
        assert!(text.starts_with(expected), "{text}");
    }
}
