use std::sync::Arc;

use proptest::prelude::*;
use vmmkit_device_bus::{SaveState, SavedState, check_golden};

use super::spec::{BLOCK, command, status};
use super::*;

/// The bytes that were written and how often they were flushed; it fails where it is told to.
#[derive(Default)]
struct Kept {
    bytes: Vec<u8>,
    flushes: usize,
    is_full: bool,
}

struct Store(Arc<Mutex<Kept>>);

impl FlashStore for Store {
    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut kept = self.0.lock();
        if kept.is_full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let start = usize::try_from(offset).unwrap();
        kept.bytes[start..start + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.lock().flushes += 1;
        Ok(())
    }
}

fn flash(blocks: usize) -> (Flash, Arc<Mutex<Kept>>) {
    let bytes = vec![0xff; blocks * BLOCK as usize];
    let kept = Arc::new(Mutex::new(Kept {
        bytes: bytes.clone(),
        ..Kept::default()
    }));
    let flash = Flash::new(bytes, Box::new(Store(kept.clone()))).unwrap();
    (flash, kept)
}

fn write(flash: &Flash, offset: u64, data: &[u8]) {
    flash.mmio_write(MmioAddress(0), offset, data);
}

fn read(flash: &Flash, offset: u64) -> u8 {
    let mut byte = [0];
    flash.mmio_read(MmioAddress(0), offset, &mut byte);
    byte[0]
}

/// As EDK II does (QemuFlash.c).
fn program(flash: &Flash, offset: u64, bytes: &[u8]) {
    for (at, byte) in (offset..).zip(bytes) {
        write(flash, at, &[command::PROGRAM]);
        write(flash, at, &[*byte]);
    }
    write(flash, offset, &[command::READ_ARRAY]);
}

fn erase(flash: &Flash, offset: u64) {
    write(flash, offset, &[command::ERASE]);
    write(flash, offset, &[command::CONFIRM]);
    write(flash, offset, &[command::READ_ARRAY]);
}

#[test]
fn firmware_finds_a_chip_that_is_neither_rom_nor_ram() {
    let (flash, _) = flash(1);
    let original = read(&flash, 0);
    write(&flash, 0, &[command::CLEAR_STATUS]);
    assert_eq!(read(&flash, 0), original, "RAM would hold the command");
    write(&flash, 0, &[command::READ_STATUS]);
    assert_eq!(read(&flash, 0), 0, "ROM would have what it had");
    write(&flash, 0, &[command::READ_ID]);
    assert_eq!((read(&flash, 0), read(&flash, 1)), (0x89, 0x18));
    write(&flash, 0, &[command::READ_ARRAY]);
    assert_eq!(read(&flash, 0), original);
}

#[test]
fn what_is_programmed_is_kept_before_it_is_read() {
    let (flash, kept) = flash(2);
    program(&flash, 4090, b"variables");
    assert_eq!(read(&flash, 4090), b'v');
    assert_eq!(kept.lock().bytes[4090..4099], *b"variables");
    assert_eq!(kept.lock().flushes, 1);
    // Nothing was written since.
    write(&flash, 0, &[command::READ_ARRAY]);
    assert_eq!(kept.lock().flushes, 1);
}

#[test]
fn cells_go_to_1_by_an_erasure_of_their_block_alone() {
    let (flash, kept) = flash(2);
    program(&flash, 4095, &[0xf0, 0x3c]);
    program(&flash, 4095, &[0x0f, 0xff]);
    assert_eq!((read(&flash, 4095), read(&flash, 4096)), (0, 0x3c));
    erase(&flash, 17);
    assert_eq!((read(&flash, 4095), read(&flash, 4096)), (0xff, 0x3c));
    assert_eq!(kept.lock().bytes[4094..4097], [0xff, 0xff, 0x3c]);
}

#[test]
fn the_guest_is_told_of_what_could_not_be_kept() {
    let (flash, kept) = flash(1);
    kept.lock().is_full = true;
    write(&flash, 3, &[command::PROGRAM]);
    write(&flash, 3, &[0]);
    assert_eq!(read(&flash, 3), status::READY | status::PROGRAM_ERROR);
    write(&flash, 3, &[command::CLEAR_STATUS]);
    write(&flash, 3, &[command::ERASE]);
    write(&flash, 3, &[command::CONFIRM]);
    assert_eq!(read(&flash, 3), status::READY | status::ERASE_ERROR);
    write(&flash, 3, &[command::READ_ARRAY]);
    assert_eq!(read(&flash, 3), 0xff);
    assert_eq!(kept.lock().flushes, 0);
}

#[test]
fn an_erasure_that_is_not_confirmed_erases_nothing() {
    let (flash, _) = flash(1);
    program(&flash, 0, &[0x55]);
    write(&flash, 0, &[command::ERASE]);
    write(&flash, 0, &[command::READ_ARRAY]);
    let wrong = status::READY | status::ERASE_ERROR | status::PROGRAM_ERROR;
    assert_eq!(read(&flash, 0), wrong);
    write(&flash, 0, &[command::READ_ARRAY]);
    assert_eq!(read(&flash, 0), 0x55);
}

#[test]
fn sizes_that_are_no_blocks_are_refused() {
    for size in [0, 1, 4095, 4097, Flash::MAX_SIZE + 4096] {
        let store = Store(Arc::default());
        let error = Flash::new(vec![0; size], Box::new(store)).unwrap_err();
        assert_eq!(error.size, size as u64);
    }
}

#[test]
fn a_reset_forgets_the_command_and_keeps_the_contents() {
    let (flash, _) = flash(1);
    program(&flash, 0, &[0x12]);
    write(&flash, 0, &[command::PROGRAM]);
    flash.reset();
    assert_eq!(read(&flash, 0), 0x12);
}

#[test]
fn a_chip_goes_on_in_the_middle_of_a_command() {
    let (old, _) = flash(1);
    write(&old, 8, &[command::PROGRAM]);
    let saved = old.save_state().unwrap();
    let (new, _) = flash(1);
    new.restore_state(&saved).unwrap();
    write(&new, 8, &[0x77]);
    write(&new, 8, &[command::READ_ARRAY]);
    assert_eq!(read(&new, 8), 0x77);
}

#[test]
fn states_of_earlier_builds_load_and_those_of_other_contents_do_not() {
    let golden = include_str!("../../goldens/flash.v1.json");
    let (flash, _) = flash(1);
    check_golden(&flash, golden).unwrap();
    let saved = SavedState::from_json(golden.as_bytes()).unwrap();
    program(&flash, 0, &[1]);
    let error = flash.restore_state(&saved).unwrap_err().to_string();
    assert!(error.starts_with("flash: sum "), "{error}");
    let bad = golden.replace("\"array\"", "\"sleep\"");
    let (flash, _) = self::flash(1);
    let bad = SavedState::from_json(bad.as_bytes()).unwrap();
    let error = flash.restore_state(&bad).unwrap_err().to_string();
    assert!(error.starts_with("flash: mode "), "{error}");
}

proptest! {
    /// Whatever a guest writes, what is kept is what is read.
    #[test]
    fn what_is_kept_is_what_it_holds(
        accesses in prop::collection::vec(
            (0_u64..3 * BLOCK, prop::collection::vec(prop_oneof![
                Just(command::PROGRAM), Just(command::ERASE), Just(command::CONFIRM), any::<u8>()
            ], 1..9)), 0..200),
    ) {
        let (flash, kept) = flash(2);
        for (offset, data) in accesses {
            write(&flash, offset, &data);
        }
        // Ends a command that waits for its second write.
        for _ in 0..2 {
            write(&flash, 0, &[command::READ_ARRAY]);
        }
        let kept = kept.lock();
        for (at, byte) in (0..).zip(&kept.bytes) {
            prop_assert_eq!(read(&flash, at), *byte);
        }
    }
}
