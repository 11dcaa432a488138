//! The reset control register at port 0xCF9, and port 0x92.
//!
//! The ACPI tables name port 0xCF9 with value 6 as the reset register (ACPI 6.5, section
//! 4.8.3.6). The port lies inside PCI's configuration address register at 0xCF8, which is
//! reached by accesses of 4 bytes only; so this device owns all 4 ports, and takes the reset
//! register from single bytes alone. A guest that looks for PCI there neither finds it nor resets.

pub mod spec;
mod state;

use std::fmt;

use parking_lot::Mutex;
use vmmkit_device_bus::{
    DevicePio, GuestRequest, Lifecycle, PioAddress, PioAddressOffset, RequestSink,
};
use vmmkit_telemetry::{Inspect, Tree};

/// The reset registers on a bus: plug it at [`PORT`](Self::PORT), and at
/// [`FAST_PORT`](Self::FAST_PORT) for port 0x92. Any thread may access it.
pub struct ResetControl {
    state: Mutex<ResetState>,
    request: RequestSink,
}

/// The state of the reset registers that the guest can see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResetState {
    /// The reset control register.
    pub control: u8,
    /// Port 0x92, system control port A. A20 is always open, whatever bit 1 says.
    pub system_control_a: u8,
}

impl ResetControl {
    /// Its name on a bus.
    pub const NAME: &'static str = "reset";
    /// Its first port; the register is at [`spec::RESET_CONTROL`].
    pub const PORT: u16 = spec::PCI_CONFIG_ADDRESS;
    /// How many ports it has there.
    pub const LENGTH: u16 = 4;
    /// System control port A, which resets too.
    pub const FAST_PORT: u16 = spec::SYSTEM_CONTROL_A;
    /// How many ports it has there.
    pub const FAST_LENGTH: u16 = 1;

    /// Registers as after power-on, which send their requests to `request`.
    pub fn new(request: RequestSink) -> Self {
        Self {
            state: Mutex::default(),
            request,
        }
    }

    /// All that the guest can see.
    pub fn state(&self) -> ResetState {
        self.state.lock().clone()
    }

    /// Goes to `state`.
    pub fn restore(&self, state: ResetState) {
        *self.state.lock() = state;
    }

    /// Goes back to power-on.
    pub fn reset(&self) {
        self.restore(ResetState::default());
    }
}

impl DevicePio for ResetControl {
    fn pio_read(&self, base: PioAddress, offset: PioAddressOffset, data: &mut [u8]) {
        let port = base.0.wrapping_add(offset);
        data.fill(0xff);
        if let [byte] = data {
            match port {
                spec::RESET_CONTROL => *byte = self.state.lock().control,
                spec::SYSTEM_CONTROL_A => *byte = self.state.lock().system_control_a | spec::A20,
                _ => {} // PCI's registers: nobody
            }
        }
    }

    fn pio_write(&self, base: PioAddress, offset: PioAddressOffset, data: &[u8]) {
        let &[value] = data else { return }; // PCI's configuration address: nobody
        let reset = match base.0.wrapping_add(offset) {
            spec::RESET_CONTROL => {
                let mut state = self.state.lock();
                state.control = value & spec::RESET_KIND;
                value & spec::RESET_NOW != 0
            }
            spec::SYSTEM_CONTROL_A => {
                self.state.lock().system_control_a = value & !spec::FAST_RESET;
                value & spec::FAST_RESET != 0
            }
            _ => false,
        };
        if reset {
            (self.request)(GuestRequest::Reset);
        }
    }
}

impl Inspect for ResetControl {
    fn inspect(&self) -> Tree {
        let state = self.state();
        Tree::new()
            .hex("control", state.control)
            .hex("system_control_a", state.system_control_a)
    }
}

impl Lifecycle for ResetControl {
    fn reset(&self) {
        self.reset();
    }
}

impl fmt::Debug for ResetControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResetControl")
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn requests_of(accesses: &[(u16, &[u8])]) -> Vec<GuestRequest> {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = seen.clone();
        let device = ResetControl::new(Arc::new(move |request| sink.lock().push(request)));
        for (port, data) in accesses {
            device.pio_write(PioAddress(*port), 0, data);
        }
        seen.lock().clone()
    }

    #[test]
    fn bit_2_of_the_reset_control_register_resets() {
        assert_eq!(requests_of(&[(0xcf9, &[2])]), []);
        assert_eq!(
            requests_of(&[(0xcf9, &[2]), (0xcf9, &[6])]),
            [GuestRequest::Reset]
        );
    }

    #[test]
    fn pci_configuration_addresses_do_not_reset() {
        assert_eq!(
            requests_of(&[(0xcf8, &0x8000_0400_u32.to_le_bytes()), (0xcfb, &[1])]),
            []
        );
    }

    #[test]
    fn port_92_resets_by_bit_0_and_a20_stays_open() {
        assert_eq!(
            requests_of(&[(0x92, &[2]), (0x92, &[3])]),
            [GuestRequest::Reset]
        );
        let device = ResetControl::new(Arc::new(|_| ()));
        let mut byte = [0];
        device.pio_write(PioAddress(0x92), 0, &[0]);
        device.pio_read(PioAddress(0x92), 0, &mut byte);
        assert_eq!(byte, [spec::A20]);
    }
}
