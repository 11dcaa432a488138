//! The paravirtual devices of a machine: from their specifications to devices.

mod balloon;
mod cloud_init;
mod console;
mod disk;
mod fs;
mod mem;
mod net;
mod plan;
mod pmem;
mod vsock;

pub use disk::is_bootable;

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use vmmkit_machine_spec::{DeviceSpec, Field, MachineSpec, RateSpec};
use vmmkit_virtio_devices::{Bucket, RateLimit, Rng};

use crate::{AssemblyError, Reason};
pub(crate) use plan::Plan;

/// Plugs the devices of `spec` in.
pub(crate) fn plug(plan: &mut Plan, spec: &MachineSpec) -> Result<(), AssemblyError> {
    for (index, device) in spec.devices.iter().enumerate() {
        let field = Field::Device(index);
        let name = spec.name.as_deref();
        plug_one(plan, field, device, name).map_err(|reason| AssemblyError { field, reason })?;
    }
    let field = Field::Memory;
    mem::plug(plan).map_err(|reason| AssemblyError { field, reason })
}

fn plug_one(
    plan: &mut Plan,
    field: Field,
    device: &DeviceSpec,
    name: Option<&str>,
) -> Result<(), Reason> {
    let device = match device {
        DeviceSpec::Disk(disk) => disk::open(disk, field, plan)?,
        DeviceSpec::Net(net) => net::open(net, field, plan)?,
        DeviceSpec::Pmem(pmem) => pmem::open(pmem, plan)?,
        DeviceSpec::Console(place) => console::open(place, field, plan)?,
        DeviceSpec::Balloon(balloon) => balloon::open(*balloon)?,
        DeviceSpec::Vsock(vsock) => vsock::open(vsock, plan)?,
        DeviceSpec::Fs(fs) => fs::open(fs)?,
        DeviceSpec::Rng => Arc::new(Rng::new()),
        DeviceSpec::CloudInit(data) => cloud_init::open(data, name)?,
    };
    plan.add(field, device);
    Ok(())
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
