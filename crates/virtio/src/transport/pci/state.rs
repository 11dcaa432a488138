//! The saved form of the PCI transport.

use serde::{Deserialize, Serialize};
use vmmkit_pci::MsixState;

use super::PciTransport;
use super::common::Selectors;
use crate::TransportState;
use crate::transport::lock;

/// A PCI transport and its device at rest: version 1 of the saved form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PciTransportState {
    /// The version of the form: 1.
    pub version: u32,
    /// What it has in common with every transport.
    pub transport: TransportState,
    /// The configuration space of PCI.
    pub config: Vec<u8>,
    /// The vectors.
    pub msix: MsixState,
    /// The vector of configuration changes.
    pub config_vector: u16,
    /// The vector of each queue.
    pub queue_vectors: Vec<u16>,
    /// The ISR status.
    pub isr: u8,
    /// The selectors of features: of the device, of the driver.
    pub feature_selects: (u32, u32),
    /// The selector of queues.
    pub queue_select: u16,
}

/// The version that is written.
const VERSION: u32 = 1;

impl PciTransport {
    /// Saves it. Call it at rest.
    pub fn save(&self) -> PciTransportState {
        let selectors = *self.selectors();
        let queues = 0..self.transport.queue_count();
        let interrupts = &self.interrupts;
        PciTransportState {
            version: VERSION,
            transport: self.transport.save(),
            config: lock(&self.config).save(),
            msix: interrupts.msix.save(),
            config_vector: interrupts.config_vector(),
            queue_vectors: queues
                .map(|queue| interrupts.queue_vector(queue.into()))
                .collect(),
            isr: interrupts.isr(),
            feature_selects: (selectors.device_feature, selectors.driver_feature),
            queue_select: selectors.queue,
        }
    }

    /// Puts back what was saved of such a device. The device works then, if it did, as after a
    /// resume; the bus must be settled ([`PciBus::settle_all`](vmmkit_pci::PciBus::settle_all)).
    ///
    /// # Errors
    /// A sentence on what does not fit; the transport must not be used then.
    pub fn restore(&self, saved: &PciTransportState) -> Result<(), String> {
        let name = self.transport.name();
        if saved.version != VERSION {
            let version = saved.version;
            return Err(format!("{name}: a PCI state of version {version}, not 1"));
        }
        let interrupts = &self.interrupts;
        interrupts
            .msix
            .restore(&saved.msix)
            .map_err(|error| format!("{name}: {error}"))?;
        interrupts.set_config_vector(saved.config_vector);
        for (queue, vector) in (0..).zip(&saved.queue_vectors) {
            interrupts.set_queue_vector(queue, *vector);
        }
        interrupts.restore_isr(saved.isr);
        let mut config = lock(&self.config);
        config.restore(&saved.config);
        self.settle_master(&config);
        drop(config);
        *self.selectors() = Selectors {
            device_feature: saved.feature_selects.0,
            driver_feature: saved.feature_selects.1,
            queue: saved.queue_select,
        };
        // Last: the device may interrupt at once.
        self.transport.restore(&saved.transport)?;
        self.doorbells.settle(&self.transport);
        Ok(())
    }
}
