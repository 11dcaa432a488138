//! `vmmkit run`: from options to a guest, and to the exit code that its end means.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use vmmkit_assembly::{Assembly, Host, Means, Outputs, Unfinished};
use vmmkit_controlled::ControlledMachine;
use vmmkit_guest_memory::Backing;
use vmmkit_host_io::{ConsoleSocket, TimerFd};
use vmmkit_hypervisor_kvm::{Finding, Kvm, KvmKind, ProbeCache, kvm_kind};
use vmmkit_machine_spec::ConsoleSpec;
use vmmkit_process::{EndOfInput, Job, Signals};
use vmmkit_snapshot::stream::Offer;
use vmmkit_telemetry::Metrics;
use vmmkit_vmm::{Handle, Machine, MachineBuilder, Ready};

use crate::build_failure::explain;
use crate::control::Presence;
use crate::deadline::Deadline;
use crate::ending::Ending;
use crate::failure::Failure;
use crate::files;
use crate::gdb::Debugger;
use crate::hand_over::HandOver;
use crate::host::Process;
use crate::log::{LogChoice, LogFile};
use crate::options::{self, Values};
use crate::outcome::{no_descriptor, review, run_to_end, tell};
use crate::progress::Progress;
use crate::remote::Remote;
use crate::reports::{Publisher, Reports};
use crate::sandbox::Sandbox;
use crate::settings::Settings;
use crate::source::{Arrived, Opening, Source};
use crate::startup::Startup;
use crate::wire::Wire;
use crate::{
    build_failure, config_file, control, detach, dump, exit_code, gdb, inherited, messages,
    reports, root, snapshot,
};
use vmmkit_gdb::Supported;

/// How long the last of the output may take to a client who reads slowly.
const FINISH_TIME: Duration = Duration::from_secs(2);

/// Runs the machine that `values` describe.
pub(crate) fn run(values: Values) -> Result<ExitCode, Failure> {
    let (values, config) = config_file::with_options(values)?;
    let base = values.path("base");
    let snapshot = values.path("restore");
    let snapshot = snapshot.map(|path| snapshot::open(&path, base.as_deref()));
    let snapshot = snapshot.transpose()?;
    let values = match &snapshot {
        Some(snapshot) => snapshot.with_options(values)?,
        None => values,
    };
    if values.has("dump-config") {
        return dump::write(&Settings::new(&values)?);
    }
    if values.has("detached") {
        detach::enter();
    } else if values.has("detach") && !values.has("dry-run") {
        return detach::launch();
    }
    inherited::close_unnamed(&values);
    let prepared = Prepared::of(&values).map_err(|failure| match &config {
        Some(path) => failure.with_file(path),
        None => failure,
    })?;
    if prepared.settings.dry_run {
        let ran = dry_run(prepared.settings, &prepared.kvm);
        if let (Some(log), Ok(_)) = (prepared.log, &ran) {
            log.discard();
        }
        return ran;
    }
    prepared.boot(snapshot.map(Source::Folder))
}

/// Runs the machine that `values` describe as `offer` has it.
/// `watch` ends the process by a signal until all of it is here.
pub(crate) fn receive(
    values: &Values,
    offer: Offer<Wire>,
    watch: Option<Startup>,
) -> Result<ExitCode, Failure> {
    let prepared = match Prepared::of(values) {
        Ok(prepared) => prepared,
        Err(failure) => {
            offer.refuse(&failure.text());
            return Err(failure);
        }
    };
    let arrived = Arrived::take(offer, &prepared.settings)?;
    drop(watch);
    let source = Source::Stream(arrived);
    let hand_over = source.hand_over();
    let ran = prepared.boot(Some(source));
    if let (Some(hand_over), Err(failure)) = (hand_over, &ran) {
        hand_over.refuse(failure);
    }
    ran
}

/// All that is looked at before anything is made.
struct Prepared {
    settings: Settings,
    kvm: Kvm,
    can_debug: Supported,
    log: Option<LogFile>,
    sockets: Vec<PathBuf>,
}

impl Prepared {
    fn of(values: &Values) -> Result<Self, Failure> {
        vmmkit_host_io::raise_descriptor_limit();
        let settings = Settings::new(values)?;
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
        Ok(Self {
            settings,
            kvm,
            can_debug,
            log,
            sockets,
        })
    }

    fn boot(self, source: Option<Source>) -> Result<ExitCode, Failure> {
        let opening = Opening {
            source,
            log: self.log,
            outputs: Arc::default(),
        };
        let kvm = &self.kvm;
        boot(self.settings, kvm, self.can_debug, opening, self.sockets)
    }
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
    if let Some(root) = &settings.root {
        root.open()?;
    }
    let command = options::equivalent(&settings);
    if matches!(settings.machine.ram.backing, Backing::File(_)) {
        settings.machine.ram.backing = Backing::Memfd;
    }
    let remote = Arc::new(Remote::new(job()?, &settings));
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

/// The machine: as it was, where it goes on.
fn made(
    builder: MachineBuilder,
    kvm: &Kvm,
    settings: &Settings,
    source: Option<&Source>,
) -> Result<Machine<Ready>, Failure> {
    match source {
        Some(source) => source.restore(builder, kvm, settings),
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

fn boot(
    settings: Settings,
    kvm: &Kvm,
    can_debug: Supported,
    opening: Opening,
    sockets: Vec<PathBuf>,
) -> Result<ExitCode, Failure> {
    let progress = Progress::new(settings.quiet);
    let job = job()?;
    let remote = Arc::new(Remote::new(job.clone(), &settings));
    // Before any thread is started.
    let signals =
        Signals::new(job.clone(), remote.clone(), settings.stop_timeout).map_err(no_descriptor)?;
    // Dropped after the sockets of this machine, which have the places of those that are set aside.
    let unfinished = Arc::new(Unfinished::new(sockets, &settings.machine.ram.backing));
    let startup = Startup::of_machine(&unfinished, &remote).map_err(no_descriptor)?;
    let lineage = opening.source.as_ref().map(Source::lineage).transpose()?;
    let publisher = Publisher::new(reports::software(kvm), &settings, &remote);
    let (presence, guest, door) =
        control::open(&settings, publisher.restored_from(lineage.flatten()))?;
    let report = report(&settings, &presence)?;
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
    let outcome = made(builder, kvm, &settings, opening.source.as_ref()).and_then(|machine| {
        remote.connect(machine.handle(), &guest);
        guest.connect(machine.handle());
        if settings.paused {
            machine.handle().pause();
        }
        let sandbox = Sandbox::prepare(&settings);
        gdb.start(&machine.handle(), settings.quiet)?;
        opening.commit()?;
        unfinished.keep();
        running = reports.start(machine.handle(), numbers(&guest))?;
        say_all(&software_notes(&settings, kvm, &machine.handle()));
        progress.booting(&settings);
        let source = take_over(&opening, &machine.handle())?;
        drop(startup);
        run_to_end(machine, &job, &sandbox, (report, source))
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

/// The word that the guest runs, where somebody waits for it.
fn report(settings: &Settings, presence: &Presence) -> Result<Option<detach::Report>, Failure> {
    let found_by = settings.detach.then(|| presence.found_by());
    found_by.map(detach::Report::new).transpose()
}

/// The numbers of `guest` for reports.
fn numbers(guest: &Arc<ControlledMachine>) -> Box<dyn Fn() -> Metrics + Send> {
    let guest = guest.clone();
    Box::new(move || guest.numbers())
}

/// The process that has the guest lets go of it, where there is one.
fn take_over(opening: &Opening, machine: &Handle) -> Result<Option<Arc<HandOver>>, Failure> {
    let source = opening.source.as_ref().and_then(Source::hand_over);
    if let Some(source) = &source {
        source.take_over(machine)?;
    }
    Ok(source)
}
