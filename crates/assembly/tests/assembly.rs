//! A specification and a host make a machine, with all that it has of the host, or leave nothing behind.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking, its helpers too"
)]

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use vmmkit_assembly::{Assembly, AssemblyError, Host, Input, Notice, PlainStreams, Reason};
use vmmkit_hypervisor::VcpuId;
use vmmkit_hypervisor::fake::{End, FakeHypervisor, Script};
use vmmkit_machine_spec::{
    BootSpec, ConsoleSpec, DebugPortSpec, DeviceSpec, DiskSpec, Field, FirmwareSpec, Given,
    MachineSpec, MemorySpec,
};
use vmmkit_virtio_devices::{Block, Rng};

/// The first serial port's transmitter.
const COM1: u16 = 0x3f8;

/// A host without streams: everything is in files and sockets.
struct NoStreams;

impl Host for NoStreams {
    fn stdin(&self) -> io::Result<Input> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn stdout(&self) -> io::Result<OwnedFd> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn stderr(&self, _: &[u8]) {}

    fn report(&self, _: &Notice<'_>) {}
}

fn host() -> Arc<dyn Host> {
    Arc::new(NoStreams)
}

/// A folder of the test's own, which goes with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("assembly-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("rom"), vec![0xf4; 64 << 10]).unwrap();
        fs::write(path.join("disk"), vec![0; 1 << 20]).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn machine(&self) -> MachineSpec {
        MachineSpec {
            serial: Some(ConsoleSpec::File(self.path("serial"))),
            memory: MemorySpec::parse(&Given::text("16M")).unwrap(),
            ..MachineSpec::new(BootSpec::Firmware(FirmwareSpec::new(self.path("rom"))))
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn disk(path: &Path) -> DeviceSpec {
    DeviceSpec::Disk(DiskSpec::parse(&Given::text(&path.display().to_string())).unwrap())
}

fn refused(spec: &MachineSpec) -> AssemblyError {
    Assembly::new(spec, &host()).expect_err("it was assembled")
}

#[test]
fn a_specification_becomes_a_machine_with_its_devices_by_id() {
    let folder = Folder::new("whole");
    let mut spec = folder.machine();
    spec.platform.debug_port = DebugPortSpec::File(folder.path("debug"));
    spec.devices = vec![
        DeviceSpec::Rng,
        disk(&folder.path("disk")),
        DeviceSpec::Console(ConsoleSpec::Socket(folder.path("socket"))),
    ];
    let script = Script::new().port_write(COM1, b"hello").then(End::Shutdown);
    let hypervisor = FakeHypervisor::new().with_script(VcpuId(0), script);
    let assembly = Assembly::new(&spec, &host()).unwrap();
    assert!(!folder.path("serial").exists(), "it may still fail");
    let assembled = assembly.build(&hypervisor).unwrap();
    let devices: Vec<_> = assembled
        .devices
        .iter()
        .map(|(field, id)| (*field, id.as_str()))
        .collect();
    let device = Field::Device;
    assert_eq!(
        devices,
        [
            (device(0), "rng0"),
            (device(1), "blk0"),
            (device(2), "console0")
        ]
    );
    let handle = assembled.machine.handle();
    assert!(handle.device::<Rng>("rng0").is_some());
    assert!(handle.device::<Block>("blk0").is_some());
    assembled.machine.start().unwrap().wait().unwrap();
    assert_eq!(fs::read(folder.path("serial")).unwrap(), b"hello");
    assert!(folder.path("debug").exists());
}

#[test]
fn what_cannot_be_had_is_named_by_its_field_and_nothing_is_left_behind() {
    let folder = Folder::new("refused");
    let mut spec = folder.machine();
    let socket = folder.path("socket");
    spec.devices = vec![
        DeviceSpec::Console(ConsoleSpec::Socket(socket.clone())),
        disk(&folder.path("missing")),
    ];
    let AssemblyError { field, reason, .. } = refused(&spec);
    assert_eq!(field, Field::Device(1));
    assert!(matches!(reason, Reason::Disk(_)), "{reason:?}");
    assert!(!folder.path("serial").exists() && !socket.exists());
}

#[test]
fn no_two_fields_write_to_one_file() {
    let folder = Folder::new("same");
    let mut spec = folder.machine();
    spec.serial = Some(ConsoleSpec::File(folder.path("disk")));
    spec.devices = vec![disk(&folder.path("disk"))];
    let AssemblyError { field, reason, .. } = refused(&spec);
    assert_eq!(field, Field::Serial);
    assert!(matches!(reason, Reason::SameFile(_)), "{reason:?}");
}

#[test]
fn a_serial_console_on_stdio_is_the_hosts_streams() {
    let folder = Folder::new("stdio");
    let mut spec = folder.machine();
    spec.serial = Some(ConsoleSpec::Stdio);
    let AssemblyError { field, reason, .. } = refused(&spec);
    assert_eq!(field, Field::Serial);
    assert!(matches!(reason, Reason::Open(_)), "{reason:?}");
    let host: Arc<dyn Host> = Arc::new(PlainStreams);
    assert!(Assembly::new(&spec, &host).is_ok());
}
