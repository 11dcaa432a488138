//! Where interrupts lead, as KVM is told.

use std::collections::BTreeMap;

use parking_lot::{Mutex, MutexGuard};
use vmmkit_device_bus::MsiMessage;
use vmmkit_hypervisor::Result;

/// Pins of the I/O APIC, and their GSIs (82093AA data sheet, 1.0).
pub(crate) const PINS: u32 = 24;
/// Pins of both PICs together: the first GSIs lead there too.
pub(crate) const PIC_PINS: u32 = 16;
/// KVM_MAX_IRQ_ROUTES less the routes of the pins.
const MAX: usize = 4096 - (PINS + PIC_PINS) as usize;

/// Where the GSIs above the pins lead. KVM takes only the whole table at once.
#[derive(Default)]
pub(crate) struct Routes {
    /// GSIs that are in use. Held across the ioctl, so that KVM has what was noted last.
    messages: Mutex<BTreeMap<u32, Option<MsiMessage>>>,
}

impl Routes {
    pub(crate) fn messages(&self) -> MutexGuard<'_, BTreeMap<u32, Option<MsiMessage>>> {
        self.messages.lock()
    }

    /// Takes the lowest GSI that is free.
    pub(crate) fn take(&self) -> Option<u32> {
        let mut messages = self.messages();
        if messages.len() >= MAX {
            return None;
        }
        let gsi = (PINS..).find(|gsi| !messages.contains_key(gsi))?;
        messages.insert(gsi, None);
        Some(gsi)
    }

    /// Notes that `gsi` leads to `message`, and has `apply` tell KVM of the whole table. Where it
    /// refuses, what was noted before stays: a message of one vector that KVM does not take is not
    /// in the way of those of others.
    pub(crate) fn set(
        &self,
        gsi: u32,
        message: Option<MsiMessage>,
        apply: impl FnOnce(&mut dyn Iterator<Item = (u32, MsiMessage)>) -> Result<()>,
    ) -> Result<()> {
        let mut messages = self.messages();
        let before = messages.insert(gsi, message);
        let mut routed = messages
            .iter()
            .filter_map(|(gsi, message)| Some((*gsi, (*message)?)));
        let applied = apply(&mut routed);
        if applied.is_err() {
            match before {
                Some(before) => messages.insert(gsi, before),
                None => messages.remove(&gsi),
            };
        }
        applied
    }
}

#[cfg(test)]
mod tests {
    use vmmkit_hypervisor::Error;

    use super::*;

    #[test]
    fn a_message_that_is_refused_is_not_kept() {
        let routes = Routes::default();
        let message = |data| {
            Some(MsiMessage {
                address: 0xfee0_0000,
                data,
            })
        };
        let gsis = [routes.take().unwrap(), routes.take().unwrap()];
        routes.set(gsis[0], message(1), |_| Ok(())).unwrap();
        let refused = || Error::Unsupported("messages such as this");
        for (gsi, before) in [(gsis[0], message(1)), (gsis[1], None)] {
            routes.set(gsi, message(2), |_| Err(refused())).unwrap_err();
            assert_eq!(routes.messages().get(&gsi), Some(&before));
        }
        routes.set(30, message(2), |_| Err(refused())).unwrap_err();
        assert_eq!(routes.messages().get(&30), None);
        // The next one is told without it.
        let mut told = Vec::new();
        let apply = |routed: &mut dyn Iterator<Item = _>| {
            told = routed.collect();
            Ok(())
        };
        routes.set(gsis[1], message(3), apply).unwrap();
        let expected = [(gsis[0], message(1)), (gsis[1], message(3))];
        assert_eq!(told, expected.map(|(gsi, message)| (gsi, message.unwrap())));
    }
}
