//! From a configuration to the machine that the crates build.

use std::num::NonZeroU64;
use std::time::Duration;

use vmmkit_guest_memory::RamSize;
use vmmkit_machine_spec::{
    BackingSpec, BalloonSpec, BootSpec, ConsoleSpec, DeviceSpec, DiskBackend, DiskFormat, DiskSpec,
    InitrdSpec, KernelSpec, MachineSpec, NetAttachmentSpec, NetSpec, OwnDisk, PmemSpec, RateSpec,
    Thp, Transport, VsockSpec,
};
use vmmkit_virtio_devices::{Bucket, RateLimit};

use crate::body::{
    BootSource, Drive, HugePages, IoEngine, NetworkInterface, RateLimiter, TokenBucket,
};
use crate::check::mac_address;
use crate::resources::Resources;

/// The command line of a kernel that was given none.
const BOOT_ARGS: &str = "reboot=k panic=1 nomodule 8250.nr_uarts=0 i8042.noaux i8042.nomux i8042.dumbkbd swiotlb=noforce";
/// Of a page that is huge, in bytes.
const HUGE_PAGE: u64 = 2 << 20;

/// A machine, and the places of its devices that can be changed while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// The machine.
    pub spec: MachineSpec,
    /// The place of the first drive among its devices: the others follow.
    pub first_drive: usize,
    /// The place of each interface.
    pub network: Vec<usize>,
}

/// Plans the machine of `resources`.
///
/// # Errors
/// The first part that cannot be, in a sentence.
pub fn plan(resources: &Resources) -> Result<Planned, String> {
    let source = resources.boot_source.as_ref();
    let source = source.ok_or("There is no kernel to boot: PUT /boot-source first.")?;
    let mut spec = MachineSpec::new(BootSpec::Kernel(kernel(source, resources)));
    let cmdline = spec
        .boot
        .as_kernel()
        .and_then(|kernel| kernel.cmdline.as_deref());
    let mut words = cmdline.unwrap_or_default().split_whitespace();
    // A kernel that does not look at the tables is told of devices by its command line.
    spec.platform.acpi = words.all(|word| word != "acpi=off");
    if resources.pci {
        spec.platform.virtio.transport = Transport::Pci;
    }
    machine(&mut spec, resources)?;
    spec.serial = Some(match &resources.serial.serial_out_path {
        Some(path) => ConsoleSpec::File(path.into()),
        None => ConsoleSpec::Stdio,
    });
    let mut planned = Planned {
        spec,
        first_drive: 0,
        network: Vec::new(),
    };
    devices(&mut planned, resources)?;
    Ok(planned)
}

fn machine(spec: &mut MachineSpec, resources: &Resources) -> Result<(), String> {
    let config = &resources.machine_config;
    let vcpus = match config.smt && config.vcpu_count > 1 {
        true => format!("{},threads=2", config.vcpu_count),
        false => config.vcpu_count.to_string(),
    };
    spec.cpus.vcpus = vcpus
        .parse()
        .map_err(|error| format!("`vcpu_count`: {error}"))?;
    let size = RamSize::new(u64::from(config.mem_size_mib) << 20);
    spec.memory.size = size.map_err(|error| format!("`mem_size_mib`: {error}"))?;
    if let Some(hotplug) = &resources.memory_hotplug {
        let most = u64::from(config.mem_size_mib) + u64::from(hotplug.total_size_mib);
        let max = RamSize::new(most << 20);
        spec.memory.max = Some(max.map_err(|error| format!("`total_size_mib`: {error}"))?);
    }
    match config.huge_pages {
        HugePages::None => {}
        HugePages::Transparent => spec.memory.thp = Thp::On,
        HugePages::Of2Mib => spec.memory.backing = Some(BackingSpec::Hugetlb(HUGE_PAGE)),
    }
    Ok(())
}

fn kernel(source: &BootSource, resources: &Resources) -> KernelSpec {
    let default = || match resources.pci {
        true => BOOT_ARGS.to_owned(),
        false => format!("{BOOT_ARGS} pci=off"),
    };
    let mut cmdline = source.boot_args.clone().unwrap_or_else(default);
    let access = |is_read_only| if is_read_only { "ro" } else { "rw" };
    let drive = resources.drives.first();
    if let Some(root) = drive.filter(|drive| drive.is_root_device) {
        let device = match &root.partuuid {
            Some(partition) => format!("PARTUUID={partition}"),
            None => "/dev/vda".to_owned(),
        };
        let access = access(root.is_read_only.unwrap_or(false));
        cmdline = format!("{cmdline} root={device} {access}");
    }
    let mut pmem = resources.pmem.iter().enumerate();
    if let Some((number, root)) = pmem.find(|(_, pmem)| pmem.root_device) {
        let access = access(root.read_only);
        cmdline = format!("{cmdline} root=/dev/pmem{number} {access}");
    }
    KernelSpec {
        initrd: source.initrd_path.as_ref().map(|path| InitrdSpec {
            path: path.into(),
            any: true,
        }),
        cmdline: Some(cmdline),
        ..KernelSpec::new(&source.kernel_image_path)
    }
}

fn devices(planned: &mut Planned, resources: &Resources) -> Result<(), String> {
    let devices = &mut planned.spec.devices;
    if let Some(balloon) = &resources.balloon {
        let interval = balloon.stats_polling_interval_s;
        devices.push(DeviceSpec::Balloon(BalloonSpec {
            size_mib: balloon.amount_mib,
            keep_on_oom: !balloon.deflate_on_oom,
            stats: (interval > 0).then_some(interval.into()),
        }));
    }
    for interface in &resources.network {
        planned.network.push(devices.len());
        devices.push(DeviceSpec::Net(network(interface)?));
    }
    if let Some(vsock) = &resources.vsock {
        devices.push(DeviceSpec::Vsock(VsockSpec {
            cid: vsock.guest_cid.into(),
            socket: (&vsock.uds_path).into(),
        }));
    }
    if resources.entropy.is_some() {
        devices.push(DeviceSpec::Rng);
    }
    for pmem in &resources.pmem {
        devices.push(DeviceSpec::Pmem(PmemSpec {
            path: (&pmem.path_on_host).into(),
            discard: pmem.read_only,
        }));
    }
    // They are the last: the front end plugs them in itself.
    planned.first_drive = devices.len();
    for drive in &resources.drives {
        devices.push(DeviceSpec::Disk(disk(drive)));
    }
    Ok(())
}

fn disk(drive: &Drive) -> DiskSpec {
    if let Some(socket) = &drive.socket {
        return DiskSpec::VhostUser(socket.into());
    }
    let path = drive.path_on_host.clone().unwrap_or_default();
    DiskSpec::Own(OwnDisk {
        read_only: drive.is_read_only.unwrap_or(false),
        // A file is the bytes of the disk, whatever they look like.
        format: Some(DiskFormat::Raw),
        backend: match drive.io_engine {
            None | Some(IoEngine::Sync) => DiskBackend::Sync,
            Some(IoEngine::Async) => DiskBackend::Uring,
        },
        ..OwnDisk::new(path)
    })
}

fn network(interface: &NetworkInterface) -> Result<NetSpec, String> {
    Ok(NetSpec {
        attachment: NetAttachmentSpec::Tap {
            interface: interface.host_dev_name.clone(),
            create: false,
        },
        mac: interface
            .guest_mac
            .as_deref()
            .map(mac_address)
            .transpose()?,
        mtu: interface.mtu,
        queues: 1,
        rate: RateSpec::default(),
    })
}

/// The limits of a device: those that are not named are none.
pub fn limits(limiter: RateLimiter) -> RateLimit {
    RateLimit {
        bandwidth: limiter.bandwidth.and_then(bucket),
        operations: limiter.ops.and_then(bucket),
    }
}

fn bucket(bucket: TokenBucket) -> Option<Bucket> {
    let size = NonZeroU64::new(bucket.size).filter(|_| bucket.refill_time > 0)?;
    Some(Bucket {
        size,
        burst: bucket.one_time_burst.unwrap_or_default(),
        refill: Duration::from_millis(bucket.refill_time),
    })
}
