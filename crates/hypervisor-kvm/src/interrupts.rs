//! Interrupts into the guest: lines, irqfds, messages.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;

use kvm_bindings::{KVM_IRQFD_FLAG_DEASSIGN, kvm_irqfd};
use vmmkit_device_bus::{Gsi, IrqLine, LineDriver};
use vmmkit_hypervisor::{Error, Interrupts, MsiMessage, MsiVector, Result};

use crate::inner::Inner;
use crate::routes::PINS;
use crate::{KvmVm, ioctls};

impl KvmVm {
    /// How often KVM refused a line's level, or a message. A device cannot do anything about it;
    /// someone who looks for a lost interrupt wants to know.
    pub fn line_failures(&self) -> u64 {
        self.inner.lines.failures()
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
            self.lines.count_failure();
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
            self.lines.count_failure();
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
