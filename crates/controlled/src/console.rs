//! The guest's console, as clients reach it.

use std::sync::Arc;

use thiserror::Error;
use vmmkit_control::Refusal;
use vmmkit_host_io::ConsoleTap;
use vmmkit_virtio_devices::Console;

/// The tap on a console, and the virtio console that it is on.
#[derive(Debug)]
pub(crate) struct Tapped {
    pub(crate) tap: Arc<ConsoleTap>,
    pub(crate) virtio: Option<Arc<Console>>,
}

/// A serial port knows no size.
#[derive(Debug, Error)]
#[error("the guest's console is a serial port, which has no size")]
struct NoSize;

impl Tapped {
    pub(crate) fn resize(&self, columns: u16, rows: u16) -> Result<(), Refusal> {
        let console = self.virtio.as_ref();
        let console = console.ok_or_else(|| Refusal::unsupported(NoSize))?;
        console.resize(columns, rows);
        Ok(())
    }
}
