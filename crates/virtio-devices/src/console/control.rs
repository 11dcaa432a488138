//! The protocol of ports: who is there, by control messages.

use super::message::{ConsoleMessage, encode};
use super::spec::event;

/// Messages that wait to be sent: a bit each, in the order in which they go. So there can never be
/// more of them than five a port, whatever the driver does.
mod pending {
    pub(super) const ADD: u8 = 1 << 0;
    pub(super) const CONSOLE: u8 = 1 << 1;
    pub(super) const NAME: u8 = 1 << 2;
    pub(super) const OPEN: u8 = 1 << 3;
    pub(super) const RESIZE: u8 = 1 << 4;
    pub(super) const ALL: u8 = (1 << 5) - 1;
}

/// A message that waits to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingMessage {
    port: usize,
    bit: u8,
}

/// The device's side of the control queues (virtio 1.2, section 5.3.6.2), without the queues.
#[derive(Clone, Debug, Default)]
pub struct PortControl {
    ports: Vec<PortState>,
    /// Columns and rows of port 0.
    size: Option<(u16, u16)>,
}

#[derive(Clone, Debug)]
struct PortState {
    // Fixed at creation
    name: String,
    is_console: bool,
    // The host's end
    is_connected: bool,
    // What the guest can see
    guest: GuestPort,
}

/// The driver's announcements of a port, and those it has yet to be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct GuestPort {
    pub(super) is_ready: bool,
    pub(super) is_open: bool,
    pub(super) pending: u8,
}

impl GuestPort {
    /// All bits of `pending` that there are.
    pub(super) const ALL_PENDING: u8 = pending::ALL;
}

impl PortControl {
    /// Ports of these names, of which the first is a console, and others as they say.
    pub fn new(ports: impl IntoIterator<Item = (String, bool)>) -> Self {
        let state = |(index, (name, is_console))| PortState {
            name,
            is_console: is_console || index == 0,
            is_connected: false,
            guest: GuestPort::default(),
        };
        Self {
            ports: ports.into_iter().enumerate().map(state).collect(),
            size: None,
        }
    }

    /// Takes a message of the driver; `false` for one that means nothing.
    pub fn receive(&mut self, bytes: &[u8]) -> bool {
        match ConsoleMessage::parse(bytes) {
            Some(ConsoleMessage::DeviceReady(true)) => {
                for port in &mut self.ports {
                    port.guest.pending |= pending::ADD;
                }
                true
            }
            Some(ConsoleMessage::PortReady { port, is_ready }) => {
                let size = self.size.filter(|_| port == 0);
                self.with(port, |port| port.set_ready(is_ready, size.is_some()))
            }
            Some(ConsoleMessage::PortOpen { port, is_open }) => {
                self.with(port, |port| port.guest.is_open = is_open)
            }
            // A driver that has failed resets the device, or does nothing more.
            Some(ConsoleMessage::DeviceReady(false)) | None => false,
        }
    }

    fn with(&mut self, port: u32, f: impl FnOnce(&mut PortState)) -> bool {
        let place = usize::try_from(port).ok();
        let port = place.and_then(|place| self.ports.get_mut(place));
        port.map(f).is_some()
    }

    /// Puts the next message for the driver into `bytes`; `None` where there is none.
    pub fn next(&self, bytes: &mut Vec<u8>) -> Option<PendingMessage> {
        let waits = |(_, port): &(usize, &PortState)| port.guest.pending != 0;
        let (index, port) = self.ports.iter().enumerate().find(waits)?;
        let bit = 1 << port.guest.pending.trailing_zeros();
        let number = u32::try_from(index).unwrap_or(u32::MAX);
        let mut say = |event, value: bool| encode(bytes, number, event, value.into());
        match bit {
            pending::ADD => say(event::DEVICE_ADD, true),
            pending::CONSOLE => say(event::CONSOLE_PORT, true),
            pending::NAME => {
                say(event::PORT_NAME, true);
                bytes.extend(port.name.as_bytes());
            }
            pending::OPEN => say(event::PORT_OPEN, port.is_connected),
            _ => {
                say(event::RESIZE, false);
                let (columns, rows) = self.size.unwrap_or_default();
                // As the section has it, and Debian's 6.1.192. Linux had rows first until 6.15, and
                // takes the one for the other where its fix has not gone.
                bytes.extend(columns.to_le_bytes());
                bytes.extend(rows.to_le_bytes());
            }
        }
        Some(PendingMessage { port: index, bit })
    }

    /// The message that [`next`](Self::next) gave was sent.
    pub fn sent(&mut self, message: PendingMessage) {
        if let Some(port) = self.ports.get_mut(message.port) {
            port.guest.pending &= !message.bit;
        }
    }

    /// Whether a program of the guest has `port` open.
    pub fn is_open(&self, port: usize) -> bool {
        self.ports
            .get(port)
            .is_some_and(|port| port.guest.is_ready && port.guest.is_open)
    }

    /// Something is at the host's end of `port`, or nothing any more.
    pub fn set_connected(&mut self, port: usize, is_connected: bool) {
        if let Some(port) = self.ports.get_mut(port)
            && port.is_connected != is_connected
        {
            port.is_connected = is_connected;
            port.tell(pending::OPEN);
        }
    }

    /// The terminal at port 0 has this many columns and rows.
    pub fn resize(&mut self, columns: u16, rows: u16) {
        self.size = Some((columns, rows));
        if let Some(port) = self.ports.first_mut() {
            port.tell(pending::RESIZE);
        }
    }

    /// Whether port 0 has a size.
    pub(super) fn has_size(&self) -> bool {
        self.size.is_some()
    }

    /// Columns and rows of port 0; 0 where they are not known.
    pub(super) fn size(&self) -> (u16, u16) {
        self.size.unwrap_or_default()
    }

    /// The driver has reset the device.
    pub fn reset(&mut self) {
        for port in &mut self.ports {
            port.guest = GuestPort::default();
        }
    }

    /// The saved form of each port.
    pub(super) fn save(&self) -> impl Iterator<Item = GuestPort> {
        self.ports.iter().map(|port| port.guest)
    }

    /// Restores that. The host's end may be another now, so that the driver is told of it again.
    pub(super) fn restore(&mut self, saved: impl Iterator<Item = GuestPort>) {
        let has_size = self.size.is_some();
        for (index, (port, guest)) in self.ports.iter_mut().zip(saved).enumerate() {
            port.guest = guest;
            port.tell(pending::OPEN);
            if index == 0 && has_size {
                port.tell(pending::RESIZE);
            }
        }
    }
}

impl PortState {
    fn set_ready(&mut self, is_ready: bool, has_size: bool) {
        self.guest.is_ready = is_ready;
        if !is_ready {
            self.guest.is_open = false;
            self.guest.pending &= pending::ADD;
            return;
        }
        let messages = [
            (pending::CONSOLE, self.is_console),
            (pending::NAME, !self.name.is_empty()),
            (pending::OPEN, self.is_connected),
            (pending::RESIZE, has_size),
        ];
        for (bit, _) in messages.into_iter().filter(|(_, wanted)| *wanted) {
            self.guest.pending |= bit;
        }
    }

    /// A driver that does not know the port yet is told when it does.
    fn tell(&mut self, bit: u8) {
        if self.guest.is_ready {
            self.guest.pending |= bit;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(port: u32, event: u16, value: u16) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(&mut bytes, port, event, value);
        bytes
    }

    fn control() -> PortControl {
        PortControl::new([(String::new(), false), ("org.example".into(), false)])
    }

    /// All that the device has to say.
    fn said(control: &mut PortControl) -> Vec<Vec<u8>> {
        let (mut all, mut bytes) = (Vec::new(), Vec::new());
        while let Some(next) = control.next(&mut bytes) {
            control.sent(next);
            all.push(bytes.clone());
        }
        all
    }

    #[test]
    fn ports_are_told_and_described_5_3_6_2() {
        let mut control = control();
        control.set_connected(0, true);
        control.resize(80, 25);
        assert!(said(&mut control).is_empty());
        assert!(control.receive(&message(0, event::DEVICE_READY, 1)));
        let added = [message(0, 1, 1), message(1, 1, 1)];
        assert_eq!(said(&mut control), added);
        assert!(control.receive(&message(0, event::PORT_READY, 1)));
        let size = [message(0, 5, 0), vec![80, 0, 25, 0]].concat();
        let first = [message(0, 4, 1), message(0, 6, 1), size];
        assert_eq!(said(&mut control), first);
        assert!(control.receive(&message(1, event::PORT_READY, 1)));
        let name = [message(1, 7, 1), b"org.example".to_vec()].concat();
        assert_eq!(said(&mut control), [name]);
    }

    #[test]
    fn a_change_at_the_host_is_told_once() {
        let mut control = control();
        control.receive(&message(1, event::PORT_READY, 1));
        said(&mut control);
        control.set_connected(1, true);
        control.set_connected(1, true);
        assert_eq!(said(&mut control), [message(1, 6, 1)]);
        control.set_connected(1, false);
        control.set_connected(1, true);
        assert_eq!(said(&mut control), [message(1, 6, 1)]);
    }

    #[test]
    fn a_port_is_open_from_ready_and_open_to_close() {
        let mut control = control();
        control.receive(&message(1, event::PORT_OPEN, 1));
        assert!(!control.is_open(1));
        control.receive(&message(1, event::PORT_READY, 1));
        assert!(control.is_open(1) && !control.is_open(0) && !control.is_open(2));
        control.receive(&message(1, event::PORT_OPEN, 0));
        assert!(!control.is_open(1));
        control.receive(&message(1, event::PORT_OPEN, 1));
        control.receive(&message(1, event::PORT_READY, 0));
        assert!(!control.is_open(1));
    }

    #[test]
    fn messages_that_mean_nothing_are_told_apart() {
        let mut control = control();
        for bytes in [
            &message(2, event::PORT_READY, 1)[..],
            &message(u32::MAX, event::PORT_OPEN, 1),
            &message(0, event::DEVICE_ADD, 1),
            &message(0, event::DEVICE_READY, 0),
            &message(0, 99, 1),
            &[0; 7],
            &[],
        ] {
            assert!(!control.receive(bytes), "{bytes:?}");
        }
        assert!(said(&mut control).is_empty());
    }

    proptest! {
        #[test]
        fn no_driver_makes_it_say_more_than_five_a_port(
            messages in prop::collection::vec((0_u32..4, 0_u16..9, 0_u16..2), 0..100),
        ) {
            let mut control = control();
            control.resize(1, 2);
            for (port, event, value) in messages {
                control.receive(&message(port, event, value));
                control.set_connected(port as usize, value == 0);
            }
            prop_assert!(said(&mut control).len() <= 10);
        }
    }
}
