//! `vmmkit run`: from options to a guest, and to the exit code that its end means.

use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use vmmkit_device_bus::AddressRange;
use vmmkit_guest_memory::Backing;
use vmmkit_host_io::{ConsoleSocket, TimerFd, die_by};
use vmmkit_hypervisor_kvm::{Finding, Kvm, KvmKind, ProbeCache, kvm_kind};
use vmmkit_legacy_devices::DebugConsole;
use vmmkit_machine_spec::{ConsoleSpec, OnReboot};
use vmmkit_process::{Job, Signals};
use vmmkit_telemetry::BootLog;
use vmmkit_vmm::{Event, Handle, Machine, MachineBuilder, Outcome, Ready};

use crate::build_failure::explain;
use crate::devices::Plan;
use crate::end_of_input::EndOfInput;
use crate::ending::Ending;
use crate::failure::Failure;
use crate::files::{self, Opening, Outputs, RamFile};
use crate::follow::Follow;
use crate::gdb::Debugger;
use crate::log::LogChoice;
use crate::news::News;
use crate::options::{self, Values};
use crate::progress::Progress;
use crate::remote::Remote;
use crate::reports::{Publisher, Reports};
use crate::serial;
use crate::settings::Settings;
use crate::snapshot::Snapshot;
use crate::startup::Startup;
use crate::unfinished::Unfinished;
use crate::{
    boot_files, config_file, control, debug_port, devices, diagnosis, exit_code, gdb, inherited,
    messages, reports, snapshot,
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
    let snapshot = values.path("restore").map(|path| snapshot::open(&path));
    let snapshot = snapshot.transpose()?;
    let values = match &snapshot {
        Some(snapshot) => snapshot.with_options(values)?,
        None => values,
    };
    inherited::close_unnamed(&values);
    vmmkit_host_io::raise_descriptor_limit();
    let settings = Settings::new(&values).map_err(|failure| match &config {
        Some(path) => failure.with_file(path),
        None => failure,
    })?;
    let sockets = files::check(&settings)?;
    let log = settings.log.as_ref().map(LogChoice::install);
    if let Some(priority) = settings.spec.cpus.priority.io {
        vmmkit_host_io::set_io_priority(priority);
    }
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
    let command = options::equivalent(&settings);
    if matches!(settings.machine.ram.backing, Backing::File(_)) {
        settings.machine.ram.backing = Backing::Memfd;
    }
    let outputs = Arc::new(Outputs::dry());
    let builder = builder(&settings, &outputs, Arc::default())?;
    let remote = Arc::new(Remote::new(job()?, settings.machine.acpi));
    let end = Arc::new(TimerFd::new().map_err(no_descriptor)?);
    let plan = Plan::new(builder, remote, end, outputs);
    let plan = devices::plug(plan, &settings)?;
    let machine = plan.into_builder().build(kvm);
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

/// A machine with what is not paravirtual.
fn builder(
    settings: &Settings,
    outputs: &Outputs,
    log: Arc<BootLog>,
) -> Result<MachineBuilder, Failure> {
    let builder = MachineBuilder::with_boot_log(settings.machine.clone(), log);
    let Some(output) = debug_port::open(&settings.spec.platform.debug_port, outputs)? else {
        return Ok(builder);
    };
    let range = AddressRange::new(DebugConsole::PORT.into(), DebugConsole::LENGTH.into());
    let console = Arc::new(DebugConsole::new(output));
    Ok(builder
        .plug_port_device(DebugConsole::NAME, range, console.clone())
        .lead(DebugConsole::NAME, console))
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

/// The builder, with where the user's input comes from.
fn with_inputs(
    mut builder: MachineBuilder,
    socket: Option<&ConsoleSocket>,
    remote: &Remote,
) -> MachineBuilder {
    if let Some(socket) = socket {
        builder = builder.subscribe(socket.subscriber());
    }
    if let Some(keyboard) = remote.take_keyboard() {
        builder = builder.subscribe(Box::new(keyboard));
    }
    builder
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
    let ram = RamFile::note(&settings.machine.ram.backing);
    let unfinished = Arc::new(Unfinished::new(sockets, ram, remote.clone()));
    let startup = Startup::watch(unfinished.clone()).map_err(no_descriptor)?;
    let (presence, guest, door) =
        control::open(&settings, Publisher::new(reports::software(kvm), &settings))?;
    let last_resort = remote.end_by(presence);
    let end = Arc::new(TimerFd::new().map_err(no_descriptor)?);
    let place = settings.spec.serial_console();
    let opened = serial::open(&place, &remote, &end, &opening.outputs)?;
    let (mut console, socket) = (opened.console, opened.socket);
    console.on_first_output = Some(Box::new(move || progress.first_output()));
    let reports = Reports::new(&settings);
    let log = reports.log();
    let mut running = reports::Running::default();
    let builder = builder(&settings, &opening.outputs, log.clone())?;
    let outputs = opening.outputs.clone();
    let plan = Plan::new(builder, remote.clone(), end.clone(), outputs);
    let plan = devices::plug(plan, &settings)?;
    let builder = tell(plan.into_builder(), &settings, &log)?;
    let (builder, mut gdb) = Debugger::open(builder, settings.gdb.as_ref(), can_debug)?;
    let builder = with_inputs(builder, socket.as_ref(), &remote)
        .console(console)
        .subscribe(Box::new(signals))
        .subscribe(Box::new(door))
        .subscribe(Box::new(EndOfInput::new(end, remote.clone())));
    let outcome = made(builder, kvm, &settings, opening.snapshot.as_ref()).and_then(|machine| {
        remote.connect(machine.handle());
        guest.connect(machine.handle());
        if settings.paused {
            machine.handle().pause();
        }
        gdb.start(&machine.handle(), settings.quiet)?;
        opening.commit()?;
        unfinished.keep();
        running = reports.start(machine.handle(), Box::new(move || guest.numbers()))?;
        say_all(&software_notes(&settings, kvm, &machine.handle()));
        progress.booting(&settings);
        drop(startup);
        run_to_end(machine, &job)
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
        die_by(signal);
    }
    let outcome = outcome?;
    review(&settings, &remote);
    let ending = ending(&settings, outcome, &log);
    // The process ends here, and the kernel takes a VM down with its process faster than one
    // descriptor and mapping after the other: the handle in `remote` keeps them until then.
    std::mem::forget(remote);
    Ok(ending.tell())
}

/// How the guest ended, to be told.
fn ending(settings: &Settings, outcome: Outcome, log: &BootLog) -> Ending {
    Ending {
        outcome,
        panic: log.panic().map(|panic| panic.reason),
        to_see_more: match outcome {
            Outcome::TripleFault(_) => boot_files::after_triple_fault(&settings.machine),
            _ => "",
        },
        reset_fails: settings.spec.policy.on_reboot == OnReboot::Fail,
        quiet: settings.quiet,
    }
}

/// Says what was odd about a guest that has ended.
fn review(settings: &Settings, remote: &Remote) {
    if !settings.quiet {
        remote.with(|handle| {
            devices::review(&handle.devices());
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

/// Starts the machine, with the terminal if it is to have it, and waits for its end.
fn run_to_end(machine: Machine<Ready>, job: &Job) -> Result<Outcome, Failure> {
    if job.hears_keys() {
        job.take_terminal(io::stdin().as_fd());
        vmmkit_host_io::restore_on_fatal_signals();
    }
    panic_if_asked();
    let machine = machine.start().map_err(|error| {
        let next = "raise the limit of processes (ulimit -u)";
        Failure::host("threads", &error, next)
    })?;
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
