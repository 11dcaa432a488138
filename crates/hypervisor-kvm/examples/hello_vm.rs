//! A whole VM in one file: a guest of a few bytes prints through a port, and halts.
#![expect(clippy::print_stdout, reason = "an example shows something")]

use std::error::Error;

use vmmkit_guest_memory::{GuestAddress, GuestRam, RamConfig};
use vmmkit_hypervisor::x86::{Registers, VcpuState};
use vmmkit_hypervisor::{Hypervisor, Irqchip, Vcpu, VcpuExit, VcpuId, Vm, VmSettings};
use vmmkit_hypervisor_kvm::Kvm;

const CODE: &[u8] = b"\xbe\x0e\x10\xb9\x06\x00\xba\xf8\x03\xfc\xf3\x6e\xf4\x90hello\n";
//                    mov si,100eh  mov cx,6   mov dx,3f8h cld rep outsb hlt nop

fn main() -> Result<(), Box<dyn Error>> {
    let vm = Kvm::open()?.create_vm(&VmSettings {
        irqchip: Irqchip::None,
    })?;
    let ram = GuestRam::new(&RamConfig {
        size: "1M".parse()?,
        ..RamConfig::default()
    })?;
    ram.write_bytes(GuestAddress(0x1000), CODE)?;
    vm.map_ram(&ram)?;

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
            VcpuExit::PortWrite(access) if access.port == 0x3f8 => {
                print!("{}", String::from_utf8_lossy(vcpu.data()));
            }
            VcpuExit::Halt => return Ok(()),
            other => return Err(format!("the guest left with {other:?}").into()),
        }
    }
}
