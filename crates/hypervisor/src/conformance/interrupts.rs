//! Interrupt lines, irqfds and ioeventfds.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};
use vmmkit_device_bus::Gsi;
use vmmkit_guest_memory::GuestAddress;

use super::guest::{BARE, Guest, Outcome, same};
use super::{Case, Failure, Need};
use crate::{
    DatamatchWidth, Hypervisor, Interrupts, IoEventAddress, IoEvents, PortAccess, Vcpu, VcpuExit,
    VmSettings, Width,
};

pub(super) fn cases<H: Hypervisor>() -> Vec<Case<H>> {
    const DELIVERY: &[Need] = &[Need::Execution, Need::Irqchip];
    vec![
        Case {
            name: "a_raised_line_interrupts_the_guest",
            needs: DELIVERY,
            test: line::<H>,
        },
        Case {
            name: "a_written_irqfd_interrupts_the_guest",
            needs: &[Need::Execution, Need::Irqchip, Need::Irqfd],
            test: irqfd::<H>,
        },
        Case {
            name: "an_irqfd_is_attached_and_detached",
            needs: &[Need::Irqchip, Need::Irqfd],
            test: detach::<H>,
        },
        Case {
            name: "an_ioeventfd_on_a_port_is_signalled_by_its_value_only",
            needs: &[Need::Execution, Need::Ioeventfd],
            test: port_event::<H>,
        },
        Case {
            name: "an_ioeventfd_on_an_address_is_signalled",
            needs: &[Need::Execution, Need::Ioeventfd],
            test: mmio_event::<H>,
        },
        Case {
            name: "an_ioeventfd_is_detached_once",
            needs: &[Need::Ioeventfd],
            test: detach_ioevent::<H>,
        },
    ]
}

/// Sets the PIC up with vectors from 0x20 (Intel 8259A data sheet, ICW1 to ICW4), says so on port
/// 0x51, then waits; the handler of IRQ 5 is at 0x1100.
const WAITING: [u8; 29] = [
    0xb0, 0x11, 0xe6, 0x20, // ICW1: edges, cascade, ICW4 follows
    0xb0, 0x20, 0xe6, 0x21, // ICW2: vectors
    0xb0, 0x04, 0xe6, 0x21, // ICW3: a second PIC at IRQ 2
    0xb0, 0x01, 0xe6, 0x21, // ICW4: 8086
    0xb0, 0x00, 0xe6, 0x21, // OCW1: nothing masked
    0xfa, 0xe6, 0x51, // cli; out 0x51, al
    0xfb, 0xf4, // sti; hlt
    0xe6, 0x53, 0xeb, 0xfe, // out 0x53, al; jmp $
];
/// out 0x52, al; mov al, 0x20; out 0x20, al (end of interrupt); iret
pub(super) const HANDLER: [u8; 7] = [0xe6, 0x52, 0xb0, 0x20, 0xe6, 0x20, 0xcf];

/// Where the handler is: offset and segment.
pub(super) const HANDLER_ADDRESS: u32 = 0x1100;

/// Any line but the timer's and the cascade.
pub(super) const LINE: Gsi = Gsi(5);

pub(super) fn written(port: u16) -> VcpuExit {
    VcpuExit::PortWrite(PortAccess {
        port,
        width: Width::Byte,
        count: 1,
    })
}

/// A guest that waits for IRQ 5.
pub(super) fn waiting<H: Hypervisor>(hypervisor: &H) -> Result<Guest<H>, Failure> {
    let mut guest = Guest::real(hypervisor, &VmSettings::default(), 0, &WAITING)?;
    guest
        .ram
        .write_bytes(GuestAddress(HANDLER_ADDRESS.into()), &HANDLER)?;
    // The interrupt vector table: offset and segment of vector 0x25.
    guest.ram.write(GuestAddress(0x25 * 4), HANDLER_ADDRESS)?;
    guest.expect(written(0x51))?;
    Ok(guest)
}

fn line<H: Hypervisor>(hypervisor: &H) -> Outcome {
    let mut guest = waiting(hypervisor)?;
    let line = guest.vm.irq_line(LINE);
    line.set_level(true);
    guest.expect(written(0x52))?;
    line.set_level(false);
    guest.expect(written(0x53))
}

fn irqfd<H: Hypervisor>(hypervisor: &H) -> Outcome {
    let mut guest = waiting(hypervisor)?;
    let event = new_event()?;
    guest.vm.attach_irqfd(event.as_fd(), LINE)?;
    signal(&event)?;
    guest.expect(written(0x52))?;
    guest.expect(written(0x53))
}

fn detach<H: Hypervisor>(hypervisor: &H) -> Outcome {
    let vm = hypervisor.create_vm(&VmSettings::default())?;
    let event = new_event()?;
    vm.attach_irqfd(event.as_fd(), LINE)?;
    vm.detach_irqfd(event.as_fd(), LINE)?;
    Ok(())
}

fn port_event<H: Hypervisor>(hypervisor: &H) -> Outcome {
    let code = [
        0xba, 0x10, 0x00, // mov dx, 0x10
        0xb8, 0x11, 0x11, 0xef, // mov ax, 0x1111; out dx, ax
        0xb8, 0x22, 0x22, 0xef, // mov ax, 0x2222; out dx, ax
        0xf4, // hlt
    ];
    let mut guest = Guest::real(hypervisor, &BARE, 0, &code)?;
    let event = new_event()?;
    let (address, value) = (IoEventAddress::Port(0x10), DatamatchWidth::Word(0x2222));
    guest.vm.attach_ioevent(event.as_fd(), address, value)?;
    let access = PortAccess {
        port: 0x10,
        width: Width::Word,
        count: 1,
    };
    guest.expect(VcpuExit::PortWrite(access))?;
    same("bytes", guest.vcpu.data().to_vec(), vec![0x11, 0x11])?;
    same("signals before", signals(&event), None)?;
    guest.expect(VcpuExit::Halt)?;
    same("signals", signals(&event), Some(1))
}

fn mmio_event<H: Hypervisor>(hypervisor: &H) -> Outcome {
    let code = [
        0x66, 0xa3, 0x00, 0x01, // mov [0x100], eax
        0xa3, 0x00, 0x01, // mov [0x100], ax
        0xf4, // hlt
    ];
    let mut guest = Guest::real(hypervisor, &BARE, 0xd000, &code)?;
    let event = new_event()?;
    let address = IoEventAddress::Mmio(0xd_0100);
    guest
        .vm
        .attach_ioevent(event.as_fd(), address, DatamatchWidth::Any)?;
    guest.expect(VcpuExit::Halt)?;
    same("signals", signals(&event), Some(2))
}

fn detach_ioevent<H: Hypervisor>(hypervisor: &H) -> Outcome {
    let vm = hypervisor.create_vm(&BARE)?;
    let event = new_event()?;
    let (address, value) = (IoEventAddress::Mmio(0xd000_0050), DatamatchWidth::Dword(1));
    vm.attach_ioevent(event.as_fd(), address, value)?;
    same(
        "refused twice",
        vm.attach_ioevent(event.as_fd(), address, value).is_err(),
        true,
    )?;
    vm.detach_ioevent(event.as_fd(), address, value)?;
    same(
        "refused",
        vm.detach_ioevent(event.as_fd(), address, value).is_err(),
        true,
    )
}

pub(super) fn new_event() -> Result<OwnedFd, Failure> {
    let flags = EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC;
    Ok(eventfd(0, flags).map_err(std::io::Error::from)?)
}

pub(super) fn signal(event: &OwnedFd) -> Outcome {
    rustix::io::write(event, &1_u64.to_ne_bytes()).map_err(std::io::Error::from)?;
    Ok(())
}

/// How often `event` was signalled since the last look.
fn signals(event: &OwnedFd) -> Option<u64> {
    let mut count = [0; 8];
    rustix::io::read(event, &mut count).ok()?;
    Some(u64::from_ne_bytes(count))
}
