//! Message-signalled interrupts by irqfd: a GSI each above the pins, with a route of its own.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use kvm_bindings::{
    KVM_IRQ_ROUTING_IRQCHIP, KVM_IRQ_ROUTING_MSI, KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER,
    KVM_IRQCHIP_PIC_SLAVE, KVM_IRQFD_FLAG_DEASSIGN, KvmIrqRouting, kvm_irq_routing_entry,
    kvm_irq_routing_entry__bindgen_ty_1 as Target, kvm_irq_routing_irqchip, kvm_irq_routing_msi,
    kvm_irqfd, kvm_msi,
};
use kvm_ioctls::Cap;
use parking_lot::{Mutex, MutexGuard};
use vmmkit_device_bus::{MessageVector, MsiMessage, MsiVector};
use vmmkit_host_io::EventFd;
use vmmkit_hypervisor::{Error, Result};

use crate::inner::Inner;
use crate::ioctls;
use crate::routes::{PIC_PINS, PINS};

impl Inner {
    /// `KVM_SIGNAL_MSI`.
    pub(crate) fn signal_msi(&self, message: MsiMessage) -> Result<()> {
        let msi = kvm_msi {
            address_lo: message.address as u32,
            address_hi: (message.address >> 32) as u32,
            data: message.data,
            ..Default::default()
        };
        // 0 says that the guest has the interrupt masked, which is not a failure.
        let answer = self.current().vm.signal_msi(msi);
        answer
            .map(|_| ())
            .map_err(|error| Error::host("KVM_SIGNAL_MSI", error))
    }

    /// A vector by irqfd, or by a call for each message where KVM has no irqfd or no routes.
    pub(crate) fn msi_vector(self: &Arc<Self>) -> Result<Arc<dyn MsiVector>> {
        if !self.has_irqchip() {
            return Err(Error::Unsupported("interrupt controllers"));
        }
        let inner = Arc::clone(self);
        let descriptor = self.current();
        let has = |extension| descriptor.vm.check_extension(extension);
        if !has(Cap::Irqfd) || !has(Cap::IrqRouting) {
            return Ok(Arc::new(MessageVector::new(move |message| {
                inner.count_failure(inner.signal_msi(message));
            })));
        }
        let event = EventFd::new().map_err(|error| Error::host("eventfd", error))?;
        let gsi = self
            .routes
            .take()
            .ok_or_else(|| Error::host("KVM_SET_GSI_ROUTING", io::ErrorKind::StorageFull))?;
        Ok(Arc::new(IrqfdVector {
            inner,
            gsi,
            event,
            message: Mutex::default(),
        }))
    }

    /// Lets `gsi` lead to `message`, or nowhere. A pin of the I/O APIC can only where that is split.
    pub(crate) fn route(&self, gsi: u32, message: Option<MsiMessage>) -> Result<()> {
        self.routes.set(gsi, message, |routed| {
            let routed = routed.map(|(gsi, message)| message_route(gsi, message));
            let pins = (!self.is_split()).then(pin_routes).into_iter().flatten();
            let table: Vec<_> = pins.chain(routed).collect();
            let failed = |error| Error::host("KVM_SET_GSI_ROUTING", error);
            let table = KvmIrqRouting::from_entries(&table)
                .map_err(|_| failed(io::Error::from(io::ErrorKind::StorageFull)))?;
            self.current()
                .vm
                .set_gsi_routing(&table)
                .map_err(|error| failed(error.into()))
        })
    }
}

/// The routes that KVM itself sets up with its interrupt controllers (its `default_routing`).
fn pin_routes() -> impl Iterator<Item = kvm_irq_routing_entry> {
    let to = |gsi, irqchip, pin| kvm_irq_routing_entry {
        gsi,
        type_: KVM_IRQ_ROUTING_IRQCHIP,
        u: Target {
            irqchip: kvm_irq_routing_irqchip { irqchip, pin },
        },
        ..Default::default()
    };
    let ioapic = (0..PINS).map(move |gsi| to(gsi, KVM_IRQCHIP_IOAPIC, gsi));
    let pic = (0..PIC_PINS).map(move |gsi| {
        let chip = if gsi < 8 {
            KVM_IRQCHIP_PIC_MASTER
        } else {
            KVM_IRQCHIP_PIC_SLAVE
        };
        to(gsi, chip, gsi % 8)
    });
    ioapic.chain(pic)
}

fn message_route(gsi: u32, message: MsiMessage) -> kvm_irq_routing_entry {
    kvm_irq_routing_entry {
        gsi,
        type_: KVM_IRQ_ROUTING_MSI,
        u: Target {
            msi: kvm_irq_routing_msi {
                address_lo: message.address as u32,
                address_hi: (message.address >> 32) as u32,
                data: message.data,
                ..Default::default()
            },
        },
        ..Default::default()
    }
}

/// A vector whose eventfd is attached to its GSI while it is connected. A signal is a write to the
/// eventfd, whatever the state: without an irqfd it stays there, which is to be pending, and KVM
/// delivers what it finds in an eventfd that is attached.
struct IrqfdVector {
    inner: Arc<Inner>,
    gsi: u32,
    event: EventFd,
    /// The message it is connected to. Held across the ioctls, and before the lock of the routes.
    message: Mutex<Option<MsiMessage>>,
}

impl IrqfdVector {
    fn message(&self) -> MutexGuard<'_, Option<MsiMessage>> {
        self.message.lock()
    }

    fn irqfd(&self, flags: u32) -> Result<()> {
        let request = kvm_irqfd {
            fd: self.event.as_fd().as_raw_fd() as u32,
            gsi: self.gsi,
            flags,
            ..Default::default()
        };
        ioctls::irqfd(&self.inner.current().vm, &request)
            .map_err(|error| Error::host("KVM_IRQFD", error))
    }
}

impl MsiVector for IrqfdVector {
    fn connect(&self, message: Option<MsiMessage>) {
        let mut current = self.message();
        if *current == message {
            return;
        }
        let was_attached = current.is_some();
        let result = match message {
            // The route first: attaching delivers what is pending.
            Some(_) => self.inner.route(self.gsi, message).and_then(|()| {
                if was_attached {
                    return Ok(());
                }
                self.irqfd(0)
            }),
            None => self.irqfd(KVM_IRQFD_FLAG_DEASSIGN),
        };
        // What KVM refused does not count: the vector leads where it led before.
        if result.is_ok() || message.is_none() {
            *current = message;
        }
        self.inner.count_failure(result);
    }

    fn signal(&self) {
        self.event.notify();
    }

    fn is_pending(&self) -> bool {
        self.message().is_none() && self.event.is_raised()
    }

    fn clear(&self) {
        if self.message().is_none() {
            self.event.drain();
        }
    }
}

impl Drop for IrqfdVector {
    fn drop(&mut self) {
        self.connect(None);
        self.inner.routes.messages().remove(&self.gsi);
    }
}

impl fmt::Debug for IrqfdVector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IrqfdVector")
            .field("gsi", &self.gsi)
            .field("message", &self.message)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use vmmkit_hypervisor::{Hypervisor, Interrupts, Irqchip, VmSettings};

    use super::*;
    use crate::Kvm;

    #[test]
    fn a_vector_has_a_gsi_until_it_is_dropped() {
        let vm = match Kvm::open() {
            Ok(kvm) => kvm.create_vm(&VmSettings::default()).unwrap(),
            Err(reason) => return eprintln!("SKIPPED: message vectors: {reason}"),
        };
        let vectors = [vm.msi_vector().unwrap(), vm.msi_vector().unwrap()];
        let routes = &vm.inner.routes;
        if routes.messages().is_empty() {
            return eprintln!("SKIPPED: message vectors: this KVM has no irqfd or no routes");
        }
        let message = MsiMessage {
            address: 0xfee0_0000,
            data: 0x40,
        };
        vectors[1].connect(Some(message));
        let noted: Vec<_> = routes.messages().clone().into_iter().collect();
        assert_eq!(noted, [(24, None), (25, Some(message))]);
        drop(vectors);
        assert!(routes.messages().is_empty());
        assert_eq!(vm.line_failures(), 0);
    }

    #[test]
    fn without_interrupt_controllers_there_is_no_vector() {
        let settings = VmSettings::new(Irqchip::None);
        let vm = match Kvm::open() {
            Ok(kvm) => kvm.create_vm(&settings).unwrap(),
            Err(reason) => return eprintln!("SKIPPED: message vectors: {reason}"),
        };
        assert!(matches!(vm.msi_vector(), Err(Error::Unsupported(_))));
    }
}
