//! PCI functions of an embedder's own.

use std::fmt;
use std::sync::Arc;

use vmmkit_device_bus::{MsiVector, RequestSink};
use vmmkit_guest_memory::GuestRam;
use vmmkit_hypervisor::Interrupts;
use vmmkit_pci::{PciError, PciFunction};
use vmmkit_telemetry::Inspect;

use crate::{Part, PartDevice, Platform, PlatformError};

/// The machine's side of a PCI function of the embedder's own, at the moment it is plugged in. The bus gives it its
/// place and that of its base addresses.
#[derive(Clone)]
#[non_exhaustive]
pub struct PciSlot {
    /// Its message-signalled interrupts: as many as it asked for.
    pub vectors: Vec<Arc<dyn MsiVector>>,
    /// The guest's RAM, and the memory beside it.
    pub ram: GuestRam,
    /// Takes its requests: the end of the run, or a reset.
    pub requests: RequestSink,
}

impl fmt::Debug for PciSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PciSlot")
            .field("vectors", &self.vectors.len())
            .finish_non_exhaustive()
    }
}

/// A function as the bus has it, and as a part.
type Made = (Arc<dyn PciFunction>, Arc<dyn PartDevice>);

/// A function that is made once there is a VM.
pub(crate) struct PendingFunction {
    vectors: u16,
    make: Box<dyn FnOnce(PciSlot) -> Result<Made, PciError> + Send>,
}

impl PendingFunction {
    pub(crate) fn new<F, M>(vectors: u16, make: M) -> Self
    where
        F: PciFunction + Inspect + 'static,
        M: FnOnce(PciSlot) -> Result<Arc<F>, PciError> + Send + 'static,
    {
        let make = |slot| {
            let function = make(slot)?;
            let made: Made = (function.clone(), function);
            Ok(made)
        };
        Self {
            vectors,
            make: Box::new(make),
        }
    }

    pub(crate) fn plug(
        self,
        platform: &Platform,
        vm: &impl Interrupts,
        ram: &GuestRam,
        requests: &RequestSink,
    ) -> Result<Part, PlatformError> {
        let bus = platform.pci().ok_or(PciError::NoBus)?;
        let vectors = (0..self.vectors).map(|_| vm.msi_vector());
        let slot = PciSlot {
            vectors: vectors.collect::<Result<_, _>>()?,
            ram: ram.clone(),
            requests: requests.clone(),
        };
        let (function, part) = (self.make)(slot)?;
        let name = function.name();
        bus.plug(function)?;
        Ok(Part::of(&name, part))
    }
}
