//! Firmware: an image that runs from the reset vector, instead of a kernel.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::fs::FileExt;

use thiserror::Error;
use vmmkit_guest_memory::{AccessError, GuestAddress, GuestRam, MAX_ROM, Rom, RomError};

use crate::Entry;
use crate::file_kind::{self, FileKind};
use crate::memory_map::HIGH_MEMORY;

/// How much of its end is below 1 MiB too, in bytes: what a PC's chipset decodes there after a reset.
const SHADOW: usize = 128 << 10;

/// Firmware for a guest.
#[derive(Debug)]
pub struct Firmware {
    /// The image, which ends at 4 GiB.
    pub rom: Rom,
    /// How the boot processor enters it.
    pub entry: Entry,
}

/// Why there is no firmware.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FirmwareError {
    /// The file cannot be read.
    #[error("the firmware cannot be read")]
    Read(#[source] std::io::Error),
    /// The image cannot be a ROM.
    #[error("the firmware cannot be a ROM")]
    Rom(#[from] RomError),
    /// It is something else, or holds no code where the processor starts.
    #[error("the firmware {}", not_a_rom(.kind))]
    Kind {
        /// Its kind, where that is known.
        kind: Option<FileKind>,
    },
    /// RAM does not reach up to 1 MiB.
    #[error("the firmware's end cannot be put below 1 MiB")]
    Ram(#[from] AccessError),
}

fn not_a_rom(kind: &Option<FileKind>) -> String {
    match kind {
        Some(kind) => format!("is {kind}, not a ROM"),
        None => "has no code in its last 16 bytes, where the processor starts".to_owned(),
    }
}

/// Refuses other files, and those that have nothing at the reset vector.
fn check(image: &[u8]) -> Result<(), FirmwareError> {
    let start = image.get(..file_kind::PROBE).unwrap_or(image);
    let is_empty = |byte: u8| image.ends_with(&[byte; 16]);
    match FileKind::of(start) {
        None if is_empty(0) || is_empty(0xff) => Err(FirmwareError::Kind { kind: None }),
        None => Ok(()),
        kind => Err(FirmwareError::Kind { kind }),
    }
}

/// Where a volume of UEFI firmware has its signature, and what that is (UEFI Platform Initialization 1.7, volume 3,
/// section 3.2.1).
const VOLUME: (u64, &[u8; 4]) = (0x28, b"_FVH");

/// Whether `file`, a regular one, begins as UEFI firmware or its variables do. One that cannot be read does not.
pub fn is_uefi_firmware(file: &File) -> bool {
    let mut signature = [0; 4];
    let read = file.read_exact_at(&mut signature, VOLUME.0);
    read.is_ok() && signature == *VOLUME.1
}

/// Reads the flat image in `file` into a ROM of memory slot `slot`, and its last 128 KiB into `ram`
/// below 1 MiB, where it may change them: they are what a PC calls shadow RAM. No table is written;
/// firmware brings its own.
///
/// # Errors
/// [`FirmwareError`] says what is wrong with the file or its size.
pub fn load_firmware(
    ram: &GuestRam,
    file: &mut File,
    slot: u32,
) -> Result<Firmware, FirmwareError> {
    let mut image = Vec::new();
    file.rewind().map_err(FirmwareError::Read)?;
    // One byte more than there may be, so that a larger file is seen to be one.
    let mut bounded = file.take(MAX_ROM + 1);
    bounded
        .read_to_end(&mut image)
        .map_err(FirmwareError::Read)?;
    let rom = Rom::new(&image, slot)?;
    check(&image)?;
    let shadow = image.split_at(image.len().saturating_sub(SHADOW)).1;
    let start = HIGH_MEMORY.0.saturating_sub(shadow.len() as u64);
    ram.write_bytes(GuestAddress(start), shadow)?;
    Ok(Firmware {
        rom,
        entry: Entry::ResetVector,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;
    use crate::testing::ram;

    fn file(name: &str, bytes: &[u8]) -> File {
        let name = format!("vmmkit-firmware-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let options = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path);
        let mut file = options.unwrap();
        fs::remove_file(path).unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn the_end_of_an_image_is_below_1_mib_too() {
        let ram = ram(4);
        let mut image = vec![0; 256 << 10];
        image[128 << 10] = 1;
        image[(256 << 10) - 1] = 2;

        let firmware = load_firmware(&ram, &mut file("end", &image), 5).unwrap();

        assert_eq!(firmware.rom.region().guest_address.0, 0xfffc_0000);
        assert_eq!(firmware.entry.address(), GuestAddress(0xffff_fff0));
        assert_eq!(ram.read::<u8>(GuestAddress(0xe_0000)), Ok(1));
        assert_eq!(ram.read::<u8>(GuestAddress(0xf_ffff)), Ok(2));
    }

    #[test]
    fn uefi_firmware_is_told_by_its_first_volume() {
        let mut image = vec![0; 4096];
        assert!(!is_uefi_firmware(&file("no-volume", &image)));
        image[0x28..0x2c].copy_from_slice(b"_FVH");
        assert!(is_uefi_firmware(&file("volume", &image)));
        assert!(!is_uefi_firmware(&file("volume-cut", &image[..0x2b])));
    }

    #[test]
    fn a_small_image_is_right_below_1_mib() {
        let ram = ram(4);
        load_firmware(&ram, &mut file("small", &[7; 4096]), 5).unwrap();
        assert_eq!(ram.read::<u16>(GuestAddress(0xf_efff)), Ok(0x0700));
    }

    #[test]
    fn what_cannot_be_a_rom_is_refused() {
        let ram = ram(4);
        for (name, size) in [("empty", 0), ("odd", 5000)] {
            let error = load_firmware(&ram, &mut file(name, &vec![0; size]), 5).unwrap_err();
            assert!(matches!(error, FirmwareError::Rom(_)), "{error}");
        }
    }

    #[test]
    fn what_has_no_code_at_the_reset_vector_or_is_something_else_is_refused() {
        let ram = ram(4);
        let mut qcow2 = vec![7; 4096];
        qcow2[..4].copy_from_slice(b"QFI\xfb");
        let table = [
            ("zeroes", vec![0; 8192], "no code in its last 16 bytes"),
            ("erased", vec![0xff; 8192], "no code in its last 16 bytes"),
            ("qcow2", qcow2, "is a qcow2 disk image, not a ROM"),
        ];
        for (name, image, expected) in table {
            let error = load_firmware(&ram, &mut file(name, &image), 5).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
