//! vmmkit-virtio and the disk of vmmkit-virtio-devices alone: the queues are in memory of one's own.

use std::sync::Arc;

use own_vmm::{Access, FIRST_SLOT, OwnVm, Result};
use vm_memory::{Bytes, GuestAddress};
use vmmkit_device_bus::{DeviceMmio, IrqLine, MmioAddress};
use vmmkit_guest_memory::GuestRam;
use vmmkit_virtio::MmioTransport;
use vmmkit_virtio::spec::mmio;
use vmmkit_virtio_devices::{Block, BlockConfig, MemoryDisk};

/// The registers of the device; the guest's ES leads there.
const DEVICE: u64 = 0x9_0000;
const TABLE: GuestAddress = GuestAddress(0x2000);
const DESCRIPTORS: GuestAddress = GuestAddress(0x3000);
const DRIVER: GuestAddress = GuestAddress(0x3100);
const HEADER: GuestAddress = GuestAddress(0x4000);

/// Stores each value of the table to its register, waits for the used ring, and reports the data.
#[rustfmt::skip]
const CODE: &[u8] = &[
    0x31, 0xc0, 0x8e, 0xd8,       // xor ax, ax; mov ds, ax
    0xb8, 0x00, 0x90, 0x8e, 0xc0, // mov ax, 9000h; mov es, ax
    0xbe, 0x00, 0x20,             // mov si, 2000h
    0xad,                         // next: lodsw
    0x3d, 0xff, 0xff, 0x74, 0x0a, // cmp ax, 0ffffh; je wait
    0x89, 0xc7, 0x66, 0xad,       // mov di, ax; lodsd
    0x66, 0x26, 0x89, 0x05,       // mov es:[di], eax
    0xeb, 0xf0,                   // jmp next
    0x83, 0x3e, 0x02, 0x32, 0x01, // wait: cmp word [3202h], 1
    0x75, 0xf9,                   // jne wait
    0xbe, 0x00, 0x50,             // mov si, 5000h
    0xb9, 0x12, 0x00,             // mov cx, 18
    0xba, 0xe9, 0x00,             // mov dx, 0e9h
    0xfc, 0xf3, 0x6e, 0xf4,       // cld; rep outsb; hlt
];

fn main() -> Result<()> {
    let mut vm = OwnVm::new(&[(0, 0x8_0000), (0x10_0000, 0x10_0000)])?;
    // The same memory, as the crates take it.
    let ram = GuestRam::from_memory(&vm.memory, FIRST_SLOT..)?;
    let mut contents = vec![0; 1 << 20];
    contents[1024..1042].copy_from_slice(b"sector 2 of a disk");
    let disk = Arc::new(MemoryDisk::from(contents));
    let block = Block::with_disk(disk, &BlockConfig::default())?;
    let line = Arc::new(IrqLine::unconnected());
    let transport = MmioTransport::new("blk0", Arc::new(block), &ram, line)?;

    drive(&vm)?;
    vm.load_real(0x1000, CODE)?;
    let base = MmioAddress(DEVICE);
    let text = vm.run(|access| match access {
        Access::Write(address, bytes) => transport.mmio_write(base, address - DEVICE, bytes),
        Access::Read(address, bytes) => transport.mmio_read(base, address - DEVICE, bytes),
        _ => {}
    })?;
    println!("{text}");
    Ok(())
}

/// A driver's work, as data for the guest: a request to read sector 2 into 5000h, and the registers to write.
fn drive(vm: &OwnVm) -> Result<()> {
    let descriptor = |index: u64, address: u64, length: u32, flags: u16, next: u16| {
        let at = GuestAddress(DESCRIPTORS.0 + 16 * index);
        let words = (u64::from(next) << 48) | (u64::from(flags) << 32) | u64::from(length);
        vm.memory.write_obj([address, words], at)
    };
    descriptor(0, HEADER.0, 16, 1, 1)?; // NEXT
    descriptor(1, 0x5000, 512, 3, 2)?; // NEXT and WRITE
    descriptor(2, 0x6000, 1, 2, 0)?; // WRITE: the status
    vm.memory.write_obj([0_u64, 2], HEADER)?; // VIRTIO_BLK_T_IN, the sector
    vm.memory.write_obj([0_u16, 1, 0], DRIVER)?; // flags, idx, the chain's head
    let registers = [
        (mmio::STATUS, 1),
        (mmio::STATUS, 3),
        (mmio::DRIVER_FEATURES_SEL, 1),
        (mmio::DRIVER_FEATURES, 1), // VERSION_1
        (mmio::STATUS, 0xb),
        (mmio::QUEUE_SEL, 0),
        (mmio::QUEUE_SIZE, 8),
        (mmio::QUEUE_DESC_LOW, DESCRIPTORS.0 as u32),
        (mmio::QUEUE_DRIVER_LOW, DRIVER.0 as u32),
        (mmio::QUEUE_DEVICE_LOW, 0x3200),
        (mmio::QUEUE_READY, 1),
        (mmio::STATUS, 0xf),
        (mmio::QUEUE_NOTIFY, 0),
    ];
    let mut at = TABLE;
    for (register, value) in registers {
        vm.memory.write_obj(register as u16, at)?;
        vm.memory.write_obj(value, GuestAddress(at.0 + 2))?;
        at.0 += 6;
    }
    vm.memory.write_obj(u16::MAX, at)?;
    Ok(())
}
