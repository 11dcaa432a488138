//! The machine of a configuration, on the host's KVM.

use std::error::Error;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use vmmkit_assembly::{Assembled, Assembly, Host, Input, Means, Notice, PlainStreams};
use vmmkit_assembly::{check_files, device_files, machine_config, machine_files};
use vmmkit_controlled::PAUSE_TIME;
use vmmkit_firecracker::body::RateLimiter;
use vmmkit_firecracker::guest::BalloonReport;
use vmmkit_firecracker::log::Log;
use vmmkit_firecracker::resources::Resources;
use vmmkit_firecracker::snapshot::{CreateSnapshot, Origin, SnapshotType, describe};
use vmmkit_firecracker::spec::{Planned, limits, plan};
use vmmkit_firecracker::{Guest, chain, log};
use vmmkit_guest_memory::RamConfig;
use vmmkit_hypervisor_kvm::Kvm;
use vmmkit_machine_spec::Field;
use vmmkit_snapshot::{Pair, Writer};
use vmmkit_virtio_devices::{Balloon, Mem, Net, Rng};
use vmmkit_vmm::{
    Boot, BootFile, Extent, Handle, Machine, MachineBuilder, RamSaver, Ready, SavedRam,
};

use crate::drive::{self, Opened};
use crate::faults::{Handler, hand_over};

/// The name of a vCPU's thread, before its number: clients look for it.
const VCPU_THREAD: &str = "fc_vcpu ";
/// Pages of 4 KiB in a mebibyte.
const PAGES: u32 = 256;

/// A machine that can start, and what clients can change of it.
pub(crate) struct Built {
    pub(crate) machine: Machine<Ready>,
    pub(crate) guest: Arc<Running>,
}

/// A machine that runs.
pub(crate) struct Running {
    handle: Handle,
    drives: Vec<Opened>,
    network: Vec<(String, Option<Arc<Net>>)>,
    balloon: Option<Arc<Balloon>>,
    memory: Option<Arc<Mem>>,
    /// The connection to the process that handles faults of its memory.
    _handler: Option<Handler>,
}

/// Builds the machine of `resources`, as it was in `origin` if there is one.
pub(crate) fn build(
    resources: &Resources,
    origin: Option<&Origin>,
    log: &Arc<Log>,
) -> Result<Built, String> {
    let planned = plan(resources)?;
    let kvm = Kvm::open().map_err(|error| chain(&error))?;
    let drives = resources.drives.iter().map(drive::open);
    let drives = drives.collect::<Result<Vec<_>, _>>()?;
    let (assembly, ram) = open(&planned, &drives, resources, origin, log)?;
    let (assembled, handler) = match origin {
        None => (assembly.build(&kvm).map_err(|error| chain(&error))?, None),
        Some(origin) => restore(assembly, origin, &ram, &kvm)?,
    };
    let handle = assembled.machine.handle();
    if origin.is_some() && resources.machine_config.track_dirty_pages {
        let saver = handle.ram_saver().map_err(|error| chain(&error))?;
        saver.log_changes().map_err(|error| chain(&error))?;
    }
    let id = |place: &usize| {
        let field = Field::Device(*place);
        let mut devices = assembled.devices.iter();
        devices
            .find(|(other, _)| *other == field)
            .map(|(_, id)| id.clone())
    };
    let network = resources.network.iter().zip(&planned.network);
    let network = network.map(|(interface, place)| {
        let net: Option<Arc<Net>> = id(place).and_then(|id| handle.device(id));
        if let Some(net) = &net {
            limit(net, interface.rx_rate_limiter, interface.tx_rate_limiter);
        }
        (interface.iface_id.clone(), net)
    });
    let limiter = resources.entropy.and_then(|entropy| entropy.rate_limiter);
    let rng: Option<Arc<Rng>> = handle.first_device();
    if let (Some(rng), Some(limiter)) = (rng, limiter) {
        rng.rate_limiter().set(limits(limiter));
    }
    let guest = Arc::new(Running {
        drives,
        network: network.collect(),
        balloon: handle.first_device(),
        memory: handle.first_device(),
        _handler: handler,
        handle,
    });
    Ok(Built {
        machine: assembled.machine,
        guest,
    })
}

fn open(
    planned: &Planned,
    drives: &[Opened],
    resources: &Resources,
    origin: Option<&Origin>,
    log: &Arc<Log>,
) -> Result<(Assembly, RamConfig), String> {
    let spec = &planned.spec;
    let mut files = machine_files(spec);
    files.extend(device_files(spec));
    check_files(&files).map_err(|fault| format!("{fault:?}"))?;
    let mut config = machine_config(spec).map_err(|error| chain(&error))?;
    config.threads.vcpu_name = Some(VCPU_THREAD.to_owned());
    config.ram.dirty_log = resources.machine_config.track_dirty_pages;
    if origin.is_some() {
        // The kernel is in memory. A reset would read it, and ends the process here.
        config.boot = Boot::kernel(BootFile::Bytes(Vec::new().into()));
    }
    let host: Arc<dyn Host> = Arc::new(Streams(log.clone()));
    let mut others = spec.clone();
    others.devices.truncate(planned.first_drive);
    let ram = config.ram.clone();
    let assembly = Assembly::open(config, &others, &host, Means::default());
    let mut assembly = assembly.map_err(|error| chain(&error))?;
    for drive in drives {
        assembly.builder.add_virtio(drive.device.clone());
        if let Some(block) = &drive.block {
            let (log, name) = (log.clone(), drive.name.clone());
            block.on_error(move |error| log!(log, Warning, "The drive {name}: {error}"));
        }
    }
    Ok((assembly, ram))
}

/// The machine of `assembly` as it was in `origin`, with memory as `config` says.
fn restore(
    assembly: Assembly,
    origin: &Origin,
    config: &RamConfig,
    kvm: &Kvm,
) -> Result<(Assembled, Option<Handler>), String> {
    let (ram, handler) = match &origin.handler {
        None => {
            let file = origin.snapshot.ram().try_clone();
            (SavedRam::from(file.map_err(|error| chain(&error))?), None)
        }
        Some(socket) => {
            let (ram, handler) = hand_over(config, socket)?;
            (SavedRam::from(ram), Some(handler))
        }
    };
    let make =
        |builder: MachineBuilder| Ok::<_, Reason>(builder.restore(kvm, origin.reader(), ram)?);
    let restored = assembly.build_by(make).map_err(|Reason(reason)| reason)?;
    Ok((restored, handler))
}

/// Why something failed, in a sentence.
struct Reason(String);

impl<E: Error> From<E> for Reason {
    fn from(error: E) -> Self {
        Self(chain(&error))
    }
}

fn limit(net: &Net, to: Option<RateLimiter>, from: Option<RateLimiter>) {
    if let Some(to) = to {
        net.receive_limit().set(limits(to));
    }
    if let Some(from) = from {
        net.transmit_limit().set(limits(from));
    }
}

impl Guest for Running {
    fn pause(&self) -> Result<(), String> {
        self.handle
            .pause_within(PAUSE_TIME)
            .map_err(|error| chain(&error))
    }

    fn resume(&self) -> Result<(), String> {
        self.handle.resume();
        Ok(())
    }

    fn save(&self, resources: &Resources, to: &CreateSnapshot) -> Result<(), String> {
        let pair = Pair::new(&to.snapshot_path, &to.mem_file_path);
        let log = resources.machine_config.track_dirty_pages;
        let saved = match to.snapshot_type {
            SnapshotType::Full => pair.save(|writer, ram| {
                describe(resources, writer)?;
                let extent = if log { Extent::Base } else { Extent::Whole };
                Ok::<_, Reason>(self.handle.save_extent(extent, writer, ram)?)
            }),
            SnapshotType::Diff => pair.save_over(|writer, ram| {
                describe(resources, writer)?;
                let save = |saver: RamSaver<'_>, _: &mut Writer| {
                    Ok::<_, Reason>(saver.save_over(&ram.open()?, log)?)
                };
                self.handle.save_as(writer, save)
            }),
        };
        saved.map_err(|Reason(reason)| {
            // Changes are those since a snapshot that is there.
            if let Ok(saver) = self.handle.ram_saver() {
                saver.forget();
            }
            reason
        })
    }

    fn ctrl_alt_del(&self) {
        self.handle.ctrl_alt_del();
    }

    fn change_drive(&self, place: usize, path: &str) -> Result<(), String> {
        let drive = self.drives.get(place).ok_or("There is no such drive.")?;
        drive.change(path)
    }

    fn limit_drive(&self, place: usize, limiter: RateLimiter) {
        if let Some(disk) = self
            .drives
            .get(place)
            .and_then(|drive| drive.block.as_ref())
        {
            disk.rate_limiter().set(limits(limiter));
        }
    }

    fn limit_network(&self, place: usize, to: Option<RateLimiter>, from: Option<RateLimiter>) {
        if let Some((_, Some(net))) = self.network.get(place) {
            limit(net, to, from);
        }
    }

    fn set_balloon(&self, mebibytes: u32) {
        if let Some(balloon) = &self.balloon {
            balloon.set_target(mebibytes);
        }
    }

    fn balloon(&self) -> BalloonReport {
        let Some(balloon) = &self.balloon else {
            return BalloonReport::default();
        };
        let (target, actual) = (balloon.target_pages(), balloon.actual_pages());
        let stats = balloon
            .stats()
            .map(|report| report.stats)
            .unwrap_or_default();
        BalloonReport {
            target_pages: target,
            actual_pages: actual,
            target_mib: target / PAGES,
            actual_mib: actual / PAGES,
            swap_in: stats.swap_in,
            swap_out: stats.swap_out,
            major_faults: stats.major_faults,
            minor_faults: stats.minor_faults,
            free_memory: stats.free_memory,
            total_memory: stats.total_memory,
            available_memory: stats.available_memory,
            disk_caches: stats.disk_caches,
            hugetlb_allocations: stats.huge_page_allocations,
            hugetlb_failures: stats.huge_page_failures,
        }
    }

    fn set_statistics_interval(&self, seconds: u16) {
        if let Some(balloon) = &self.balloon {
            let interval = (seconds > 0).then(|| Duration::from_secs(seconds.into()));
            balloon.set_stats_interval(interval);
        }
    }

    fn request_memory(&self, mebibytes: u32) {
        if let Some(memory) = &self.memory {
            // Whoever asks has looked that there is so much.
            let _ = memory.request(u64::from(mebibytes) << 20);
        }
    }

    fn plugged_memory(&self) -> (u64, u64) {
        let memory = self.memory.as_ref();
        memory.map_or((0, 0), |it| (it.plugged() >> 20, it.requested() >> 20))
    }

    fn counters(&self) -> Value {
        let mut groups = Map::new();
        for Opened { name, block, .. } in &self.drives {
            let Some(disk) = block else { continue };
            let stats = disk.stats();
            let numbers = [
                ("read_count", stats.reads),
                ("read_bytes", stats.read_bytes),
                ("write_count", stats.writes),
                ("write_bytes", stats.written_bytes),
                ("flush_count", stats.flushes),
                ("execute_fails", stats.host_errors),
                ("invalid_reqs_count", stats.bad_requests),
                (
                    "rate_limiter_throttled_events",
                    disk.rate_limiter().throttled(),
                ),
            ];
            add(&mut groups, "block", name, &numbers);
        }
        for (name, net) in &self.network {
            let Some(net) = net else { continue };
            let stats = net.stats();
            let numbers = [
                ("rx_packets_count", stats.received.packets),
                ("rx_bytes_count", stats.received.bytes),
                ("rx_fails", stats.received.errors + stats.received.drops),
                ("tx_packets_count", stats.transmitted.packets),
                ("tx_bytes_count", stats.transmitted.bytes),
                (
                    "tx_fails",
                    stats.transmitted.errors + stats.transmitted.drops,
                ),
                ("rx_rate_limiter_throttled", net.receive_limit().throttled()),
                (
                    "tx_rate_limiter_throttled",
                    net.transmit_limit().throttled(),
                ),
            ];
            add(&mut groups, "net", name, &numbers);
        }
        if let Some(balloon) = &self.balloon {
            let counters = balloon.counters();
            let numbers = json!({
                "inflate_count": counters.inflated_pages,
                "deflate_count": counters.deflated_pages,
                "stats_updates_count": counters.reports,
                "event_fails": counters.outside_pages,
            });
            groups.insert("balloon".to_owned(), numbers);
        }
        Value::Object(groups)
    }
}

/// Adds the numbers of one device, and to those of its kind.
fn add(groups: &mut Map<String, Value>, kind: &str, name: &str, numbers: &[(&str, u64)]) {
    let own: Map<String, Value> = numbers
        .iter()
        .map(|(name, number)| ((*name).to_owned(), json!(number)))
        .collect();
    groups.insert(format!("{kind}_{name}"), Value::Object(own));
    let all = groups.entry(kind).or_insert_with(|| json!({}));
    if let Some(all) = all.as_object_mut() {
        for (name, number) in numbers {
            let before = all.get(*name).and_then(Value::as_u64).unwrap_or_default();
            all.insert((*name).to_owned(), json!(before.saturating_add(*number)));
        }
    }
}

/// This process's streams for the serial port, and the log for what devices report.
struct Streams(Arc<Log>);

impl Host for Streams {
    fn stdin(&self) -> io::Result<Input> {
        PlainStreams.stdin()
    }

    fn stdout(&self) -> io::Result<OwnedFd> {
        PlainStreams.stdout()
    }

    fn stderr(&self, bytes: &[u8]) {
        PlainStreams.stderr(bytes);
    }

    fn report(&self, notice: &Notice<'_>) {
        log!(self.0, Warning, "{:?}: {:?}", notice.field, notice.kind);
    }
}
