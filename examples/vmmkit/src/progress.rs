//! The progress that a person at a terminal sees on stderr while a machine starts.

use std::io::{IsTerminal, stderr};
use std::time::Instant;

use crate::messages;
use crate::settings::Settings;

/// Progress messages, if anybody looks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    started: Instant,
    is_shown: bool,
}

impl Progress {
    /// Starts the clock. Nothing is shown with `--quiet`, or where stderr is not a terminal.
    pub(crate) fn new(quiet: bool) -> Self {
        Self {
            started: Instant::now(),
            is_shown: !quiet && stderr().is_terminal(),
        }
    }

    /// The machine is built and about to start.
    pub(crate) fn booting(&self, settings: &Settings) {
        if self.is_shown {
            let machine = &settings.machine;
            let image = machine.boot.image();
            let (cpus, memory) = (machine.vcpus, machine.ram.size);
            let plural = if cpus == 1 { "" } else { "s" };
            let help = match settings.escape.is_none() {
                true => String::new(),
                false => settings.escape.in_text(" (Ctrl-a h for help)"),
            };
            messages::open_line(&format!(
                "vmmkit: booting {image}, {cpus} vCPU{plural}, {memory}{help} ..."
            ));
        }
    }

    /// The guest's first output is there: the line of [`booting`](Self::booting) is whole, unless a message
    /// has ended it.
    pub(crate) fn first_output(&self) {
        if self.is_shown {
            let elapsed = self.started.elapsed().as_millis();
            messages::close_line(&format!(" {elapsed} ms to first output"));
        }
    }
}
