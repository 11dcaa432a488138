//! The files that a specification names.

use std::path::{Path, PathBuf};

use vmmkit_guest_memory::Backing;
use vmmkit_host_io::Sharing;
use vmmkit_machine_spec::{ConsoleSpec, DeviceSpec, DiskSpec, Field, MachineSpec};
use vmmkit_virtio_devices::Qcow2Disk;

use super::{NamedFile, Role};
use crate::firmware;

/// The owner of a file that a specification names.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileOwner {
    /// A field.
    Field(Field),
    /// The image of the disk in this field, which has this one behind it.
    Backing(Field, PathBuf),
    /// A console that is on stdout of this process.
    Stdout,
}

impl FileOwner {
    /// The field that the file is of; stdout is the serial console's.
    pub fn field(&self) -> Field {
        match self {
            Self::Field(field) | Self::Backing(field, _) => *field,
            Self::Stdout => Field::Serial,
        }
    }
}

type Named = NamedFile<FileOwner>;

/// The files of all but the devices of `spec`: boot, memory, serial console and debug port.
pub fn machine_files(spec: &MachineSpec) -> Vec<NamedFile<FileOwner>> {
    let mut all = Vec::new();
    let mut add = |field, path: Option<&Path>, role| {
        all.extend(path.map(|path| Named::new(FileOwner::Field(field), path, role)));
    };
    let kernel = spec.boot.as_kernel();
    let image = kernel.map_or(Field::Firmware, |_| Field::Kernel);
    add(image, Some(spec.boot.image()), Role::Input);
    let vars = firmware::vars(spec).map(PathBuf::as_path);
    add(Field::FirmwareVars, vars, Role::Disk);
    let initrd = kernel.and_then(|kernel| kernel.initrd.as_ref());
    let initrd = initrd.map(|initrd| initrd.path.as_path());
    add(Field::Initrd, initrd, Role::Input);
    let ram = spec.memory.config(spec.needs_shared_memory());
    if let Backing::File(path) = &ram.backing {
        add(Field::Memory, Some(path), Role::Ram);
    }
    let serial = spec.serial_console();
    let output = Role::Output(Sharing::Alone);
    if let ConsoleSpec::File(path) = &serial {
        add(Field::Serial, Some(path), output);
    }
    add(Field::Serial, serial.socket(), Role::Socket);
    add(Field::DebugPort, spec.platform.debug_port.file(), output);
    all
}

/// The files of its devices, those behind the images of disks, and stdout where a console is on it.
pub fn device_files(spec: &MachineSpec) -> Vec<NamedFile<FileOwner>> {
    let devices = || (0..).map(Field::Device).zip(&spec.devices);
    let own = devices().filter_map(|(field, device)| of_device(field, device));
    let mut all: Vec<_> = own.collect();
    all.extend(devices().flat_map(|(field, device)| backing_files(field, device)));
    if spec.serial_console() == ConsoleSpec::Stdio || spec.has_virtio_stdio() {
        all.push(Named::new(FileOwner::Stdout, Path::new(""), Role::Stream));
    }
    all
}

fn of_device(field: Field, device: &DeviceSpec) -> Option<Named> {
    let given = |is_read_only| match is_read_only {
        true => Role::Input,
        false => Role::Disk,
    };
    let (path, role) = match device {
        DeviceSpec::Disk(DiskSpec::Own(disk)) => {
            (&disk.path, given(disk.read_only || disk.snapshot))
        }
        DeviceSpec::Pmem(pmem) => (&pmem.path, given(pmem.discard)),
        DeviceSpec::Vsock(vsock) => (&vsock.socket, Role::Socket),
        DeviceSpec::Console(ConsoleSpec::File(path)) => (path, Role::Output(Sharing::Alone)),
        DeviceSpec::Console(ConsoleSpec::Socket(path)) => (path, Role::Socket),
        _ => return None,
    };
    Some(Named::new(FileOwner::Field(field), path, role))
}

/// The images behind that of a disk.
fn backing_files(field: Field, device: &DeviceSpec) -> Vec<Named> {
    let DeviceSpec::Disk(DiskSpec::Own(disk)) = device else {
        return Vec::new();
    };
    if !disk.backing {
        return Vec::new();
    }
    // What cannot be read is said when the disk is opened.
    let behind = Qcow2Disk::backing_files(&disk.path).unwrap_or_default();
    let named = behind.into_iter().map(|path| {
        let owner = FileOwner::Backing(field, path.clone());
        Named::new(owner, &path, Role::Input)
    });
    named.collect()
}
