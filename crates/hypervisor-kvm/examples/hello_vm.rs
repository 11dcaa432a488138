//! A whole VM in one file: a guest of a few bytes prints through vm-superio's serial port, and halts.
#![expect(clippy::print_stdout, reason = "an example shows something")]

use std::error::Error;
use std::sync::Arc;

use vmmkit_device_bus::{AddressRange, IrqLine, PortBus};
use vmmkit_guest_memory::{GuestAddress, GuestRam, RamConfig};
use vmmkit_hypervisor::x86::{Registers, VcpuState};
use vmmkit_hypervisor::{Hypervisor, Irqchip, Vcpu, VcpuExit, VcpuId, Vm, VmSettings};
use vmmkit_hypervisor_kvm::Kvm;
use vmmkit_legacy_devices::{SerialOutput, SuperioSerial};

const CODE: &[u8] = b"\xbe\x0e\x10\xb9\x06\x00\xba\xf8\x03\xfc\xf3\x6e\xf4\x90hello\n";
//                    mov si,100eh  mov cx,6   mov dx,3f8h cld rep outsb hlt nop

struct Stdout;

impl SerialOutput for Stdout {
    fn push(&mut self, byte: u8) -> bool {
        print!("{}", char::from(byte));
        true
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let vm = Kvm::open()?.create_vm(&VmSettings::new(Irqchip::None))?;
    let ram = GuestRam::new(&RamConfig {
        size: "1M".parse()?,
        ..RamConfig::default()
    })?;
    ram.write_bytes(GuestAddress(0x1000), CODE)?;
    vm.map_ram(&ram)?;

    let serial = SuperioSerial::new(Box::new(Stdout), IrqLine::unconnected());
    let range = AddressRange::new(SuperioSerial::PORT.into(), SuperioSerial::LENGTH.into());
    let ports = PortBus::new();
    ports.plug(SuperioSerial::NAME, range, Arc::new(serial))?;

    // A vCPU starts in 16-bit real mode, at the reset vector; send it to the code instead.
    let mut vcpu = vm.create_vcpu(VcpuId(0))?;
    let mut special = vcpu.special_registers()?;
    (special.cs.base, special.cs.selector) = (0, 0);
    vcpu.set_special_registers(&special)?;
    vcpu.set_registers(&Registers {
        rip: 0x1000,
        rflags: 2,
        ..Registers::default()
    })?;

    loop {
        match vcpu.run()? {
            VcpuExit::PortWrite(access) => {
                // A string instruction is many accesses at once.
                for item in vcpu.data().chunks(access.width.bytes()) {
                    ports.write(access.port.into(), item);
                }
            }
            VcpuExit::Halt => return Ok(()),
            other => return Err(format!("the guest left with {other:?}").into()),
        }
    }
}
