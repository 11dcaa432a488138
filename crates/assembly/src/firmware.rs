//! UEFI firmware: the machine that it is made for, and the flash chip with its variables.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;
use vmmkit_boot_loader::is_uefi_firmware;
use vmmkit_device_bus::AddressRange;
use vmmkit_guest_memory::MMIO_HOLE_END;
use vmmkit_host_io::{Holder, LockError, lock_file, open_input, open_options};
use vmmkit_legacy_devices::{Flash, FlashSizeError, FlashStore};
use vmmkit_machine_spec::{BootSpec, Field, FirmwareSpec, MachineSpec};
use vmmkit_vmm::MachineBuilder;

use crate::{AssemblyError, Reason};

/// Why there is no flash chip with the variables of firmware.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FlashError {
    /// The file cannot be opened or read.
    #[error(transparent)]
    Open(io::Error),
    /// It is another guest's.
    #[error("it is in use by {}", .holder.as_ref().map_or("another process".to_owned(), Holder::to_string))]
    InUse {
        /// The process, where the host tells.
        holder: Option<Holder>,
    },
    /// The file has not the size of a flash chip.
    #[error(transparent)]
    Size(FlashSizeError),
    /// The file holds no variables of UEFI firmware.
    #[error("it is not a variable store of UEFI firmware")]
    NotAStore,
    /// The image and the variables are too large together.
    #[error("{size} bytes of firmware and variables are more than {} MiB", Flash::MAX_SIZE >> 20)]
    TooLarge {
        /// Both sizes, in bytes.
        size: u64,
    },
}

/// Whether `spec` boots UEFI firmware. What cannot be read is said when the machine is built.
pub(crate) fn is_uefi(spec: &MachineSpec) -> bool {
    match &spec.boot {
        BootSpec::Firmware(firmware) => is_uefi_image(&firmware.image),
        BootSpec::Kernel(_) => false,
    }
}

/// Whether the file at `path` is UEFI firmware, as far as it can be read.
pub fn is_uefi_image(path: &Path) -> bool {
    // Opening what is not a regular file could wait for ever; the loader refuses it by its kind.
    let is_file = path.metadata().is_ok_and(|data| data.is_file());
    let file = is_file.then(|| open_input(path).ok()).flatten();
    file.is_some_and(|file| is_uefi_firmware(&file))
}

/// Plugs the chip in, right below the firmware, where `spec` names a file for it.
pub(crate) fn plug(
    builder: MachineBuilder,
    spec: &MachineSpec,
) -> Result<MachineBuilder, AssemblyError> {
    let BootSpec::Firmware(firmware) = &spec.boot else {
        return Ok(builder);
    };
    let Some(vars) = &firmware.vars else {
        return Ok(builder);
    };
    let opened = open(firmware, vars).map_err(|error| AssemblyError {
        field: Field::FirmwareVars,
        reason: Reason::Flash(error),
    })?;
    let (range, flash) = opened;
    let flash = Arc::new(flash);
    Ok(builder
        .plug_mmio_device(Flash::NAME, range, flash.clone())
        .lead(Flash::NAME, flash))
}

fn open(firmware: &FirmwareSpec, vars: &Path) -> Result<(AddressRange, Flash), FlashError> {
    let image = open_input(&firmware.image).and_then(|file| file.metadata());
    let above = image.map_err(FlashError::Open)?.len();
    let file = open_options().read(true).write(true).open(vars);
    let file = file.map_err(FlashError::Open)?;
    lock_file(&file, false).map_err(|error| match error {
        LockError::Host(source) => FlashError::Open(source),
        LockError::InUse { holder } => FlashError::InUse { holder },
        other => FlashError::Open(io::Error::other(other)),
    })?;
    let size = file.metadata().map_err(FlashError::Open)?.len();
    let whole = size.saturating_add(above);
    if whole > Flash::MAX_SIZE as u64 {
        return Err(FlashError::TooLarge { size: whole });
    }
    if !is_uefi_firmware(&file) {
        return Err(FlashError::NotAStore);
    }
    // At most MAX_SIZE.
    let mut contents = vec![0; size as usize];
    file.read_exact_at(&mut contents, 0)
        .map_err(FlashError::Open)?;
    let store = Box::new(VarsFile(file));
    let flash = Flash::new(contents, store).map_err(FlashError::Size)?;
    let range = AddressRange::new(MMIO_HOLE_END.0 - whole, size);
    Ok((range, flash))
}

/// The file of the variables, which is locked as long as it is open.
struct VarsFile(File);

impl FlashStore for VarsFile {
    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
}

/// The file of the variables of `spec`.
pub(crate) fn vars(spec: &MachineSpec) -> Option<&PathBuf> {
    match &spec.boot {
        BootSpec::Firmware(firmware) => firmware.vars.as_ref(),
        BootSpec::Kernel(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: usize = 4096;

    /// A folder with an image of `image` bytes and variables in `vars` bytes.
    fn firmware(name: &str, image: usize, vars: usize) -> (PathBuf, FirmwareSpec) {
        let name = format!("assembly-firmware-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder).unwrap();
        let volume = |size: usize| {
            let mut bytes = vec![0xff; size];
            if let Some(magic) = bytes.get_mut(0x28..0x2c) {
                magic.copy_from_slice(b"_FVH");
            }
            bytes
        };
        let mut spec = FirmwareSpec::new(folder.join("code"));
        spec.vars = Some(folder.join("vars"));
        std::fs::write(&spec.image, volume(image)).unwrap();
        std::fs::write(folder.join("vars"), volume(vars)).unwrap();
        (folder, spec)
    }

    fn opened(spec: &FirmwareSpec) -> Result<(AddressRange, Flash), FlashError> {
        open(spec, spec.vars.as_ref().unwrap())
    }

    #[test]
    fn variables_lie_below_the_image_and_are_kept_in_their_file() {
        use vmmkit_device_bus::{DeviceMmio, MmioAddress};

        let (folder, spec) = firmware("kept", 3 * BLOCK, BLOCK);
        assert!(is_uefi_image(&spec.image));
        let (range, flash) = opened(&spec).unwrap();
        assert_eq!(range, AddressRange::new(0xffff_c000, 0x1000));
        for byte in [0x10, 0x5a] {
            flash.mmio_write(MmioAddress(range.base), 7, &[byte]);
        }
        let kept = std::fs::read(spec.vars.as_ref().unwrap()).unwrap();
        assert_eq!((kept[6], kept[7]), (0xff, 0x5a));
        // It is this guest's alone.
        let again = opened(&spec);
        assert!(matches!(again, Err(FlashError::InUse { .. })), "{again:?}");
        drop(flash);
        opened(&spec).unwrap();
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn files_that_hold_no_variables_are_refused() {
        let (folder, spec) = firmware("odd", BLOCK, BLOCK + 100);
        assert!(matches!(opened(&spec), Err(FlashError::Size(_))));
        std::fs::write(spec.vars.as_ref().unwrap(), [0; BLOCK]).unwrap();
        assert!(matches!(opened(&spec), Err(FlashError::NotAStore)));
        let file = File::create(spec.vars.as_ref().unwrap()).unwrap();
        file.set_len(16 << 20).unwrap();
        assert!(matches!(opened(&spec), Err(FlashError::TooLarge { .. })));
        std::fs::remove_file(spec.vars.as_ref().unwrap()).unwrap();
        assert!(matches!(opened(&spec), Err(FlashError::Open(_))));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
