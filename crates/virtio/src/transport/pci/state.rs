//! The saved form of the PCI transport.

use serde::{Deserialize, Serialize};
use vmmkit_device_bus::{SaveState, SavedState, StateError, StateForm, StateReason};
use vmmkit_pci::MsixState;

use super::PciTransport;
use super::common::Selectors;
use crate::spec::pci::{NO_VECTOR, isr};

use crate::transport::state::TransportState;

/// The function, the transport and its device.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PciForm {
    /// The configuration space of PCI.
    config: Vec<u8>,
    msix: MsixState,
    config_vector: u16,
    queue_vectors: Vec<u16>,
    isr: u8,
    device_feature_select: u32,
    driver_feature_select: u32,
    queue_select: u16,
    /// The data of the capability that gives access to the base address (4.1.4.9).
    window_data: [u8; 4],
    pub(super) transport: TransportState,
}

impl StateForm for PciForm {
    const KIND: &'static str = "virtio-pci";
    const VERSION: u32 = 1;
}

impl SaveState for PciTransport {
    fn save_state(&self) -> Result<SavedState, StateError> {
        let selectors = *self.selectors();
        let queues = 0..self.transport.queue_count();
        let interrupts = &self.interrupts;
        SavedState::new(&PciForm {
            config: self.config.lock().save(),
            msix: interrupts.msix.save(),
            config_vector: interrupts.config_vector(),
            queue_vectors: queues
                .map(|queue| interrupts.queue_vector(queue.into()))
                .collect(),
            isr: interrupts.isr(),
            device_feature_select: selectors.device_feature,
            driver_feature_select: selectors.driver_feature,
            queue_select: selectors.queue,
            window_data: *self.window_data.lock(),
            transport: self.transport.save()?,
        })
    }

    /// A device that worked works again when it is resumed: RAM must be restored before this, and the bus
    /// settled after it ([`PciBus::settle_all`](vmmkit_pci::PciBus::settle_all)).
    fn restore_state(&self, saved: &SavedState) -> Result<(), StateError> {
        let name = self.transport.name();
        let form: PciForm = saved.read().map_err(|error| error.of(name))?;
        self.check(&form).map_err(|error| error.of(name))?;
        // First: from here on the device is at rest, whatever the command register says.
        self.transport.restore(&form.transport)?;
        let interrupts = &self.interrupts;
        interrupts.msix.restore(name, &form.msix)?;
        interrupts.set_config_vector(form.config_vector);
        for (queue, vector) in (0..).zip(&form.queue_vectors) {
            interrupts.set_queue_vector(queue, *vector);
        }
        interrupts.restore_isr(form.isr);
        let mut config = self.config.lock();
        config.restore(name, &form.config)?;
        self.settle_master(&config);
        drop(config);
        *self.selectors() = Selectors {
            device_feature: form.device_feature_select,
            driver_feature: form.driver_feature_select,
            queue: form.queue_select,
        };
        *self.window_data.lock() = form.window_data;
        self.doorbells.settle(&self.transport);
        Ok(())
    }
}

impl PciTransport {
    /// Checks all of it but what every transport has in common.
    fn check(&self, form: &PciForm) -> Result<(), StateError> {
        let count = self.interrupts.msix.count();
        form.msix
            .check("", count)
            .map_err(|error| error.within("msix"))?;
        self.config
            .lock()
            .check("", &form.config)
            .map_err(|error| error.within("config"))?;
        StateError::check_bits("", "isr", form.isr, isr::QUEUE | isr::CONFIG)?;
        let (found, here) = (form.queue_vectors.len(), self.transport.queue_count());
        if found != usize::from(here) {
            let here = format!("{here} queues").into();
            let reason = StateReason::Differs { here };
            return Err(StateError::field("", "queue_vectors.length", found, reason));
        }
        let vectors = form.queue_vectors.iter().chain([&form.config_vector]);
        match vectors
            .copied()
            .find(|vector| *vector != NO_VECTOR && *vector >= count)
        {
            None => Ok(()),
            Some(vector) => {
                let max = u64::from(count).saturating_sub(1);
                let reason = StateReason::OutOfRange { min: 0, max };
                Err(StateError::field("", "queue_vectors", vector, reason))
            }
        }
    }
}
