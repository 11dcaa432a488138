//! A virtio device of its own: what a driver sends comes back the other way round.

use vmmkit_virtio::{
    ActivateError, Activation, Active, Chain, Context, Device, DeviceKind, Engine,
};

/// The device, with a word in its configuration space.
pub struct Reverse;

impl Device for Reverse {
    fn kind(&self) -> DeviceKind {
        DeviceKind::new(62, "reverse")
    }

    fn queue_sizes(&self) -> &[u16] {
        &[16]
    }

    fn read_config(&self, offset: usize, bytes: &mut [u8]) {
        for (byte, value) in bytes.iter_mut().zip(b"word".iter().skip(offset)) {
            *byte = *value;
        }
    }

    fn activate(&self, activation: Activation) -> Result<Box<dyn Active>, ActivateError> {
        activation.on_one_thread(Box::new(Reverser(Chain::new())))
    }
}

struct Reverser(Chain);

impl Engine for Reverser {
    fn kicked(&mut self, context: &mut Context, index: u16) {
        let Some(queue) = context.queues.get_mut(index) else {
            return;
        };
        while queue.pop(&mut self.0) {
            let mut text = [0; 64];
            let read = self.0.reader(queue.ram()).read(&mut text);
            let text = &mut text[..read];
            text.reverse();
            let mut writer = self.0.writer(queue.ram());
            writer.write(text);
            let written = writer.written();
            queue.complete(&self.0, written);
        }
        queue.publish();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use vmmkit_virtio::fake::{Driver, Options, TransportKind};

    use super::*;

    #[test]
    fn what_is_sent_comes_back_on_every_transport() {
        for transport in [TransportKind::Mmio, TransportKind::Pci] {
            for packed in [false, true] {
                let options = Options {
                    transport,
                    packed,
                    ..Options::default()
                };
                let mut driver = Driver::start_with(Arc::new(Reverse), &options).unwrap();
                let answer = driver.request(0, &[b"stre", b"ssed"], &[3, 5]).unwrap();
                assert_eq!(answer, b"desserts", "{transport:?}, packed: {packed}");
            }
        }
    }
}
