//! Interrupts: a vector for each queue and one for the configuration (4.1.5.1.2, 4.1.4.5).

use std::sync::atomic::{AtomicU8, AtomicU16, Ordering};

use vmmkit_pci::Msix;

use crate::Interrupts;
use crate::spec::pci::{NO_VECTOR, isr};

/// Which vector is for what, and the ISR status.
pub(super) struct PciInterrupts {
    pub(super) msix: Msix,
    // Ordering: each is a register of its own, and a vector goes with nothing else.
    config: AtomicU16,
    queues: Vec<AtomicU16>,
    isr: AtomicU8,
}

impl PciInterrupts {
    pub(super) fn new(msix: Msix, queues: u16) -> Self {
        let queues = (0..queues).map(|_| AtomicU16::new(NO_VECTOR));
        Self {
            msix,
            config: AtomicU16::new(NO_VECTOR),
            queues: queues.collect(),
            isr: AtomicU8::new(0),
        }
    }

    /// The vector of configuration changes.
    pub(super) fn config_vector(&self) -> u16 {
        self.config.load(Ordering::Relaxed)
    }

    /// The vector of queue `index`.
    pub(super) fn queue_vector(&self, index: u32) -> u16 {
        self.vector_of(index)
            .map_or(NO_VECTOR, |vector| vector.load(Ordering::Relaxed))
    }

    /// The driver maps configuration changes to `vector`; to none where there is no such vector.
    pub(super) fn set_config_vector(&self, vector: u16) {
        self.config.store(self.checked(vector), Ordering::Relaxed);
    }

    /// The driver maps queue `index` to `vector`; to none where there is no such vector.
    pub(super) fn set_queue_vector(&self, index: u32, vector: u16) {
        if let Some(place) = self.vector_of(index) {
            place.store(self.checked(vector), Ordering::Relaxed);
        }
    }

    /// Reads the ISR status, which clears it.
    pub(super) fn take_isr(&self) -> u8 {
        self.isr.swap(0, Ordering::SeqCst)
    }

    /// The ISR status.
    pub(super) fn isr(&self) -> u8 {
        self.isr.load(Ordering::SeqCst)
    }

    pub(super) fn restore_isr(&self, value: u8) {
        self.isr
            .store(value & (isr::QUEUE | isr::CONFIG), Ordering::SeqCst);
    }

    /// As after a reset of the device. The vectors' messages and masks stay: they are PCI's.
    pub(super) fn forget(&self) {
        self.isr.store(0, Ordering::SeqCst);
        self.config.store(NO_VECTOR, Ordering::Relaxed);
        for vector in &self.queues {
            vector.store(NO_VECTOR, Ordering::Relaxed);
        }
    }

    fn vector_of(&self, index: u32) -> Option<&AtomicU16> {
        self.queues.get(usize::try_from(index).ok()?)
    }

    fn checked(&self, vector: u16) -> u16 {
        if vector < self.msix.count() {
            vector
        } else {
            NO_VECTOR
        }
    }
}

impl Interrupts for PciInterrupts {
    fn queue(&self, index: u16) {
        if !self.msix.is_enabled() {
            // There is no interrupt pin; the driver may poll this (4.1.4.5.1).
            self.isr.fetch_or(isr::QUEUE, Ordering::SeqCst);
            return;
        }
        if let Some(vector) = self.queues.get(usize::from(index)) {
            self.msix.signal(vector.load(Ordering::Relaxed));
        }
    }

    fn configuration(&self) {
        // Before the interrupt, also with MSI-X (4.1.4.5.1).
        self.isr.fetch_or(isr::CONFIG, Ordering::SeqCst);
        self.msix.signal(self.config_vector());
    }
}
