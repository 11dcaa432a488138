//! The record that a test looks at when the run is over.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex, MutexGuard};
use vmmkit_device_bus::{Gsi, LineDriver};
use vmmkit_guest_memory::{GuestRam, Rom};

use super::script::{End, Script};
use crate::saved::{DebugRegisters, ExtendedControlRegister, VcpuEvents, VmSaved};
use crate::x86::{CpuidEntry, FpuState, GuestDebug, MpState, Registers, SpecialRegisters};
use crate::{GuestClock, MsiMessage, Result, VcpuExit, VcpuId, VmSettings};

/// The answer to one read of the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// The read.
    pub exit: VcpuExit,
    /// The bytes the guest got.
    pub data: Vec<u8>,
}

/// The transcript of one vCPU.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transcript {
    /// The answers to its reads, in order.
    pub answers: Vec<Answer>,
    /// Answers other than the script expected, in words.
    pub surprises: Vec<String>,
    /// How many steps of the script were played.
    pub steps: usize,
    /// How many times it was kicked.
    pub kicks: usize,
    /// How often the VMM marked it as paused.
    pub pauses: usize,
}

/// One change of an interrupt line; setting the level it has is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LineChange {
    /// The line.
    pub gsi: Gsi,
    /// Its new level.
    pub high: bool,
}

/// A change of a VM's clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClockChange {
    /// To stop.
    Stopped,
    /// To go on where they stood.
    Started,
    /// To go on as if they had not stopped.
    Skipped,
}

/// The state of a fake vCPU.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are named after their types")]
#[non_exhaustive]
pub struct VcpuSnapshot {
    pub registers: Registers,
    pub special_registers: SpecialRegisters,
    pub fpu: FpuState,
    pub cpuid: Vec<CpuidEntry>,
    pub msrs: BTreeMap<u32, u64>,
    pub mp_state: MpState,
    pub lapic: [u8; 1024],
    pub guest_debug: GuestDebug,
    pub tsc_offset: u64,
    pub xcrs: Vec<ExtendedControlRegister>,
    pub debug_registers: DebugRegisters,
    pub events: VcpuEvents,
}

/// All that the fake's VMs and vCPUs share with the test. One lock; nothing is called under it.
#[derive(Default)]
pub(super) struct Record {
    state: Mutex<State>,
    /// Notified at each kick.
    pub(super) kicked: Condvar,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) settings: Option<VmSettings>,
    pub(super) rams: Vec<GuestRam>,
    pub(super) roms: Vec<Rom>,
    pub(super) routes: BTreeMap<Gsi, MsiMessage>,
    pub(super) vcpus: BTreeMap<VcpuId, VcpuRecord>,
    pub(super) scripts: BTreeMap<VcpuId, Vec<Script>>,
    pub(super) renewals: usize,
    pub(super) lines: Vec<LineChange>,
    pub(super) levels: BTreeMap<Gsi, bool>,
    pub(super) messages: Vec<MsiMessage>,
    pub(super) dirty: Option<BTreeMap<u32, Vec<u64>>>,
    pub(super) clock: Vec<ClockChange>,
    /// The restored state of a VM.
    pub(super) restored: Option<VmSaved>,
}

pub(super) struct VcpuRecord {
    pub(super) snapshot: VcpuSnapshot,
    pub(super) transcript: Transcript,
    /// A kick that no run has reported yet.
    pub(super) kick_pending: bool,
    pub(super) script: Script,
}

impl VcpuRecord {
    pub(super) fn new(id: VcpuId, script: Option<Script>) -> Self {
        let mp_state = if id.0 == 0 {
            MpState::Runnable
        } else {
            MpState::Uninitialized
        };
        Self {
            snapshot: VcpuSnapshot {
                registers: Registers {
                    rip: 0xfff0,
                    rflags: 2,
                    ..Registers::default()
                },
                special_registers: super::initial::special_registers(id),
                fpu: FpuState::default(),
                cpuid: Vec::new(),
                msrs: BTreeMap::new(),
                mp_state,
                lapic: [0; 1024],
                guest_debug: GuestDebug::default(),
                tsc_offset: 0,
                xcrs: Vec::new(),
                debug_registers: DebugRegisters::default(),
                events: VcpuEvents::default(),
            },
            transcript: Transcript::default(),
            kick_pending: false,
            script: script.unwrap_or_else(|| Script::new().then(End::WaitForKick)),
        }
    }
}

impl State {
    /// Forgets what a new VM does not have.
    pub(super) fn clear(&mut self) {
        self.vcpus.clear();
        self.lines.clear();
        self.levels.clear();
        self.messages.clear();
        self.routes.clear();
        self.restored = None;
    }

    /// The script that vCPU `id` is to play now.
    pub(super) fn script(&self, id: VcpuId) -> Option<Script> {
        let scripts = self.scripts.get(&id)?;
        scripts.get(self.renewals).or(scripts.last()).cloned()
    }
}

impl Record {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

/// The clocks of a fake VM.
pub(super) struct Clock(pub(super) Arc<Record>);

impl GuestClock for Clock {
    fn stop(&self) -> Result<()> {
        self.0.lock().clock.push(ClockChange::Stopped);
        Ok(())
    }

    fn start(&self) -> Result<()> {
        self.0.lock().clock.push(ClockChange::Started);
        Ok(())
    }

    fn skip(&self) {
        self.0.lock().clock.push(ClockChange::Skipped);
    }

    fn stops_tsc(&self) -> bool {
        false
    }
}

/// The lines of a fake VM.
pub(super) struct Lines(pub(super) Arc<Record>);

impl LineDriver for Lines {
    fn set_level(&self, gsi: Gsi, high: bool) {
        let mut state = self.0.lock();
        if state.levels.insert(gsi, high).unwrap_or(false) != high {
            state.lines.push(LineChange { gsi, high });
        }
    }
}
