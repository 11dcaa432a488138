//! `vmmkit run`: from options to a guest, and to the exit code that its end means.

use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use vmmkit_assembly::{Assembly, Host, Means, Outputs, Unfinished};
use vmmkit_guest_memory::Backing;
use vmmkit_host_io::{ConsoleSocket, TimerFd};
use vmmkit_hypervisor_kvm::{Finding, Kvm, KvmKind, ProbeCache, kvm_kind};
use vmmkit_machine_spec::ConsoleSpec;
use vmmkit_process::{EndOfInput, Job, Signals};
use vmmkit_telemetry::BootLog;
use vmmkit_vmm::{Event, Handle, Machine, MachineBuilder, Outcome, Ready};

use crate::build_failure::explain;
use crate::deadline::Deadline;
use crate::ending::Ending;
use crate::failure::Failure;
use crate::files::{self, Opening};
use crate::follow::Follow;
use crate::gdb::Debugger;
use crate::host::Process;
use crate::log::LogChoice;
use crate::news::News;
use crate::options::{self, Values};
use crate::progress::Progress;
use crate::remote::Remote;
use crate::reports::{Publisher, Reports};
use crate::sandbox::Sandbox;
use crate::settings::Settings;
use crate::snapshot::Snapshot;
use crate::startup::Startup;
use crate::{
    build_failure, config_file, control, detach, diagnosis, exit_code, gdb, inherited, messages,
    reports, root, snapshot,
};
use vmmkit_gdb::Supported;

/// How long the last of the output may take to a client who reads slowly.
const FINISH_TIME: Duration = Duration::from_secs(2);

/// Runs the machine that `values` describe.
pub(crate) fn run(values: Values) -> Result<ExitCode, Failure> {
    let config = values.path("config");
    let values = match &config {
        Some(path) => values.or(config_file::read(path)?),
        None => values,
    };
    let base = values.path("base");
    let snapshot = values.path("restore");
    let snapshot = snapshot.map(|path| snapshot::open(&path, base.as_deref()));
    let snapshot = snapshot.transpose()?;
    let values = match &snapshot {
        Some(snapshot) => snapshot.with_options(values)?,
        None => values,
    };
    if values.has("detached") {
        detach::enter();
    } else if values.has("detach") && !values.has("dry-run") {
        return detach::launch();
    }
    inherited::close_unnamed(&values);
    vmmkit_host_io::raise_descriptor_limit();
    let settings = Settings::new(&values).map_err(|failure| match &config {
        Some(path) => failure.with_file(path),
        None => failure,
    })?;
    let sockets = files::check(&settings)?;
    let log = settings.log.as_ref().map(LogChoice::install);
    if settings.found_kernel && !settings.quiet {
        messages::say(&format!(
            "no --kernel, so this runs:\n  {}",
            options::equivalent(&settings)
        ));
    }
    let kvm = open(&settings)?;
    let can_debug = gdb::check(settings.gdb.as_ref(), &kvm)?;
    if settings.dry_run {
        let ran = dry_run(settings, &kvm);
        if let (Some(log), Ok(_)) = (log, &ran) {
            log.discard();
        }
        return ran;
    }
    let opening = Opening {
        snapshot,
        log,
        outputs: Arc::default(),
    };
    boot(settings, &kvm, can_debug, opening, sockets)
}

/// The host's KVM. What the probe of a software one finds is kept in this user's runtime folder, where
/// there can be one; a dry run leaves nothing behind.
fn open(settings: &Settings) -> Result<Kvm, Failure> {
    let wanted = kvm_kind() == KvmKind::Software && !settings.dry_run;
    let folder = wanted.then(control::runtime_folder).and_then(Result::ok);
    let cache = folder.map(|folder| ProbeCache::in_folder(folder.path()));
    Kvm::open_cached(&settings.kvm, cache.as_ref())
        .map_err(|error| Failure::kvm(&settings.kvm, &error))
}

/// Notes on a machine that is on a software KVM; nothing for one on hardware.
fn software_notes(settings: &Settings, kvm: &Kvm, machine: &Handle) -> Vec<String> {
    let mut notes = Vec::new();
    let Some(report) = kvm.shortcomings().filter(|_| !settings.quiet) else {
        return notes;
    };
    let additions = machine.cmdline_additions();
    if !additions.is_empty() {
        let added: Vec<&str> = additions.iter().map(|a| a.parameter).collect();
        notes.push(format!(
            "software KVM: kernel parameters added: {} (`vmmkit doctor` says why)",
            added.join(" ")
        ));
    }
    let hopeless = |finding: &&Finding| finding.essential && finding.remedy.is_none();
    let missing: Vec<&str> = report.missing().filter(hopeless).map(|f| f.name).collect();
    if !missing.is_empty() && settings.machine.boot.as_kernel().is_some() {
        notes.push(format!(
            "warning: this host's KVM is software and lacks {}: Linux will not boot (see `vmmkit \
             doctor`)",
            missing.join(", ")
        ));
    }
    notes
}

/// Builds everything but the console, and says what would run. Files for output were looked at, as was
/// that for RAM: none is opened.
fn dry_run(mut settings: Settings, kvm: &Kvm) -> Result<ExitCode, Failure> {
    files::check_sockets(&settings)?;
    let command = options::equivalent(&settings);
    if matches!(settings.machine.ram.backing, Backing::File(_)) {
        settings.machine.ram.backing = Backing::Memfd;
    }
    let remote = Arc::new(Remote::new(job()?, settings.machine.acpi));
    let end = Arc::new(TimerFd::new().map_err(no_descriptor)?);
    let means = Means {
        outputs: Arc::new(Outputs::dry()),
        ..Means::default()
    };
    let assembly = assemble(&settings, &remote, &end, means)?;
    let machine = assembly.builder.build(kvm);
    let machine = machine.map_err(|error| explain(&error, &settings))?;
    let notes = software_notes(&settings, kvm, &machine.handle());
    drop(machine);
    say_all(&notes);
    messages::say(&format!(
        "this machine can be built and would run:\n  {command}"
    ));
    Ok(exit_code::SUCCESS.into())
}

fn say_all(notes: &[String]) {
    notes.iter().for_each(|note| messages::say(note));
}

/// Opens the consoles and devices of the machine of `settings`; a terminal's keys reach it by `remote`, and `end`
/// fires at the end of piped input.
fn assemble(
    settings: &Settings,
    remote: &Arc<Remote>,
    end: &Arc<TimerFd>,
    means: Means,
) -> Result<Assembly, Failure> {
    let host: Arc<dyn Host> = Arc::new(Process::new(settings, remote.clone(), end.clone()));
    let config = settings.machine.clone();
    let assembly = Assembly::open(config, &settings.spec, &host, means).map_err(|error| {
        build_failure::of_assembly(&error, &settings.spec, &settings.device_texts)
    })?;
    let is_stdio = settings.spec.serial_console() == ConsoleSpec::Stdio;
    if let Some(output) = assembly.console.output.clone().filter(|_| is_stdio) {
        remote.stamp(output);
    }
    if let Some(console) = assembly.stdio.clone() {
        remote.show_on(console);
    }
    Ok(assembly)
}

/// The machine: as it was saved, where there is a snapshot.
fn made(
    builder: MachineBuilder,
    kvm: &Kvm,
    settings: &Settings,
    snapshot: Option<&Snapshot>,
) -> Result<Machine<Ready>, Failure> {
    match snapshot {
        Some(snapshot) => snapshot.restore(builder, kvm, settings),
        None => builder
            .build(kvm)
            .map_err(|error| explain(&error, settings)),
    }
}

/// The builder, with where the user's input comes from: `end` tells of its end. The guest runs for `limit` at most.
fn with_events(
    mut builder: MachineBuilder,
    socket: Option<&ConsoleSocket>,
    remote: &Arc<Remote>,
    end: Arc<TimerFd>,
    limit: Option<Duration>,
) -> Result<MachineBuilder, Failure> {
    if let Some(socket) = socket {
        builder = builder.subscribe(socket.subscriber());
    }
    if let Some(keyboard) = remote.take_keyboard() {
        builder = builder.subscribe(Box::new(keyboard));
    }
    if let Some(limit) = limit {
        let deadline = Deadline::new(limit, remote.clone()).map_err(no_descriptor)?;
        builder = builder.subscribe(Box::new(deadline));
    }
    Ok(builder.subscribe(Box::new(end_of_input(end, remote.clone()))))
}

/// Types the end of piped input on the guest's console.
fn end_of_input(timer: Arc<TimerFd>, remote: Arc<Remote>) -> EndOfInput {
    EndOfInput::new(timer, move |bytes| {
        remote.with(|machine| {
            machine.type_on_serial(bytes);
        });
    })
}

fn job() -> Result<Arc<Job>, Failure> {
    Ok(Arc::new(Job::new().map_err(no_descriptor)?))
}

fn no_descriptor(error: io::Error) -> Failure {
    Failure::host("events", &error, "free descriptors of this process")
}

fn boot(
    settings: Settings,
    kvm: &Kvm,
    can_debug: Supported,
    opening: Opening,
    sockets: Vec<PathBuf>,
) -> Result<ExitCode, Failure> {
    let progress = Progress::new(settings.quiet);
    let job = job()?;
    let remote = Arc::new(Remote::new(job.clone(), settings.machine.acpi));
    // Before any thread is started.
    let signals =
        Signals::new(job.clone(), remote.clone(), settings.stop_timeout).map_err(no_descriptor)?;
    // Dropped after the sockets of this machine, which have the places of those that are set aside.
    let unfinished = Arc::new(Unfinished::new(sockets, &settings.machine.ram.backing));
    let startup = Startup::of_machine(&unfinished, &remote).map_err(no_descriptor)?;
    let lineage = opening.snapshot.as_ref().map(Snapshot::lineage);
    let publisher = Publisher::new(reports::software(kvm), &settings, job.clone());
    let (presence, guest, door) =
        control::open(&settings, publisher.restored_from(lineage.transpose()?))?;
    let report = settings.detach.then(|| presence.found_by());
    let report = report.map(detach::Report::new).transpose()?;
    let last_resort = remote.end_by(presence);
    let end = Arc::new(TimerFd::new().map_err(no_descriptor)?);
    let reports = Reports::new(&settings);
    let log = reports.log();
    let mut running = reports::Running::default();
    let means = Means {
        log: log.clone(),
        outputs: opening.outputs.clone(),
    };
    let mut assembly = assemble(&settings, &remote, &end, means)?;
    let tap = assembly.console_tap;
    let command = root::plug(&mut assembly.builder, &settings, &remote, &tap.tap)?;
    let (mut console, socket) = (assembly.console, assembly.socket);
    guest.show(tap.tap, tap.virtio);
    console.on_first_output = Some(Box::new(move || progress.first_output()));
    let builder = tell(assembly.builder, &settings, &log)?;
    let (builder, mut gdb) = Debugger::open(builder, settings.gdb.as_ref(), can_debug)?;
    let builder = with_events(builder, socket.as_ref(), &remote, end, settings.timeout)?
        .console(console)
        .subscribe(Box::new(signals))
        .subscribe(Box::new(door));
    let outcome = made(builder, kvm, &settings, opening.snapshot.as_ref()).and_then(|machine| {
        remote.connect(machine.handle());
        guest.connect(machine.handle());
        if settings.paused {
            machine.handle().pause();
        }
        let sandbox = Sandbox::prepare(&settings);
        gdb.start(&machine.handle(), settings.quiet)?;
        opening.commit()?;
        unfinished.keep();
        running = reports.start(machine.handle(), Box::new(move || guest.numbers()))?;
        say_all(&software_notes(&settings, kvm, &machine.handle()));
        progress.booting(&settings);
        drop(startup);
        run_to_end(machine, &job, &sandbox, report)
    });
    gdb.finish(&outcome);
    running.finish();
    if let Some(socket) = socket {
        socket.finish(FINISH_TIME);
    }
    last_resort.leave();
    job.give_terminal_back();
    messages::end_line();
    // From here on the process ends, and where the host has it wait for its VM, it waits.
    let _ = kvm.leave_to_kernel();
    if let Some(signal) = job.ended_by() {
        return Ok(root::end_by(command.as_ref(), signal));
    }
    let outcome = outcome?;
    review(&settings, &remote);
    let ending = Ending::of(&settings, &remote, outcome, &log);
    // The process ends here, and the kernel takes a VM down with its process faster than one
    // descriptor and mapping after the other: the handle in `remote` keeps them until then.
    std::mem::forget(remote);
    Ok(root::code(command.as_ref(), &ending))
}

/// Says what was odd about a guest that has ended.
fn review(settings: &Settings, remote: &Remote) {
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
fn tell(
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
fn run_to_end(
    machine: Machine<Ready>,
    job: &Job,
    sandbox: &Sandbox,
    report: Option<detach::Report>,
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
    if let Some(report) = report {
        report.tell()?;
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
