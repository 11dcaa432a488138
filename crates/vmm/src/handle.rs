//! Requests that other threads may make of a machine while its owner waits for it.

use std::fmt;
use std::io;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use vmmkit_device_bus::{RegionInfo, Unclaimed};
use vmmkit_guest_memory::GuestRam;
use vmmkit_host_io::{OutputBuffer, Subscription, ThreadPolicy};
use vmmkit_hypervisor::CmdlineAddition;
use vmmkit_run_control::{
    ClockPolicy, Control, Event, MachineState, PauseError, ResetCause, Supervisor,
};
use vmmkit_telemetry::Tree;
use vmmkit_virtio::Device;

use crate::VcpuDump;
use crate::devices::{self, Deadline, DeviceInfo, Devices};
use vmmkit_pc_platform::{LoggedVm, MachineForm, Platform};

/// How long the last of the console's output may take when its reader is slow.
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// State shared by all states and handles of a machine.
pub(crate) struct Shared {
    pub(crate) supervisor: Supervisor,
    pub(crate) platform: Arc<Platform>,
    pub(crate) devices: Arc<Devices>,
    /// The state of the VM that is neither RAM nor a vCPU nor a part.
    pub(crate) vm: LoggedVm,
    pub(crate) form: MachineForm,
    pub(crate) ram: GuestRam,
    pub(crate) output: Option<Arc<OutputBuffer>>,
    /// The machine as it was asked for.
    pub(crate) about: Tree,
    pub(crate) cmdline_additions: Vec<CmdlineAddition>,
    pub(crate) threads: ThreadPolicy,
    pub(crate) clock_after_pause: ClockPolicy,
}

impl Shared {
    /// Takes every vCPU out of the guest, and brings the devices to rest.
    pub(crate) fn pause(&self, deadline: Deadline) -> Result<(), PauseError> {
        let mut paused = self.supervisor.pause(deadline);
        if let Err(PauseError::Vcpus { devices, .. }) = &mut paused {
            *devices = self.devices.busy();
        }
        let request = paused?;
        let rest = self.devices.rest(&self.supervisor, deadline);
        rest.inspect_err(|_| self.supervisor.withdraw_pause(request))
    }

    /// Writes what the console still holds.
    pub(crate) fn drain_output(&self) {
        if let Some(output) = &self.output {
            // A reader that went away, or takes nothing for two seconds, gets no more.
            let _ = output.drain_blocking(DRAIN_TIME);
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("state", &self.supervisor.control().state())
            .finish_non_exhaustive()
    }
}

/// A handle to a machine: cheap to clone, usable from any thread, also after the guest has ended.
///
/// So that it can be asked then, it keeps the machine: RAM, devices and the hypervisor's VM stay
/// until the last handle is dropped, as do the descriptors that they have. What the machine itself
/// keeps, such as a device, must not have one: the machine would keep itself. It may have a
/// [`WeakHandle`], or what [`MachineBuilder::requests`](crate::MachineBuilder::requests) gives.
#[derive(Clone, Debug)]
pub struct Handle {
    shared: Arc<Shared>,
}

/// A [`Handle`] that keeps nothing: for devices of the embedder's own, and for whoever outlives the
/// machine.
#[derive(Clone, Debug)]
pub struct WeakHandle {
    shared: Weak<Shared>,
}

impl WeakHandle {
    /// The handle, while the machine or another handle is there.
    pub fn upgrade(&self) -> Option<Handle> {
        let shared = self.shared.upgrade()?;
        Some(Handle { shared })
    }
}

impl Handle {
    /// A handle that does not keep the machine.
    pub fn downgrade(&self) -> WeakHandle {
        let shared = Arc::downgrade(&self.shared);
        WeakHandle { shared }
    }

    /// The parameters added to the kernel's command line for the sake of the hypervisor.
    pub fn cmdline_additions(&self) -> &[CmdlineAddition] {
        &self.shared.cmdline_additions
    }

    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// The paravirtual device that is called `id`, if it is a `D`: `device::<Block>("blk0")`.
    pub fn device<D: Device>(&self, id: impl AsRef<str>) -> Option<Arc<D>> {
        devices::cast(self.virtio_device(id)?)
    }

    /// The paravirtual device that is called `id`, whatever it is.
    pub fn virtio_device(&self, id: impl AsRef<str>) -> Option<Arc<dyn Device>> {
        self.shared.devices.get(id.as_ref())
    }

    /// The first paravirtual device that is a `D`, for those of which a machine has one.
    pub fn first_device<D: Device>(&self) -> Option<Arc<D>> {
        self.shared.devices.first()
    }

    /// Ends the run at once, as pulling the plug does. [`Machine::wait`](crate::Machine::wait)
    /// returns [`Outcome::Stopped`](crate::Outcome::Stopped) unless the guest had ended before.
    pub fn stop(&self) {
        self.run_control().stop();
    }

    /// Presses the power button (ACPI 6.5, 4.8.2.2.1): a guest that listens shuts down.
    pub fn power_button(&self) {
        self.shared.platform.power.power_button();
    }

    /// Types Ctrl-Alt-Del on the guest's keyboard, if its driver is there.
    pub fn ctrl_alt_del(&self) {
        self.shared.platform.keyboard.ctrl_alt_del();
    }

    /// Types bytes on the serial console, between those of its input; returns how many, from the
    /// front, the guest had room for.
    pub fn type_on_serial(&self, bytes: &[u8]) -> usize {
        self.shared.platform.serial.receive(bytes)
    }

    /// Sends a BREAK on the serial console: Linux takes the next byte as a SysRq command.
    pub fn send_break(&self) {
        self.shared.platform.serial.send_break();
    }

    /// Takes every vCPU out of the guest until [`resume`](Self::resume); `false` if the guest has
    /// ended. A machine that was not started begins paused. Where several threads pause and
    /// resume, the last one to ask is obeyed.
    ///
    /// It waits for the vCPUs and the devices however long it takes, which a back end or a disk of the host
    /// that hangs makes long: see [`pause_within`](Self::pause_within). A device must not call it from
    /// within an access.
    pub fn pause(&self) -> bool {
        self.shared.pause(None).is_ok()
    }

    /// As [`pause`](Self::pause), or not at all: where vCPUs and devices are not at rest after `limit`, the
    /// guest runs on as if nobody had asked, unless somebody else asked for a pause too.
    ///
    /// # Errors
    /// [`PauseError`] says what did not come to rest.
    pub fn pause_within(&self, limit: Duration) -> Result<(), PauseError> {
        self.shared.pause(Instant::now().checked_add(limit))
    }

    /// Lets every vCPU run again, with clocks as
    /// [`MachineConfig::clock_after_pause`](crate::MachineConfig::clock_after_pause) says.
    pub fn resume(&self) {
        self.resume_with(self.shared.clock_after_pause);
    }

    /// Lets every vCPU run again, with clocks as `clock` says.
    pub fn resume_with(&self, clock: ClockPolicy) {
        self.shared.devices.resume(&self.shared.supervisor, clock);
    }

    /// The machine's state.
    pub fn state(&self) -> MachineState {
        self.run_control().state()
    }

    /// All that happens to the machine from now on, in order; up to 256 events wait for a slow
    /// subscriber, and then the oldest are lost. After the last event it is
    /// [closed](vmmkit_host_io::Next::Closed).
    ///
    /// ```no_run
    /// use vmmkit_host_io::Next;
    ///
    /// # fn follow(handle: &vmmkit_vmm::Handle) -> std::io::Result<()> {
    /// let events = handle.events()?;
    /// loop {
    ///     match events.wait() {
    ///         Next::Message(message) => println!("{:?}: {:?}", message.at, message.body),
    ///         Next::Missed(count) => println!("{count} events were lost"),
    ///         Next::Empty | Next::Closed => return Ok(()),
    ///     }
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// The host's, when it has no descriptor left.
    pub fn events(&self) -> io::Result<Subscription<Event>> {
        self.run_control().events().subscribe()
    }

    /// Starts the guest anew, as the reset button does: the devices and the RAM are as after power-on,
    /// the kernel is loaded again, and what is on the host's side stays: terminal, files, sockets.
    /// [`Event::Reset`] tells when it is done. `false` if the run has ended; a machine that was not
    /// started needs no reset, and a paused one stays paused.
    pub fn reset(&self) -> bool {
        self.run_control().reset(ResetCause::Host)
    }

    /// The registers of every vCPU, in order; a running guest is held up for as long as it takes to
    /// read them, and goes on. None before the start and after the end.
    ///
    /// It waits for the vCPUs, so a device must not call it from within an access.
    pub fn dump_vcpus(&self) -> Vec<VcpuDump> {
        self.run_control().dump()
    }

    /// The run state: for what needs the vCPUs' own threads, as a debugger does.
    pub fn run_control(&self) -> &Control {
        self.shared.supervisor.control()
    }

    /// Whether the run has ended.
    pub fn has_ended(&self) -> bool {
        self.run_control().has_ended()
    }

    /// The guest's RAM.
    pub fn ram(&self) -> &GuestRam {
        &self.shared.ram
    }

    /// Accesses to ports that no device claims.
    pub fn unclaimed_ports(&self) -> Unclaimed {
        self.shared.platform.ports.unclaimed()
    }

    /// Accesses to guest-physical addresses that neither RAM nor a device claims.
    pub fn unclaimed_mmio(&self) -> Unclaimed {
        self.shared.platform.mmio.unclaimed()
    }

    /// The paravirtual devices, in the order they were added.
    pub fn devices(&self) -> Vec<DeviceInfo> {
        self.shared.devices.info()
    }

    /// The devices plugged into ports, lowest first.
    pub fn port_regions(&self) -> Vec<RegionInfo> {
        self.shared.platform.ports.regions()
    }
}
