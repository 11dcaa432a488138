//! The 16550A of vmmkit-legacy-devices alone, on a dispatch of one's own.

use std::io::Write;

use own_vmm::{Access, OwnVm, Result};
use vmmkit_device_bus::{DevicePio, IrqLine, PioAddress};
use vmmkit_legacy_devices::{SerialOutput, SerialPort};

/// mov si,100eh; mov cx,15; mov dx,3f8h; cld; rep outsb; hlt; nop; and the text.
const CODE: &[u8] = b"\xbe\x0e\x10\xb9\x0f\x00\xba\xf8\x03\xfc\xf3\x6e\xf4\x90hello by 16550\n";

struct Stdout;

impl SerialOutput for Stdout {
    fn push(&mut self, byte: u8) -> bool {
        std::io::stdout().write_all(&[byte]).is_ok()
    }
}

fn main() -> Result<()> {
    let mut vm = OwnVm::new(&[(0, 0x8_0000)])?;
    vm.load_real(0x1000, CODE)?;
    // An interrupt controller's pin goes where `IrqLine::unconnected` is: `IrqLine::new` takes whatever raises it.
    let serial = SerialPort::new(Box::new(Stdout), IrqLine::unconnected());
    let base = PioAddress(SerialPort::PORT);
    vm.run(|access| match access {
        Access::PortWrite(port, bytes) if is_serial(port) => {
            for byte in bytes {
                serial.pio_write(base, port - SerialPort::PORT, &[*byte]);
            }
        }
        Access::PortRead(port, bytes) if is_serial(port) => {
            serial.pio_read(base, port - SerialPort::PORT, bytes);
        }
        _ => {}
    })?;
    Ok(())
}

fn is_serial(port: u16) -> bool {
    (SerialPort::PORT..SerialPort::PORT + SerialPort::LENGTH).contains(&port)
}
