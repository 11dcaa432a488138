//! Any sequence of register accesses, line changes and ends of interrupts over the I/O APIC.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use vmmkit_device_bus::{DeviceMmio, Gsi, LineDriver, MmioAddress, MsiMessage};
use vmmkit_legacy_devices::{Ioapic, IoapicOutput};

/// Counts, so that a storm is seen.
#[derive(Default)]
struct Counted(AtomicUsize);

impl IoapicOutput for Counted {
    fn deliver(&self, _message: MsiMessage) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn route(&self, pin: u32, _message: Option<MsiMessage>) {
        assert!(pin < 24);
    }
}

/// Takes one input.
pub fn run(data: &[u8]) {
    let outside = Arc::<Counted>::default();
    let ioapic = Ioapic::new(outside.clone());
    let base = MmioAddress(Ioapic::ADDRESS);
    for step in data.chunks_exact(6) {
        let before = outside.0.load(Ordering::Relaxed);
        let bytes = [
            step[2], step[3], step[4], step[5], step[2], step[3], step[4], step[5],
        ];
        let width = usize::from(step[0] >> 4 & 7) + 1;
        match step[0] & 7 {
            0..=3 => {
                ioapic.mmio_write(base, 0, &step[1..2]);
                ioapic.mmio_write(base, 0x10, &bytes[..width]);
            }
            4 => ioapic.set_level(Gsi(step[1].into()), step[2] & 1 != 0),
            5 => ioapic.end_of_interrupt(step[1]),
            6 => {
                let mut read = bytes;
                ioapic.mmio_read(base, step[1].into(), &mut read[..width]);
            }
            _ => match step[1] & 3 {
                0 => ioapic.reset(),
                1 => {
                    let state = ioapic.state();
                    ioapic.restore(state.clone());
                    assert_eq!(ioapic.state(), state);
                }
                _ => ioapic.mmio_write(
                    base,
                    u64::from(step[1]) << 4 | u64::from(step[2]),
                    &bytes[..width],
                ),
            },
        }
        // One access interrupts by each pin once at most.
        assert!(outside.0.load(Ordering::Relaxed) - before <= 24);
    }
}
