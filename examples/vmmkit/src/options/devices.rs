//! Paravirtual devices.

use std::path::Path;

use vmmkit_machine_spec::{
    BalloonSpec, CloudInitSpec, DeviceSpec, DiskSpec, Field, FsSpec, Given, NetSpec, PmemSpec,
    VirtioSpec, VsockSpec,
};

use super::{DEVICES, FLAG, RunOption, RunOptions, TEXT, Takes, Wrong, advice, changed};
use crate::settings::Settings;

impl RunOptions {
    /// One more device, whose value is `given`.
    pub(super) fn plug(&mut self, device: DeviceSpec, given: &Given) -> Result<(), Wrong> {
        self.devices.push((device, given.shown()));
        Ok(())
    }
}

/// The values of the devices that the option `name` asks for.
pub(super) fn of(settings: &Settings, name: &str) -> Vec<String> {
    let devices = settings.spec.devices.iter().enumerate();
    let own = devices.filter(|(index, _)| {
        let option = advice::option_of(&settings.spec, Field::Device(*index));
        option.is_some_and(|option| option.name == name)
    });
    own.map(|(_, device)| device.to_string()).collect()
}

pub(super) const OPTIONS: &[RunOption] = &[
    RunOption {
        name: "disk",
        value: "PATH[,readonly][,KEY...]",
        takes: Takes::Many,
        heading: DEVICES,
        help: "A disk: raw, qcow2; VDI, VHD and VMDK for reading",
        more: "A file or block device, or vhost-user=SOCKET; vda, vdb and so on in the guest, in this order. Keys: \
               readonly, snapshot (writes go to a file without a name in $TMPDIR or /var/tmp and are gone at the end), \
               direct, serial=TEXT, queues=N, format=raw|qcow2|vdi|vhd|vmdk, backing=on, block-size=512|4096, \
               backend=sync|uring, and per second bandwidth=BYTES and iops=N.",
        advice: "give PATH, and readonly, snapshot, direct, serial=TEXT, queues=N, format=raw|qcow2|vdi|vhd|vmdk, backing=on, \
                 block-size=512|4096, backend=sync|uring, bandwidth=BYTES or iops=N; or vhost-user=SOCKET",
        read: |options, given| options.plug(DeviceSpec::Disk(DiskSpec::parse(given)?), given),
        write: |settings| of(settings, "disk"),
        ..TEXT
    },
    RunOption {
        name: "net",
        value: "user[,KEY=VALUE...]",
        takes: Takes::Many,
        heading: DEVICES,
        help: "A network interface: user, tap, passt or vhost-user",
        more: "user starts a passt of the guest's own, which needs no privilege; each forward=HOST:GUEST or \
               forward=udp:HOST:GUEST leads from a port of the host to one of the guest. Others are tap=NAME, a tap \
               interface of the host (create makes it), passt=SOCKET, a passt that runs, and vhost-user=SOCKET. Keys: \
               mac=MAC, mtu=N, queues=N, and per second bandwidth=BYTES and packets=N.",
        advice: "give tap=NAME (and create to have it made), user (and forward=HOST:GUEST), passt=SOCKET or \
                 vhost-user=SOCKET, and mac=XX:XX:XX:XX:XX:XX, mtu=N, queues=N, or bandwidth=BYTES and packets=N a \
                 second",
        read: |options, given| options.plug(DeviceSpec::Net(NetSpec::parse(given)?), given),
        write: |settings| of(settings, "net"),
        ..TEXT
    },
    RunOption {
        name: "vsock",
        value: "cid=N,socket=PATH",
        takes: Takes::Words,
        heading: DEVICES,
        help: "Sockets between guest and host (vsock)",
        more: "Host programs connect to PATH and write CONNECT PORT; the guest reaches programs that listen on \
               PATH_PORT at CID 2.",
        advice: "give cid=N,socket=PATH, such as --vsock cid=3,socket=v.sock",
        read: |options, given| options.plug(DeviceSpec::Vsock(VsockSpec::parse(given)?), given),
        write: |settings| of(settings, "vsock"),
        ..TEXT
    },
    RunOption {
        name: "fs",
        value: "DIR,tag=NAME[,rw]",
        takes: Takes::Many,
        heading: DEVICES,
        help: "A shared directory of the host",
        more: "The guest mounts it by its tag (mount -t virtiofs NAME /mnt), and may not change it without rw. A socket \
               in the place of DIR is that of a virtiofsd.",
        advice: "give DIR,tag=NAME, and rw where the guest may change it, such as --fs /srv,tag=srv",
        read: |options, given| {
            let spec = FsSpec::parse(given, Path::is_dir)?;
            options.plug(DeviceSpec::Fs(spec), given)
        },
        write: |settings| of(settings, "fs"),
        ..TEXT
    },
    RunOption {
        name: "pmem",
        value: "PATH[,discard]",
        takes: Takes::Many,
        heading: DEVICES,
        help: "Persistent memory in a file",
        more: "pmem0 and so on in the guest; with discard, its writes are discarded.",
        advice: "give PATH, and discard for writes that are lost, such as --pmem root.img,discard",
        read: |options, given| options.plug(DeviceSpec::Pmem(PmemSpec::parse(given)?), given),
        write: |settings| of(settings, "pmem"),
        ..TEXT
    },
    RunOption {
        name: "balloon",
        value: "SIZE",
        takes: Takes::Optional,
        heading: DEVICES,
        help: "A balloon, which returns memory to the host",
        more: "SIZE is its initial size; free memory is returned in any case. Keys: keep-on-oom, stats=SECONDS.",
        advice: "give nothing, or SIZE, stats=SECONDS and keep-on-oom, such as --balloon=64M,stats=5",
        read: |options, given| options.plug(DeviceSpec::Balloon(BalloonSpec::parse(given)?), given),
        write: |settings| of(settings, "balloon"),
        ..TEXT
    },
    RunOption {
        name: "rng",
        heading: DEVICES,
        help: "An entropy device",
        read: |options, given| options.plug(DeviceSpec::Rng, given),
        write: |settings| of(settings, "rng"),
        ..FLAG
    },
    RunOption {
        name: "cloud-init",
        value: "KEY=VALUE[,KEY=VALUE...]",
        takes: Takes::Words,
        heading: DEVICES,
        help: "First-boot data for cloud-init, on a disk of its own",
        more: "Keys: user=NAME, who may become root by sudo, ssh-key=FILE (public keys; may be repeated), password=TEXT, \
               hostname=NAME, user-data=FILE, meta-data=FILE and network-config=FILE. The disk is the last one \
               (NoCloud, label CIDATA).",
        advice: "give user=NAME and ssh-key=FILE or password=TEXT, or user-data=FILE, such as --cloud-init \
                 user=me,ssh-key=id_ed25519.pub",
        read: |options, given| {
            let spec = CloudInitSpec::parse(given)?;
            options.plug(DeviceSpec::CloudInit(spec), given)
        },
        write: |settings| of(settings, "cloud-init"),
        ..TEXT
    },
    RunOption {
        name: "virtio",
        value: "mmio|pci[,packed]",
        heading: DEVICES,
        help: "Transport of the virtio devices [default: mmio]",
        more: "pci is for distribution kernels; packed offers packed queues.",
        words: VirtioSpec::WORDS,
        advice: "give mmio or pci",
        read: |options, given| {
            options.platform.virtio = VirtioSpec::parse(given)?;
            Ok(())
        },
        write: |settings| changed(&settings.spec.platform.virtio),
        ..TEXT
    },
];
