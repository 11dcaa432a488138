//! Any sequence of port accesses and DMA requests to the firmware configuration device.

use vmmkit_device_bus::{DevicePio, PioAddress, SaveState};
use vmmkit_fw_cfg::spec::{DATA, PORTS, REQUEST_SIZE, SELECTOR};
use vmmkit_fw_cfg::{FwCfg, Items};
use vmmkit_guest_memory::{GuestAddress, GuestRam, RamConfig, RamSize};

const BASE: PioAddress = PioAddress(SELECTOR);
/// Bytes of a step: what it is, then what it takes.
const STEP: usize = 1 + REQUEST_SIZE;

/// Takes one input.
pub fn run(data: &[u8]) {
    let size = RamSize::mebibytes(1);
    let ram = GuestRam::new(&RamConfig {
        size,
        ..RamConfig::default()
    })
    .expect("a MiB of RAM");
    let mut items = Items::new().with_cpus(2, 4);
    items.add_file("file", vec![7; 300]).expect("one file");
    let device = FwCfg::new(items, &ram);
    for step in data.chunks_exact(STEP) {
        let (how, rest) = (step[0], &step[1..]);
        let offset = u16::from(rest[0]) % PORTS;
        let width = usize::from(rest[1] & 7) + 1;
        match how & 3 {
            0 => device.pio_write(BASE, offset, &rest[2..2 + width]),
            1 => device.pio_read(BASE, offset, &mut [0; 8][..width]),
            2 => {
                // A request that is in RAM, whatever it says.
                let at = u32::from(how) << 8;
                let _ = ram.write_bytes(GuestAddress(at.into()), rest);
                device.pio_write(BASE, 8, &at.to_be_bytes());
            }
            _ => {
                let saved = device.save_state().expect("every state can be saved");
                device.restore_state(&saved).expect("it is its own");
            }
        }
    }
    device.pio_write(BASE, 0, &[0, 0]);
    let mut signature = [0; 4];
    device.pio_read(BASE, DATA - SELECTOR, &mut signature);
    assert_eq!(&signature, b"QEMU");
}
