//! From a configuration to a machine: one call per crate, in the order of the boot flow.

use std::io;
use std::sync::Arc;
use std::thread;

use parking_lot::Mutex;
use vmmkit_boot_loader as boot_loader;
use vmmkit_device_bus::DeviceId;
use vmmkit_guest_memory::{GuestAddress, GuestRam, MMIO_HOLE_END};
use vmmkit_host_io::{
    Console, ConsoleOutput, ConsolePort, EventLoop, Stopwatch, Subscriber, Subscription,
    ThreadRole, ThreadSpec,
};
use vmmkit_hypervisor::{CmdlineAddition, Hypervisor, SaveVm, Vm, VmSettings};
use vmmkit_legacy_devices::SerialOutput;
use vmmkit_run_control::{Clocks, Control, Settings, Supervisor};
use vmmkit_telemetry::{BootLog, Milestone};
use vmmkit_virtio::Device;

use crate::boot::{BootFiles, firmware_rom, load};
use crate::config::MAX_VCPUS;
use crate::console::{FirstByte, Receiver, Transmitter};
use crate::cpus::Start;
use crate::devices::{self, Devices};
use crate::error::BuildError;
use crate::handle::Shared;
use crate::machine::Machine;
use crate::power::Board;
use crate::ready::Ready;
use crate::snapshot::Saved;
use crate::{Boot, Event, MachineConfig, cpus, report};
use vmmkit_pc_platform::{self as pc_platform, DescribedDevices, LoggedVm, OwnDevices, Platform};

/// Alignment of memory beside RAM: guests add memory in large steps (Linux up to 2 GiB).
const MEMORY_ALIGNMENT: u64 = 1 << 30;

/// Where memory beside RAM lies: see [`MachineBuilder::next_memory`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryPlace {
    /// The guest-physical address, a multiple of 1 GiB.
    pub guest_address: GuestAddress,
    /// The memory slot of the hypervisor.
    pub slot: u32,
}

/// Builds a [`Machine`]. Everything that can fail for want of a file, a descriptor or memory fails
/// here; [`Machine::start`] only starts threads.
pub struct MachineBuilder {
    pub(crate) config: MachineConfig,
    console: Console,
    subscribers: Vec<Subscriber>,
    pub(crate) own: OwnDevices,
    virtio: Vec<(DeviceId, Arc<dyn Device>)>,
    pub(crate) supervisor: Supervisor,
}

impl std::fmt::Debug for MachineBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MachineBuilder")
            .field("config", &self.config)
            .field("console", &self.console)
            .finish_non_exhaustive()
    }
}

impl MachineBuilder {
    /// A builder of the machine that `config` describes, with no console.
    pub fn new(config: MachineConfig) -> Self {
        Self::with_boot_log(config, Arc::default())
    }

    /// The same, whose milestones and serial console's output are written to `log`; otherwise the machine keeps
    /// a log of its own.
    pub fn with_boot_log(config: MachineConfig, log: Arc<BootLog>) -> Self {
        let settings = Settings {
            vcpus: config.vcpus.min(MAX_VCPUS),
            on_reboot: config.on_reboot,
            on_crash: config.on_crash,
        };
        Self {
            config,
            console: Console::default(),
            subscribers: Vec::new(),
            own: OwnDevices::default(),
            virtio: Vec::new(),
            supervisor: Supervisor::new(settings, log),
        }
    }

    /// Boots `boot` instead of what the configuration names: of a guest that is told of places that
    /// [`add_device`](Self::add_device) gave.
    #[must_use]
    pub fn boot(mut self, boot: impl Into<Boot>) -> Self {
        self.config.boot = boot.into();
        self
    }

    /// Connects the serial console.
    #[must_use]
    pub fn console(mut self, console: Console) -> Self {
        self.console = console;
        self
    }

    /// Adds a subscriber to the machine's event loop: signals, sockets, timers of the embedder.
    #[must_use]
    pub fn subscribe(mut self, subscriber: Subscriber) -> Self {
        self.subscribers.push(subscriber);
        self
    }

    /// Adds a paravirtual device; see [`add_virtio`](Self::add_virtio).
    #[must_use]
    pub fn virtio_device(mut self, device: Arc<dyn Device>) -> Self {
        self.add_virtio(device);
        self
    }

    /// Adds a paravirtual device, and says what it is called in the machine: by its kind and its number among
    /// those, `blk0`. Its driver finds it by ACPI, or by the kernel's command line where there is no ACPI.
    /// Memory that it has beside RAM ([`Device::memory`]) is mapped. [`Handle::device`](crate::Handle::device)
    /// gives the device back.
    pub fn add_virtio(&mut self, device: Arc<dyn Device>) -> DeviceId {
        let others = self.virtio.iter().map(|(_, other)| other.kind());
        let id = DeviceId::new(&device.kind().name_beside(others));
        self.virtio.push((id.clone(), device));
        id
    }

    /// Where the next device with memory beside RAM puts it, such as persistent memory: above RAM, what may
    /// be plugged into it, and the memory of the devices so far, in the first slot that none of them has.
    pub fn next_memory(&self) -> MemoryPlace {
        let ram = &self.config.ram;
        let own = ram.layout().ranges().to_vec();
        let own = own.into_iter().chain(ram.plug_area());
        let own = (0..)
            .zip(own)
            .map(|(slot, (start, size))| (slot, start.0 + size));
        let regions = self.virtio.iter().filter_map(|(_, device)| device.memory());
        let regions = regions.flat_map(GuestRam::regions);
        let regions = regions.map(|it| (it.slot, it.guest_address.0 + it.size));
        let (slot, end) = own.chain(regions).fold((0, MMIO_HOLE_END.0), |so_far, it| {
            (so_far.0.max(it.0 + 1), so_far.1.max(it.1))
        });
        MemoryPlace {
            guest_address: GuestAddress(end.next_multiple_of(MEMORY_ALIGNMENT)),
            slot,
        }
    }

    /// The machine's future events, as [`Handle::events`](crate::Handle::events), for a subscriber
    /// of the event loop.
    ///
    /// # Errors
    /// The host's, when it has no descriptor left.
    pub fn events(&self) -> io::Result<Subscription<Event>> {
        self.supervisor.control().events().subscribe()
    }

    /// Builds the machine on `hypervisor`.
    ///
    /// # Errors
    /// [`BuildError`] names what could not be had; nothing is left behind.
    pub fn build<H: Hypervisor>(self, hypervisor: &H) -> Result<Machine<Ready>, BuildError> {
        self.assemble(hypervisor, None)
    }

    /// Builds it from its boot files, or as it was `saved`; then its parts are not restored yet.
    pub(crate) fn assemble<H: Hypervisor>(
        self,
        hypervisor: &H,
        saved: Option<&Saved>,
    ) -> Result<Machine<Ready>, BuildError> {
        let rom_slot = self.next_memory().slot;
        let Self {
            mut config,
            console,
            mut subscribers,
            own,
            virtio: devices,
            supervisor,
        } = self;
        let beside = devices.iter().filter_map(|it| it.1.memory().cloned());
        let memory: Vec<GuestRam> = beside.collect();
        let control = supervisor.control().clone();
        control.boot_log().mark(Milestone::BuildBegan);
        config.check(hypervisor.capabilities())?;
        config.check_devices(devices.len(), own.lines())?;
        let cmdline_additions = adapt(&mut config, hypervisor)?;
        let ram = saved.map_or_else(|| GuestRam::new(&config.ram), |it| Ok(it.ram.clone()))?;
        own.check(config.platform(), &ram, &memory)?;
        let described = own.described(devices.len());
        let mut files = BootFiles::open(&config.boot, rom_slot)?;
        let loading = Loading {
            ram: &ram,
            config: &config,
            files: &mut files,
            devices: &described,
            boot_log: control.boot_log(),
        };
        let (vm, start) = create_and_load(hypervisor, loading, saved)?;
        let output = transmitter(&console, &control);
        let stopwatch = Arc::new(Stopwatch::default());
        let clocks = Clocks::new(vm.clock(), stopwatch.clone());
        let (irqchip, requests) = (config.irqchip, control.requests());
        let mut platform = Platform::plug(&vm, irqchip, requests, &ram, output, stopwatch)?;
        let told = config.description(&described, &ram)?;
        platform.add_guides(&*vm, &ram, config.platform(), &told)?;
        let capabilities = hypervisor.capabilities();
        let reach = reach(&*vm, &ram, &memory)?;
        let (devices, wires) =
            pc_platform::plug_virtio(config.virtio, devices, &vm, capabilities, &reach, &platform)?;
        let work = devices::watch_all(&devices, &supervisor, &config);
        let parts = own.plug(&platform, &*vm, &reach, &control.requests())?;
        let supported = cpus::supported(hypervisor, &config)?;
        let vcpus = cpus::create(&supported, &*vm, &config, &platform, &start)?;
        let devices = Devices::new(platform.take_parts(), devices, parts, clocks, work)?;
        let (devices, platform) = (Arc::new(devices), Arc::new(platform));
        let (output, form) = (console.output.clone(), config.form());
        subscribers.extend(connect(console, &platform)?);
        let event_loop = EventLoop::new(subscribers)?;
        let board = Board {
            vm: vm.clone(),
            config,
            described,
            supported,
            files: Mutex::new(files),
            ram: ram.clone(),
            platform: platform.clone(),
            devices: devices.clone(),
            wires,
        };
        let shared = Shared {
            supervisor,
            platform,
            devices,
            vm: LoggedVm::new(vm),
            form,
            ram,
            output,
            about: report::about(&board.config),
            cmdline_additions,
            threads: board.config.threads.clone(),
            clock_after_pause: board.config.clock_after_pause,
        };
        Ok(Machine::built(shared, vcpus, Arc::new(board), event_loop))
    }
}

/// The output of the serial port.
fn transmitter(console: &Console, control: &Control) -> Box<dyn SerialOutput> {
    Box::new(FirstByte {
        output: Transmitter(ConsoleOutput::of(console)),
        control: control.clone(),
    })
}

/// The subscribers that read and write for the serial port, on the event loop.
fn connect(console: Console, platform: &Platform) -> Result<Vec<Subscriber>, BuildError> {
    let port: Arc<dyn ConsolePort> = Arc::new(Receiver(platform.serial.clone()));
    console.connect(&port).map_err(BuildError::Console)
}

/// Adds to the command line what `hypervisor` asks for; a guest that is not Linux has none.
fn adapt<H: Hypervisor>(
    config: &mut MachineConfig,
    hypervisor: &H,
) -> Result<Vec<CmdlineAddition>, BuildError> {
    let Boot::Kernel(kernel) = &mut config.boot else {
        return Ok(Vec::new());
    };
    let additions = hypervisor.cmdline_additions(&boot_loader::parameter_words(&kernel.cmdline))?;
    for addition in &additions {
        kernel.cmdline = boot_loader::with_parameters(&kernel.cmdline, addition.parameter);
    }
    Ok(additions)
}

/// The inputs of loading a guest.
struct Loading<'a> {
    ram: &'a GuestRam,
    config: &'a MachineConfig,
    files: &'a mut BootFiles,
    devices: &'a DescribedDevices,
    boot_log: &'a BootLog,
}

/// Makes the VM and loads its RAM at the same time: making interrupt controllers and mapping memory
/// is waiting for the host's kernel most of the time (RCU), loading is copying. A saved guest is loaded already.
fn create_and_load<'a, H: Hypervisor>(
    hypervisor: &H,
    loading: Loading<'_>,
    saved: Option<&'a Saved>,
) -> Result<(Arc<H::Vm>, Start<'a>), BuildError> {
    let Loading {
        ram,
        config,
        files,
        devices,
        boot_log,
    } = loading;
    let create = || {
        let settings = VmSettings::new(config.irqchip);
        let vm = hypervisor.create_vm(&settings)?;
        vm.map_ram(ram)?;
        boot_log.mark(Milestone::VmCreated);
        Ok(vm)
    };
    if let Some(saved) = saved {
        let vm: Result<_, BuildError> = create();
        let vm = vm?;
        if let Some(rom) = firmware_rom(files, config)? {
            vm.map_rom(&rom)?;
        }
        SaveVm::restore(&vm, &saved.vm)?;
        return Ok((Arc::new(vm), Start::Saved(&saved.vcpus)));
    }
    thread::scope(|scope| {
        let loading = ThreadSpec::new(ThreadRole::Helper, "load")
            .spawn_scoped(scope, || {
                let loaded = load(files, ram, config, devices);
                boot_log.mark(Milestone::Loaded);
                loaded
            })
            .map_err(BuildError::Thread)?;
        let vm: Result<_, BuildError> = create();
        let loaded = loading
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let (vm, (entry, rom)) = (vm?, loaded?);
        if let Some(rom) = rom {
            vm.map_rom(&rom)?;
        }
        Ok((Arc::new(vm), Start::Entry(entry)))
    })
}

/// Maps `memory` beside `ram`; what devices reach.
fn reach(vm: &impl Vm, ram: &GuestRam, memory: &[GuestRam]) -> Result<GuestRam, BuildError> {
    let mut reach = ram.clone();
    for more in memory {
        reach = reach.joined(more)?;
        vm.map_ram(more)?;
    }
    Ok(reach)
}
