//! vm-superio's keyboard controller.

use std::fmt;

use parking_lot::Mutex;
use vm_superio::I8042Device;
use vmmkit_device_bus::{DevicePio, Lifecycle, PioAddress, PioAddressOffset, RequestSink};

use super::Reset;
use crate::I8042;

/// vm-superio's `I8042Device` as a device that plugs into a bus: plug it at [`PORT`](Self::PORT) and at
/// [`COMMAND_PORT`](Self::COMMAND_PORT). It has no keyboard and no state: each read gives 0, and command
/// 0xFE asks for a reset. Any thread may access it; the request sink is called with it locked.
pub struct SuperioI8042 {
    device: Mutex<I8042Device<Reset>>,
}

impl SuperioI8042 {
    /// Its name on a bus.
    pub const NAME: &'static str = "i8042";
    /// The data port.
    pub const PORT: u16 = I8042::PORT;
    /// The status and command port.
    pub const COMMAND_PORT: u16 = I8042::COMMAND_PORT;
    /// How many ports it has at each of the two.
    pub const LENGTH: u16 = I8042::LENGTH;

    /// A controller that sends its requests to `request`.
    pub fn new(request: RequestSink) -> Self {
        Self {
            device: Mutex::new(I8042Device::new(Reset(request))),
        }
    }
}

/// The register of vm-superio's device that the port is.
fn register(base: PioAddress, offset: PioAddressOffset) -> Option<u8> {
    let port = base.0.checked_add(offset)?;
    port.checked_sub(SuperioI8042::PORT)?.try_into().ok()
}

impl DevicePio for SuperioI8042 {
    fn pio_read(&self, base: PioAddress, offset: PioAddressOffset, data: &mut [u8]) {
        data.fill(0xff);
        if let (Some(byte), Some(register)) = (data.first_mut(), register(base, offset)) {
            *byte = self.device.lock().read(register);
        }
    }

    fn pio_write(&self, base: PioAddress, offset: PioAddressOffset, data: &[u8]) {
        if let (Some(byte), Some(register)) = (data.first(), register(base, offset)) {
            // It cannot fail: a request always finds its sink.
            let _ = self.device.lock().write(register, *byte);
        }
    }
}

impl Lifecycle for SuperioI8042 {}

impl fmt::Debug for SuperioI8042 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SuperioI8042").finish_non_exhaustive()
    }
}
