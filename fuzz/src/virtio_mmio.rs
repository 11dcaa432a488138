//! The registers of the MMIO transport under any accesses: no panic, and a reset that resets.

use std::sync::Arc;

use vmmkit_device_bus::{DeviceMmio, IrqLine, Lifecycle, MmioAddress, SaveState};
use vmmkit_guest_memory::{GuestRam, RamConfig, RamSize};
use vmmkit_virtio::spec::mmio;
use vmmkit_virtio::{
    ActivateError, Activation, Active, Device, DeviceKind, MmioTransport, Queue, QueueState,
};

/// A device that does nothing with its queues.
struct Idle;

/// Its queues.
struct Held(Vec<Queue>);

impl Device for Idle {
    fn kind(&self) -> DeviceKind {
        DeviceKind::CONSOLE
    }
    fn features(&self) -> u64 {
        7
    }
    fn queue_sizes(&self) -> &[u16] {
        &[256, 8, 1]
    }
    fn activate(&self, mut activation: Activation) -> Result<Box<dyn Active>, ActivateError> {
        let queues = (0..3).filter_map(|index| activation.queues.remove(index));
        Ok(Box::new(Held(queues.collect())))
    }
}

impl Active for Held {
    fn pause(&mut self) {}
    fn wait_paused(&mut self) {}
    fn resume(&mut self) {}
    fn disable_queue(&mut self, index: u16) {
        self.0.retain(|queue| queue.index() != index);
    }
    fn enable_queue(&mut self, queue: Queue) {
        assert!(self.0.iter().all(|held| held.index() != queue.index()));
        self.0.push(queue);
    }
    fn queue_states(&mut self) -> Vec<(u16, QueueState)> {
        self.0
            .iter()
            .map(|queue| (queue.index(), queue.state()))
            .collect()
    }
}

// Commands of 7 bytes: what, offset, value.
/// Takes one input.
pub fn run(data: &[u8]) {
    let size = RamSize::mebibytes(1);
    let ram = GuestRam::new(&RamConfig {
        size,
        ..RamConfig::default()
    })
    .expect("1 MiB");
    let line = Arc::new(IrqLine::unconnected());
    let device = MmioTransport::new("idle0", Arc::new(Idle), &ram, line).expect("descriptors");
    for command in data.chunks_exact(7) {
        let offset = u64::from(u16::from_le_bytes([command[1], command[2]])) & 0xfff;
        let value = &command[3..7];
        let width = 1 << (command[0] >> 6);
        let mut answer = [0; 8];
        match command[0] & 7 {
            0..=3 => device.mmio_write(MmioAddress(0), offset, value),
            4 => device.mmio_write(MmioAddress(0), offset, &value[..width.min(4)]),
            5 => device.mmio_read(MmioAddress(0), offset, &mut answer[..width]),
            6 => {
                device.pause();
                device.wait_paused();
                let saved = device.save_state().expect("a device without state");
                device.restore_state(&saved).expect("its own state");
                assert_eq!(device.save_state().expect("as before"), saved);
                device.resume();
            }
            _ => device.mmio_read(MmioAddress(0), offset & !3, &mut answer[..4]),
        }
    }
    device.mmio_write(MmioAddress(0), mmio::STATUS, &[0; 4]);
    let mut status = [0; 4];
    device.mmio_read(MmioAddress(0), mmio::STATUS, &mut status);
    assert_eq!(status, [0; 4]);
}
