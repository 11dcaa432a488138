//! Any sequence of accesses to a flash chip, whose store fails now and then.

use std::io;
use std::sync::{Arc, Mutex};

use vmmkit_device_bus::{DeviceMmio, MmioAddress, SaveState};
use vmmkit_legacy_devices::flash::spec::command;
use vmmkit_legacy_devices::{Flash, FlashStore};

const BASE: MmioAddress = MmioAddress(0xffc0_0000);
const SIZE: usize = 8192;
/// Bytes of a step: what it is, an offset, then up to 8 bytes.
const STEP: usize = 3 + 8;

struct Store(Arc<Mutex<(Vec<u8>, bool)>>);

impl FlashStore for Store {
    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut kept = self.0.lock().expect("nobody panics");
        if kept.1 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let start = usize::try_from(offset).expect("an offset in the chip");
        kept.0[start..start + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let is_full = self.0.lock().expect("nobody panics").1;
        match is_full {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }
}

/// Takes one input.
pub fn run(data: &[u8]) {
    let kept = Arc::new(Mutex::new((vec![0xff; SIZE], false)));
    let store = Box::new(Store(kept.clone()));
    let flash = Flash::new(vec![0xff; SIZE], store).expect("two blocks");
    for step in data.chunks_exact(STEP) {
        let (how, rest) = (step[0], &step[3..]);
        // A little more than there is.
        let offset = u64::from(u16::from_le_bytes([step[1], step[2]])) % (SIZE as u64 + 16);
        let width = usize::from(how >> 5) + 1;
        kept.lock().expect("nobody panics").1 = how & 16 != 0;
        match how & 7 {
            0 => {
                let saved = flash.save_state().expect("every state can be saved");
                flash.restore_state(&saved).expect("it is its own");
            }
            1 => flash.mmio_read(BASE, offset, &mut [0; 8][..width]),
            2 => flash.mmio_write(BASE, u64::MAX - offset, &rest[..width]),
            _ => flash.mmio_write(BASE, offset, &rest[..width]),
        }
    }
    kept.lock().expect("nobody panics").1 = false;
    flash.reset();
    flash.mmio_write(BASE, 0, &[command::READ_ARRAY]);
    let mut contents = vec![0; SIZE];
    flash.mmio_read(BASE, 0, &mut contents);
    assert_eq!(contents, kept.lock().expect("nobody panics").0);
}
