//! The configuration file: a machine, whole.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::body::{
    Balloon, BootSource, Drive, Entropy, Logger, MachineConfig, Metrics as MetricsFile,
    NetworkInterface, Serial, Vsock,
};
use crate::check::lacks;
use crate::log::Log;
use crate::memory::{MemoryHotplug, Pmem};
use crate::metrics::Metrics;
use crate::resources::Resources;

/// The largest, in bytes.
const MAX: u64 = 1 << 20;

/// Its sections.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ConfigFile {
    boot_source: BootSource,
    drives: Vec<Drive>,
    #[serde(default)]
    network_interfaces: Vec<NetworkInterface>,
    #[serde(default)]
    machine_config: Option<MachineConfig>,
    #[serde(default)]
    cpu_config: Option<Value>,
    #[serde(default)]
    vsock: Option<Vsock>,
    #[serde(default)]
    entropy: Option<Entropy>,
    #[serde(default)]
    serial: Option<Serial>,
    #[serde(default)]
    balloon: Option<Balloon>,
    #[serde(default)]
    logger: Option<Logger>,
    #[serde(default)]
    metrics: Option<MetricsFile>,
    #[serde(default)]
    mmds_config: Option<Value>,
    #[serde(default)]
    pmem: Vec<Pmem>,
    #[serde(default)]
    memory_hotplug: Option<MemoryHotplug>,
}

impl ConfigFile {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// Why it cannot be, in a sentence.
    pub fn read(path: &Path) -> Result<Self, String> {
        let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let mut text = Vec::new();
        let file = File::open(path).map_err(|error| failed(&error))?;
        let read = file.take(MAX + 1).read_to_end(&mut text);
        read.map_err(|error| failed(&error))?;
        if text.len() as u64 > MAX {
            return Err(failed(&"it is larger than 1 MiB"));
        }
        Self::parse(&text).map_err(|error| failed(&error))
    }

    /// Reads its text.
    ///
    /// # Errors
    /// The place in it that is wrong.
    pub fn parse(text: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(text)
    }

    /// Configures `resources`, `log` and `metrics` as it says.
    ///
    /// # Errors
    /// The first that cannot be, in a sentence.
    pub fn apply(
        self,
        resources: &mut Resources,
        log: &Log,
        metrics: &Metrics,
    ) -> Result<(), String> {
        if self.mmds_config.is_some() {
            return Err(lacks("mmds-config"));
        }
        match self.cpu_config {
            None => {}
            Some(Value::Object(config)) => no_cpu_config(&config)?,
            Some(_) => return Err(lacks("cpu-config")),
        }
        if let Some(logger) = &self.logger {
            log.configure(logger)?;
        }
        if let Some(file) = &self.metrics {
            metrics.open(&file.metrics_path)?;
        }
        resources.set_boot_source(self.boot_source)?;
        if let Some(config) = self.machine_config {
            resources.set_machine_config(config)?;
        }
        self.drives
            .into_iter()
            .try_for_each(|drive| resources.set_drive(drive))?;
        let mut interfaces = self.network_interfaces.into_iter();
        interfaces.try_for_each(|interface| resources.set_network(interface))?;
        let mut pmem = self.pmem.into_iter();
        pmem.try_for_each(|pmem| resources.set_pmem(pmem))?;
        let of = resources;
        self.memory_hotplug
            .map_or(Ok(()), |config| of.set_memory_hotplug(config))?;
        self.vsock.map_or(Ok(()), |vsock| of.set_vsock(vsock))?;
        self.entropy
            .map_or(Ok(()), |entropy| of.set_entropy(entropy))?;
        self.serial.map_or(Ok(()), |serial| of.set_serial(serial))?;
        self.balloon
            .map_or(Ok(()), |balloon| of.set_balloon(balloon))
    }
}

/// A CPU configuration that changes nothing is taken.
///
/// # Errors
/// The first field of it that changes something.
pub fn no_cpu_config(config: &Map<String, Value>) -> Result<(), String> {
    let is_empty = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
    match config.iter().find(|(_, value)| !is_empty(value)) {
        Some((field, _)) => Err(lacks(&format!("cpu-config: {field}"))),
        None => Ok(()),
    }
}
