//! Firmware below 4 GiB, and where a vCPU begins after a reset.

use vmmkit_guest_memory::Rom;

use super::guest::{BARE, Guest, Outcome, same};
use super::interrupts::written;
use super::{Case, Failure, Need};
use crate::x86::{Registers, VcpuState};
use crate::{Hypervisor, MmioAccess, Vcpu, VcpuExit, VcpuId, Vm};

pub(super) fn cases<H: Hypervisor>() -> Vec<Case<H>> {
    const NEEDS: &[Need] = &[Need::Execution, Need::ReadOnlyMemory];
    vec![
        Case {
            name: "a_vcpu_begins_at_the_reset_vector",
            needs: NEEDS,
            test: reset_vector::<H>,
        },
        Case {
            name: "a_write_to_a_rom_is_an_exit_and_changes_nothing",
            needs: NEEDS,
            test: write::<H>,
        },
        Case {
            name: "a_renewed_vm_keeps_its_rom",
            needs: NEEDS,
            test: renewal::<H>,
        },
    ]
}

/// Where the code is in the last 64 KiB.
const CODE: u16 = 0xf000;
/// The slot of a ROM beside RAM of one region.
const SLOT: u32 = 1;
/// The byte at [`BYTE_OFFSET`].
const BYTE: u8 = 0x5a;
const BYTE_OFFSET: u16 = 0x1234;

/// A ROM of 64 KiB whose reset vector jumps to `code`.
fn rom(code: &[u8]) -> Result<Rom, Failure> {
    let mut bytes = vec![0xf4; 64 << 10];
    let mut put = |offset: u16, part: &[u8]| {
        for (place, byte) in bytes.iter_mut().skip(offset.into()).zip(part) {
            *place = *byte;
        }
    };
    put(CODE, code);
    put(BYTE_OFFSET, &[BYTE]);
    // jmp CODE, relative to the next instruction
    let [low, high] = CODE.wrapping_sub(0xfff3).to_le_bytes();
    put(0xfff0, &[0xe9, low, high]);
    Ok(Rom::new(&bytes, SLOT)?)
}

/// A guest with `code` in its ROM, as after a reset but for DS, which reaches the ROM.
fn guest<H: Hypervisor>(hypervisor: &H, code: &[u8]) -> Result<Guest<H>, Failure> {
    let mut guest = Guest::real(hypervisor, &BARE, 0, &[])?;
    guest.vm.map_rom(&rom(code)?)?;
    reset::<H>(&mut guest)?;
    Ok(guest)
}

/// Puts the vCPU where a reset does (Intel SDM vol. 3, table 10-1).
fn reset<H: Hypervisor>(guest: &mut Guest<H>) -> Outcome {
    let mut special = guest.vcpu.special_registers()?;
    (special.cs.base, special.cs.selector) = (0xffff_0000, 0xf000);
    special.ds.base = 0xffff_0000;
    guest.vcpu.set_special_registers(&special)?;
    guest.vcpu.set_registers(&Registers {
        rip: 0xfff0,
        rflags: 2,
        ..Registers::default()
    })?;
    Ok(())
}

fn reset_vector<H: Hypervisor>(hypervisor: &H) -> Outcome {
    let vm = hypervisor.create_vm(&BARE)?;
    // out 0x10, al; hlt
    vm.map_rom(&rom(&[0xe6, 0x10, 0xf4])?)?;
    let mut vcpu = vm.create_vcpu(VcpuId(0))?;
    same("exit", vcpu.run()?, written(0x10))?;
    same("exit", vcpu.run()?, VcpuExit::Halt)
}

/// mov [BYTE_OFFSET], al; mov al, [BYTE_OFFSET]; out 0x10, al; hlt
const WRITE: [u8; 9] = [0xa2, 0x34, 0x12, 0xa0, 0x34, 0x12, 0xe6, 0x10, 0xf4];

fn write<H: Hypervisor>(hypervisor: &H) -> Outcome {
    let mut guest = guest(hypervisor, &WRITE)?;
    let address = 0xffff_0000 + u64::from(BYTE_OFFSET);
    guest.expect(VcpuExit::MmioWrite(MmioAccess { address, length: 1 }))?;
    guest.expect(written(0x10))?;
    same("byte", guest.vcpu.data().to_vec(), vec![BYTE])?;
    guest.expect(VcpuExit::Halt)
}

fn renewal<H: Hypervisor>(hypervisor: &H) -> Outcome {
    // out 0x10, al; hlt
    let mut guest = guest(hypervisor, &[0xe6, 0x10, 0xf4])?.renew()?;
    reset::<H>(&mut guest)?;
    guest.expect(written(0x10))?;
    guest.expect(VcpuExit::Halt)
}
