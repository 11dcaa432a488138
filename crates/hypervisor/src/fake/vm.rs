//! A fake VM: it keeps RAM and notes what is raised.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use vmmkit_device_bus::{Gsi, IrqLine, MessageVector};
use vmmkit_guest_memory::{GuestRam, PAGE_SIZE, Rom};

use super::record::{Clock, Lines, Record, VcpuRecord};
use super::vcpu::FakeVcpu;
use crate::{
    Capabilities, DatamatchWidth, DirtyLog, Error, GuestClock, Interrupts, IoEventAddress,
    IoEvents, Irqchip, MsiMessage, MsiVector, Result, VcpuId, Vm, VmSettings,
};

/// A VM of [`FakeHypervisor`](super::FakeHypervisor).
pub struct FakeVm {
    capabilities: Capabilities,
    record: Arc<Record>,
    /// One driver for all lines, as on a real VM.
    lines: Arc<Lines>,
    events: Mutex<Vec<Event>>,
}

/// An event that is attached to a descriptor.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Event {
    Irq(i32, Gsi),
    Io(i32, IoEventAddress, DatamatchWidth),
}

impl FakeVm {
    pub(super) fn new(capabilities: Capabilities, record: Arc<Record>) -> Self {
        let lines = Arc::new(Lines(Arc::clone(&record)));
        Self {
            capabilities,
            record,
            lines,
            events: Mutex::default(),
        }
    }

    pub(super) fn record(&self) -> &Record {
        &self.record
    }

    pub(super) fn settings(&self) -> VmSettings {
        self.record.lock().settings.unwrap_or_default()
    }

    fn events(&self) -> MutexGuard<'_, Vec<Event>> {
        self.events.lock()
    }

    fn attach(&self, operation: &'static str, event: Event) -> Result<()> {
        let mut events = self.events();
        if events.contains(&event) {
            return Err(Error::host(operation, io::ErrorKind::AlreadyExists));
        }
        events.push(event);
        Ok(())
    }

    fn detach(&self, operation: &'static str, event: Event) -> Result<()> {
        let mut events = self.events();
        let before = events.len();
        events.retain(|known| *known != event);
        if events.len() == before {
            return Err(Error::host(operation, io::ErrorKind::NotFound));
        }
        Ok(())
    }
}

impl Vm for FakeVm {
    type Vcpu = FakeVcpu;

    fn map_ram(&self, ram: &GuestRam) -> Result<()> {
        self.record.lock().rams.push(ram.clone());
        Ok(())
    }

    fn unmap_ram(&self, ram: &GuestRam) -> Result<()> {
        let mut state = self.record.lock();
        let Some(place) = state
            .rams
            .iter()
            .position(|it| it.regions() == ram.regions())
        else {
            let reason = io::ErrorKind::NotFound;
            return Err(Error::host("KVM_SET_USER_MEMORY_REGION", reason));
        };
        state.rams.remove(place);
        Ok(())
    }

    fn map_rom(&self, rom: &Rom) -> Result<()> {
        if !self.capabilities.read_only_memory {
            return Err(Error::Unsupported("read-only memory"));
        }
        self.record.lock().roms.push(rom.clone());
        Ok(())
    }

    fn create_vcpu(&self, id: VcpuId) -> Result<FakeVcpu> {
        const OPERATION: &str = "KVM_CREATE_VCPU";
        if id.0 > self.capabilities.max_apic_id {
            return Err(Error::host(OPERATION, io::ErrorKind::InvalidInput));
        }
        let mut state = self.record.lock();
        if state.vcpus.contains_key(&id) {
            return Err(Error::host(OPERATION, io::ErrorKind::AlreadyExists));
        }
        let script = state.script(id);
        state.vcpus.insert(id, VcpuRecord::new(id, script));
        drop(state);
        Ok(FakeVcpu::new(id, Arc::clone(&self.record)))
    }

    fn renew(&self) -> Result<()> {
        self.events().clear();
        let mut state = self.record.lock();
        state.renewals += 1;
        state.clear();
        Ok(())
    }

    fn clock(&self) -> Arc<dyn GuestClock> {
        Arc::new(Clock(Arc::clone(&self.record)))
    }
}

impl Interrupts for FakeVm {
    fn irq_line(&self, gsi: Gsi) -> IrqLine {
        IrqLine::new(Arc::<Lines>::clone(&self.lines), gsi)
    }

    fn attach_irqfd(&self, event: BorrowedFd<'_>, gsi: Gsi) -> Result<()> {
        if !self.capabilities.irqfd {
            return Err(Error::Unsupported("irqfd"));
        }
        self.attach("KVM_IRQFD", Event::Irq(event.as_raw_fd(), gsi))
    }

    fn detach_irqfd(&self, event: BorrowedFd<'_>, gsi: Gsi) -> Result<()> {
        self.detach("KVM_IRQFD", Event::Irq(event.as_raw_fd(), gsi))
    }

    fn route_pin(&self, gsi: Gsi, message: Option<MsiMessage>) -> Result<()> {
        let mut state = self.record.lock();
        let settings = state.settings;
        if settings.is_none_or(|settings| settings.irqchip != Irqchip::Split) {
            return Err(Error::Unsupported("split interrupt controllers"));
        }
        match message {
            Some(message) => state.routes.insert(gsi, message),
            None => state.routes.remove(&gsi),
        };
        Ok(())
    }

    fn signal_msi(&self, message: MsiMessage) -> Result<()> {
        self.record.lock().messages.push(message);
        Ok(())
    }

    fn msi_vector(&self) -> Result<Arc<dyn MsiVector>> {
        if !self.capabilities.irqchip {
            return Err(Error::Unsupported("interrupt controllers"));
        }
        let record = Arc::clone(&self.record);
        Ok(Arc::new(MessageVector::new(move |message| {
            record.lock().messages.push(message);
        })))
    }
}

impl IoEvents for FakeVm {
    fn attach_ioevent(
        &self,
        event: BorrowedFd<'_>,
        address: IoEventAddress,
        datamatch: DatamatchWidth,
    ) -> Result<()> {
        if !self.capabilities.ioeventfd {
            return Err(Error::Unsupported("ioeventfd"));
        }
        self.attach(
            "KVM_IOEVENTFD",
            Event::Io(event.as_raw_fd(), address, datamatch),
        )
    }

    fn detach_ioevent(
        &self,
        event: BorrowedFd<'_>,
        address: IoEventAddress,
        datamatch: DatamatchWidth,
    ) -> Result<()> {
        self.detach(
            "KVM_IOEVENTFD",
            Event::Io(event.as_raw_fd(), address, datamatch),
        )
    }
}

impl DirtyLog for FakeVm {
    fn log_dirty_pages(&self, on: bool) -> Result<()> {
        let mut state = self.record.lock();
        let regions = state.rams.iter().flat_map(|ram| ram.regions());
        let empty = regions.map(|region| {
            let words = region.size.div_ceil(PAGE_SIZE * 64);
            (region.slot, vec![0; usize::try_from(words).unwrap_or(0)])
        });
        state.dirty = on.then(|| empty.collect());
        Ok(())
    }

    fn take_dirty_pages(&self, slot: u32) -> Result<Vec<u64>> {
        let mut state = self.record.lock();
        let log = state.dirty.as_mut().and_then(|dirty| dirty.get_mut(&slot));
        let log = log.ok_or_else(|| Error::host("KVM_GET_DIRTY_LOG", io::ErrorKind::NotFound))?;
        let empty = vec![0; log.len()];
        Ok(std::mem::replace(log, empty))
    }
}

impl fmt::Debug for FakeVm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeVm").finish_non_exhaustive()
    }
}
