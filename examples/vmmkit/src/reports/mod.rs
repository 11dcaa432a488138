//! `--metrics` and `--timeline`: what is written about a machine while it runs and when it has ended.

mod choice;
mod published;
mod software;
mod start;
mod writer;

pub(crate) use choice::{MetricsChoice, TimelineChoice};
pub(crate) use published::Publisher;
pub(crate) use software::of as software;
pub(crate) use start::note_start;

use std::sync::Arc;

use vmmkit_telemetry::{BootLog, Metrics};
use vmmkit_vmm::Handle;

use crate::failure::Failure;
use crate::settings::Settings;
use writer::Writer;

/// More numbers than those of the machine.
pub(crate) type MoreMetrics = Box<dyn Fn(&mut Metrics) + Send + Sync>;

/// All numbers, as of when it is called.
pub(crate) type MetricsSource = Box<dyn Fn() -> Metrics + Send>;

/// The reports that were asked for, before the machine runs.
pub(crate) struct Reports {
    metrics: Option<MetricsChoice>,
    timeline: Option<TimelineChoice>,
    title: String,
    cmdline: String,
    log: Arc<BootLog>,
}

impl Reports {
    /// The reports that `settings` ask for.
    pub(crate) fn new(settings: &Settings) -> Self {
        let log = BootLog::since(start::exec());
        let log = match settings.timeline {
            Some(_) => log.with_lines(),
            None => log,
        };
        let machine = &settings.machine;
        let kernel = machine.boot.as_kernel();
        let cmdline = kernel.map_or(String::new(), |kernel| kernel.cmdline.clone());
        let kernel = kernel.map_or(String::new(), |kernel| kernel.image.name());
        let cpus = machine.vcpus;
        let plural = if cpus == 1 { "" } else { "s" };
        let (name, ram) = (&machine.name, machine.ram.size);
        Self {
            metrics: settings.metrics.clone(),
            timeline: settings.timeline.clone(),
            title: format!("{name}: {kernel}, {cpus} vCPU{plural}, {ram}"),
            cmdline,
            log: Arc::new(log),
        }
    }

    /// The log for the machine's milestones.
    pub(crate) fn log(&self) -> Arc<BootLog> {
        self.log.clone()
    }

    /// Writes each file once, so that one that cannot be written is known before the guest runs, and
    /// again and again from now on.
    pub(crate) fn start(self, machine: Handle, numbers: MetricsSource) -> Result<Running, Failure> {
        if self.metrics.is_none() && self.timeline.is_none() {
            return Ok(Running(None));
        }
        Writer::start(self, machine, numbers).map(|writer| Running(Some(writer)))
    }
}

/// The reports of a running machine.
#[derive(Default)]
pub(crate) struct Running(Option<Writer>);

impl Running {
    /// The machine has ended: writes all of it for the last time.
    pub(crate) fn finish(self) {
        if let Some(writer) = self.0 {
            writer.finish();
        }
    }
}
