//! The agreement of device and driver.

use std::sync::atomic::Ordering;

use super::Transport;
use crate::spec::{feature, status};

impl Transport {
    /// Offers packed queues (virtio 1.2, section 2.8) or does not, as at first. A device whose queues
    /// cannot be packed never does. Call it before a driver looks.
    pub fn offer_packed(&self, offers: bool) {
        // Ordering: a setting from before the guest runs.
        self.offers_packed.store(offers, Ordering::Relaxed);
    }

    /// The features that the device offers.
    pub fn offered_features(&self) -> u64 {
        match self.offers_packed.load(Ordering::Relaxed) {
            true => self.offered | (feature::RING_PACKED & self.device.queue_features()),
            false => self.offered,
        }
    }

    /// The features that the driver takes.
    pub fn driver_features(&self) -> u64 {
        self.lock().driver_features
    }

    /// The driver takes features: 32 of them, in the half that is 0 or 1. After FEATURES_OK nothing
    /// changes any more.
    pub fn set_driver_features(&self, half: u32, value: u32) {
        let mut inner = self.lock();
        if half > 1 || inner.status & status::FEATURES_OK != 0 {
            return;
        }
        let shift = 32 * half;
        let kept = inner.driver_features & !(u64::from(u32::MAX) << shift);
        inner.driver_features = kept | u64::from(value) << shift;
    }

    /// A device must have VERSION_1 (6.1), and cannot have what it does not offer.
    pub(super) fn accepts(&self, features: u64) -> bool {
        features & !self.offered_features() == 0 && features & feature::VERSION_1 != 0
    }
}
