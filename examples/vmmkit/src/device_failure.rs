//! Advice for a device or a console that cannot be had.

use std::io;
use std::path::Path;

use vmmkit_assembly::Reason;
use vmmkit_fuse::DirectoryError;
use vmmkit_host_io::TapError;
use vmmkit_machine_spec::{
    ConsoleSpec, DeviceSpec, DiskSpec, Field, FsSpec, MachineSpec, NetAttachmentSpec, NetSpec,
};
use vmmkit_virtio_devices::{FsError, NetError, VhostUserError};

use crate::failure::Failure;
use crate::{build_failure, disk_failure, files};

/// Advice for an attachment that cannot be.
const ATTACHMENT: &str = "a tap needs a privilege or an owner: ip tuntap add dev tap0 mode tap user $USER; \
     passt=SOCKET needs none: passt --socket SOCKET";
/// Advice for a name that no interface has.
const INTERFACE: &str =
    "give the name of a tap interface, such as tap=tap0: `ip tuntap` lists them";
/// Advice for a process that has too few descriptors.
const DESCRIPTORS: &str = "free descriptors of this process";

/// The failure of `field`, shown as `what`, for `reason`; `None` where that is not a device's or a console's.
pub(crate) fn explain(
    what: &str,
    spec: &MachineSpec,
    field: Field,
    reason: &Reason,
) -> Option<Failure> {
    let failed = |next: &str| Failure::device(what, reason, next);
    let device = match field {
        Field::Device(index) => spec.devices.get(index),
        _ => None,
    };
    Some(match reason {
        Reason::Open(_) | Reason::Output(_) | Reason::Console(_) => failed(match device {
            Some(DeviceSpec::Console(place)) => files::next_of(place),
            _ if field == Field::Serial => files::next_of(&spec.serial_console()),
            _ => files::next_of(&ConsoleSpec::Null),
        }),
        Reason::Descriptors(_) => failed(DESCRIPTORS),
        Reason::Ram(error) => failed(&build_failure::of_memory(error)),
        Reason::Mem(_) => failed("please report this"),
        Reason::Disk(error) => match device {
            Some(DeviceSpec::Disk(DiskSpec::Own(disk))) => {
                disk_failure::explain(what, &disk.path, error)
            }
            _ => disk_failure::explain(what, Path::new(""), error),
        },
        Reason::Net(error) => match device {
            Some(DeviceSpec::Net(NetSpec {
                attachment: NetAttachmentSpec::Passt(socket),
                ..
            })) if matches!(error, NetError::Stream(_)) => failed(&format!(
                "start it first: `passt --socket {}`",
                socket.display()
            )),
            _ => failed(attachment(error)),
        },
        Reason::UserNetwork(error) => failed(user_network(error)),
        Reason::Interface(_) => failed(INTERFACE),
        Reason::NoInterface { interface } => failed(&format!(
            "give the name of one that is there, make it (ip tuntap add dev {interface} mode tap user \
             $USER), or add create"
        )),
        Reason::Pmem(_) => {
            failed("check the path and its permissions; the size must be a multiple of 2M")
        }
        Reason::Vsock(_) => failed("give another path, or end the program that listens there"),
        Reason::BackEnd(VhostUserError::Tag { .. }) => failed("give tag as 1 to 36 bytes"),
        Reason::BackEnd(_) => failed(&back_end(device)),
        Reason::Directory(DirectoryError::OfTheKernel { .. }) => {
            failed("share another folder: the guest has a /proc and a /sys of its own")
        }
        Reason::Directory(_) => failed("check the folder and its permissions"),
        Reason::Fs(FsError::Tag { .. }) => failed("give tag as 1 to 36 bytes"),
        Reason::Credential(_) | Reason::CloudInit { .. } => {
            failed("check the path and its permissions")
        }
        Reason::NoKey(_) => {
            failed("give a file such as ~/.ssh/id_ed25519.pub: ssh-keygen makes one")
        }
        Reason::PrivateKey(path) => failed(&format!(
            "give the public key, which the guest may have: {}.pub",
            path.display()
        )),
        _ => return None,
    })
}

/// Advice for a passt that cannot be started.
fn user_network(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "install passt (Debian, Ubuntu and Fedora have a package of this name)"
        }
        io::ErrorKind::AddrInUse => "give another port of the host: forward=HOST:GUEST",
        io::ErrorKind::PermissionDenied => {
            "give a port of the host from 1024 up: forward=HOST:GUEST; or check the permissions of passt"
        }
        _ => "check that passt runs: passt --foreground",
    }
}

fn attachment(error: &NetError) -> &'static str {
    match error {
        NetError::Mac(_) => "give one whose first byte is even, such as 52:54:00:12:34:56",
        NetError::Mtu(_) => "give a larger one, such as 1500",
        NetError::Tap(TapError::Name { .. }) => INTERFACE,
        NetError::Tap(TapError::Attach { source, .. })
            if source.kind() == io::ErrorKind::InvalidInput =>
        {
            "`ip tuntap` lists those that are there; make one of another name: ip tuntap add dev tap0 \
             mode tap user $USER"
        }
        _ => ATTACHMENT,
    }
}

/// Advice for a device of another process that does not answer.
fn back_end(device: Option<&DeviceSpec>) -> String {
    match device {
        Some(DeviceSpec::Disk(DiskSpec::VhostUser(socket))) => format!(
            "start the back end first, such as `qemu-storage-daemon --blockdev \
             driver=file,node-name=disk,filename=FILE --export \
             type=vhost-user-blk,id=disk,node-name=disk,writable=on,addr.type=unix,addr.path={}`",
            socket.display()
        ),
        Some(DeviceSpec::Net(net)) => match &net.attachment {
            NetAttachmentSpec::VhostUser(socket) => format!(
                "start the back end first, such as `passt --vhost-user --socket {}`",
                socket.display()
            ),
            _ => ATTACHMENT.to_owned(),
        },
        Some(DeviceSpec::Fs(FsSpec::VhostUser(fs))) => format!(
            "give a folder, or start virtiofsd first: `virtiofsd --socket-path={} --shared-dir=FOLDER`",
            fs.socket.display()
        ),
        _ => "start the back end first".to_owned(),
    }
}
