//! The paravirtual devices of a machine: options as text, then choices, then devices.

mod words;

use std::sync::Arc;

use vmmkit_virtio::Device;
use vmmkit_virtio_devices::Rng;
use vmmkit_vmm::{DeviceInfo, MachineBuilder};

use crate::failure::Failure;
use crate::messages;

/// The options, as text. Each may be given several times where its help says so.
#[derive(clap::Args, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeviceOptions {
    /// A source of random numbers
    #[arg(long)]
    pub(crate) rng: bool,
}

/// A device that was asked for: it can be written as it was read, and opened.
pub(crate) trait Choice: std::fmt::Debug {
    /// The option that asks for it, as one would write it.
    fn option(&self) -> (&'static str, Option<String>);

    /// Opens what of the host it needs.
    fn open(&self) -> Result<Arc<dyn Device>, Failure>;
}

/// The devices that `options` ask for, in an order that does not depend on that of the options but
/// within one kind: disks are `vda`, `vdb` and so on as they were given.
pub(crate) fn choices(options: &DeviceOptions) -> Result<Vec<Box<dyn Choice>>, Failure> {
    let mut choices: Vec<Box<dyn Choice>> = Vec::new();
    if options.rng {
        choices.push(Box::new(RngChoice));
    }
    Ok(choices)
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
