//! Message-signalled interrupts.

use std::sync::Arc;

use vmmkit_guest_memory::GuestAddress;

use super::guest::{Guest, Outcome, same};
use super::interrupts::{HANDLER_ADDRESS, LINE, waiting, written};
use super::{Case, Failure, Need};
use crate::x86::VcpuState;
use crate::{Hypervisor, Interrupts, MsiMessage, MsiVector, VmSettings};

pub(super) fn cases<H: Hypervisor>() -> Vec<Case<H>> {
    const DELIVERY: &[Need] = &[Need::Execution, Need::Irqchip];
    vec![
        Case {
            name: "a_message_interrupts_the_guest",
            needs: DELIVERY,
            test: message::<H>,
        },
        Case {
            name: "a_connected_vector_interrupts_the_guest",
            needs: DELIVERY,
            test: vector::<H>,
        },
        Case {
            name: "a_signal_without_a_message_comes_once_there_is_one",
            needs: DELIVERY,
            test: pending::<H>,
        },
        Case {
            name: "a_vector_follows_its_message",
            needs: DELIVERY,
            test: moved::<H>,
        },
        Case {
            name: "a_line_interrupts_beside_vectors",
            needs: DELIVERY,
            test: line::<H>,
        },
        Case {
            name: "a_vector_keeps_signals_while_it_has_no_message",
            needs: &[Need::Irqchip],
            test: kept::<H>,
        },
    ]
}

/// Any vector that the PIC does not have.
const VECTOR: u8 = 0x50;

/// A fixed interrupt `vector` for the local APIC 0 (Intel SDM vol. 3, 11.11.1 and 11.11.2).
fn to(vector: u8) -> MsiMessage {
    MsiMessage {
        address: 0xfee0_0000,
        data: vector.into(),
    }
}

/// A guest that waits for an interrupt, and takes those of its local APIC too: [`VECTOR`] and the
/// next 32.
fn listening<H: Hypervisor>(hypervisor: &H) -> Result<Guest<H>, Failure> {
    const SPURIOUS: usize = 0xf0;
    const ENABLED: u8 = 1;
    let mut guest = waiting(hypervisor)?;
    for vector in u64::from(VECTOR)..u64::from(VECTOR) + 32 {
        guest.ram.write(GuestAddress(vector * 4), HANDLER_ADDRESS)?;
    }
    let mut page = guest.vcpu.lapic()?;
    if let Some(byte) = page.get_mut(SPURIOUS + 1) {
        *byte |= ENABLED;
    }
    guest.vcpu.set_lapic(&page)?;
    Ok(guest)
}

fn interrupted<H: Hypervisor>(guest: &mut Guest<H>) -> Outcome {
    guest.expect(written(0x52))?;
    guest.expect(written(0x53))
}

fn message<H: Hypervisor>(hypervisor: &H) -> Outcome {
    let mut guest = listening(hypervisor)?;
    guest.vm.signal_msi(to(VECTOR))?;
    interrupted(&mut guest)
}

fn vector<H: Hypervisor>(hypervisor: &H) -> Outcome {
    let mut guest = listening(hypervisor)?;
    let vector = guest.vm.msi_vector()?;
    vector.connect(Some(to(VECTOR)));
    vector.signal();
    interrupted(&mut guest)
}

fn pending<H: Hypervisor>(hypervisor: &H) -> Outcome {
    let mut guest = listening(hypervisor)?;
    let vector = guest.vm.msi_vector()?;
    vector.connect(Some(to(VECTOR)));
    vector.connect(None);
    vector.signal();
    vector.signal();
    same("kept", vector.is_pending(), true)?;
    vector.connect(Some(to(VECTOR + 1)));
    same("kept", vector.is_pending(), false)?;
    interrupted(&mut guest)
}

fn moved<H: Hypervisor>(hypervisor: &H) -> Outcome {
    let mut guest = listening(hypervisor)?;
    let vector = guest.vm.msi_vector()?;
    // Nobody has the local APIC 7.
    vector.connect(Some(MsiMessage {
        address: 0xfee0_7000,
        ..to(VECTOR)
    }));
    vector.signal();
    vector.connect(Some(to(VECTOR)));
    vector.signal();
    interrupted(&mut guest)
}

fn line<H: Hypervisor>(hypervisor: &H) -> Outcome {
    let mut guest = listening(hypervisor)?;
    let vectors = [guest.vm.msi_vector()?, guest.vm.msi_vector()?];
    for vector in &vectors {
        vector.connect(Some(to(VECTOR)));
    }
    let line = guest.vm.irq_line(LINE);
    line.set_level(true);
    guest.expect(written(0x52))?;
    line.set_level(false);
    guest.expect(written(0x53))
}

fn kept<H: Hypervisor>(hypervisor: &H) -> Outcome {
    let vm = hypervisor.create_vm(&VmSettings::default())?;
    let mut vectors: Vec<Arc<dyn MsiVector>> = Vec::new();
    for _ in 0..100 {
        vectors.push(vm.msi_vector()?);
    }
    for vector in &vectors {
        same("kept before", vector.is_pending(), false)?;
        vector.signal();
        same("kept", vector.is_pending(), true)?;
    }
    for vector in &vectors {
        vector.clear();
        same("kept after clearing", vector.is_pending(), false)?;
    }
    Ok(())
}
