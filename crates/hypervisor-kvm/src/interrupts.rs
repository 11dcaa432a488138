//! Interrupts into the guest: lines, irqfds, messages.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kvm_bindings::{KVM_IRQFD_FLAG_DEASSIGN, kvm_irqfd};
use parking_lot::Mutex;
use vmmkit_device_bus::{Gsi, IrqLine, LineDriver};
use vmmkit_hypervisor::{Error, Interrupts, MsiMessage, MsiVector, Result};

use crate::msi::PINS;
use crate::vm::Inner;
use crate::{KvmVm, ioctls};

/// The levels of the lines as the VMM drives them.
#[derive(Default)]
pub(crate) struct Lines {
    /// One bit for each GSI below 64. Held across the ioctl, so that the level KVM heard last is
    /// the level noted last.
    levels: Mutex<u64>,
    // Ordering: a count.
    failures: AtomicU64,
}

impl Lines {
    /// Puts all lines low, as they are where `replace` has put a new VM in place.
    pub(crate) fn renew(&self, replace: impl FnOnce()) {
        let mut levels = self.levels.lock();
        replace();
        *levels = 0;
    }
}

impl KvmVm {
    /// How often KVM refused a line's level, or a message. A device cannot do anything about it;
    /// someone who looks for a lost interrupt wants to know.
    pub fn line_failures(&self) -> u64 {
        self.inner.lines.failures.load(Ordering::Relaxed)
    }
}

impl Inner {
    /// Counts an interrupt that could not be delivered, or set up.
    pub(crate) fn count_failure(&self, result: Result<()>) {
        let _ = self.counted(result);
    }

    /// The same, for who is told too.
    fn counted(&self, result: Result<()>) -> Result<()> {
        if result.is_err() {
            self.lines.failures.fetch_add(1, Ordering::Relaxed);
        }
        result
    }
}

impl LineDriver for Inner {
    fn set_level(&self, gsi: Gsi, high: bool) {
        let mut levels = self.lines.levels.lock();
        if let Some(bit) = 1_u64.checked_shl(gsi.0) {
            if (*levels & bit != 0) == high {
                return;
            }
            *levels ^= bit;
        }
        if self.current().vm.set_irq_line(gsi.0, high).is_err() {
            self.lines.failures.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Interrupts for KvmVm {
    fn irq_line(&self, gsi: Gsi) -> IrqLine {
        IrqLine::new(Arc::<Inner>::clone(&self.inner), gsi)
    }

    fn attach_irqfd(&self, event: BorrowedFd<'_>, gsi: Gsi) -> Result<()> {
        self.irqfd(event, gsi, 0)
    }

    fn detach_irqfd(&self, event: BorrowedFd<'_>, gsi: Gsi) -> Result<()> {
        self.irqfd(event, gsi, KVM_IRQFD_FLAG_DEASSIGN)
    }

    fn route_pin(&self, gsi: Gsi, message: Option<MsiMessage>) -> Result<()> {
        if !self.inner.is_split() || gsi.0 >= PINS {
            return Err(Error::Unsupported("split interrupt controllers"));
        }
        self.inner.counted(self.inner.route(gsi.0, message))
    }

    fn signal_msi(&self, message: MsiMessage) -> Result<()> {
        self.inner.counted(self.inner.signal_msi(message))
    }

    fn msi_vector(&self) -> Result<Arc<dyn MsiVector>> {
        self.inner.msi_vector()
    }
}

impl KvmVm {
    fn irqfd(&self, event: BorrowedFd<'_>, gsi: Gsi, flags: u32) -> Result<()> {
        let request = kvm_irqfd {
            fd: event.as_raw_fd() as u32,
            gsi: gsi.0,
            flags,
            ..Default::default()
        };
        ioctls::irqfd(&self.inner.current().vm, &request)
            .map_err(|error| Error::host("KVM_IRQFD", error))
    }
}
