//! From options as text to a machine's configuration. After this, no value can be out of range.

use std::num::IntErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use vmmkit_boot_loader::EntryChoice;
use vmmkit_gdb::Place;
use vmmkit_host_io::ThreadPriority;
use vmmkit_vmm::{Boot, Initrd, KernelBoot, MachineConfig, Module, MpTable, VirtioTransport};
use vmmkit_x86_cpu::CpuModel;

use crate::boot_files::ModuleOption;
use crate::cli::RunOptions;
use crate::control;
use crate::devices::{self, Choice, DeviceOptions};
use crate::failure::Failure;
use crate::kernel_search::{self, Found};
use crate::log::LogChoice;
use crate::memory;
use crate::platform::DebugChoice;
use crate::policy;
use crate::priority::Priorities;
use crate::reports::{self, MetricsChoice, TimelineChoice};
use crate::serial::SerialChoice;
use crate::{boot_files, cpu, cpus, gdb};

/// The command line of a kernel that was given none: the console on the first serial port; a
/// reset by the keyboard controller, at once after a panic, so that the VMM ends; no probing for
/// what the machine does not have (PCI, mouse ports).
pub(crate) const DEFAULT_CMDLINE: &str = "console=ttyS0 reboot=k panic=-1 pci=off i8042.noaux \
     i8042.nomux i8042.dumbkbd";

/// Everything that `vmmkit run` needs to know.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The machine.
    pub(crate) machine: MachineConfig,
    /// Where its console is.
    pub(crate) serial: SerialChoice,
    /// Where its firmware's messages go.
    pub(crate) debug_port: DebugChoice,
    /// Its paravirtual devices.
    pub(crate) devices: Vec<Box<dyn Choice>>,
    /// How long a guest that was asked to power off may take.
    pub(crate) stop_timeout: Duration,
    /// A reset of the guest that ends the run is a failure.
    pub(crate) reset_fails: bool,
    /// Where others find it.
    pub(crate) control: control::Choice,
    /// It does not run before it is told to.
    pub(crate) paused: bool,
    /// Where GDB comes to; the guest waits for it.
    pub(crate) gdb: Option<Place>,
    /// Where metrics go.
    pub(crate) metrics: Option<MetricsChoice>,
    /// Where the picture of the boot goes.
    pub(crate) timeline: Option<TimelineChoice>,
    /// How the threads that serve devices are scheduled; that of vCPUs is the machine's.
    pub(crate) io_priority: Option<ThreadPriority>,
    /// What is logged, and where to.
    pub(crate) log: Option<LogChoice>,
    /// The KVM device.
    pub(crate) kvm: PathBuf,
    /// The file that some of this comes from.
    pub(crate) config: Option<PathBuf>,
    /// Build only.
    pub(crate) dry_run: bool,
    /// Say nothing but errors.
    pub(crate) quiet: bool,
    /// No kernel was named, and this one was found.
    pub(crate) found_kernel: bool,
}

impl Settings {
    /// Makes values of `options`.
    pub(crate) fn new(options: RunOptions) -> Result<Self, Failure> {
        let (vcpus, topology) = cpus::cpus(options.cpus.as_deref())?;
        let affinity = cpus::affinity(options.affinity.as_deref(), vcpus)?;
        let priorities = Priorities::new(options.priority.as_deref())?;
        let devices = devices::choices(&options.devices)?;
        let needs_shared_ram = devices.iter().any(|choice| choice.needs_shared_ram());
        let ram = memory::parse(options.memory.as_deref(), needs_shared_ram)?;
        let cpu = match &options.cpu {
            Some(text) => cpu::model("--cpu ", text)?,
            None => CpuModel::default(),
        };
        let control = control_choice(&options)?;
        let serial = options
            .serial
            .as_deref()
            .map_or(Ok(default_serial(&options)), str::parse)?;
        let stop_timeout = options.stop_timeout.as_deref().map_or(Ok(5), seconds)?;
        let policy = policy::of(&options)?;
        let (virtio, packed) = devices::transport(options.devices.virtio.as_deref())?;

        let irqchip = options.platform.irqchip(!options.no_acpi)?;
        let debug_port = options.platform.debug_port()?;
        let (metrics, timeline) = reports::choices(&options)?;
        let log = LogChoice::new(options.log.as_deref())?;
        let gdb = options.gdb.as_deref().map(gdb::place).transpose()?;
        let found_kernel = options.kernel.is_none() && options.platform.firmware.is_none();
        let boot = boot(&options, virtio)?;
        let machine = MachineConfig {
            name: control.name.clone().unwrap_or_else(|| "vmmkit".to_owned()),
            thread_prefix: String::new(),
            boot,
            ram,
            vcpus,
            topology,
            affinity,
            vcpu_priority: priorities.vcpu,
            cpu,
            acpi: !options.no_acpi,
            irqchip,
            virtio,
            packed,
            mp_table: mp_table(options.mp_table),
            on_reboot: policy.on_reboot,
            on_crash: policy.on_crash,
            clock_after_pause: policy.clock,
        };
        Ok(Self {
            machine,
            serial,
            debug_port,
            devices,
            stop_timeout: Duration::from_secs(stop_timeout),
            reset_fails: policy.reset_fails,
            control,
            paused: options.paused,
            gdb,
            metrics,
            timeline,
            io_priority: priorities.io,
            log,
            kvm: options.kvm.unwrap_or_else(|| "/dev/kvm".into()),
            config: options.config,
            dry_run: options.dry_run,
            quiet: options.quiet,
            found_kernel,
        })
    }
}

/// `--mp-table`, or without it.
fn mp_table(is_wanted: bool) -> MpTable {
    match is_wanted {
        true => MpTable::Always,
        false => MpTable::Auto,
    }
}

/// What `options` have run first.
fn boot(options: &RunOptions, virtio: VirtioTransport) -> Result<Boot, Failure> {
    let entry = options.entry.as_deref().map(entry).transpose()?;
    if let Some(firmware) = &options.platform.firmware {
        no_kernel(options)?;
        return Ok(Boot::Firmware(firmware.into()));
    }
    let Found { kernel, initrd } = kernel_of(options)?;
    let initrd = initrd.map(boot_files::initrd).map(|(path, any)| Initrd {
        file: path.into(),
        any,
    });
    let module = |module: &ModuleOption| Module {
        file: (&module.path).into(),
        arguments: module.arguments.clone(),
    };
    let cmdline = options.cmdline.clone();
    Ok(Boot::Kernel(KernelBoot {
        cmdline: cmdline.unwrap_or_else(|| {
            let cmdline = default_cmdline(&options.devices, virtio);
            boot_files::with_unified(cmdline, &kernel)
        }),
        image: kernel.into(),
        initrd,
        modules: options.modules.iter().map(module).collect(),
        entry: entry.unwrap_or_default(),
    }))
}

/// The kernel that was named, or one that is found.
fn kernel_of(options: &RunOptions) -> Result<Found, Failure> {
    match &options.kernel {
        Some(kernel) => Ok(Found {
            kernel: kernel.clone(),
            initrd: options.initrd.clone(),
        }),
        None => kernel_search::search(options.initrd.clone()),
    }
}

/// Firmware runs instead of a kernel, and is told nothing of one.
fn no_kernel(options: &RunOptions) -> Result<(), Failure> {
    let given = [
        ("--kernel", options.kernel.is_some()),
        ("--initrd", options.initrd.is_some()),
        ("--module", !options.modules.is_empty()),
        ("--cmdline", options.cmdline.is_some()),
        ("--entry", options.entry.is_some()),
    ];
    match given.into_iter().find(|(_, is_given)| *is_given) {
        Some((option, _)) => Err(Failure::usage(
            format!("{option} cannot be used with --firmware"),
            format!("omit either {option} or --firmware"),
        )),
        None => Ok(()),
    }
}

fn entry(text: &str) -> Result<EntryChoice, Failure> {
    match text {
        "auto" => Ok(EntryChoice::Auto),
        "payload" => Ok(EntryChoice::Payload),
        "setup" => Ok(EntryChoice::Setup),
        "pvh" => Ok(EntryChoice::Pvh),
        "multiboot" => Ok(EntryChoice::Multiboot),
        _ => Err(Failure::usage(
            format!("--entry {}: unknown entry method", shown(text)),
            "give auto, payload, setup, pvh or multiboot",
        )),
    }
}

/// The console is where stdio is, and a kernel is not told that there is no PCI where there is.
fn default_cmdline(options: &DeviceOptions, virtio: VirtioTransport) -> String {
    let mut cmdline = DEFAULT_CMDLINE.to_owned();
    if options.console.as_deref() == Some("stdio") {
        cmdline = cmdline.replace("console=ttyS0", "console=hvc0");
    }
    if virtio == VirtioTransport::Pci {
        cmdline = cmdline.replace(" pci=off", "");
    }
    cmdline
}

/// There is one stdio, and a console that was asked for has it.
fn default_serial(options: &RunOptions) -> SerialChoice {
    match options.devices.console.as_deref() {
        Some("stdio") => SerialChoice::Null,
        _ => SerialChoice::Stdio,
    }
}

/// The name is also that of a folder.
fn machine_name(text: &str) -> Result<String, Failure> {
    if vmmkit_control::is_name(text) {
        return Ok(text.to_owned());
    }
    Err(Failure::usage(
        format!("--name {text:?}: this cannot be a machine's name"),
        "use 1 to 64 letters, digits, -, _ and ., with no . at the start",
    ))
}

fn control_choice(options: &RunOptions) -> Result<control::Choice, Failure> {
    let choice = control::Choice {
        name: options.name.as_deref().map(machine_name).transpose()?,
        socket: options.api_socket.clone(),
        unlisted: options.no_instance,
    };
    if options.paused && choice.unlisted && choice.socket.is_none() {
        return Err(Failure::usage(
            "--paused: nobody could ever tell this guest to run",
            "leave --no-instance out, or give --api-socket PATH",
        ));
    }
    Ok(choice)
}

fn seconds(text: &str) -> Result<u64, Failure> {
    // A day: what is meant by more is a guest that must not be stopped.
    let most = 86_400;
    let next = "give a whole number from 0 to 86400, such as --stop-timeout 5";
    let reason = match text.parse::<u64>() {
        Ok(seconds) if seconds <= most => return Ok(seconds),
        Ok(_) => "this is longer than a day",
        Err(error) if *error.kind() == IntErrorKind::PosOverflow => "this is longer than a day",
        Err(_) => "this is not a number of seconds",
    };
    let what = format!("--stop-timeout {}: {reason}", shown(text));
    Err(Failure::usage(what, next))
}

/// A value as it is shown: nothing would be overlooked.
pub(crate) fn shown(text: &str) -> &str {
    if text.is_empty() { "\"\"" } else { text }
}

#[cfg(test)]
mod tests {
    use vmmkit_guest_memory::RamSize;

    use super::*;

    fn settings(change: impl FnOnce(&mut RunOptions)) -> Result<Settings, Failure> {
        let mut options = RunOptions {
            kernel: Some("k".into()),
            ..RunOptions::default()
        };
        change(&mut options);
        Settings::new(options)
    }

    fn kernel(settings: &Settings) -> &KernelBoot {
        settings.machine.boot.as_kernel().unwrap()
    }

    #[test]
    fn a_kernel_is_all_that_must_be_given() {
        let settings = settings(|_| {}).unwrap();
        assert_eq!(settings.machine.vcpus, 1);
        assert_eq!(settings.machine.ram.size, RamSize::mebibytes(256));
        assert_eq!(kernel(&settings).cmdline, DEFAULT_CMDLINE);
        assert_eq!(settings.serial, SerialChoice::Stdio);
        assert!(settings.machine.acpi);
    }

    #[test]
    fn options_reach_the_machine() {
        let settings = settings(|options| {
            options.cpus = Some("2".into());
            options.memory = Some("1G".into());
            options.entry = Some("pvh".into());
            options.no_acpi = true;
        })
        .unwrap();
        assert_eq!(settings.machine.vcpus, 2);
        assert_eq!(settings.machine.ram.size, RamSize::mebibytes(1024));
        assert_eq!(kernel(&settings).entry, EntryChoice::Pvh);
        assert!(!settings.machine.acpi);
    }

    #[test]
    fn an_empty_command_line_is_kept_empty() {
        let settings = settings(|options| options.cmdline = Some(String::new())).unwrap();
        assert_eq!(kernel(&settings).cmdline, "");
    }
}
