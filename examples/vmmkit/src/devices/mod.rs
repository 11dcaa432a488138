//! The paravirtual devices of a machine: options as text, then choices, then devices.

mod disk;
mod fs;
mod vsock;
mod words;

use std::error::Error;
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use vmmkit_guest_memory::RamSize;
use vmmkit_virtio::Device;
use vmmkit_virtio_devices::{Bucket, Rng};
use vmmkit_vmm::{DeviceInfo, MachineBuilder};

use crate::failure::{Failure, chain};
use crate::messages;
use disk::DiskChoice;
use fs::FsChoice;
use vsock::VsockChoice;
use words::Words;

/// The options, as text.
#[derive(clap::Args, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeviceOptions {
    /// A disk: a file or block device, raw or qcow2; or vhost-user=SOCKET. The guest's vda, vdb and so
    /// on, in this order
    #[arg(long, value_name = "PATH[,readonly][,KEY=VALUE...]")]
    pub(crate) disk: Vec<String>,
    /// Sockets between guest and host: host programs connect to PATH and say CONNECT <port>; those
    /// that listen on PATH_<port> are the guest's CID 2
    #[arg(long, value_name = "cid=N,socket=PATH")]
    pub(crate) vsock: Option<String>,
    /// A folder of the host's: the socket of a virtiofsd, and the tag to mount it by
    #[arg(long, value_name = "SOCKET,tag=NAME")]
    pub(crate) fs: Vec<String>,
    /// A source of random numbers
    #[arg(long)]
    pub(crate) rng: bool,
}

/// A device that was asked for: it can be written as it was read, and opened.
pub(crate) trait Choice: std::fmt::Debug {
    /// The option that asks for it, as one would write it.
    fn option(&self) -> (&'static str, Option<String>);

    /// Whether another process must see the guest's RAM.
    fn needs_shared_ram(&self) -> bool {
        false
    }

    /// Opens what of the host it needs.
    fn open(&self) -> Result<Arc<dyn Device>, Failure>;
}

/// The devices that `options` ask for, in an order that does not depend on that of the options but
/// within one kind.
pub(crate) fn choices(options: &DeviceOptions) -> Result<Vec<Box<dyn Choice>>, Failure> {
    let mut choices: Vec<Box<dyn Choice>> = Vec::new();
    for text in &options.disk {
        choices.push(Box::new(DiskChoice::new(text)?));
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
    Ok(choices)
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
            fs: either(self.fs, file.fs),
            rng: self.rng || file.rng,
        }
    }
}

/// Opens all of them.
pub(crate) fn open(
    mut builder: MachineBuilder,
    choices: &[Box<dyn Choice>],
) -> Result<MachineBuilder, Failure> {
    for choice in choices {
        builder = builder.virtio_device(choice.open()?);
    }
    Ok(builder)
}

/// Says which devices the guest did not or could not use.
pub(crate) fn review(devices: &[DeviceInfo]) {
    for device in devices {
        let name = &device.name;
        if !device.was_driven {
            messages::say(&format!(
                "{name} was never initialised: the guest's kernel may lack {}",
                device.kernel_option
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
fn rate(words: &mut Words<'_>, key: &str, what: &str) -> Result<Option<Bucket>, Failure> {
    words.parsed(key, what, |text| {
        let number = text.parse().ok();
        let size = number.or_else(|| Some(text.parse::<RamSize>().ok()?.bytes()))?;
        Some(Bucket {
            size: NonZeroU64::new(size)?,
            burst: 0,
            refill: Duration::from_secs(1),
        })
    })
}

#[derive(Debug)]
struct RngChoice;

impl Choice for RngChoice {
    fn option(&self) -> (&'static str, Option<String>) {
        ("--rng", None)
    }

    fn open(&self) -> Result<Arc<dyn Device>, Failure> {
        Ok(Arc::new(Rng::new()))
    }
}
