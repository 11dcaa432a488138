//! The common configuration (4.1.4.3).

use super::PciTransport;
use super::interrupts::PciInterrupts;
use crate::spec::feature;
use crate::spec::pci::common;
use crate::transport::{QueuePart, Transport};

/// The selectors of the fields. They are the driver's own between two accesses.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Selectors {
    pub(super) device_feature: u32,
    pub(super) driver_feature: u32,
    pub(super) queue: u16,
}

/// Bytes of the fields, with room behind them.
const IMAGE: usize = 64;

impl PciTransport {
    /// Reads any bytes of the fields; zeroes behind them. No read has an effect.
    pub(super) fn read_common(&self, offset: u64, data: &mut [u8]) {
        let image = image(&self.transport, &self.interrupts, *self.selectors());
        data.fill(0);
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        for (byte, value) in data.iter_mut().zip(image.iter().skip(offset)) {
            *byte = *value;
        }
    }

    /// Writes a field as wide as it is; those of 8 bytes in halves too (4.1.3.1). Others, and fields
    /// that only read, are without effect.
    pub(super) fn write_common(&self, offset: u64, data: &[u8]) {
        match *data {
            [value] if offset == common::DEVICE_STATUS => self.set_status(value),
            [a, b] => self.write_2(offset, u16::from_le_bytes([a, b])),
            [a, b, c, d] => self.write_4(offset, u32::from_le_bytes([a, b, c, d])),
            [a, b, c, d, e, f, g, h] if is_address(offset) => {
                self.write_4(offset, u32::from_le_bytes([a, b, c, d]));
                self.write_4(offset + 4, u32::from_le_bytes([e, f, g, h]));
            }
            _ => {}
        }
    }

    fn write_2(&self, offset: u64, value: u16) {
        let transport = &self.transport;
        let queue = u32::from(self.selectors().queue);
        match offset {
            common::CONFIG_MSIX_VECTOR => self.interrupts.set_config_vector(value),
            common::QUEUE_SELECT => self.selectors().queue = value,
            common::QUEUE_SIZE => transport.set_queue_size(queue, value.into()),
            common::QUEUE_MSIX_VECTOR => self.interrupts.set_queue_vector(queue, value),
            // A driver must not write 0, which would be nothing (4.1.4.3.2).
            common::QUEUE_ENABLE if value == 1 => transport.enable_queue(queue),
            common::QUEUE_RESET if value == 1 && self.has_ring_reset() => {
                transport.reset_queue(queue);
            }
            _ => {}
        }
    }

    fn has_ring_reset(&self) -> bool {
        self.transport.driver_features() & feature::RING_RESET != 0
    }

    fn write_4(&self, offset: u64, value: u32) {
        let selectors = *self.selectors();
        match offset {
            common::DEVICE_FEATURE_SELECT => self.selectors().device_feature = value,
            common::DRIVER_FEATURE_SELECT => self.selectors().driver_feature = value,
            common::DRIVER_FEATURE => {
                let half = selectors.driver_feature;
                self.transport.set_driver_features(half, value);
            }
            _ => {
                if let Some((part, is_upper)) = half_of_address(offset) {
                    let queue = selectors.queue.into();
                    self.transport.set_queue_part(queue, part, is_upper, value);
                }
            }
        }
    }
}

fn is_address(offset: u64) -> bool {
    matches!(
        offset,
        common::QUEUE_DESC | common::QUEUE_DRIVER | common::QUEUE_DEVICE
    )
}

/// Which half of which address is at `offset`.
fn half_of_address(offset: u64) -> Option<(QueuePart, bool)> {
    let start = offset & !7;
    let part = match start {
        common::QUEUE_DESC => QueuePart::Descriptors,
        common::QUEUE_DRIVER => QueuePart::Driver,
        common::QUEUE_DEVICE => QueuePart::Device,
        _ => return None,
    };
    match offset - start {
        0 => Some((part, false)),
        4 => Some((part, true)),
        _ => None,
    }
}

/// All fields as they read.
fn image(transport: &Transport, interrupts: &PciInterrupts, selectors: Selectors) -> [u8; IMAGE] {
    let queue = selectors.queue.into();
    let is_there = transport.queue_most(queue) != 0;
    let part = |part| transport.queue_part(queue, part).to_le_bytes();
    let offered = transport.offered_features();
    let taken = transport.driver_features();
    let notify = if is_there { selectors.queue } else { 0 };
    let mut image = [0; IMAGE];
    let mut put = |offset: u64, bytes: &[u8]| {
        let places = image.iter_mut().skip(offset as usize);
        for (place, byte) in places.zip(bytes) {
            *place = *byte;
        }
    };
    let device = selectors.device_feature;
    let driver = selectors.driver_feature;
    put(common::DEVICE_FEATURE_SELECT, &device.to_le_bytes());
    put(common::DEVICE_FEATURE, &half(offered, device).to_le_bytes());
    put(common::DRIVER_FEATURE_SELECT, &driver.to_le_bytes());
    put(common::DRIVER_FEATURE, &half(taken, driver).to_le_bytes());
    let vector = interrupts.config_vector();
    put(common::CONFIG_MSIX_VECTOR, &vector.to_le_bytes());
    put(common::NUM_QUEUES, &transport.queue_count().to_le_bytes());
    put(common::DEVICE_STATUS, &[transport.status()]);
    // The lowest 8 bits change whenever the whole does, or nearly (2.5.1).
    let generation = transport.config_generation() as u8;
    put(common::CONFIG_GENERATION, &[generation]);
    put(common::QUEUE_SELECT, &selectors.queue.to_le_bytes());
    put(
        common::QUEUE_SIZE,
        &transport.queue_size(queue).to_le_bytes(),
    );
    let vector = interrupts.queue_vector(queue);
    put(common::QUEUE_MSIX_VECTOR, &vector.to_le_bytes());
    let is_enabled = u16::from(transport.is_queue_enabled(queue));
    put(common::QUEUE_ENABLE, &is_enabled.to_le_bytes());
    put(common::QUEUE_NOTIFY_OFF, &notify.to_le_bytes());
    put(common::QUEUE_DESC, &part(QueuePart::Descriptors));
    put(common::QUEUE_DRIVER, &part(QueuePart::Driver));
    put(common::QUEUE_DEVICE, &part(QueuePart::Device));
    // QUEUE_NOTIFY_DATA is 0 without its feature, QUEUE_RESET as a reset has ended when it is read.
    image
}

/// The half of features that a selector is for; nothing beyond the second.
fn half(features: u64, selector: u32) -> u32 {
    match selector {
        0 => features as u32,
        1 => (features >> 32) as u32,
        _ => 0,
    }
}
