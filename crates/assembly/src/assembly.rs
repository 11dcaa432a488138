//! The machine of a specification, with everything that it has of the host.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use vmmkit_host_io::{Console, ConsoleSocket, ConsoleTap};
use vmmkit_hypervisor::Hypervisor;
use vmmkit_machine_spec::{ConsoleSpec, DeviceSpec, Field, MachineSpec};
use vmmkit_telemetry::BootLog;
use vmmkit_virtio_devices::Console as VirtioConsole;
use vmmkit_vmm::{DeviceId, Machine, MachineBuilder, MachineConfig, Ready};

use crate::devices::{self, Plan};
use crate::files::{
    OutputError, Outputs, Role, Unfinished, check_files, device_files, machine_files,
};
use crate::{
    AssembleError, AssemblyError, Host, Reason, debug_port, firmware, machine_config, serial,
};

/// A machine whose consoles, files, sockets and devices are open, and that is to be built.
pub struct Assembly {
    /// The builder, with the debug port and the paravirtual devices, and without the serial console.
    pub builder: MachineBuilder,
    /// The serial console.
    pub console: Console,
    /// The socket that clients of the serial console come to.
    pub socket: Option<ConsoleSocket>,
    /// The virtio console that is on stdio: it can be told the terminal's size.
    pub stdio: Option<Arc<VirtioConsole>>,
    /// The tap on the guest's console, and the virtio console that it is on.
    pub console_tap: GuestConsole,
    /// Each paravirtual device, by the field that asks for it.
    pub devices: Vec<(Field, DeviceId)>,
    outputs: Arc<Outputs>,
    unfinished: Option<Unfinished>,
}

/// The tap on the guest's console: that on the serial port, or on the first virtio console where the serial port
/// has no place.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GuestConsole {
    /// The tap.
    pub tap: Arc<ConsoleTap>,
    /// The virtio console that it is on: it can be told a terminal's size.
    pub virtio: Option<Arc<VirtioConsole>>,
}

/// A machine that can start.
#[derive(Debug)]
#[non_exhaustive]
pub struct Assembled {
    /// The machine.
    pub machine: Machine<Ready>,
    /// Each paravirtual device, by the field that asks for it; [`vmmkit_vmm::Handle::device`] gives it.
    pub devices: Vec<(Field, DeviceId)>,
    /// The socket that clients of the serial console come to, to be kept as long as they may.
    pub socket: Option<ConsoleSocket>,
    /// The tap on the guest's console.
    pub console_tap: GuestConsole,
}

impl Assembly {
    /// Opens everything that `spec` names, in this process. What cannot be is undone where this fails, and where
    /// the assembly is dropped before it is [built](Self::build).
    ///
    /// # Errors
    /// [`AssemblyError`]: the first field that cannot be so.
    pub fn new(spec: &MachineSpec, host: &Arc<dyn Host>) -> Result<Self, AssemblyError> {
        let sockets = check(spec)?;
        let config = machine_config(spec)?;
        let unfinished = Unfinished::new(sockets, &config.ram.backing);
        let means = Means::default();
        let assembly = Self::open(config, spec, host, means)?;
        Ok(Self {
            unfinished: Some(unfinished),
            ..assembly
        })
    }

    /// Opens the consoles and devices of `spec` for the machine of `config`, by `means` of the caller's. Files
    /// and left-over sockets are the caller's to look after: see [`check_files`] and [`Unfinished`].
    ///
    /// # Errors
    /// [`AssemblyError`]: the first field that cannot be so.
    pub fn open(
        config: MachineConfig,
        spec: &MachineSpec,
        host: &Arc<dyn Host>,
        means: Means,
    ) -> Result<Self, AssemblyError> {
        let failed = |field| {
            move |error| AssemblyError {
                field,
                reason: Reason::Open(error),
            }
        };
        let Means { log, outputs } = means;
        let tap = Arc::new(ConsoleTap::new().map_err(failed(Field::Serial))?);
        let on_virtio = is_on_virtio(spec);
        let opened = match outputs.is_dry() {
            true => serial::Opened::default(),
            false => {
                let tap = (!on_virtio).then_some(&tap);
                let opened = serial::open(&spec.serial_console(), host, &outputs, tap);
                opened.map_err(failed(Field::Serial))?
            }
        };
        let ram = config.ram.clone();
        let builder = MachineBuilder::with_boot_log(config, log.clone());
        let port = &spec.platform.debug_port;
        let builder =
            debug_port::plug(builder, port, host, &outputs).map_err(failed(Field::DebugPort))?;
        let builder = firmware::plug(builder, spec)?;
        let mut plan = Plan {
            builder,
            host: host.clone(),
            ram,
            log,
            outputs,
            ids: Vec::new(),
            stdio: None,
            tap: on_virtio.then(|| tap.clone()),
            tapped: None,
        };
        devices::plug(&mut plan, spec)?;
        Ok(Self {
            builder: plan.builder,
            console: opened.console,
            socket: opened.socket,
            stdio: plan.stdio,
            console_tap: GuestConsole {
                tap,
                virtio: plan.tapped,
            },
            devices: plan.ids,
            outputs: plan.outputs,
            unfinished: None,
        })
    }

    /// Builds the machine on `hypervisor`. New files for output get their names, and what was set aside goes:
    /// the machine can start.
    ///
    /// # Errors
    /// [`AssembleError`]; nothing is left behind.
    pub fn build<H: Hypervisor>(self, hypervisor: &H) -> Result<Assembled, AssembleError> {
        self.build_by(|builder| Ok(builder.build(hypervisor)?))
    }

    /// As [`build`](Self::build), but the builder is given to `make`, which may [restore](MachineBuilder::restore) a machine.
    ///
    /// # Errors
    /// That of `make`, and [`OutputError`]; nothing is left behind.
    pub fn build_by<E: From<OutputError>>(
        self,
        make: impl FnOnce(MachineBuilder) -> Result<Machine<Ready>, E>,
    ) -> Result<Assembled, E> {
        let mut builder = self.builder.console(self.console);
        if let Some(socket) = &self.socket {
            builder = builder.subscribe(socket.subscriber());
        }
        let machine = make(builder)?;
        self.outputs.keep()?;
        if let Some(unfinished) = &self.unfinished {
            unfinished.keep();
        }
        Ok(Assembled {
            machine,
            devices: self.devices,
            socket: self.socket,
            console_tap: self.console_tap,
        })
    }
}

impl fmt::Debug for Assembly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Assembly")
            .field("builder", &self.builder)
            .field("console", &self.console)
            .field("devices", &self.devices)
            .finish_non_exhaustive()
    }
}

/// Whether the guest's console is a virtio console: there is one, and the serial port goes nowhere.
fn is_on_virtio(spec: &MachineSpec) -> bool {
    let is_console = |device: &DeviceSpec| matches!(device, DeviceSpec::Console(_));
    spec.serial_console() == ConsoleSpec::Null && spec.devices.iter().any(is_console)
}

/// The means of an assembly that its caller has a hand in.
#[derive(Debug, Default)]
pub struct Means {
    /// The log of the machine's boot.
    pub log: Arc<BootLog>,
    /// The files for output.
    pub outputs: Arc<Outputs>,
}

/// Checks the files of `spec`; the sockets that it makes.
fn check(spec: &MachineSpec) -> Result<Vec<PathBuf>, AssemblyError> {
    let mut files = machine_files(spec);
    files.extend(device_files(spec));
    check_files(&files).map_err(AssemblyError::from)?;
    let ram = spec.memory.config(spec.needs_shared_memory());
    ram.check_file().map_err(|error| AssemblyError {
        field: Field::Memory,
        reason: error.into(),
    })?;
    let sockets = files.into_iter().filter(|file| file.role == Role::Socket);
    Ok(sockets.map(|file| file.path).collect())
}
