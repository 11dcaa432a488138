//! A machine's metrics as they are published: under the name of this program and the guest's.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use vmmkit_control::{Cause, MachineInfo, MachineState, Saving};
use vmmkit_controlled::{Departure, Embedder, Standstill};
use vmmkit_guest_init::Ended;
use vmmkit_host_io::Signal;
use vmmkit_machine_spec::OnReboot;
use vmmkit_snapshot::{Lineage, WriteError, Writer};
use vmmkit_telemetry::Metrics;
use vmmkit_vmm::{Handle, Outcome};

use super::MoreMetrics;
use crate::consumption::{self, Consumption};
use crate::remote::{Remote, say_cut_off};
use crate::saving::Saver;
use crate::settings::Settings;
use crate::{exit_code, root};

/// The prefix of the names.
const PREFIX: &str = "vmmkit";

/// Better words for what the parts of a machine count by their short names.
const HELP: &[(&str, &str)] = &[
    (
        "queue_kicks_total",
        "Notifications by which the driver of a virtqueue asked for work",
    ),
    (
        "queue_requests_total",
        "Requests that the driver put into a virtqueue and that were taken from it",
    ),
    (
        "queue_written_bytes_total",
        "Bytes that a device wrote into the buffers of a virtqueue",
    ),
    (
        "queue_interrupts_total",
        "Interrupts that a device sent for a virtqueue",
    ),
    ("queue_depth", "Requests in a virtqueue that are not done"),
    (
        "serial_received_waiting",
        "Bytes in the serial port that the guest has not read",
    ),
    (
        "serial_unsent_waiting",
        "Bytes of the guest that the serial console has not taken",
    ),
    (
        "serial_dropped_bytes_total",
        "Bytes of the guest that nobody took from the serial console in time",
    ),
    (
        "i8042_keys_waiting",
        "Bytes in the keyboard controller that the guest has not read",
    ),
];

/// Adds what only this program knows to the numbers of a machine, and names them all.
pub(crate) struct Publisher {
    more: MoreMetrics,
    /// Saves it.
    saver: Saver,
    /// A reset of the guest is a failure.
    reset_fails: bool,
    /// The way to the machine, which has this one.
    remote: Weak<Remote>,
    /// The processor time of each vCPU, which stays when its thread has ended.
    vcpus: Mutex<BTreeMap<u32, f64>>,
}

impl Publisher {
    /// With the numbers of `more` beside those of the machine, which `settings` describe and which `remote` leads to.
    pub(crate) fn new(more: MoreMetrics, settings: &Settings, remote: &Arc<Remote>) -> Self {
        Self {
            more,
            saver: Saver::new(settings),
            reset_fails: settings.spec.policy.on_reboot == OnReboot::Fail,
            remote: Arc::downgrade(remote),
            vcpus: Mutex::default(),
        }
    }

    /// The same, of a machine that was restored from the snapshot whose RAM `lineage` is.
    pub(crate) fn restored_from(self, lineage: Option<Lineage>) -> Self {
        let saver = self.saver.restored_from(lineage);
        Self { saver, ..self }
    }

    /// How the guest's command ended, if there is one and it has.
    fn command_ended(&self) -> Option<Ended> {
        self.remote.upgrade()?.command_ended()
    }
}

impl Embedder for Publisher {
    fn save(
        &self,
        machine: &Handle,
        folder: &Path,
        saving: Saving,
        standstill: &mut Standstill<'_>,
    ) -> Result<(), Cause> {
        let saved = self.saver.save(machine, folder, saving, standstill);
        saved.map_err(|error| Arc::new(error) as Cause)
    }

    fn describe(&self, manifest: &mut Writer) -> Result<(), WriteError> {
        self.saver.describe(manifest)
    }

    fn exit_code_of(&self, departure: &Departure) -> Option<u8> {
        Some(exit_code::of_departure(departure))
    }

    fn ask_to_power_off(&self) -> bool {
        let remote = self.remote.upgrade();
        remote.is_some_and(|remote| remote.signal_command(Signal::Terminate))
    }

    fn ending(&self, outcome: Outcome) -> Option<&'static str> {
        let has_ended = outcome == Outcome::Stopped && self.command_ended().is_some();
        has_ended.then_some("command-ended")
    }

    fn cut_off(&self, machine: &Handle) {
        say_cut_off(machine);
    }

    fn exit_code(&self, outcome: Option<Outcome>) -> Option<u8> {
        if let (Some(Outcome::Stopped), Some(ended)) = (outcome, self.command_ended()) {
            return Some(root::code_of(&ended));
        }
        let remote = self.remote.upgrade();
        let signal = remote.and_then(|remote| remote.job().ended_by());
        Some(match (signal, outcome) {
            (Some(signal), _) => exit_code::of_signal(signal),
            (None, Some(outcome)) => exit_code::of(outcome, self.reset_fails),
            (None, None) => exit_code::HOST_ERROR,
        })
    }

    fn publish(&self, mut metrics: Metrics, about: &MachineInfo) -> Metrics {
        (self.more)(&mut metrics);
        for (name, help) in HELP {
            metrics.describe(name, help);
        }
        metrics.gauge(
            "info",
            "A constant 1: what the machine is, by its labels",
            &[("version", &about.version), ("kernel", &about.kernel)],
            1.0,
        );
        for state in MachineState::ALL {
            let value = f64::from(u8::from(state == about.state));
            let help = "1 for the state that the machine is in, 0 for the others";
            metrics.gauge("state", help, &[("state", state.name())], value);
        }
        let help = "Seconds since the machine was made";
        metrics.gauge(
            "age_seconds",
            help,
            &[],
            about.age_milliseconds as f64 / 1e3,
        );
        metrics.gauge("vcpus", "Number of vCPUs", &[], f64::from(about.vcpus));
        if let Some(used) = Consumption::of(None) {
            let help = "Memory of the process that is resident, with the part of the guest's RAM that was \
                        touched";
            metrics.gauge("rss_bytes", help, &[], used.resident_bytes as f64);
            let help = "Processor time of the whole process";
            metrics.counter_of("cpu_seconds_total", help, &[], used.cpu_seconds);
        }
        let mut vcpus = self.vcpus.lock();
        vcpus.extend(consumption::vcpus(None));
        for (number, seconds) in &*vcpus {
            let help = "Processor time of a vCPU, in the guest and for it in the host";
            let labels = [("vcpu", &*number.to_string())];
            metrics.counter_of("vcpu_seconds_total", help, &labels, *seconds);
        }
        metrics.published(PREFIX, &[("name", &about.name)])
    }
}
