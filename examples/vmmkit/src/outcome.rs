//! A machine that is built: it runs to its end, and what is said then.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use vmmkit_machine_spec::ConsoleSpec;
use vmmkit_process::Job;
use vmmkit_telemetry::BootLog;
use vmmkit_vmm::{Event, Machine, MachineBuilder, Outcome, Ready};

use crate::failure::Failure;
use crate::follow::Follow;
use crate::hand_over::HandOver;
use crate::news::News;
use crate::remote::Remote;
use crate::sandbox::Sandbox;
use crate::settings::Settings;
use crate::{detach, diagnosis};

/// Says what was odd about a guest that has ended.
pub(crate) fn review(settings: &Settings, remote: &Remote) {
    if !settings.quiet {
        remote.with(|handle| {
            diagnosis::review_devices(&handle.devices());
            let boots_kernel = settings.machine.boot.as_kernel().is_some();
            let should_speak = boots_kernel && settings.spec.serial_console() != ConsoleSpec::Null;
            diagnosis::review(handle, should_speak);
        });
    }
}

/// Has the machine's events told to who is at the terminal.
pub(crate) fn tell(
    builder: MachineBuilder,
    settings: &Settings,
    log: &Arc<BootLog>,
) -> Result<MachineBuilder, Failure> {
    if settings.quiet {
        return Ok(builder);
    }
    let events = builder.events().map_err(no_descriptor)?;
    let mut news = News::new(settings.machine.on_crash, log.clone());
    let follow = Follow::new(events, move |event: &Event| news.tell(event));
    Ok(builder.subscribe(Box::new(follow)))
}

/// Starts the machine, with the terminal if it is to have it, and waits for its end. Of one that is
/// detached there is a report once it runs.
pub(crate) fn run_to_end(
    machine: Machine<Ready>,
    job: &Job,
    sandbox: &Sandbox,
    (report, source): (Option<detach::Report>, Option<Arc<HandOver>>),
) -> Result<Outcome, Failure> {
    if job.hears_keys() {
        job.take_terminal(io::stdin().as_fd());
        vmmkit_host_io::restore_on_fatal_signals();
    }
    panic_if_asked();
    sandbox.begin()?;
    let machine = machine.start().map_err(|error| {
        let next = "raise the limit of processes (ulimit -u)";
        Failure::host("threads", &error, next)
    })?;
    let told = report.map_or(Ok(()), detach::Report::tell);
    match &source {
        // Whoever has waited for the guest or not: nobody else has it any more.
        Some(source) => source.running(),
        None => told?,
    }
    sandbox.enter_main()?;
    hang_if_asked();
    Ok(machine.wait()?)
}

/// A hook of the tests: a machine that does not come to its end.
fn hang_if_asked() {
    #[cfg(any(test, debug_assertions, feature = "test-hooks"))]
    while std::env::var_os("VMMKIT_TEST_HANG").is_some() {
        std::thread::park();
    }
}

/// A hook of the tests: a bug while the terminal is raw.
fn panic_if_asked() {
    #[cfg(any(test, debug_assertions, feature = "test-hooks"))]
    if std::env::var_os("VMMKIT_TEST_PANIC").is_some() {
        #[expect(clippy::panic, reason = "the test asks for it")]
        {
            panic!("VMMKIT_TEST_PANIC is set");
        }
    }
}

/// The host has no descriptor left.
pub(crate) fn no_descriptor(error: io::Error) -> Failure {
    Failure::host("events", &error, "free descriptors of this process")
}
