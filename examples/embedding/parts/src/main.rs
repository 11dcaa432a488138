//! A VMM made of single crates, without vmmkit-vmm: a loaded kernel, buses, a serial port, a keyboard controller that
//! ends the run, and a virtio device of its own.

mod reverse;

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use guest_elf::elf;
use vmmkit_boot_loader::{BootSource, Platform, load};
use vmmkit_device_bus::{AddressRange, GuestRequest, IrqLine, MmioBus, PortBus};
use vmmkit_guest_memory::{GuestRam, RamConfig};
use vmmkit_host_io::memory_file;
use vmmkit_hypervisor::x86::VcpuState;
use vmmkit_hypervisor::{Hypervisor, Irqchip, Vcpu, VcpuExit, VcpuId, Vm, VmSettings};
use vmmkit_hypervisor_kvm::Kvm;
use vmmkit_legacy_devices::{I8042, SerialOutput, SerialPort};
use vmmkit_virtio::MmioTransport;
use vmmkit_virtio::spec::mmio;

use reverse::Reverse;

/// The registers of the virtio device.
const DEVICE: AddressRange = AddressRange::new(0xd000_0000, mmio::LENGTH);

/// Says by the serial port what is in the configuration space of the device, and asks for a reset.
#[rustfmt::skip]
const CODE: &[u8] = &[
    0xbf, 0x00, 0x01, 0x00, 0xd0, // mov edi, 0xd0000100
    0x66, 0xba, 0xf8, 0x03,       // mov dx, 0x3f8
    0x8b, 0x07,                   // mov eax, [rdi]
    0xb9, 0x04, 0x00, 0x00, 0x00, // mov ecx, 4
    0xee, 0xc1, 0xe8, 0x08,       // next: out dx, al; shr eax, 8
    0xe2, 0xfa,                   // loop next
    0xb0, 0xfe, 0xe6, 0x64, 0xf4, // mov al, 0xfe; out 0x64, al; hlt
];

struct Stdout;

impl SerialOutput for Stdout {
    fn push(&mut self, byte: u8) -> bool {
        print!("{}", char::from(byte));
        true
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let vm = Kvm::open()?.create_vm(&VmSettings::new(Irqchip::None))?;
    let ram = GuestRam::new(&RamConfig::default())?;
    vm.map_ram(&ram)?;

    let is_over = Arc::new(AtomicBool::new(false));
    let ended = is_over.clone();
    let requests = Arc::new(move |request| {
        ended.store(request == GuestRequest::Reset, Ordering::Relaxed);
    });
    let (ports, mmio) = (Arc::new(PortBus::new()), Arc::new(MmioBus::new()));
    let port = |first: u16, count: u16| AddressRange::new(first.into(), count.into());
    let serial = SerialPort::new(Box::new(Stdout), IrqLine::unconnected());
    ports.plug(
        SerialPort::NAME,
        port(SerialPort::PORT, SerialPort::LENGTH),
        Arc::new(serial),
    )?;
    let keyboard = I8042::new(IrqLine::unconnected(), requests);
    ports.plug(
        I8042::NAME,
        port(I8042::COMMAND_PORT, I8042::LENGTH),
        Arc::new(keyboard),
    )?;
    let line = Arc::new(IrqLine::unconnected());
    let device = MmioTransport::new("reverse0", Arc::new(Reverse), &ram, line)?;
    mmio.plug("reverse0", DEVICE, Arc::new(device))?;

    let kernel = memory_file(&elf(CODE))?;
    let source = BootSource::new(&kernel, "");
    let loaded = load(&ram, source, &Platform::of(&[0]))?;
    let mut vcpu = vm.create_vcpu(VcpuId(0))?;
    let mut special = vcpu.special_registers()?;
    loaded.entry.apply(&mut special);
    vcpu.set_special_registers(&special)?;
    vcpu.set_registers(&loaded.entry.registers())?;
    match vcpu.run_with(&mut (ports.view(), mmio.view()))? {
        VcpuExit::Halt if is_over.load(Ordering::Relaxed) => Ok(()),
        other => Err(format!("the guest left with {other:?}").into()),
    }
}
