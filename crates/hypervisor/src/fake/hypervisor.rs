//! The fake itself: scripts in, records out.

use std::fmt;
use std::sync::Arc;

use vmmkit_device_bus::Gsi;
use vmmkit_guest_memory::Rom;

use super::record::{ClockChange, LineChange, Record, Transcript, VcpuSnapshot};
use super::script::Script;
use super::vm::FakeVm;
use crate::x86::CpuidEntry;
use crate::{
    Capabilities, CmdlineAddition, CmdlineConflict, Error, Hypervisor, Irqchip, MsiMessage, Result,
    VcpuId, VmSettings,
};

/// A hypervisor that plays scripts. Clones share everything, so that a test keeps one and gives
/// the other away. It makes one VM at a time: a new one starts the records anew.
#[derive(Clone)]
pub struct FakeHypervisor {
    capabilities: Capabilities,
    cpuid: Vec<CpuidEntry>,
    cmdline: Vec<CmdlineAddition>,
    record: Arc<Record>,
}

impl FakeHypervisor {
    /// One that can do everything, for up to 64 vCPUs, whose CPU is a plain x86-64 one.
    pub fn new() -> Self {
        Self {
            capabilities: Capabilities::complete(64),
            cpuid: super::state::plain_cpuid(),
            cmdline: Vec::new(),
            record: Arc::default(),
        }
    }

    /// With other capabilities.
    pub fn with_capabilities(mut self, capabilities: Capabilities) -> Self {
        self.capabilities = capabilities;
        self
    }

    /// With other supported CPUID leaves.
    pub fn with_cpuid(mut self, entries: Vec<CpuidEntry>) -> Self {
        self.cpuid = entries;
        self
    }

    /// It asks for `addition` to every command line.
    pub fn with_cmdline_addition(mut self, addition: CmdlineAddition) -> Self {
        self.cmdline.push(addition);
        self
    }

    /// The vCPU `id` of every VM plays `script`.
    pub fn with_script(self, id: VcpuId, script: Script) -> Self {
        self.with_scripts(id, vec![script])
    }

    /// The vCPU `id` of every VM plays the first of `scripts`, after the VM's first
    /// [renewal](crate::Vm::renew) the second, and so on; the last one stays.
    pub fn with_scripts(self, id: VcpuId, scripts: Vec<Script>) -> Self {
        self.record.lock().scripts.insert(id, scripts);
        self
    }

    /// How often the VM was [renewed](crate::Vm::renew).
    pub fn renewals(&self) -> usize {
        self.record.lock().renewals
    }

    /// The transcript of vCPU `id`; empty where there is none.
    pub fn transcript(&self, id: VcpuId) -> Transcript {
        let state = self.record.lock();
        state
            .vcpus
            .get(&id)
            .map(|vcpu| vcpu.transcript.clone())
            .unwrap_or_default()
    }

    /// The state of the vCPU `id`, if there is one.
    pub fn snapshot(&self, id: VcpuId) -> Option<VcpuSnapshot> {
        self.record
            .lock()
            .vcpus
            .get(&id)
            .map(|vcpu| vcpu.snapshot.clone())
    }

    /// The changes of all interrupt lines, in order.
    pub fn line_changes(&self) -> Vec<LineChange> {
        self.record.lock().lines.clone()
    }

    /// The level of the line `gsi` now.
    pub fn line_level(&self, gsi: Gsi) -> bool {
        self.record
            .lock()
            .levels
            .get(&gsi)
            .copied()
            .unwrap_or(false)
    }

    /// The messages signalled, in order.
    pub fn messages(&self) -> Vec<MsiMessage> {
        self.record.lock().messages.clone()
    }

    /// Where the pins of a split I/O APIC lead, lowest first.
    pub fn routes(&self) -> Vec<(Gsi, MsiMessage)> {
        let state = self.record.lock();
        state.routes.iter().map(|(gsi, it)| (*gsi, *it)).collect()
    }

    /// The ROMs that the guest has.
    pub fn roms(&self) -> Vec<Rom> {
        self.record.lock().roms.clone()
    }

    /// The changes of the VM's clocks, in order.
    pub fn clock_changes(&self) -> Vec<ClockChange> {
        self.record.lock().clock.clone()
    }

    /// The settings of the VM, once one was made.
    pub fn settings(&self) -> Option<VmSettings> {
        self.record.lock().settings
    }

    /// Makes as if the guest wrote page `page` of `slot`; without effect where no log runs.
    pub fn mark_dirty(&self, slot: u32, page: u64) {
        let mut state = self.record.lock();
        let log = state.dirty.as_mut().and_then(|dirty| dirty.get_mut(&slot));
        let index = usize::try_from(page / 64).unwrap_or(usize::MAX);
        if let Some(word) = log.and_then(|log| log.get_mut(index)) {
            *word |= 1 << (page % 64);
        }
    }
}

impl Default for FakeHypervisor {
    fn default() -> Self {
        Self::new()
    }
}

impl Hypervisor for FakeHypervisor {
    type Vm = FakeVm;

    fn name(&self) -> &'static str {
        "fake"
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn create_vm(&self, settings: &VmSettings) -> Result<FakeVm> {
        match settings.irqchip {
            Irqchip::InKernel { .. } if !self.capabilities.irqchip => {
                return Err(Error::Unsupported("interrupt controllers"));
            }
            Irqchip::Split if !self.capabilities.split_irqchip => {
                return Err(Error::Unsupported("split interrupt controllers"));
            }
            Irqchip::InKernel { pit: true } if !self.capabilities.pit => {
                return Err(Error::Unsupported("8254 PIT"));
            }
            _ => {}
        }
        let mut state = self.record.lock();
        state.settings = Some(*settings);
        state.renewals = 0;
        state.rams.clear();
        state.renewals = 0;
        state.rams.clear();
        state.roms.clear();
        state.clear();
        state.dirty = None;
        state.clock.clear();
        drop(state);
        Ok(FakeVm::new(
            self.capabilities.clone(),
            Arc::clone(&self.record),
        ))
    }

    fn supported_cpuid(&self) -> Result<Vec<CpuidEntry>> {
        Ok(self.cpuid.clone())
    }

    fn cmdline_additions(
        &self,
        _parameters: &[String],
    ) -> std::result::Result<Vec<CmdlineAddition>, CmdlineConflict> {
        Ok(self.cmdline.clone())
    }
}

impl fmt::Debug for FakeHypervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeHypervisor").finish_non_exhaustive()
    }
}
