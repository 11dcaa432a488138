//! The paravirtual devices of a machine: options as text, then choices, then devices.

mod balloon;
mod console;
mod disk;
mod disk_failure;
mod fs;
mod live;
mod mem;
mod net;
mod plan;
mod pmem;
mod vsock;
pub(crate) mod words;

use std::collections::HashSet;
use std::error::Error;
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use vmmkit_guest_memory::RamSize;
use vmmkit_virtio_devices::{Bucket, Rng};
use vmmkit_vmm::{DeviceInfo, VirtioTransport};

use crate::cli::{CONSOLE, DEVICES};
use crate::failure::{Failure, chain};
use crate::files::Named;
use crate::messages;
use balloon::BalloonChoice;
use console::ConsoleChoice;
use disk::DiskChoice;
use fs::FsChoice;
pub(crate) use live::{Live, statistics};
use net::NetChoice;
pub(crate) use plan::Plan;
use pmem::PmemChoice;
use vsock::VsockChoice;
pub(crate) use words::{Words, in_folder};

/// The options, as text.
#[derive(clap::Args, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeviceOptions {
    /// A disk, raw or qcow2
    ///
    /// A file or block device, or vhost-user=SOCKET; vda, vdb and so on in the guest, in this order. Keys:
    /// readonly, direct, serial=TEXT, queues=N, format=raw|qcow2, backing=on, block-size=512|4096,
    /// backend=sync|uring, and per second bandwidth=BYTES and iops=N.
    #[arg(long, value_name = "PATH[,readonly][,KEY...]", help_heading = DEVICES)]
    pub(crate) disk: Vec<String>,
    /// A network interface: tap, passt or vhost-user
    ///
    /// A tap interface of the host (create makes it), passt=SOCKET, which needs no privilege, or
    /// vhost-user=SOCKET. Keys: mac=MAC, mtu=N, queues=N, and per second bandwidth=BYTES and packets=N.
    #[arg(long, value_name = "tap=NAME[,KEY=VALUE...]", help_heading = DEVICES)]
    pub(crate) net: Vec<String>,
    /// Sockets between guest and host (vsock)
    ///
    /// Host programs connect to PATH and write CONNECT PORT; the guest reaches programs that listen on PATH_PORT
    /// at CID 2.
    #[arg(long, value_name = "cid=N,socket=PATH", help_heading = DEVICES)]
    pub(crate) vsock: Option<String>,
    /// A shared directory of the host, via virtiofsd
    ///
    /// The socket of a virtiofsd, and the tag to mount.
    #[arg(long, value_name = "SOCKET,tag=NAME", help_heading = DEVICES)]
    pub(crate) fs: Vec<String>,
    /// Persistent memory in a file
    ///
    /// pmem0 and so on in the guest; with discard, its writes are discarded.
    #[arg(long, value_name = "PATH[,discard]", help_heading = DEVICES)]
    pub(crate) pmem: Vec<String>,
    /// A balloon, which returns memory to the host
    ///
    /// SIZE is its initial size; free memory is returned in any case. Keys: keep-on-oom, stats=SECONDS.
    #[arg(long, value_name = "SIZE", num_args = 0..=1, require_equals = true, default_missing_value = "", help_heading = DEVICES)]
    pub(crate) balloon: Option<String>,
    /// An entropy device
    #[arg(long, help_heading = DEVICES)]
    pub(crate) rng: bool,
    /// Transport of the virtio devices [default: mmio]
    ///
    /// pci is for distribution kernels; packed offers packed queues.
    #[arg(long, value_name = "mmio|pci[,packed]", help_heading = DEVICES)]
    pub(crate) virtio: Option<String>,
    /// A virtio console, hvc0 in the guest
    ///
    /// stdio, null, pty, file=PATH or socket=PATH; with stdio, --serial is null unless given.
    #[arg(long, value_name = "WHERE", help_heading = CONSOLE)]
    pub(crate) console: Option<String>,
}

/// A device that was asked for: it can be written as it was read, and opened.
pub(crate) trait Choice: std::fmt::Debug {
    /// The option that asks for it, as one would write it.
    fn option(&self) -> (&'static str, Option<String>);

    /// The files that it names.
    fn files(&self) -> Vec<Named> {
        Vec::new()
    }

    /// What of the host it takes that no other can have: an interface, a socket.
    fn takes(&self) -> Option<String> {
        None
    }

    /// Whether another process must see the guest's RAM.
    fn needs_shared_ram(&self) -> bool {
        false
    }

    /// Opens what of the host it needs, and plugs it in.
    fn plug(&self, plan: Plan) -> Result<Plan, Failure>;
}

/// The devices that `options` ask for, in an order that does not depend on that of the options but
/// within one kind.
pub(crate) fn choices(options: &DeviceOptions) -> Result<Vec<Box<dyn Choice>>, Failure> {
    let mut choices: Vec<Box<dyn Choice>> = Vec::new();
    for text in &options.disk {
        choices.push(Box::new(DiskChoice::new(text)?));
    }
    for text in &options.net {
        choices.push(Box::new(NetChoice::new(text)?));
    }
    for text in &options.pmem {
        choices.push(Box::new(PmemChoice::new(text)?));
    }
    if let Some(text) = &options.console {
        choices.push(Box::new(ConsoleChoice::new(text)?));
    }
    if let Some(text) = &options.balloon {
        choices.push(Box::new(BalloonChoice::new(text)?));
    }
    if let Some(text) = &options.vsock {
        choices.push(Box::new(VsockChoice::new(text)?));
    }
    for text in &options.fs {
        choices.push(Box::new(FsChoice::new(text)?));
    }
    if options.rng {
        choices.push(Box::new(RngChoice));
    }
    each_once(&choices)?;
    Ok(choices)
}

/// No two take the same.
fn each_once(choices: &[Box<dyn Choice>]) -> Result<(), Failure> {
    let mut taken = HashSet::new();
    for choice in choices {
        if let Some(thing) = choice.takes()
            && !taken.insert(thing.clone())
        {
            let (option, value) = choice.option();
            return Err(Failure::usage(
                format!(
                    "{option} {}: {thing} is given twice",
                    value.unwrap_or_default()
                ),
                format!("give {option} once for each; the guest has one device for each"),
            ));
        }
    }
    Ok(())
}

impl DeviceOptions {
    /// Those of the command line, and where it has none of a kind, those of a file in `folder`, whose
    /// paths are relative to that.
    pub(crate) fn or(self, file: Self, folder: &Path) -> Self {
        let moved = |text: &String| words::in_folder(text, folder);
        let either = |own: Vec<String>, file: Vec<String>| match own.is_empty() {
            true => file.iter().map(moved).collect(),
            false => own,
        };
        Self {
            disk: either(self.disk, file.disk),
            vsock: self.vsock.or(file.vsock.as_ref().map(moved)),
            net: either(self.net, file.net),
            pmem: either(self.pmem, file.pmem),
            balloon: self.balloon.or(file.balloon),
            console: self.console.or(file
                .console
                .map(|text| words::console_in_folder(&text, folder))),
            fs: either(self.fs, file.fs),
            virtio: self.virtio.or(file.virtio),
            rng: self.rng || file.rng,
        }
    }
}

/// Where they are, and whether their queues are packed.
pub(crate) fn transport(text: Option<&str>) -> Result<(VirtioTransport, bool), Failure> {
    let mut choice = (VirtioTransport::Mmio, false);
    let (place, packed) = match text.map(|text| text.split_once(',').unwrap_or((text, ""))) {
        None => return Ok(choice),
        Some(parts) => parts,
    };
    choice.0 = match place {
        "mmio" => VirtioTransport::Mmio,
        "pci" => VirtioTransport::Pci,
        other => {
            return Err(Failure::usage(
                format!("--virtio {other:?}: there is no such transport"),
                "give mmio or pci",
            ));
        }
    };
    choice.1 = match (packed, text) {
        ("packed", _) => true,
        ("", Some(text)) if !text.ends_with(',') => false,
        _ => {
            return Err(Failure::usage(
                format!("--virtio {place}: unknown queue format {packed:?}"),
                "give packed after the comma, or nothing and no comma",
            ));
        }
    };
    Ok(choice)
}

/// Plugs all of them in.
pub(crate) fn plug(plan: Plan, choices: &[Box<dyn Choice>]) -> Result<Plan, Failure> {
    let mut choices = choices.iter();
    let plan = choices.try_fold(plan, |plan, choice| choice.plug(plan))?;
    mem::plug(plan)
}

/// Says which devices the guest did not or could not use.
pub(crate) fn review(devices: &[DeviceInfo]) {
    for device in devices {
        let name = &device.name;
        if !device.was_driven {
            let driver = device.kernel_option.unwrap_or("its driver");
            messages::say(&format!(
                "{name} was never initialised: the guest's kernel may lack {driver}"
            ));
        }
        if let Some(fault) = &device.fault {
            messages::say(&format!("{name} could not go on: {fault}"));
        }
    }
}

/// A device that cannot be had, by the option that asks for it.
fn failed(option: &str, text: &str, error: &dyn Error, next: &str) -> Failure {
    let mut reasons = chain(error);
    let reason = reasons.remove(0);
    Failure::because(format!("{option} {text}: {reason}"), reasons, next)
}

/// A limit of so much a second.
fn rate(words: &mut Words<'_>, key: &'static str, what: &str) -> Result<Option<Bucket>, Failure> {
    words.parsed(key, what, |text| {
        Some(Bucket {
            size: per_second(text)?,
            burst: 0,
            refill: Duration::from_secs(1),
        })
    })
}

/// A number, or a size in bytes with its unit; more than none.
pub(crate) fn per_second(text: &str) -> Option<NonZeroU64> {
    let number = text.parse().ok();
    let number = number.or_else(|| Some(text.parse::<RamSize>().ok()?.bytes()))?;
    NonZeroU64::new(number)
}

#[derive(Debug)]
struct RngChoice;

impl Choice for RngChoice {
    fn option(&self) -> (&'static str, Option<String>) {
        ("--rng", None)
    }

    fn plug(&self, plan: Plan) -> Result<Plan, Failure> {
        Ok(plan.with(Arc::new(Rng::new())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transport_is_a_place_and_may_have_packed_queues() {
        let (mmio, pci) = (VirtioTransport::Mmio, VirtioTransport::Pci);
        for (text, choice) in [
            (None, (mmio, false)),
            (Some("mmio"), (mmio, false)),
            (Some("pci"), (pci, false)),
            (Some("mmio,packed"), (mmio, true)),
            (Some("pci,packed"), (pci, true)),
        ] {
            assert_eq!(transport(text).unwrap(), choice);
        }
        for (text, said) in [
            ("isa", "--virtio \"isa\""),
            ("packed", "--virtio \"packed\""),
            ("pci,fast", "\"fast\""),
            ("pci,", "\"\""),
            ("", "--virtio \"\""),
        ] {
            let error = transport(Some(text)).unwrap_err();
            assert!(
                format!("{error:?}").contains(&format!("{said:?}")[1..said.len()]),
                "{error:?}"
            );
        }
    }
}
