//! The configuration space of an endpoint that interrupts by MSI-X: what a function of a few registers needs
//! beside them.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use vmmkit_device_bus::{MsiVector, StateError};

use crate::spec::msix as spec;
use crate::{ConfigSpace, Msix, MsixState, PciError};

/// The smallest base address: a page of the guest's, so that a driver may map it alone.
const PAGE: u64 = 4096;

/// A configuration space with MSI-X, whose table and pending bits are in a base address of their own
/// ([`BAR`](Self::BAR)). A [`PciFunction`](crate::PciFunction) hands it the accesses to both, and its steps of life.
///
/// ```
/// use std::sync::Arc;
/// use vmmkit_device_bus::MessageVector;
/// use vmmkit_pci::{ConfigSpace, Identity, MsixEndpoint};
///
/// let identity = Identity { vendor: 0x1b36, device: 0x0011, class: [0xff, 0, 0], ..Identity::default() };
/// let mut config = ConfigSpace::new(&identity);
/// config.add_bar(0, 4096, false)?;
/// // A hypervisor has better vectors.
/// let vectors = vec![Arc::new(MessageVector::new(|_| ())) as _];
/// let endpoint = MsixEndpoint::new(config, vectors)?;
/// assert_eq!(endpoint.config().lock().bars(), [(0, 4096), (MsixEndpoint::BAR, 4096)]);
/// endpoint.signal(0);
/// # Ok::<(), vmmkit_pci::PciError>(())
/// ```
pub struct MsixEndpoint {
    // Fixed at creation
    /// Where message control is in the configuration space.
    control: usize,
    /// Where the pending bits are in the base address; the table is at its start.
    pending: u64,
    // What the guest can see
    config: Mutex<ConfigSpace>,
    msix: Msix,
}

/// The saved form of an endpoint's configuration space: a part of that of a function.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MsixEndpointState {
    config: Vec<u8>,
    msix: MsixState,
}

impl MsixEndpoint {
    /// The base address of table and pending bits, of 4 KiB for up to 128 vectors.
    pub const BAR: u8 = 4;

    /// `config`, in which base address 4 is free, with MSI-X of `vectors`.
    ///
    /// # Errors
    /// [`PciError::Msix`] for a number of vectors that is not 1 to 2048, [`PciError::Config`] where `config` has no
    /// room for the base address or the capability.
    pub fn new(
        mut config: ConfigSpace,
        vectors: Vec<Arc<dyn MsiVector>>,
    ) -> Result<Self, PciError> {
        let msix = Msix::new(vectors)?;
        let table = u64::from(msix.count()) * spec::ENTRY;
        let size = (2 * table.next_power_of_two()).max(PAGE);
        config.add_bar(Self::BAR, size, false)?;
        let pending = size / 2;
        // 64 KiB at most.
        let capability = msix.add_to(&mut config, Self::BAR, 0, pending as u32)?;
        Ok(Self {
            control: usize::from(capability) + 2,
            pending,
            config: Mutex::new(config),
            msix,
        })
    }

    /// For [`PciFunction::config`](crate::PciFunction::config).
    pub fn config(&self) -> &Mutex<ConfigSpace> {
        &self.config
    }

    /// For [`PciFunction::write_config`](crate::PciFunction::write_config).
    pub fn write_config(&self, register: usize, data: &[u8]) {
        // Under the lock, so that the vectors follow the registers.
        let mut config = self.config.lock();
        config.write(register, data);
        self.settle(&config);
    }

    /// For [`PciFunction::read_bar`](crate::PciFunction::read_bar), of [`BAR`](Self::BAR).
    pub fn read_bar(&self, offset: u64, data: &mut [u8]) {
        match offset.checked_sub(self.pending) {
            Some(offset) => self.msix.read_pending(offset, data),
            None => self.msix.read_table(offset, data),
        }
    }

    /// For [`PciFunction::write_bar`](crate::PciFunction::write_bar), of [`BAR`](Self::BAR).
    pub fn write_bar(&self, offset: u64, data: &[u8]) {
        if offset < self.pending {
            self.msix.write_table(offset, data);
        }
    }

    /// Interrupts the guest by `vector`, as [`Msix::signal`].
    pub fn signal(&self, vector: u16) {
        self.msix.signal(vector);
    }

    /// For [`Lifecycle::reset`](vmmkit_device_bus::Lifecycle::reset): no vector leads to a message afterwards.
    pub fn reset(&self) {
        self.msix.reset();
        let mut config = self.config.lock();
        config.reset();
        self.settle(&config);
    }

    /// For [`SaveState::save_state`](vmmkit_device_bus::SaveState::save_state).
    pub fn save(&self) -> MsixEndpointState {
        MsixEndpointState {
            config: self.config.lock().save(),
            msix: self.msix.save(),
        }
    }

    /// For [`SaveState::restore_state`](vmmkit_device_bus::SaveState::restore_state) of the part `part`.
    ///
    /// # Errors
    /// The field that cannot be restored; nothing has changed then.
    pub fn restore(&self, part: &str, saved: &MsixEndpointState) -> Result<(), StateError> {
        let mut config = self.config.lock();
        config.check(part, &saved.config)?;
        self.msix.restore(part, &saved.msix)?;
        config.restore(part, &saved.config)?;
        self.settle(&config);
        Ok(())
    }

    /// The command register and message control may have changed.
    fn settle(&self, config: &ConfigSpace) {
        let mut control = [0; 2];
        config.read(self.control, &mut control);
        self.msix.set_control(u16::from_le_bytes(control));
        // Last: what is signalled meanwhile is pending.
        self.msix.set_master(config.is_master());
    }
}

impl fmt::Debug for MsixEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MsixEndpoint")
            .field("msix", &self.msix)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use vmmkit_device_bus::{MessageVector, MsiMessage};

    use super::*;
    use crate::Identity;
    use crate::spec::{command, header};

    /// An endpoint of one vector, and what it has sent.
    fn endpoint() -> (MsixEndpoint, Arc<Mutex<Vec<MsiMessage>>>) {
        let sent = Arc::new(Mutex::new(Vec::new()));
        let sink = sent.clone();
        let vector = MessageVector::new(move |message| sink.lock().push(message));
        let config = ConfigSpace::new(&Identity::default());
        let endpoint = MsixEndpoint::new(config, vec![Arc::new(vector)]).unwrap();
        (endpoint, sent)
    }

    /// The steps of a driver that wants message 0x41.
    fn drive(endpoint: &MsixEndpoint) {
        endpoint.write_config(header::COMMAND, &command::MASTER.to_le_bytes());
        endpoint.write_bar(0, &0xfee0_0000_u32.to_le_bytes());
        endpoint.write_bar(8, &0x41_u32.to_le_bytes());
        endpoint.write_bar(12, &[0; 4]);
        endpoint.write_config(endpoint.control, &spec::ENABLE.to_le_bytes());
    }

    #[test]
    fn it_interrupts_by_what_the_guest_wrote_until_it_is_reset() {
        let (endpoint, sent) = endpoint();
        endpoint.signal(0);
        assert!(sent.lock().is_empty());
        drive(&endpoint);
        endpoint.signal(0);
        let address = 0xfee0_0000;
        let message = MsiMessage {
            address,
            data: 0x41,
        };
        assert_eq!(*sent.lock(), [message]);
        endpoint.reset();
        endpoint.signal(0);
        let mut entry = [0; 16];
        endpoint.read_bar(0, &mut entry);
        assert_eq!(entry[..12], [0; 12]);
        assert_eq!(sent.lock().len(), 1);
    }

    #[test]
    fn what_waited_when_it_was_saved_comes_after_the_restore() {
        let (old, _) = endpoint();
        drive(&old);
        old.write_bar(12, &[1, 0, 0, 0]);
        old.signal(0);
        let mut pending = [0; 1];
        old.read_bar(old.pending, &mut pending);
        assert_eq!(pending, [1]);

        let (new, sent) = endpoint();
        new.restore("adder", &old.save()).unwrap();
        new.write_bar(12, &[0; 4]);
        assert_eq!(sent.lock().len(), 1);
        let error = new.restore("adder", &MsixEndpointState::default());
        assert!(error.unwrap_err().to_string().starts_with("adder: "));
        new.signal(0);
        assert_eq!(sent.lock().len(), 2);
    }

    #[test]
    fn vectors_and_room_are_bounded() {
        let space = || ConfigSpace::new(&Identity::default());
        let none = MsixEndpoint::new(space(), Vec::new());
        assert!(matches!(none, Err(PciError::Msix(_))));
        let mut taken = space();
        taken.add_bar(MsixEndpoint::BAR, PAGE, false).unwrap();
        let vector = || Arc::new(MessageVector::new(|_| ())) as Arc<dyn MsiVector>;
        let twice = MsixEndpoint::new(taken, vec![vector()]);
        assert!(matches!(twice, Err(PciError::Config(_))));
        let most = MsixEndpoint::new(space(), (0..2048).map(|_| vector()).collect()).unwrap();
        assert_eq!(most.config().lock().bars(), [(4, 0x1_0000)]);
    }
}
