//! Guest memory, its log, and two vCPUs in it.

use std::thread;

use vmmkit_guest_memory::{GuestAddress, GuestRam, RamConfig};

use super::guest::{BARE, Guest, Outcome, VcpuOf, enter_real, same};
use super::{Case, Failure, Need};
use crate::{DirtyLog, Hypervisor, Vcpu, VcpuExit, VcpuId, Vm};

pub(super) fn cases<H: Hypervisor>() -> Vec<Case<H>> {
    vec![
        Case {
            name: "a_log_that_is_off_is_refused",
            needs: &[],
            test: log_off::<H>,
        },
        Case {
            name: "a_fresh_log_is_clean",
            needs: &[],
            test: fresh_log::<H>,
        },
        Case {
            name: "the_log_has_the_pages_the_guest_wrote",
            needs: &[Need::Execution],
            test: dirty::<H>,
        },
        Case {
            name: "ram_outlives_the_callers_handle",
            needs: &[Need::Execution],
            test: outlives::<H>,
        },
        Case {
            name: "two_vcpus_run_at_once",
            needs: &[Need::Execution],
            test: two_vcpus::<H>,
        },
    ]
}

fn ram() -> Result<GuestRam, Failure> {
    Ok(GuestRam::new(&RamConfig {
        size: "512K".parse()?,
        ..RamConfig::default()
    })?)
}

fn log_off<H: Hypervisor>(hypervisor: &H) -> Outcome {
    let vm = hypervisor.create_vm(&BARE)?;
    vm.map_ram(&ram()?)?;
    same("refused", vm.take_dirty_pages(0).is_err(), true)?;
    vm.log_dirty_pages(true)?;
    same(
        "unknown slot refused",
        vm.take_dirty_pages(7).is_err(),
        true,
    )
}

fn fresh_log<H: Hypervisor>(hypervisor: &H) -> Outcome {
    let vm = hypervisor.create_vm(&BARE)?;
    vm.map_ram(&ram()?)?;
    vm.log_dirty_pages(true)?;
    same(
        "pages",
        vm.take_dirty_pages(0)?.iter().all(|word| *word == 0),
        true,
    )
}

fn dirty<H: Hypervisor>(hypervisor: &H) -> Outcome {
    let code = [
        0xa2, 0x00, 0x50, // mov [0x5000], al
        0xa2, 0xff, 0x8f, // mov [0x8fff], al
        0xf4, // hlt
    ];
    let mut guest = Guest::real(hypervisor, &BARE, 0, &code)?;
    guest.vm.log_dirty_pages(true)?;
    guest.expect(VcpuExit::Halt)?;
    let written = |pages: Vec<u64>| {
        pages
            .first()
            .map(|word| word & ((1 << 5) | (1 << 6) | (1 << 8)))
    };
    same(
        "pages",
        written(guest.vm.take_dirty_pages(0)?),
        Some((1 << 5) | (1 << 8)),
    )?;
    same(
        "pages, taken again",
        written(guest.vm.take_dirty_pages(0)?),
        Some(0),
    )?;
    guest.vm.log_dirty_pages(false)?;
    same(
        "refused when off",
        guest.vm.take_dirty_pages(0).is_err(),
        true,
    )
}

fn outlives<H: Hypervisor>(hypervisor: &H) -> Outcome {
    let vm = hypervisor.create_vm(&BARE)?;
    let ram = ram()?;
    // mov [0x5000], al; hlt
    ram.write_bytes(GuestAddress(0x1000), &[0xa2, 0x00, 0x50, 0xf4])?;
    vm.map_ram(&ram)?;
    let mut vcpu = vm.create_vcpu(VcpuId(0))?;
    enter_real(&mut vcpu, 0, 0x1000)?;
    drop(ram);
    drop(vm);
    same("exit", vcpu.run()?, VcpuExit::Halt)
}

fn two_vcpus<H: Hypervisor>(hypervisor: &H) -> Outcome {
    let vm = hypervisor.create_vm(&BARE)?;
    let ram = ram()?;
    // mov al, n; out 0x10, al; hlt
    ram.write_bytes(GuestAddress(0x1000), &[0xb0, 1, 0xe6, 0x10, 0xf4])?;
    ram.write_bytes(GuestAddress(0x2000), &[0xb0, 2, 0xe6, 0x10, 0xf4])?;
    vm.map_ram(&ram)?;
    let mut first = vm.create_vcpu(VcpuId(0))?;
    let mut second = vm.create_vcpu(VcpuId(1))?;
    enter_real(&mut first, 0, 0x1000)?;
    enter_real(&mut second, 0, 0x2000)?;
    thread::scope(|scope| {
        let first = scope.spawn(|| written::<H>(&mut first));
        let second = scope.spawn(|| written::<H>(&mut second));
        let [first, second] = [first, second].map(|thread| thread.join());
        let (Ok(first), Ok(second)) = (first, second) else {
            return same("thread of a vCPU", "panicked", "ended");
        };
        same("bytes of the first", first?, vec![1])?;
        same("bytes of the second", second?, vec![2])
    })
}

/// The bytes that `vcpu` writes to ports until it halts.
fn written<H: Hypervisor>(vcpu: &mut VcpuOf<H>) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    loop {
        match vcpu.run()? {
            VcpuExit::PortWrite(_) => bytes.extend_from_slice(vcpu.data()),
            VcpuExit::Interrupted => {}
            exit => {
                same("exit", exit, VcpuExit::Halt)?;
                return Ok(bytes);
            }
        }
    }
}
