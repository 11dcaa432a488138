//! The running machine, as keys and signals reach it.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, MutexGuard};
use vmmkit_controlled::{ControlledMachine, Departure, PAUSE_TIME, ask_to_power_off, can_hear};
use vmmkit_guest_init::{Ended, Monitor, Signals};
use vmmkit_host_io::{OutputBuffer, Signal, WindowSize, signal_job, window_size};
use vmmkit_process::{Command, EscapeKey, Guest, HELP, Job, Keyboard};
use vmmkit_virtio_devices::Console;
use vmmkit_vmm::{Handle, MachineState};

use crate::control::Presence;
use crate::last_resort::LastResort;
use crate::messages;
use crate::settings::Settings;

/// State shared by `run` and the parts of the binary that live on the machine's event loop. Threads: `run`
/// fills it in before the machine starts; afterwards the event loop's thread uses it, that of a
/// console which has the terminal, and `run` again when they are gone.
#[derive(Debug)]
pub(crate) struct Remote {
    has_acpi: bool,
    /// Before the keys of this program.
    escape: EscapeKey,
    /// The guest was asked to power off.
    // Ordering: a flag alone.
    is_asked: AtomicBool,
    /// It has run for as long as it may.
    // Ordering: a flag alone.
    is_late: AtomicBool,
    /// The way to the guest's command (`--root`), and what is heard of it.
    command: OnceLock<(Signals, Arc<Monitor>)>,
    job: Arc<Job>,
    handle: OnceLock<Handle>,
    /// The machine as the API has it, which may be on its way to another process.
    controlled: OnceLock<Arc<ControlledMachine>>,
    /// The console that is on the terminal, if it can have a size.
    console: OnceLock<Arc<Console>>,
    /// The output that is on the terminal, if its lines can be stamped.
    output: OnceLock<Arc<OutputBuffer>>,
    /// For a machine that does not end.
    last_resort: OnceLock<Arc<LastResort>>,
    /// The terminal's keys, until the event loop takes them over.
    keyboard: Mutex<Option<Keyboard>>,
}

impl Remote {
    /// To the machine of `settings`.
    pub(crate) fn new(job: Arc<Job>, settings: &Settings) -> Self {
        Self {
            has_acpi: settings.machine.acpi,
            escape: settings.escape,
            is_asked: AtomicBool::new(false),
            is_late: AtomicBool::new(false),
            command: OnceLock::new(),
            job,
            handle: OnceLock::new(),
            controlled: OnceLock::new(),
            console: OnceLock::new(),
            output: OnceLock::new(),
            last_resort: OnceLock::new(),
            keyboard: Mutex::default(),
        }
    }

    /// The process as a job.
    pub(crate) fn job(&self) -> &Arc<Job> {
        &self.job
    }

    /// The key before those of this program.
    pub(crate) fn escape(&self) -> EscapeKey {
        self.escape
    }

    /// Gives it the machine, which `controlled` is too.
    pub(crate) fn connect(&self, handle: Handle, controlled: &Arc<ControlledMachine>) {
        // Once only, in `run`.
        let _ = self.handle.set(handle);
        let _ = self.controlled.set(controlled.clone());
    }

    /// Where the guest has gone, if it has.
    pub(crate) fn departure(&self) -> Option<Departure> {
        self.controlled.get()?.departure()
    }

    /// A guest that is to end does not go to another process.
    fn keep_here(&self) {
        if let Some(controlled) = self.controlled.get() {
            controlled.cancel_migration();
        }
    }

    /// Has the process end where the machine does not; `presence` is removed in either case.
    pub(crate) fn end_by(&self, presence: Presence) -> Arc<LastResort> {
        // Once only, in `run`.
        let last_resort = || Arc::new(LastResort::new(presence));
        self.last_resort.get_or_init(last_resort).clone()
    }

    /// The process ends before there is a machine.
    pub(crate) fn leave(&self) {
        if let Some(last_resort) = self.last_resort.get() {
            last_resort.leave();
        }
    }

    /// Signals go to the guest's command by `signals`; `monitor` hears of its end.
    pub(crate) fn connect_command(&self, signals: Signals, monitor: Arc<Monitor>) {
        // Once only, in `run`.
        let _ = self.command.set((signals, monitor));
    }

    /// Sends `signal` to the guest's command; `false` where there is none.
    pub(crate) fn signal_command(&self, signal: Signal) -> bool {
        let command = self.command.get();
        command
            .inspect(|(signals, _)| signals.send(signal.number()))
            .is_some()
    }

    /// How the guest's command ended, if there is one and it has.
    pub(crate) fn command_ended(&self) -> Option<Ended> {
        self.command.get()?.1.ended()
    }

    /// Stops the machine, which has run for as long as it may.
    pub(crate) fn stop_late(&self) {
        self.is_late.store(true, Ordering::Relaxed);
        self.with(Handle::stop);
    }

    /// Whether the machine was stopped for that.
    pub(crate) fn is_late(&self) -> bool {
        self.is_late.load(Ordering::Relaxed)
    }

    /// Does something to the machine.
    pub(crate) fn with(&self, act: impl FnOnce(&Handle)) {
        if let Some(handle) = self.handle.get() {
            act(handle);
        }
    }

    /// Stops the machine when it is called, if it is still there.
    pub(crate) fn stop_later(self: &Arc<Self>) -> impl Fn() + Send + Sync + use<> {
        let remote = Arc::downgrade(self);
        move || {
            if let Some(remote) = remote.upgrade() {
                remote.with(Handle::stop);
            }
        }
    }

    /// The terminal shows `console`, which has its size from now on.
    pub(crate) fn show_on(&self, console: Arc<Console>) {
        // Once only: there is one stdio.
        let _ = self.console.set(console);
        if let Some(size) = window_size(std::io::stdin().as_fd()) {
            self.resize(size);
        }
    }

    /// The terminal shows `output`.
    pub(crate) fn stamp(&self, output: Arc<OutputBuffer>) {
        // Once only: there is one stdio.
        let _ = self.output.set(output);
    }

    /// The guest's console hears `keyboard`.
    pub(crate) fn type_on(&self, keyboard: Keyboard) {
        *self.keyboard() = Some(keyboard);
    }

    /// The terminal's keys, for the event loop; `None` where no console has them.
    pub(crate) fn take_keyboard(&self) -> Option<Keyboard> {
        self.keyboard().take()
    }

    fn keyboard(&self) -> MutexGuard<'_, Option<Keyboard>> {
        self.keyboard.lock()
    }

    /// Says `text`, which speaks of Ctrl-a.
    fn say(&self, text: &str) {
        messages::say(&self.escape.in_text(text));
    }

    /// Does what a key asks for.
    pub(crate) fn act(&self, command: Command) {
        match command {
            Command::Help => self.say(HELP),
            Command::Quit => self.with(Handle::stop),
            Command::Monitor => self.with(|machine| {
                let tree = machine.inspect().to_string();
                messages::say(&format!("the machine now:\n{}", tree.trim_end()));
            }),
            Command::Break => self.with(Handle::send_break),
            Command::Timestamps => match self.output.get() {
                Some(output) => drop(output.toggle_stamps()),
                None => self.say("Ctrl-a t: only the serial console's lines can be stamped"),
            },
            Command::Stop => signal_job(Signal::TerminalStop),
            Command::Detach => self.say(
                "Ctrl-a d: this is the guest's own terminal; `vmmkit run --detach` starts one that has none",
            ),
        }
    }
}

/// Says that a guest was asked in vain, unless it has ended meanwhile.
pub(crate) fn say_cut_off(machine: &Handle) {
    if can_hear(machine) {
        messages::say("warning: the guest did not power off when it was asked: it is stopped");
    }
}

/// The registers of each vCPU, a paragraph each.
fn vcpus(machine: &Handle) -> String {
    let lines = machine.dump_vcpus().into_iter().map(|dump| {
        let state = dump
            .state
            .map_or("in an unknown state".to_owned(), |state| {
                format!("{state:?}").to_lowercase()
            });
        format!("{} is {state}: {dump}", dump.vcpu)
    });
    let lines: Vec<_> = lines.collect();
    if lines.is_empty() {
        return "no vCPU runs".to_owned();
    }
    lines.join("\n")
}

impl Guest for Remote {
    fn ask_to_power_off(&self) {
        self.keep_here();
        self.with(|machine| {
            if !can_hear(machine) {
                return machine.stop();
            }
            self.is_asked.store(true, Ordering::Relaxed);
            // It has to run to hear it.
            if machine.state() == MachineState::Paused {
                machine.resume();
            }
            let signal = self.job.ended_by().unwrap_or(Signal::Terminate);
            if !self.signal_command(signal) {
                ask_to_power_off(machine, self.has_acpi);
            }
        });
    }

    fn stop(&self) {
        self.keep_here();
        self.with(|machine| {
            if self.is_asked.load(Ordering::Relaxed) {
                say_cut_off(machine);
            }
            machine.stop();
        });
    }

    fn give_up(&self, signal: Signal) {
        let devices = self.handle.get().map(Handle::devices).unwrap_or_default();
        let hanging = devices.iter().filter(|device| device.busy.is_some());
        let hanging: Vec<_> = hanging.map(|device| device.name.to_string()).collect();
        if let Some(last_resort) = self.last_resort.get() {
            last_resort.end(signal, &hanging);
        }
    }

    fn pause(&self) -> bool {
        let runs = |handle: &&Handle| handle.state() == MachineState::Running;
        let handle = self.handle.get().filter(runs);
        handle.is_some_and(|handle| handle.pause_within(PAUSE_TIME).is_ok())
    }

    fn resume(&self) {
        self.with(Handle::resume);
    }

    fn dump(&self) {
        self.with(|machine| messages::say(&vcpus(machine)));
    }

    fn resize(&self, size: WindowSize) {
        if let Some(console) = self.console.get() {
            console.resize(size.columns, size.rows);
        }
    }
}
