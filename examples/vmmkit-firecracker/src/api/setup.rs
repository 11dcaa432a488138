//! PUT: nearly all of it is for a machine that does not run yet.

use serde_json::{Map, Value};

use super::answer::{Done, Refused};
use super::route::Request;
use super::{Firecracker, State, snapshot};
use crate::body::{
    Balloon, BootSource, Drive, Entropy, Logger, MachineConfig, Metrics, NetworkInterface, Serial,
    Vsock,
};
use crate::check::lacks;
use crate::config_file::no_cpu_config;
use crate::memory::{MemoryHotplug, Pmem};

impl Firecracker {
    pub(super) fn put(&self, state: &mut State, request: &Request<'_>) -> Result<Done, Refused> {
        match *request.parts() {
            ["snapshot", "create"] => snapshot::create(state, request),
            ["snapshot", "load"] => self.load(state, request),
            ["boot-source"] => set(state, request.json()?, |to, source: BootSource| {
                to.resources.set_boot_source(source)
            }),
            ["machine-config"] => {
                let config: MachineConfig = request.json()?;
                let is_deprecated = config.cpu_template.is_some();
                set(state, config, |to, config| {
                    to.resources.set_machine_config(config)
                })?;
                Ok(if is_deprecated {
                    Done::Deprecated
                } else {
                    Done::Nothing
                })
            }
            ["cpu-config"] => {
                set_beside(state, request.json()?, |_, config: Map<String, Value>| {
                    no_cpu_config(&config)
                })
            }
            ["drives", id] => {
                let drive = request.named(id, |drive: &Drive| &drive.drive_id)?;
                set(state, drive, |to, drive| to.resources.set_drive(drive))
            }
            ["network-interfaces", id] => {
                let interface = request.named(id, |it: &NetworkInterface| &it.iface_id)?;
                set(state, interface, |to, it| to.resources.set_network(it))
            }
            ["vsock"] => {
                let vsock: Vsock = request.json()?;
                let is_deprecated = vsock.vsock_id.is_some();
                set(state, vsock, |to, vsock| to.resources.set_vsock(vsock))?;
                Ok(if is_deprecated {
                    Done::Deprecated
                } else {
                    Done::Nothing
                })
            }
            ["entropy"] => set(state, request.json()?, |to, entropy: Entropy| {
                to.resources.set_entropy(entropy)
            }),
            ["pmem", id] => {
                let pmem = request.named(id, |pmem: &Pmem| &pmem.id)?;
                set(state, pmem, |to, pmem| to.resources.set_pmem(pmem))
            }
            ["hotplug", "memory"] => set(state, request.json()?, |to, config: MemoryHotplug| {
                to.resources.set_memory_hotplug(config)
            }),
            ["serial"] => set_beside(state, request.json()?, |to, serial: Serial| {
                to.resources.set_serial(serial)
            }),
            ["balloon"] => set(state, request.json()?, |to, balloon: Balloon| {
                to.resources.set_balloon(balloon)
            }),
            ["logger"] => set_beside(state, request.json()?, |_, logger: Logger| {
                self.log.configure(&logger)
            }),
            ["metrics"] => set_beside(state, request.json()?, |_, metrics: Metrics| {
                self.metrics.open(&metrics.metrics_path)
            }),
            _ => Err(absent(request)),
        }
    }
}

/// Sets a part of the configuration of a machine that does not run yet, and is not one of a snapshot.
fn set<T>(
    state: &mut State,
    part: T,
    by: impl FnOnce(&mut State, T) -> Result<(), String>,
) -> Result<Done, Refused> {
    state.only_before()?;
    state.is_configured = true;
    set_beside(state, part, by)
}

/// Sets something that a snapshot does not have.
fn set_beside<T>(
    state: &mut State,
    part: T,
    by: impl FnOnce(&mut State, T) -> Result<(), String>,
) -> Result<Done, Refused> {
    state.only_before()?;
    by(state, part)?;
    Ok(Done::Nothing)
}

/// The refusal of a path that Firecracker has and this VMM has nothing for, or that nobody has.
pub(super) fn absent(request: &Request<'_>) -> Refused {
    match request.parts() {
        ["mmds"] | ["mmds", "config"] => Refused::For(lacks(&request.parts().join("/"))),
        ["pmem", _] => Refused::For(lacks("pmem")),
        ["balloon", "hinting", _] => Refused::For(lacks("balloon/hinting")),
        _ => request.unknown(),
    }
}
