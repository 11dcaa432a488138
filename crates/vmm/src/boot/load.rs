//! The open files of a boot, and how they get into RAM at each power-on.

use std::borrow::Cow;
use std::fs::File;

use vmmkit_boot_loader::{self as boot_loader, BootModule, BootPart, BootSource, Entry, LoadError};
use vmmkit_guest_memory::{GuestRam, RamConfig, RamSize, Rom};
use vmmkit_host_io::{memory_file, open_input};
use vmmkit_pc_platform::{self as pc_platform, DescribedDevices, Platform};

use crate::error::BuildError;
use crate::{Boot, BootFile, KernelBoot, MachineConfig, Module, VirtioTransport};

/// RAM for what of firmware lies below 1 MiB, in MiB.
const SHADOW_MIB: u32 = 2;

/// The files that a guest is booted from. They stay open, so that a reset needs no path, which may
/// mean another file by then, or be out of reach of a process that has given up its privileges.
pub(crate) enum BootFiles {
    Kernel {
        kernel: KernelBoot,
        image: File,
        initrd: Option<File>,
        modules: Vec<BootModule>,
    },
    Firmware {
        image: File,
        /// The memory slot of the ROM, which no other memory has.
        rom_slot: u32,
    },
}

impl BootFiles {
    pub(crate) fn open(boot: &Boot, rom_slot: u32) -> Result<Self, BuildError> {
        let kernel = match boot {
            Boot::Kernel(kernel) => kernel,
            Boot::Firmware(image) => {
                let image = open(BootPart::Firmware, image)?;
                return Ok(Self::Firmware { image, rom_slot });
            }
        };
        let module = |(index, module): (usize, &Module)| -> Result<_, BuildError> {
            Ok(BootModule {
                file: open(BootPart::Module(index), &module.file)?,
                name: module.file.name(),
                arguments: module.arguments.clone(),
            })
        };
        let modules: Result<_, _> = kernel.modules.iter().enumerate().map(module).collect();
        let modules = modules?;
        let image = open(BootPart::Kernel, &kernel.image)?;
        let initrd = kernel.initrd.as_ref();
        let initrd = initrd.map(|initrd| open(BootPart::Initrd, &initrd.file));
        Ok(Self::Kernel {
            kernel: kernel.clone(),
            image,
            initrd: initrd.transpose()?,
            modules,
        })
    }
}

fn open(part: BootPart, file: &BootFile) -> Result<File, BuildError> {
    let opened = match file {
        BootFile::Path(path) => open_input(path),
        BootFile::Open(file) => file.try_clone(),
        BootFile::Bytes(bytes) => memory_file(bytes),
    };
    opened.map_err(|source| BuildError::Open {
        part,
        file: file.clone(),
        source,
    })
}

/// Puts kernel, initrd, command line and tables into RAM, which is all zeroes; or firmware into a ROM.
pub(crate) fn load(
    files: &mut BootFiles,
    ram: &GuestRam,
    config: &MachineConfig,
    devices: &DescribedDevices,
) -> Result<(Entry, Option<Rom>), BuildError> {
    let failed = |source: LoadError| BuildError::Load {
        image: config.boot.image().clone(),
        source,
    };
    let (kernel, image, initrd, modules) = match files {
        BootFiles::Kernel {
            kernel,
            image,
            initrd,
            modules,
        } => (&*kernel, &*image, initrd, modules),
        BootFiles::Firmware { image, rom_slot } => {
            let firmware = boot_loader::load_firmware(ram, image, *rom_slot);
            let firmware = firmware.map_err(|error| failed(error.into()))?;
            return Ok((firmware.entry, Some(firmware.rom)));
        }
    };
    let cmdline = match (config.acpi, config.virtio) {
        (false, VirtioTransport::Mmio) => {
            Cow::Owned(pc_platform::announce(&kernel.cmdline, devices.virtio))
        }
        _ => Cow::Borrowed(&kernel.cmdline),
    };
    let mut source = BootSource::new(image, &cmdline);
    source.initrd = initrd.as_ref();
    source.any_initrd = kernel.initrd.as_ref().is_some_and(|initrd| initrd.any);
    source.modules = modules;
    source.entry = kernel.entry;
    let told = config.description(devices, ram)?;
    let describe = || Platform::describe(config.platform(), &told);
    let acpi = config.acpi.then(describe);
    let mut description = boot_loader::Platform::of(&told.apic_ids);
    description.acpi = acpi.as_ref();
    description.mp_table = config.mp_table.is_for(config.vcpus);
    description.oem = config.oem;
    description.smbios = told.smbios.as_ref();
    let loaded = boot_loader::load(ram, source, &description);
    Ok((loaded.map_err(failed)?.entry, None))
}

/// The firmware as a ROM, for a guest whose RAM has what firmware puts there; `None` for a kernel.
pub(crate) fn firmware_rom(
    files: &mut BootFiles,
    config: &MachineConfig,
) -> Result<Option<Rom>, BuildError> {
    if let BootFiles::Kernel { .. } = files {
        return Ok(None);
    }
    let shadow = GuestRam::new(&RamConfig {
        size: RamSize::mebibytes(SHADOW_MIB),
        ..RamConfig::default()
    })?;
    Ok(load(files, &shadow, config, &DescribedDevices::default())?.1)
}
