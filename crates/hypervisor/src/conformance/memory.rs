//! Guest memory, its log, and two vCPUs in it.

use std::io;
use std::thread;

use vmmkit_guest_memory::{GuestAddress, GuestMemoryMmap, GuestRam, RamConfig};

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
            name: "memory_that_was_not_mapped_cannot_be_unmapped",
            needs: &[],
            test: unmap_unknown::<H>,
        },
        Case {
            name: "slots_of_ones_own_come_go_and_stay_over_a_renewal",
            needs: &[Need::Execution],
            test: own_slots::<H>,
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

fn unmap_unknown<H: Hypervisor>(hypervisor: &H) -> Outcome {
    let vm = hypervisor.create_vm(&BARE)?;
    let (first, second) = (ram()?, ram()?);
    vm.map_ram(&first)?;
    same("refused", vm.unmap_ram(&second).is_err(), true)?;
    vm.unmap_ram(&first)?;
    same("refused again", vm.unmap_ram(&first).is_err(), true)?;
    Ok(vm.map_ram(&second)?)
}

/// Two pages of an embedder's, of which a guest reads the first byte.
fn own_slots<H: Hypervisor>(hypervisor: &H) -> Outcome {
    const OWN: GuestAddress = GuestAddress(0x9_0000);
    let vm = hypervisor.create_vm(&BARE)?;
    let ram = ram()?;
    let code = [
        0xb8, 0x00, 0x90, // mov ax, 0x9000
        0x8e, 0xd8, // mov ds, ax
        0xa0, 0x00, 0x00, // mov al, [0]
        0xe6, 0x10, // out 0x10, al
        0xf4, // hlt
    ];
    ram.write_bytes(GuestAddress(0x1000), &code)?;
    vm.map_ram(&ram)?;
    let own = GuestMemoryMmap::<()>::from_ranges(&[(OWN, 0x2000)]).map_err(io::Error::other)?;
    let own = GuestRam::from_memory(&own, [30])?;
    own.write(OWN, 42_u8)?;
    let read = || -> Result<Option<u8>, Failure> {
        let mut vcpu = vm.create_vcpu(VcpuId(0))?;
        enter_real(&mut vcpu, 0, 0x1000)?;
        let byte = match vcpu.run()? {
            VcpuExit::PortWrite(_) => vcpu.data().first().copied(),
            VcpuExit::MmioRead(_) => None,
            other => return same("exit", other, VcpuExit::Halt).map(|()| None),
        };
        drop(vcpu);
        vm.renew()?;
        Ok(byte)
    };
    same("before", read()?, None)?;
    vm.map_ram(&own)?;
    same("mapped", read()?, Some(42))?;
    same("after a renewal", read()?, Some(42))?;
    vm.unmap_ram(&own)?;
    same("unmapped", read()?, None)?;
    vm.map_ram(&own)?;
    same("mapped again", read()?, Some(42))
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
