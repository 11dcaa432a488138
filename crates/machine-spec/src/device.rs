//! The devices of a machine.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{
    BalloonSpec, CloudInitSpec, ConsoleSpec, DiskSpec, FsSpec, NetAttachmentSpec, NetSpec,
    PmemSpec, VsockSpec,
};

/// A paravirtual device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceSpec {
    /// A disk.
    Disk(DiskSpec),
    /// A network interface.
    Net(NetSpec),
    /// Persistent memory.
    Pmem(PmemSpec),
    /// A virtio console.
    Console(ConsoleSpec),
    /// A balloon.
    Balloon(BalloonSpec),
    /// Sockets between guest and host.
    Vsock(VsockSpec),
    /// A shared folder.
    Fs(FsSpec),
    /// A source of entropy.
    Rng,
    /// First-boot data for cloud-init, as a disk.
    CloudInit(CloudInitSpec),
}

impl DeviceSpec {
    /// The exclusive resource of the host that it takes: its kind, and which one.
    pub fn takes(&self) -> Option<(&'static str, &Path)> {
        let socket = match self {
            Self::Net(net) => match &net.attachment {
                NetAttachmentSpec::Tap { interface, .. } => {
                    return Some(("interface", Path::new(interface)));
                }
                NetAttachmentSpec::User { .. } => None,
                NetAttachmentSpec::Passt(socket) | NetAttachmentSpec::VhostUser(socket) => {
                    Some(socket.as_path())
                }
            },
            Self::Disk(disk) => disk.socket(),
            Self::Fs(FsSpec::VhostUser(fs)) => Some(fs.socket.as_path()),
            _ => None,
        };
        socket.map(|socket| ("socket", socket))
    }

    /// Whether another process must see the guest's memory.
    pub fn needs_shared_memory(&self) -> bool {
        match self {
            Self::Disk(DiskSpec::VhostUser(_)) | Self::Fs(FsSpec::VhostUser(_)) => true,
            Self::Net(net) => matches!(net.attachment, NetAttachmentSpec::VhostUser(_)),
            _ => false,
        }
    }

    /// The place of its kind among the kinds of devices. Machines that are written down in another order of kinds
    /// have their devices at the same places.
    pub fn order(&self) -> usize {
        match self {
            Self::Disk(_) => 0,
            Self::Net(_) => 1,
            Self::Pmem(_) => 2,
            Self::Console(_) => 3,
            Self::Balloon(_) => 4,
            Self::Vsock(_) => 5,
            Self::Fs(_) => 6,
            Self::Rng => 7,
            // After all: the disks keep their names.
            Self::CloudInit(_) => 8,
        }
    }
}

impl fmt::Display for DeviceSpec {
    /// Its value, without its kind.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(disk) => disk.fmt(f),
            Self::Net(net) => net.fmt(f),
            Self::Pmem(pmem) => pmem.fmt(f),
            Self::Console(console) => console.fmt(f),
            Self::Balloon(balloon) => balloon.fmt(f),
            Self::Vsock(vsock) => vsock.fmt(f),
            Self::Fs(fs) => fs.fmt(f),
            Self::Rng => Ok(()),
            Self::CloudInit(data) => data.fmt(f),
        }
    }
}
