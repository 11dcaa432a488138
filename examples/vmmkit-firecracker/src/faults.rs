//! Memory by Firecracker's protocol of faults: a process that handles them is sent the ranges, as JSON, and the descriptor.

use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use vmmkit_firecracker::chain;
use vmmkit_guest_memory::{FaultRange, Faults, GuestRam, RamConfig};
use vmmkit_host_io::{Deadline, FdSocket};

/// How long the handler may take to listen to.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection to the process that handles faults, which knows by its end that the machine is gone.
#[derive(Debug)]
pub(crate) struct Handler(#[expect(dead_code, reason = "held, not used")] FdSocket);

/// RAM as `config` says, whose faults the process that listens at `socket` handles from now on.
pub(crate) fn hand_over(config: &RamConfig, socket: &str) -> Result<(GuestRam, Handler), String> {
    let failed =
        |error: &dyn std::error::Error| format!("Memory by Uffd: {socket}: {}", chain(error));
    let deadline = Deadline::after(PATIENCE);
    let connection = FdSocket::connect(Path::new(socket), &deadline);
    let connection = connection.map_err(|error| failed(&error))?;
    let (ram, faults) = GuestRam::by_faults(config).map_err(|error| failed(&error))?;
    let ranges = told(&faults).to_string();
    let sent = connection.send(ranges.as_bytes(), &[faults.as_fd()], &deadline);
    sent.map_err(|error| failed(&error))?;
    Ok((ram, Handler(connection)))
}

fn told(faults: &Faults) -> Value {
    let page_size = faults.page_size();
    let range = |range: &FaultRange| {
        json!({
            "base_host_virt_addr": range.host_address,
            "size": range.size,
            "offset": range.offset,
            "page_size": page_size,
            // Its name is wrong, and handlers of old read it.
            "page_size_kib": page_size,
        })
    };
    faults.ranges().iter().map(range).collect()
}
