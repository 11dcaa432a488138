//! A hypervisor round another one, which counts exits and samples RIP.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use vmmkit_device_bus::{Gsi, IrqLine};
use vmmkit_guest_memory::{GuestRam, Rom};
use vmmkit_hypervisor::x86::{
    ClockControl, CpuidEntry, FpuState, MpState, Msr, Registers, SpecialRegisters, VcpuState,
};
use vmmkit_hypervisor::{
    Capabilities, DatamatchWidth, DirtyLog, GuestClock, Hypervisor, Interrupts, IoEventAddress,
    IoEvents, Kick, MsiMessage, MsiVector, Result, SaveVcpu, SaveVm, Vcpu, VcpuExit, VcpuId, Vm,
    VmSettings,
};

/// How often RIP is looked at.
const SAMPLE: Duration = Duration::from_millis(2);

/// State of the first vCPU as observed.
#[derive(Default)]
pub(crate) struct Seen {
    exits: BTreeMap<String, u64>,
    samples: Vec<u64>,
}

impl Seen {
    /// The exits, most frequent first.
    pub(crate) fn exits(&self) -> Vec<(&str, u64)> {
        let mut exits: Vec<_> = self.exits.iter().map(|(e, &c)| (e.as_str(), c)).collect();
        exits.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
        exits
    }

    /// The values of RIP.
    pub(crate) fn samples(&self) -> &[u64] {
        &self.samples
    }
}

/// The hypervisor.
pub(crate) struct Watched<T> {
    inner: T,
    seen: Arc<Mutex<Seen>>,
}

impl<T> Watched<T> {
    /// Watches what `inner` makes.
    pub(crate) fn new(inner: T) -> Self {
        Self {
            inner,
            seen: Arc::default(),
        }
    }

    /// The hypervisor within.
    pub(crate) fn inner(&self) -> &T {
        &self.inner
    }

    /// The observations so far.
    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        lock(&self.seen)
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<H: Hypervisor> Hypervisor for Watched<H> {
    type Vm = Watched<H::Vm>;

    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    fn create_vm(&self, settings: &VmSettings) -> Result<Self::Vm> {
        let inner = self.inner.create_vm(settings)?;
        let seen = self.seen.clone();
        Ok(Watched { inner, seen })
    }

    fn supported_cpuid(&self) -> Result<Vec<CpuidEntry>> {
        self.inner.supported_cpuid()
    }

    fn feature_msrs(&self) -> Result<Vec<Msr>> {
        self.inner.feature_msrs()
    }
}

/// Boots are not saved.
impl<V> SaveVm for Watched<V> {}
impl<V> SaveVcpu for Watched<V> {}

impl<V: Vm> Vm for Watched<V> {
    type Vcpu = Watched<V::Vcpu>;

    fn map_ram(&self, ram: &GuestRam) -> Result<()> {
        self.inner.map_ram(ram)
    }

    fn unmap_ram(&self, ram: &GuestRam) -> Result<()> {
        self.inner.unmap_ram(ram)
    }

    fn map_rom(&self, rom: &Rom) -> Result<()> {
        self.inner.map_rom(rom)
    }

    fn create_vcpu(&self, id: VcpuId) -> Result<Self::Vcpu> {
        let inner = self.inner.create_vcpu(id)?;
        let seen = self.seen.clone();
        if id == VcpuId(0) {
            sample(&inner.kicker(), &seen);
        }
        Ok(Watched { inner, seen })
    }

    fn renew(&self) -> Result<()> {
        self.inner.renew()
    }

    fn clock(&self) -> Arc<dyn GuestClock> {
        self.inner.clock()
    }
}

/// Kicks the vCPU for each sample, until nobody looks any more.
fn sample(kicker: &Arc<dyn Kick>, seen: &Arc<Mutex<Seen>>) {
    let kicker: Weak<dyn Kick> = Arc::downgrade(kicker);
    let seen = Arc::downgrade(seen);
    thread::spawn(move || {
        while let (Some(kicker), Some(_)) = (kicker.upgrade(), seen.upgrade()) {
            kicker.kick();
            drop(kicker);
            thread::sleep(SAMPLE);
        }
    });
}

impl<V: Vcpu + VcpuState> Vcpu for Watched<V> {
    fn id(&self) -> VcpuId {
        self.inner.id()
    }

    fn run(&mut self) -> Result<VcpuExit> {
        let exit = self.inner.run()?;
        if self.inner.id() != VcpuId(0) {
            return Ok(exit);
        }
        let name = match &exit {
            VcpuExit::Interrupted => {
                let rip = self.inner.registers()?.rip;
                self.seen().samples.push(rip);
                return Ok(exit);
            }
            VcpuExit::PortRead(access) => format!("reads of port {:#x}", access.port),
            VcpuExit::PortWrite(access) => format!("writes of port {:#x}", access.port),
            VcpuExit::MmioRead(access) => format!("reads of {:#x}", access.address & !0xfff),
            VcpuExit::MmioWrite(access) => format!("writes of {:#x}", access.address & !0xfff),
            other => other.name().to_owned(),
        };
        *self.seen().exits.entry(name).or_default() += 1;
        Ok(exit)
    }

    fn data(&mut self) -> &mut [u8] {
        self.inner.data()
    }

    fn complete_access(&mut self) -> Result<()> {
        self.inner.complete_access()
    }

    fn kicker(&self) -> Arc<dyn Kick> {
        self.inner.kicker()
    }
}

/// Methods that only hand on.
macro_rules! hand_on {
    ($($name:ident($self:ident: $kind:ty $(, $argument:ident: $type:ty)*) -> $result:ty;)*) => {
        $(fn $name($self: $kind $(, $argument: $type)*) -> $result {
            $self.inner.$name($($argument),*)
        })*
    };
}

impl<V: VcpuState> VcpuState for Watched<V> {
    hand_on! {
        registers(self: &mut Self) -> Result<Registers>;
        set_registers(self: &mut Self, registers: &Registers) -> Result<()>;
        special_registers(self: &mut Self) -> Result<SpecialRegisters>;
        set_special_registers(self: &mut Self, registers: &SpecialRegisters) -> Result<()>;
        fpu(self: &mut Self) -> Result<FpuState>;
        set_fpu(self: &mut Self, fpu: &FpuState) -> Result<()>;
        set_cpuid(self: &mut Self, entries: &[CpuidEntry]) -> Result<()>;
        msrs(self: &mut Self, indices: &[u32]) -> Result<Vec<Msr>>;
        set_msrs(self: &mut Self, msrs: &[Msr]) -> Result<()>;
        mp_state(self: &mut Self) -> Result<MpState>;
        set_mp_state(self: &mut Self, state: MpState) -> Result<()>;
        lapic(self: &mut Self) -> Result<[u8; 1024]>;
        set_lapic(self: &mut Self, page: &[u8; 1024]) -> Result<()>;
        translate(self: &mut Self, linear: u64) -> Result<Option<u64>>;
        tsc_khz(self: &mut Self) -> Result<u32>;
    }
}

impl<V: ClockControl> ClockControl for Watched<V> {
    hand_on! {
        mark_paused(self: &mut Self) -> Result<()>;
    }
}

impl<V: Interrupts> Interrupts for Watched<V> {
    hand_on! {
        irq_line(self: &Self, gsi: Gsi) -> IrqLine;
        attach_irqfd(self: &Self, event: BorrowedFd<'_>, gsi: Gsi) -> Result<()>;
        detach_irqfd(self: &Self, event: BorrowedFd<'_>, gsi: Gsi) -> Result<()>;
        route_pin(self: &Self, gsi: Gsi, message: Option<MsiMessage>) -> Result<()>;
        signal_msi(self: &Self, message: MsiMessage) -> Result<()>;
        msi_vector(self: &Self) -> Result<Arc<dyn MsiVector>>;
    }
}

impl<V: IoEvents> IoEvents for Watched<V> {
    hand_on! {
        attach_ioevent(self: &Self, event: BorrowedFd<'_>, address: IoEventAddress, datamatch: DatamatchWidth) -> Result<()>;
        detach_ioevent(self: &Self, event: BorrowedFd<'_>, address: IoEventAddress, datamatch: DatamatchWidth) -> Result<()>;
    }
}

impl<V: DirtyLog> DirtyLog for Watched<V> {
    hand_on! {
        log_dirty_pages(self: &Self, on: bool) -> Result<()>;
        take_dirty_pages(self: &Self, slot: u32) -> Result<Vec<u64>>;
    }
}
