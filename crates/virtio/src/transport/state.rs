//! The saved form of what every transport has in common, and of its device.

use serde::{Deserialize, Serialize};
use vmmkit_device_bus::{SavedState, StateError, StateReason};

use super::{QueueSetup, Transport};
use crate::queue::Ring;
use crate::spec::status;
use crate::{QueueLayout, QueueState};

/// The saved form of the common part of every transport, at rest: the larger part of the transports' forms.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TransportState {
    device_id: u32,
    /// The device status without DEVICE_NEEDS_RESET.
    status: u8,
    needs_reset: bool,
    driver_features: u64,
    config_generation: u32,
    pub(super) queues: Vec<SavedQueue>,
    device: Option<SavedState>,
}

/// A queue as the driver has set it up, and how far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SavedQueue {
    is_enabled: bool,
    size: u16,
    descriptors: u64,
    driver_area: u64,
    device_area: u64,
    pub(super) next_available: u16,
    next_used: u16,
}

impl SavedQueue {
    fn new(is_enabled: bool, state: QueueState) -> Self {
        Self {
            is_enabled,
            size: state.layout.size,
            descriptors: state.layout.descriptors,
            driver_area: state.layout.available,
            device_area: state.layout.used,
            next_available: state.next_available,
            next_used: state.next_used,
        }
    }

    fn state(&self) -> QueueState {
        QueueState {
            layout: QueueLayout {
                size: self.size,
                descriptors: self.descriptors,
                available: self.driver_area,
                used: self.device_area,
            },
            next_available: self.next_available,
            next_used: self.next_used,
        }
    }
}

impl Transport {
    /// Its saved form, at rest.
    pub(super) fn save(&self) -> Result<TransportState, StateError> {
        let device = self.device.state().map(|device| device.save_state());
        let device = device.transpose().map_err(|error| error.of(&self.name))?;
        let mut inner = self.lock();
        let states = inner
            .active
            .as_mut()
            .map_or_else(Vec::new, |active| active.queue_states());
        let queues = (0_u16..).zip(&inner.queues).map(|(index, setup)| {
            let now = states.iter().find(|(number, _)| *number == index);
            let state = now.map_or(setup.state, |(_, state)| *state);
            SavedQueue::new(setup.is_enabled, state)
        });
        Ok(TransportState {
            device_id: self.kind().id(),
            status: inner.status,
            needs_reset: self.fault.needs_reset(),
            driver_features: inner.driver_features,
            config_generation: self.config_generation(),
            queues: queues.collect(),
            device,
        })
    }

    /// Restores what was saved of such a transport. It is at rest from then on, until it is resumed.
    pub(super) fn restore(&self, saved: &TransportState) -> Result<(), StateError> {
        self.restore_inner(saved)
            .map_err(|error| error.within("transport").of(&self.name))
    }

    fn restore_inner(&self, saved: &TransportState) -> Result<(), StateError> {
        let mut inner = self.lock();
        self.check(saved, &inner.queues)?;
        inner.active = None;
        inner.is_paused = true;
        inner.is_restored = true;
        match (self.device.state(), &saved.device) {
            (Some(device), Some(state)) => device.restore_state(state),
            (None, None) => Ok(()),
            (Some(_), None) => Err(StateError::whole("", StateReason::Absent)),
            (None, Some(_)) => Err(StateError::whole("", StateReason::Unexpected)),
        }
        .map_err(|error| error.within("device"))?;
        for (setup, saved) in inner.queues.iter_mut().zip(&saved.queues) {
            *setup = QueueSetup {
                most: setup.most,
                state: saved.state(),
                is_enabled: saved.is_enabled,
            };
        }
        inner.status = saved.status;
        inner.driver_features = saved.driver_features;
        *self.generation() = saved.config_generation;
        self.fault.restore(saved.needs_reset);
        Ok(())
    }

    /// Checks all of it but the device's own state.
    fn check(&self, saved: &TransportState, queues: &[QueueSetup]) -> Result<(), StateError> {
        StateError::check_same("", "device_id", saved.device_id, self.kind().id())?;
        // A driver may set any other bit, and finds it set.
        StateError::check_bits("", "status", saved.status, !status::DEVICE_NEEDS_RESET)?;
        let is_driven = saved.status & status::DRIVER_OK != 0;
        let may_be_driven = saved.status & status::FEATURES_OK != 0;
        if is_driven && (!may_be_driven || saved.status & status::FAILED != 0) {
            let reason = StateReason::Contradicts("itself: DRIVER_OK");
            let value = format_args!("{:#x}", saved.status);
            return Err(StateError::field("", "status", value, reason));
        }
        let features = saved.driver_features;
        if may_be_driven && !self.accepts(features) {
            let reason = StateReason::Bits {
                allowed: self.offered_features(),
            };
            let value = format_args!("{features:#x}");
            return Err(StateError::field("", "driver_features", value, reason));
        }
        StateError::check_same("", "queues.length", saved.queues.len(), queues.len())?;
        for (index, (queue, setup)) in saved.queues.iter().zip(queues).enumerate() {
            let field = format!("queues[{index}]");
            StateError::check_max("", &format!("{field}.size"), queue.size, setup.most)?;
            // One that is enabled wrongly is the driver's fault, and it learns of it when it is ready.
            if is_driven && !saved.needs_reset && queue.is_enabled {
                Ring::resume(&self.ram, queue.state(), features).map_err(|error| {
                    StateError::field("", &field, "", StateReason::Refused(error.into()))
                })?;
            }
        }
        Ok(())
    }
}
