//! The machine as the control API has it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use thiserror::Error;
use vmmkit_control::{
    Balloon, Controlled, Device, EventSource, Limits, MachineInfo, MachineState, Memory, Migrated,
    MigrationProgress, Refusal, Saving,
};
use vmmkit_host_io::ConsoleTap;
use vmmkit_telemetry::Metrics;
use vmmkit_virtio_devices::Console as VirtioConsole;
use vmmkit_vmm::{self as vmm, Handle, Outcome, PauseError};

use crate::console::Tapped;
use crate::device::LiveDevice;
use crate::events::MachineEvents;
use crate::migration::Migration;
use crate::{Embedder, PAUSE_TIME, Standstill, ask_to_power_off, disk};

/// How a machine is to be treated.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// Seconds that a guest that was asked to power off may take if nobody says otherwise.
    pub stop_timeout: u32,
    /// It hears the button of ACPI, and otherwise its keyboard.
    pub has_acpi: bool,
    /// Its first pause is that of a machine that has not been told to boot.
    pub waits_for_boot: bool,
}

/// A machine from its specification on: it has its handle as soon as it is built.
pub struct ControlledMachine {
    // Fixed at creation
    about: MachineInfo,
    manner: Manner,
    pub(crate) embedder: Arc<dyn Embedder>,
    began: Instant,
    // Wiring
    handle: OnceLock<Handle>,
    pub(crate) migration: Arc<Migration>,
    console: OnceLock<Tapped>,
    // State
    /// It was told to boot, or need not be.
    // Ordering: this and the next are flags alone.
    has_booted: AtomicBool,
    /// The guest was asked to power off.
    is_asked: AtomicBool,
}

/// A pause that was given up.
#[derive(Debug, Error)]
#[error("{0}; the guest runs on")]
struct StillRuns(PauseError);

impl std::fmt::Debug for ControlledMachine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ControlledMachine")
            .field("about", &self.about)
            .field("manner", &self.manner)
            .finish_non_exhaustive()
    }
}

impl ControlledMachine {
    /// The machine that is `about`; it is not built yet.
    pub fn new(about: MachineInfo, manner: Manner, embedder: Arc<dyn Embedder>) -> Self {
        Self {
            about,
            manner,
            embedder,
            began: Instant::now(),
            handle: OnceLock::new(),
            migration: Arc::default(),
            console: OnceLock::new(),
            has_booted: AtomicBool::new(!manner.waits_for_boot),
            is_asked: AtomicBool::new(false),
        }
    }

    /// The machine has been built.
    pub fn connect(&self, handle: Handle) {
        // Once, before anybody can ask.
        let _ = self.handle.set(handle);
    }

    /// The guest's console has `tap` on it; `virtio` is told the size of a terminal that shows it.
    pub fn show(&self, tap: Arc<ConsoleTap>, virtio: Option<Arc<VirtioConsole>>) {
        let _ = self.console.set(Tapped { tap, virtio });
    }

    /// All numbers to publish, as of now.
    pub fn numbers(&self) -> Metrics {
        let metrics = self.handle.get().map_or_else(Metrics::new, Handle::metrics);
        self.embedder.publish(metrics, &self.machine())
    }

    pub(crate) fn memory_bytes(&self) -> u64 {
        self.about.memory_bytes
    }

    pub(crate) fn handle(&self) -> Result<&Handle, Refusal> {
        self.handle.get().ok_or(Refusal::NotBuilt)
    }

    pub(crate) fn state(&self) -> MachineState {
        let Some(handle) = self.handle.get() else {
            return MachineState::Created;
        };
        match handle.state() {
            vmm::MachineState::Ready => MachineState::Created,
            vmm::MachineState::Paused if !self.has_booted.load(Ordering::Relaxed) => {
                MachineState::Created
            }
            vmm::MachineState::Paused => MachineState::Paused,
            vmm::MachineState::Crashed(_) => MachineState::Crashed,
            vmm::MachineState::Resetting => MachineState::Resetting,
            vmm::MachineState::Ended(_) | vmm::MachineState::Failed => MachineState::Ended,
            _ => MachineState::Running,
        }
    }

    /// The guest runs on after it was saved.
    pub(crate) fn run_on(&self) {
        if let Some(handle) = self.handle.get() {
            handle.resume();
        }
    }

    /// The guest ends with its being saved.
    pub(crate) fn halt(&self) {
        if let Some(handle) = self.handle.get() {
            handle.stop();
        }
    }

    pub(crate) fn refused(&self, wanted: &'static str) -> Refusal {
        Refusal::State {
            state: self.state(),
            wanted,
        }
    }

    fn age_milliseconds(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn named(&self, name: &str) -> Option<LiveDevice> {
        LiveDevice::find(self.handle.get()?, name)
    }
}

impl Controlled for ControlledMachine {
    fn save(&self, folder: &Path, saving: Saving) -> Result<Duration, Refusal> {
        let _turn = self.migration.turn.lock();
        let mut standstill = Standstill::of(self, saving.stop);
        let handle = self.handle()?;
        let saved = self.embedder.save(handle, folder, saving, &mut standstill);
        standstill.finish(saved)
    }

    fn migrate(&self, to: &Path, downtime: Duration) -> Result<Migrated, Refusal> {
        self.move_to(to, downtime)
    }

    fn migration(&self) -> MigrationProgress {
        self.migration.progress()
    }

    fn machine(&self) -> MachineInfo {
        MachineInfo {
            state: self.state(),
            age_milliseconds: self.age_milliseconds(),
            ..self.about.clone()
        }
    }

    fn boot(&self) -> Result<(), Refusal> {
        if self.state() != MachineState::Created {
            return Err(self.refused("has booted already"));
        }
        self.resume()
    }

    fn pause(&self) -> Result<(), Refusal> {
        match self.state() {
            MachineState::Running | MachineState::Created | MachineState::Paused => {}
            _ => return Err(self.refused("cannot be paused")),
        }
        match self.handle()?.pause_within(PAUSE_TIME) {
            Ok(()) => Ok(()),
            Err(PauseError::Ended) => Err(self.refused("cannot be paused")),
            Err(error) => Err(Refusal::busy(StillRuns(error))),
        }
    }

    fn resume(&self) -> Result<(), Refusal> {
        let handle = self.handle()?;
        match handle.state() {
            vmm::MachineState::Crashed(Outcome::TripleFault(_)) => {
                return Err(self.refused("only a reset or a stop ends that"));
            }
            vmm::MachineState::Ended(_) | vmm::MachineState::Failed => {
                return Err(self.refused("cannot be resumed"));
            }
            _ => {}
        }
        self.lock_disks()?;
        self.has_booted.store(true, Ordering::Relaxed);
        handle.resume();
        Ok(())
    }

    fn reset(&self) -> Result<(), Refusal> {
        if self.state() == MachineState::Ended || !self.handle()?.reset() {
            return Err(self.refused("cannot be reset"));
        }
        Ok(())
    }

    fn ask_to_stop(&self) {
        let Ok(handle) = self.handle() else { return };
        self.cancel_migration();
        match self.state() {
            MachineState::Running => {}
            // It has to run to hear it.
            MachineState::Paused if self.lock_disks().is_ok() => handle.resume(),
            _ => return handle.stop(),
        }
        self.is_asked.store(true, Ordering::Relaxed);
        if !self.embedder.ask_to_power_off() {
            ask_to_power_off(handle, self.manner.has_acpi);
        }
    }

    fn stop(&self) {
        self.cancel_migration();
        if let Ok(handle) = self.handle() {
            if self.is_asked.load(Ordering::Relaxed) {
                self.embedder.cut_off(handle);
            }
            handle.stop();
        }
    }

    fn stop_timeout(&self) -> u32 {
        self.manner.stop_timeout
    }

    fn power_button(&self) {
        if let Ok(handle) = self.handle()
            && !self.embedder.ask_to_power_off()
        {
            handle.power_button();
        }
    }

    fn ctrl_alt_del(&self) {
        if let Ok(handle) = self.handle() {
            handle.ctrl_alt_del();
        }
    }

    fn devices(&self) -> Vec<Device> {
        let Ok(handle) = self.handle() else {
            return Vec::new();
        };
        let device = |device: vmm::DeviceInfo| {
            let live = self.named(&device.name);
            Device {
                name: device.name.to_string(),
                driven: device.was_driven,
                faults: device.faults,
                fault: device.fault,
                counters: live.as_ref().map(LiveDevice::counters).unwrap_or_default(),
                limits: live.as_ref().and_then(LiveDevice::limits),
            }
        };
        handle.devices().into_iter().map(device).collect()
    }

    fn limit(&self, device: &str, limits: &Limits) -> Result<Limits, Refusal> {
        let none = || Refusal::NoLimits(device.to_owned());
        let live = self.named(device).ok_or_else(none)?;
        let has = live.limits().ok_or_else(none)?;
        live.limit(limits).map_err(|field| Refusal::Field {
            field,
            reason: match has.requests {
                Some(_) => format!("{device} is a disk: its flow is called requests"),
                None => format!("{device} has the flows receive and transmit"),
            },
        })?;
        live.limits().ok_or_else(none)
    }

    fn size(&self, device: &str) -> Result<u64, Refusal> {
        Ok(disk::of(self.named(device).as_ref(), device)?.capacity())
    }

    fn resize(&self, device: &str, size_bytes: Option<u64>) -> Result<u64, Refusal> {
        disk::resize(disk::of(self.named(device).as_ref(), device)?, size_bytes)
    }

    fn balloon(&self) -> Option<Balloon> {
        self.balloon_now()
    }

    fn set_balloon(&self, target_bytes: u64) -> Result<(), Refusal> {
        self.target_balloon(target_bytes)
    }

    fn memory(&self) -> Option<Memory> {
        self.memory_now()
    }

    fn set_memory(&self, target_bytes: u64) -> Result<(), Refusal> {
        self.target_memory(target_bytes)
    }

    fn console(&self) -> Option<Arc<ConsoleTap>> {
        self.console.get().map(|console| console.tap.clone())
    }

    fn resize_console(&self, columns: u16, rows: u16) -> Result<(), Refusal> {
        let console = self.console.get().ok_or(Refusal::NoConsole)?;
        console.resize(columns, rows)
    }

    fn inspect(&self) -> Result<String, Refusal> {
        Ok(self.handle()?.inspect().to_json())
    }

    fn metrics(&self) -> String {
        self.numbers().to_prometheus()
    }

    fn events(&self) -> Box<dyn EventSource> {
        // Without a descriptor for it there are none, and the stream ends.
        let events = self.handle().ok().and_then(|handle| handle.events().ok());
        let embedder = self.embedder.clone();
        Box::new(MachineEvents::new(
            events,
            self.age_milliseconds(),
            (embedder, self.migration.clone()),
        ))
    }
}
