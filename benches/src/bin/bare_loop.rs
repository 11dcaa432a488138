//! The yardstick: a VM with the same shape as vmmkit's (in-kernel interrupt controllers and PIT,
//! CPUID, 256 MiB of RAM, one vCPU in 64-bit mode) and nothing around KVM_RUN. It answers no exit
//! but the keyboard controller's reset, which ends it.
//!
//! `bare_loop WORK COUNT [--time]`; with `--time` it prints nanoseconds an exit on stdout.

use std::error::Error;
use std::time::Instant;

use kvm_bindings::{kvm_pit_config, kvm_segment, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd, VmFd};
use vmmkit_benches::micro_guest::{ENTRY, Work};

const RAM: usize = 256 << 20;
const PML4: u64 = 0x9000;
/// The page directories follow it.
const PDPT: u64 = 0xa000;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [work, count, rest @ ..] = arguments.as_slice() else {
        return Err("usage: bare_loop WORK COUNT [--time]".into());
    };
    let count: u32 = count.parse()?;
    let work = Work::parse(work, count).ok_or("unknown work")?;

    let kvm = Kvm::new()?;
    let vm = kvm.create_vm()?;
    vm.set_tss_address(0xfffb_d000)?;
    vm.create_irq_chip()?;
    vm.create_pit2(kvm_pit_config {
        flags: 1,
        ..Default::default()
    })?;
    map_ram(&vm, &work.code())?;
    let mut vcpu = vm.create_vcpu(0)?;
    vcpu.set_cpuid2(&kvm.get_supported_cpuid(kvm_bindings::KVM_MAX_CPUID_ENTRIES)?)?;
    enter_long_mode(&vcpu)?;

    let start = Instant::now();
    run(&mut vcpu)?;
    if rest.iter().any(|argument| argument == "--time") {
        report(start, count);
    }
    Ok(())
}

/// The loop itself.
fn run(vcpu: &mut VcpuFd) -> Result<(), Box<dyn Error>> {
    loop {
        match vcpu.run()? {
            VcpuExit::IoOut(0x64, [0xfe]) => return Ok(()),
            VcpuExit::IoOut(..)
            | VcpuExit::IoIn(..)
            | VcpuExit::MmioRead(..)
            | VcpuExit::MmioWrite(..) => {}
            other => return Err(format!("unexpected exit {other:?}").into()),
        }
    }
}

/// Maps RAM holding page tables that map the first 4 GiB one to one, and the guest's code.
fn map_ram(vm: &VmFd, code: &[u8]) -> Result<(), Box<dyn Error>> {
    // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no other memory.
    let ram = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            RAM,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    if ram == libc::MAP_FAILED {
        return Err(std::io::Error::last_os_error().into());
    }
    let put = |address: u64, bytes: &[u8]| {
        let address = address as usize;
        assert!(address + bytes.len() <= RAM);
        // SAFETY: the assertion above keeps the sum inside the mapping, which is RAM bytes long.
        let target = unsafe { ram.cast::<u8>().add(address) };
        // SAFETY: the bytes from `target` on are inside the mapping by the same assertion; it is
        // writable, never unmapped, and apart from `bytes`, and no guest runs yet.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len()) };
    };
    put(PML4, &(PDPT | 3).to_le_bytes());
    for gigabyte in 0..4u64 {
        let directory = PDPT + 0x1000 + gigabyte * 0x1000;
        put(PDPT + gigabyte * 8, &(directory | 3).to_le_bytes());
        for entry in 0..512 {
            let page = (gigabyte << 30) | (entry << 21);
            put(directory + entry * 8, &(page | 0x83).to_le_bytes());
        }
    }
    put(ENTRY, code);
    let region = kvm_userspace_memory_region {
        slot: 0,
        flags: 0,
        guest_phys_addr: 0,
        memory_size: RAM as u64,
        userspace_addr: ram as u64,
    };
    // SAFETY: the mapping is RAM bytes long and stays until the process ends.
    unsafe { vm.set_user_memory_region(region)? };
    Ok(())
}

fn enter_long_mode(vcpu: &VcpuFd) -> Result<(), Box<dyn Error>> {
    let mut special = vcpu.get_sregs()?;
    let code = kvm_segment {
        limit: 0xffff_ffff,
        selector: 0x10,
        type_: 11,
        present: 1,
        s: 1,
        l: 1,
        g: 1,
        ..Default::default()
    };
    let data = kvm_segment {
        selector: 0x18,
        type_: 3,
        l: 0,
        db: 1,
        ..code
    };
    special.cs = code;
    for segment in [
        &mut special.ds,
        &mut special.es,
        &mut special.fs,
        &mut special.gs,
        &mut special.ss,
    ] {
        *segment = data;
    }
    special.cr0 = 0x8000_0001;
    special.cr3 = PML4;
    special.cr4 = 0x20;
    special.efer = 0x500;
    vcpu.set_sregs(&special)?;
    let mut registers = vcpu.get_regs()?;
    registers.rip = ENTRY;
    registers.rsp = 0x8000;
    registers.rflags = 2;
    vcpu.set_regs(&registers)?;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the figure is what the program is for")]
fn report(start: Instant, count: u32) {
    println!(
        "{:.1}",
        start.elapsed().as_nanos() as f64 / f64::from(count.max(1))
    );
}
