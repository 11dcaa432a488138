//! An I/O APIC that the VMM has: what its pins stand for.

use std::os::fd::AsFd;

use vmmkit_device_bus::Gsi;
use vmmkit_guest_memory::GuestAddress;

use super::guest::{Guest, Outcome, same};
use super::interrupts::{new_event, signal, written};
use super::{Case, Failure, Need};
use crate::x86::VcpuState;
use crate::{Hypervisor, Interrupts, Irqchip, MsiMessage, VcpuExit, VmSettings};

pub(super) fn cases<H: Hypervisor>() -> Vec<Case<H>> {
    const NEEDS: &[Need] = &[Need::Execution, Need::SplitIrqchip];
    vec![
        Case {
            name: "without_other_controllers_a_message_interrupts_the_guest",
            needs: NEEDS,
            test: message::<H>,
        },
        Case {
            name: "the_irqfd_of_a_pin_delivers_its_message",
            needs: &[Need::Execution, Need::SplitIrqchip, Need::Irqfd],
            test: irqfd::<H>,
        },
        Case {
            name: "the_end_of_a_level_is_told",
            needs: NEEDS,
            test: end::<H>,
        },
        Case {
            name: "pins_are_routed_where_the_io_apic_is_split_only",
            needs: &[Need::Irqchip],
            test: refused::<H>,
        },
    ]
}

const VECTOR: u8 = 0x50;
/// Any pin.
const PIN: Gsi = Gsi(5);
/// Level-triggered, and asserted (Intel SDM vol. 3, 11.11.2).
const LEVEL: u32 = 3 << 14;

const SPLIT: VmSettings = VmSettings::new(Irqchip::Split);

/// Says so on port 0x51, and waits: out 0x51, al; sti; hlt; out 0x53, al; jmp $
const WAITING: [u8; 8] = [0xe6, 0x51, 0xfb, 0xf4, 0xe6, 0x53, 0xeb, 0xfe];
const HANDLER_ADDRESS: u32 = 0x1100;
/// out 0x52, al; iret
const HANDLER: [u8; 3] = [0xe6, 0x52, 0xcf];
/// DS is where the local APIC's registers are: mov word [0xb0], 0 (EOI); out 0x52, al; iret
const ENDING: [u8; 13] = [
    0x66, 0xc7, 0x06, 0xb0, 0x00, 0, 0, 0, 0, // mov dword [0xb0], 0
    0xe6, 0x52, 0xcf, 0x90,
];

fn to(data: u32) -> MsiMessage {
    MsiMessage {
        address: 0xfee0_0000,
        data: u32::from(VECTOR) | data,
    }
}

/// A guest that waits for [`VECTOR`], whose handler is `handler`.
fn waiting<H: Hypervisor>(hypervisor: &H, handler: &[u8]) -> Result<Guest<H>, Failure> {
    const SPURIOUS: usize = 0xf0;
    const ENABLED: u8 = 1;
    let mut guest = Guest::real(hypervisor, &SPLIT, 0, &WAITING)?;
    let address = GuestAddress(HANDLER_ADDRESS.into());
    guest.ram.write_bytes(address, handler)?;
    let entry = GuestAddress(u64::from(VECTOR) * 4);
    guest.ram.write(entry, HANDLER_ADDRESS)?;
    let mut page = guest.vcpu.lapic()?;
    if let Some(byte) = page.get_mut(SPURIOUS + 1) {
        *byte |= ENABLED;
    }
    guest.vcpu.set_lapic(&page)?;
    let mut special = guest.vcpu.special_registers()?;
    special.ds.base = 0xfee0_0000;
    guest.vcpu.set_special_registers(&special)?;
    guest.expect(written(0x51))?;
    Ok(guest)
}

fn message<H: Hypervisor>(hypervisor: &H) -> Outcome {
    let mut guest = waiting(hypervisor, &HANDLER)?;
    guest.vm.signal_msi(to(0))?;
    guest.expect(written(0x52))?;
    guest.expect(written(0x53))
}

fn irqfd<H: Hypervisor>(hypervisor: &H) -> Outcome {
    let mut guest = waiting(hypervisor, &HANDLER)?;
    let event = new_event()?;
    guest.vm.attach_irqfd(event.as_fd(), PIN)?;
    guest.vm.route_pin(PIN, Some(to(0)))?;
    signal(&event)?;
    guest.expect(written(0x52))?;
    guest.expect(written(0x53))
}

fn end<H: Hypervisor>(hypervisor: &H) -> Outcome {
    let mut guest = waiting(hypervisor, &ENDING)?;
    guest.vm.route_pin(PIN, Some(to(LEVEL)))?;
    guest.vm.signal_msi(to(LEVEL))?;
    // A software KVM emulates on before it tells.
    let exits = [guest.run()?, guest.run()?];
    let told = exits
        .iter()
        .filter(|exit| **exit == VcpuExit::IoapicEoi(VECTOR));
    same("ends told", told.count(), 1)?;
    same("handled", exits.contains(&written(0x52)), true)?;
    guest.expect(written(0x53))
}

fn refused<H: Hypervisor>(hypervisor: &H) -> Outcome {
    let vm = hypervisor.create_vm(&VmSettings::default())?;
    let routed = vm.route_pin(PIN, Some(to(0)));
    same("refused", routed.is_err(), true)
}
