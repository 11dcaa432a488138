//! x
mod line;
mod request;

pub use line::{Gsi, IrqLine, LineDriver};
pub use request::{GuestRequest, RequestSink};
pub use vm_device::bus::{MmioAddress, MmioAddressOffset, PioAddress, PioAddressOffset};
pub use vm_device::{DeviceMmio, DevicePio, MutDeviceMmio, MutDevicePio};
