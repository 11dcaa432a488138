//! Snapshots: the bodies of their requests, and the section of a state file that says which machine it is of.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use vmmkit_snapshot::{Pair, Reader, Section, Snapshot, WriteError, Writer};

use crate::body::{MachineConfig, Serial};
use crate::chain;
use crate::resources::Resources;

/// The section.
const SECTION: &str = "firecracker";
const KIND: &str = "firecracker-resources";
const VERSION: u32 = 1;

/// `PUT /snapshot/create`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateSnapshot {
    /// Which pages of memory are written.
    #[serde(default)]
    pub snapshot_type: SnapshotType,
    /// The file with the state.
    pub snapshot_path: String,
    /// The file with the memory.
    pub mem_file_path: String,
}

/// The pages of a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SnapshotType {
    /// Those that changed since the last snapshot, over what the file has.
    Diff,
    /// All.
    #[default]
    Full,
}

/// `PUT /snapshot/load`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadSnapshot {
    /// The file with the state.
    pub snapshot_path: String,
    /// The file with the memory; deprecated.
    #[serde(default)]
    pub mem_file_path: Option<String>,
    /// Where memory comes from.
    #[serde(default)]
    pub mem_backend: Option<MemBackend>,
    /// As `track_dirty_pages`; deprecated.
    #[serde(default)]
    pub enable_diff_snapshots: Option<bool>,
    /// Log the pages that are written from then on.
    #[serde(default)]
    pub track_dirty_pages: bool,
    /// The guest runs on at once.
    #[serde(default)]
    pub resume_vm: bool,
    /// Other taps.
    #[serde(default)]
    pub network_overrides: Vec<NetworkOverride>,
    /// Another socket.
    #[serde(default)]
    pub vsock_override: Option<VsockOverride>,
    /// The guest's clock shows the host's time.
    #[serde(default)]
    pub clock_realtime: bool,
}

/// Where the memory of a guest comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemBackend {
    /// The file, or the socket of the process that handles faults.
    pub backend_path: String,
    /// Which of them it is.
    pub backend_type: MemBackendType,
}

/// A kind of source of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemBackendType {
    /// A file.
    File,
    /// Another process, by userfaultfd.
    Uffd,
}

/// Another tap for an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkOverride {
    /// The interface.
    pub iface_id: String,
    /// Its tap.
    pub host_dev_name: String,
}

/// Another socket for the vsock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VsockOverride {
    /// The socket.
    pub uds_path: String,
}

/// A snapshot that a machine is made from.
#[derive(Debug)]
pub struct Origin {
    /// The snapshot.
    pub snapshot: Snapshot,
    /// The socket of the process that handles faults of memory, in the place of a file.
    pub handler: Option<String>,
    /// The guest runs on at once.
    pub runs: bool,
}

impl Origin {
    /// Its sections, but for the one of this program.
    pub fn reader(&self) -> Reader<'_> {
        let mut reader = self.snapshot.reader();
        reader.take(SECTION);
        reader
    }
}

/// Adds the section of the machine of `resources`.
///
/// # Errors
/// [`WriteError`].
pub fn describe(resources: &Resources, writer: &mut Writer) -> Result<(), WriteError> {
    // Text and numbers alone: JSON can hold it.
    let contents = serde_json::to_vec(resources).unwrap_or_default();
    writer.add(Section {
        id: SECTION,
        kind: KIND,
        version: VERSION,
        must_understand: true,
        contents: &contents,
    })
}

/// The machine in that section of `reader`.
///
/// # Errors
/// A sentence.
pub fn described(mut reader: Reader<'_>) -> Result<Resources, String> {
    let section = reader
        .take(SECTION)
        .filter(|section| (section.kind, section.version) == (KIND, VERSION));
    let section = section.ok_or("It is not a snapshot of this VMM.")?;
    serde_json::from_slice(section.contents).map_err(|error| format!("{SECTION}: {error}"))
}

impl LoadSnapshot {
    /// The file or socket that memory comes from.
    ///
    /// # Errors
    /// There is none, or there are two.
    pub fn memory(&self) -> Result<(&str, MemBackendType), &'static str> {
        match (&self.mem_backend, &self.mem_file_path) {
            (Some(from), None) => Ok((&from.backend_path, from.backend_type)),
            (None, Some(path)) => Ok((path, MemBackendType::File)),
            (Some(_), Some(_)) => Err(
                "too many fields: either `mem_backend` or `mem_file_path` exclusively is required",
            ),
            (None, None) => {
                Err("missing field: either `mem_backend` or `mem_file_path` is required")
            }
        }
    }

    /// Opens the snapshot, with memory from `memory`; and the machine, whose serial port is `serial`.
    ///
    /// # Errors
    /// Why it cannot be, in a sentence.
    pub fn open(
        &self,
        memory: (&str, MemBackendType),
        serial: Serial,
    ) -> Result<(Resources, Arc<Origin>), String> {
        let (file, handler) = match memory {
            (path, MemBackendType::File) => (path, None),
            // There is no file here: the handler has it.
            (path, MemBackendType::Uffd) => (self.snapshot_path.as_str(), Some(path.to_owned())),
        };
        let snapshot = Pair::new(&self.snapshot_path, file).open();
        let snapshot = snapshot.map_err(|error| chain(&error))?;
        let resources = self.adapt(described(snapshot.reader())?, serial)?;
        let runs = self.resume_vm;
        Ok((
            resources,
            Arc::new(Origin {
                snapshot,
                handler,
                runs,
            }),
        ))
    }

    /// The machine that was `saved`, here and now: each of its files, sockets and taps must be there.
    ///
    /// # Errors
    /// A sentence.
    pub fn adapt(&self, mut saved: Resources, serial: Serial) -> Result<Resources, String> {
        for NetworkOverride {
            iface_id,
            host_dev_name,
        } in &self.network_overrides
        {
            let mut interfaces = saved.network.iter_mut();
            let found = interfaces.find(|interface| interface.iface_id == *iface_id);
            let found = found.ok_or_else(|| format!("There is no interface {iface_id}."))?;
            host_dev_name.clone_into(&mut found.host_dev_name);
        }
        if let Some(VsockOverride { uds_path }) = &self.vsock_override {
            let vsock = saved.vsock.as_mut().ok_or("There is no vsock.")?;
            uds_path.clone_into(&mut vsock.uds_path);
        }
        let mut resources = Resources {
            // The kernel is in memory already: its file is not opened again.
            boot_source: saved.boot_source,
            pci: saved.pci,
            serial,
            ..Resources::default()
        };
        resources.set_machine_config(MachineConfig {
            track_dirty_pages: self.track_dirty_pages || self.enable_diff_snapshots == Some(true),
            ..saved.machine_config
        })?;
        let to = &mut resources;
        let mut drives = saved.drives.into_iter();
        drives.try_for_each(|drive| to.set_drive(drive))?;
        let mut network = saved.network.into_iter();
        network.try_for_each(|interface| to.set_network(interface))?;
        saved.vsock.map_or(Ok(()), |it| to.set_vsock(it))?;
        saved.entropy.map_or(Ok(()), |it| to.set_entropy(it))?;
        saved.balloon.map_or(Ok(()), |it| to.set_balloon(it))?;
        let mut pmem = saved.pmem.into_iter();
        pmem.try_for_each(|it| to.set_pmem(it))?;
        let hotplug = saved.memory_hotplug;
        hotplug.map_or(Ok(()), |it| to.set_memory_hotplug(it))?;
        Ok(resources)
    }
}
