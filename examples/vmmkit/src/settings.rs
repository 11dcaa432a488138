//! From options to a machine's specification and configuration. After this, no value can be out of range.

use std::path::PathBuf;
use std::time::Duration;

use vmmkit_assembly::{default_cmdline, is_bootable, is_uefi_image, machine_config};
use vmmkit_gdb::Place;
use vmmkit_guest_memory::RamSize;
use vmmkit_machine_spec::{
    BootSpec, ConsoleSpec, DeviceSpec, FirmwareSpec, InitrdSpec, KernelSpec, MachineSpec, Transport,
};
use vmmkit_process::EscapeKey;
use vmmkit_vmm::MachineConfig;

use crate::build_failure;
use crate::control;
use crate::failure::Failure;
use crate::firmware_search;
use crate::kernel_search::{self, Found};
use crate::log::LogChoice;
use crate::options::{self, RunOptions, Values};
use crate::reports::{MetricsChoice, TimelineChoice};
use crate::root::Root;
use crate::sandbox_choice::SandboxChoice;

/// How long a guest that was asked to power off may take, unless it is said.
pub(crate) const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Memory of a system from a disk, unless it is said.
const SYSTEM_MEMORY: RamSize = RamSize::mebibytes(1024);

/// Everything that `vmmkit run` needs to know.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The machine.
    pub(crate) spec: MachineSpec,
    /// A directory as the root, and the command to run there.
    pub(crate) root: Option<Root>,
    /// The value of each of its devices, as it was given.
    pub(crate) device_texts: Vec<String>,
    /// The machine as this host can have it.
    pub(crate) machine: MachineConfig,
    /// The confinement of the process.
    pub(crate) sandbox: SandboxChoice,
    /// How long a guest that was asked to power off may take.
    pub(crate) stop_timeout: Duration,
    /// How long the guest may run.
    pub(crate) timeout: Option<Duration>,
    /// Where others find it.
    pub(crate) control: control::Choice,
    /// It does not run before it is told to.
    pub(crate) paused: bool,
    /// In a session of its own.
    pub(crate) detach: bool,
    /// The folder with the snapshot that the guest goes on from.
    pub(crate) restore: Option<PathBuf>,
    /// Where snapshots are that it builds on.
    pub(crate) base: Option<PathBuf>,
    /// Where GDB comes to; the guest waits for it.
    pub(crate) gdb: Option<Place>,
    /// Where metrics go.
    pub(crate) metrics: Option<MetricsChoice>,
    /// Where the picture of the boot goes.
    pub(crate) timeline: Option<TimelineChoice>,
    /// The log: its level, and where it goes.
    pub(crate) log: Option<LogChoice>,
    /// The KVM device.
    pub(crate) kvm: PathBuf,
    /// The file that some of this comes from.
    pub(crate) config: Option<PathBuf>,
    /// Build only.
    pub(crate) dry_run: bool,
    /// Say nothing but errors.
    pub(crate) quiet: bool,
    /// The key before those of this program.
    pub(crate) escape: EscapeKey,
    /// No kernel was named, and this one was found.
    pub(crate) found_kernel: bool,
}

impl Settings {
    /// The settings of `values`.
    pub(crate) fn new(values: &Values) -> Result<Self, Failure> {
        let mut options = options::read(values)?;
        let control = control_choice(&options)?;
        let log = match options.log {
            Some(ref log) => Some(log.clone()),
            None => LogChoice::of_environment()?,
        };
        let found_kernel = options.kernel.is_none() && options.firmware.is_none();
        options.devices.sort_by_key(|(device, _)| device.order());
        if let Some(disk) = own_boot_loader(&options) {
            options.firmware = Some(FirmwareSpec::new(firmware_search::search(disk)?));
            as_systems_expect(&mut options, values);
        } else if let Some(firmware) = &options.firmware
            && is_uefi_image(&firmware.image)
        {
            as_systems_expect(&mut options, values);
        }
        let root = root(&options)?;
        let boot = boot(&options)?;
        let (devices, device_texts): (_, Vec<String>) = options.devices.into_iter().unzip();
        let mut spec = MachineSpec {
            name: Some(control.name.clone().unwrap_or_else(|| "vmmkit".to_owned())),
            boot,
            cpus: options.cpus,
            memory: options.memory,
            platform: options.platform,
            serial: options.serial,
            devices,
            policy: options.policy,
        };
        if options.detach {
            check_detached(&spec, &control)?;
            spec.serial.get_or_insert(ConsoleSpec::Null);
        }
        if let Some(root) = &root {
            root.shape(&mut spec);
        }
        if let BootSpec::Kernel(mut kernel) = spec.boot.clone()
            && kernel.cmdline.is_none()
        {
            let quiet = if root.is_some() { " quiet" } else { "" };
            kernel.cmdline = Some(default_cmdline(&spec, &kernel) + quiet);
            spec.boot = BootSpec::Kernel(kernel);
        }
        let mut machine = machine_config(&spec)
            .map_err(|error| build_failure::of_assembly(&error, &spec, &device_texts))?;
        if let Some(root) = &root {
            root.boot(&mut machine)?;
        }
        Ok(Self {
            spec,
            root,
            device_texts,
            machine,
            sandbox: options.sandbox,
            stop_timeout: options.stop_timeout.unwrap_or(STOP_TIMEOUT),
            timeout: options.timeout,
            control,
            paused: options.paused,
            detach: options.detach,
            restore: options.restore,
            base: options.base,
            gdb: options.gdb,
            metrics: options.metrics,
            timeline: options.timeline,
            log,
            kvm: options.kvm.unwrap_or_else(|| "/dev/kvm".into()),
            config: options.config,
            dry_run: options.dry_run,
            quiet: options.quiet,
            escape: options.escape,
            found_kernel,
        })
    }
}

/// The root that `options` ask for.
fn root(options: &RunOptions) -> Result<Option<Root>, Failure> {
    let others = [
        ("--firmware", options.firmware.is_some()),
        ("--initrd", options.initrd.is_some()),
        ("--module", !options.modules.is_empty()),
        ("--restore", options.restore.is_some()),
    ];
    let spec = options.root.clone();
    Root::of(spec, &options.command, options.detach, &others)
}

/// The boot that `options` ask for.
fn boot(options: &RunOptions) -> Result<BootSpec, Failure> {
    if let Some(firmware) = &options.firmware {
        no_kernel(options)?;
        return Ok(BootSpec::Firmware(firmware.clone()));
    }
    let (image, initrd) = kernel_of(options)?;
    Ok(BootSpec::Kernel(KernelSpec {
        image,
        initrd,
        modules: options.modules.clone(),
        cmdline: options.cmdline.clone(),
        entry: options.entry.unwrap_or_default(),
    }))
}

/// The first disk, where nothing says how to boot, and that has a boot loader.
fn own_boot_loader(options: &RunOptions) -> Option<&str> {
    let is_said =
        options.firmware.is_some() || options.root.is_some() || given_of_kernel(options).is_some();
    let mut disks = options
        .devices
        .iter()
        .filter_map(|(device, text)| match device {
            DeviceSpec::Disk(disk) => Some((disk, text)),
            _ => None,
        });
    let (disk, text) = disks.next()?;
    (!is_said && is_bootable(disk)).then_some(text)
}

/// Where `values` do not say otherwise, what a distribution's system is made for: PCI, and memory for its user
/// space.
fn as_systems_expect(options: &mut RunOptions, values: &Values) {
    if !values.has("virtio") {
        options.platform.virtio.transport = Transport::Pci;
    }
    if !values.has("memory") {
        options.memory.size = SYSTEM_MEMORY;
    }
}

/// The kernel that was named, or one that is found, and its initial RAM disk.
fn kernel_of(options: &RunOptions) -> Result<(PathBuf, Option<InitrdSpec>), Failure> {
    let own = options.initrd.clone();
    if let Some(kernel) = &options.kernel {
        return Ok((kernel.clone(), own));
    }
    let Found { kernel, initrd } = kernel_search::search()?;
    let found = initrd.filter(|_| options.root.is_none());
    let found = found.map(|path| InitrdSpec { path, any: false });
    Ok((kernel, own.or(found)))
}

/// Firmware runs instead of a kernel, and is told nothing of one.
fn no_kernel(options: &RunOptions) -> Result<(), Failure> {
    match given_of_kernel(options) {
        Some(option) => Err(Failure::usage(
            format!("{option} cannot be used with --firmware"),
            format!("omit either {option} or --firmware"),
        )),
        None => Ok(()),
    }
}

/// The first option that is given and that says something of a kernel.
fn given_of_kernel(options: &RunOptions) -> Option<&'static str> {
    let given = [
        ("--kernel", options.kernel.is_some()),
        ("--initrd", options.initrd.is_some()),
        ("--module", !options.modules.is_empty()),
        ("--cmdline", options.cmdline.is_some()),
        ("--entry", options.entry.is_some()),
    ];
    let mut given = given.into_iter().filter(|(_, is_given)| *is_given);
    given.next().map(|(option, _)| option)
}

fn control_choice(options: &RunOptions) -> Result<control::Choice, Failure> {
    let choice = control::Choice {
        name: options.name.clone(),
        socket: options.api_socket.clone(),
        unlisted: options.no_instance,
    };
    if options.paused && choice.is_out_of_reach() {
        return Err(Failure::usage(
            "--paused: nobody could ever tell this guest to run",
            "leave --no-instance out, or give --api-socket PATH",
        ));
    }
    Ok(choice)
}

/// Checks that the machine of `spec` can be left alone, and be found again by `choice`.
fn check_detached(spec: &MachineSpec, choice: &control::Choice) -> Result<(), Failure> {
    if spec.serial == Some(ConsoleSpec::Stdio) || spec.has_virtio_stdio() {
        return Err(Failure::usage(
            "--detach: a console on stdio has no terminal there",
            "give --serial file=PATH, pty or socket=PATH, or leave --detach out",
        ));
    }
    if choice.is_out_of_reach() {
        return Err(Failure::usage(
            "--detach: nobody could ever find this guest again",
            "leave --no-instance out, or give --api-socket PATH",
        ));
    }
    Ok(())
}

/// A value as it is shown: nothing would be overlooked.
pub(crate) fn shown(text: &str) -> &str {
    if text.is_empty() { "\"\"" } else { text }
}
