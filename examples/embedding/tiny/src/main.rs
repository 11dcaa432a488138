//! The smallest VMM: KVM, a bus, a device that counts, and a guest of a few bytes that knocks on it five times.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use vmmkit::prelude::*;

const CODE: &[u8] = b"\xb9\x05\x00\xba\x00\x05\xee\xe2\xfd\xf4";
//                    mov cx,5     mov dx,500h  out dx,al; loop -1; hlt

#[derive(Default)]
struct Counter(AtomicU32);

impl DevicePio for Counter {
    fn pio_read(&self, _: PioAddress, _: PioAddressOffset, data: &mut [u8]) {
        data.fill(self.0.load(Ordering::Relaxed) as u8);
    }

    fn pio_write(&self, _: PioAddress, _: PioAddressOffset, _: &[u8]) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let vm = Kvm::open()?.create_vm(&VmSettings::new(Irqchip::None))?;
    let ram = GuestRam::new(&RamConfig::default())?;
    ram.write_bytes(GuestAddress(0x1000), CODE)?;
    vm.map_ram(&ram)?;
    let (ports, memory) = (Arc::new(PortBus::new()), Arc::new(MmioBus::new()));
    let counter = Arc::new(Counter::default());
    ports.plug("counter", AddressRange::new(0x500, 1), counter.clone())?;

    let mut vcpu = vm.create_vcpu(VcpuId(0))?;
    let mut special = vcpu.special_registers()?;
    (special.cs.base, special.cs.selector) = (0, 0);
    vcpu.set_special_registers(&special)?;
    vcpu.set_registers(&Registers {
        rip: 0x1000,
        rflags: 2,
        ..Registers::default()
    })?;
    match vcpu.run_with(&mut (ports.view(), memory.view()))? {
        VcpuExit::Halt => println!("{} knocks", counter.0.load(Ordering::Relaxed)),
        other => return Err(format!("the guest left with {other:?}").into()),
    }
    Ok(())
}
