//! The paravirtual devices of a machine: from their specifications to devices.

mod balloon;
mod console;
mod disk;
mod disk_failure;
mod fs;
mod mem;
mod net;
mod plan;
mod pmem;
mod vsock;

use std::error::Error;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use vmmkit_machine_spec::{DeviceSpec, RateSpec};
use vmmkit_virtio_devices::{Bucket, RateLimit, Rng};
use vmmkit_vmm::DeviceInfo;

use crate::failure::{Failure, chain};
use crate::messages;
use crate::settings::Settings;
pub(crate) use plan::Plan;

/// Plugs the devices of `settings` in.
pub(crate) fn plug(mut plan: Plan, settings: &Settings) -> Result<Plan, Failure> {
    for (device, text) in settings.devices() {
        plan = match device {
            DeviceSpec::Disk(disk) => disk::plug(disk, text, plan)?,
            DeviceSpec::Net(net) => net::plug(net, text, plan)?,
            DeviceSpec::Pmem(pmem) => pmem::plug(pmem, text, plan)?,
            DeviceSpec::Console(place) => console::plug(place, text, plan)?,
            DeviceSpec::Balloon(balloon) => balloon::plug(*balloon, text, plan)?,
            DeviceSpec::Vsock(vsock) => vsock::plug(vsock, text, plan)?,
            DeviceSpec::Fs(fs) => fs::plug(fs, text, plan)?,
            DeviceSpec::Rng => plan.with(Arc::new(Rng::new())),
        };
    }
    mem::plug(plan, settings)
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

/// Limits of so much a second.
fn rate(rate: RateSpec) -> RateLimit {
    let bucket = |size: NonZeroU64| Bucket {
        size,
        burst: 0,
        refill: Duration::from_secs(1),
    };
    RateLimit {
        bandwidth: rate.bandwidth.map(bucket),
        operations: rate.operations.map(bucket),
    }
}
