//! The saved form of a transport and its device.

use serde::{Deserialize, Serialize};

use super::{QueueSetup, Transport};
use crate::spec::status;
use crate::{QueueState, RingError};

/// A transport and its device at rest: version 1 of the saved form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransportState {
    /// The version of the form: 1.
    pub version: u32,
    /// The device ID.
    pub kind: u32,
    /// The device status.
    pub status: u8,
    /// The features that the driver took.
    pub driver_features: u64,
    /// The generation of the configuration.
    pub generation: u32,
    /// Each queue: whether it is enabled, and where it is.
    pub queues: Vec<(bool, QueueState)>,
    /// What the device itself saved.
    pub device: String,
}

/// The version that is written.
const VERSION: u32 = 1;

impl Transport {
    /// Saves it. Call it at rest.
    pub fn save(&self) -> TransportState {
        let mut inner = self.lock();
        let states = inner
            .active
            .as_mut()
            .map_or_else(Vec::new, |active| active.queue_states());
        let queues = (0_u16..).zip(&inner.queues).map(|(index, setup)| {
            let now = states.iter().find(|(number, _)| *number == index);
            (
                setup.is_enabled,
                now.map_or(setup.state, |(_, state)| *state),
            )
        });
        TransportState {
            version: VERSION,
            kind: self.kind().id(),
            status: inner.status,
            driver_features: inner.driver_features,
            generation: self.config_generation(),
            queues: queues.collect(),
            device: self.device.save(),
        }
    }

    /// Puts back what was saved of such a device. The device works then, if it did, as after a
    /// resume.
    ///
    /// # Errors
    /// A sentence on what does not fit; the transport must not be used then.
    pub fn restore(&self, saved: &TransportState) -> Result<(), String> {
        let name = self.name();
        if saved.version != VERSION {
            return Err(format!(
                "{name}: a state of version {}, not {VERSION}",
                saved.version
            ));
        }
        if saved.kind != self.kind().id() {
            return Err(format!("{name}: a state of device ID {}", saved.kind));
        }
        let mut inner = self.lock();
        if saved.queues.len() != inner.queues.len() {
            return Err(format!("{name}: a state of {} queues", saved.queues.len()));
        }
        if saved.status & status::FEATURES_OK != 0 && !self.accepts(saved.driver_features) {
            return Err(format!(
                "{name}: features {:#x}, of which {:#x} are not here",
                saved.driver_features,
                saved.driver_features & !self.offered_features()
            ));
        }
        for (setup, (is_enabled, state)) in inner.queues.iter_mut().zip(&saved.queues) {
            let too_large = RingError::Size {
                size: state.layout.size,
                most: setup.most,
            };
            if state.layout.size > setup.most {
                return Err(format!("{name}: {too_large}"));
            }
            *setup = QueueSetup {
                most: setup.most,
                state: *state,
                is_enabled: *is_enabled,
            };
        }
        inner.active = None;
        self.device.restore(&saved.device)?;
        inner.status = saved.status;
        inner.driver_features = saved.driver_features;
        *self.generation() = saved.generation;
        if saved.status & status::DRIVER_OK != 0 && !inner.is_held {
            self.activate(&mut inner);
        }
        match self.fault.reason() {
            Some(reason) => Err(format!("{name}: {reason}")),
            None => Ok(()),
        }
    }
}
