//! Costs of the support for a software KVM: `software_costs [COUNT]`.
//!
//! Micro-guests that do one thing COUNT times (20,000), each with two instructions of a loop round it:
//! nothing, a port write, an MMIO write, an instruction that KVM hands back and the emulator completes,
//! and a system call over the bridge that SYSRET ends at once. Nanoseconds each, the least of seven turns,
//! and beside it what one MMIO exit is of it. On VT-x or AMD-V nothing is completed or bridged, and the
//! figures are the CPU's own.
#![expect(
    clippy::print_stdout,
    reason = "the figures are what the program is for"
)]

use std::error::Error;
use std::time::Instant;

use vmmkit_guest_memory::{GuestAddress, GuestRam, RamConfig, RamSize};
use vmmkit_hypervisor::x86::{Msr, Registers, Segment, SpecialRegisters, VcpuState};
use vmmkit_hypervisor::{Hypervisor, Irqchip, Vcpu, VcpuExit, VcpuId, Vm, VmSettings};
use vmmkit_hypervisor_kvm::Kvm;

/// STAR, LSTAR, SFMASK.
const SYSCALL_MSRS: [u32; 3] = [0xc000_0081, 0xc000_0082, 0xc000_0084];
const PML4: u64 = 0x9000;
const ENTRY: u64 = 0x1000;
/// `SYSRETQ`, which is all that this kernel does.
const HANDLER: u64 = 0x2000;
const TURNS: usize = 7;

struct Work {
    name: &'static str,
    code: &'static [u8],
    user: bool,
}

const fn ring_0(name: &'static str, code: &'static [u8]) -> Work {
    Work {
        name,
        code,
        user: false,
    }
}

const WORKS: [Work; 8] = [
    ring_0("nothing", &[]),
    ring_0("port write", &[0xe6, 0x80]),
    // mov [rdi], al
    ring_0("MMIO write", &[0x88, 0x07]),
    ring_0("CLAC", &[0x0f, 0x01, 0xca]),
    ring_0("POPCNT", &[0xf3, 0x48, 0x0f, 0xb8, 0xc1]),
    ring_0("XSAVE64", &[0x48, 0x0f, 0xae, 0x26]),
    ring_0("XRSTOR64", &[0x48, 0x0f, 0xae, 0x2e]),
    Work {
        name: "SYSCALL and SYSRET",
        code: &[0x0f, 0x05],
        user: true,
    },
];

fn main() -> Result<(), Box<dyn Error>> {
    let count = std::env::args().nth(1).map_or(Ok(20_000), |n| n.parse())?;
    let kvm = Kvm::open()?;
    let mut mmio = f64::NAN;
    for work in &WORKS {
        let mut best = f64::INFINITY;
        for _ in 0..TURNS {
            best = best.min(time(&kvm, work, count)?);
        }
        if work.name == "MMIO write" {
            mmio = best;
        }
        println!("{:<20} {best:>9.0} ns  {:>5.2}", work.name, best / mmio);
    }
    println!("{:?}", kvm.software_counters());
    Ok(())
}

/// Nanoseconds for each of `count` times.
fn time(kvm: &Kvm, work: &Work, count: u64) -> Result<f64, Box<dyn Error>> {
    let vm = kvm.create_vm(&VmSettings::new(Irqchip::None))?;
    let ram = GuestRam::new(&RamConfig {
        size: RamSize::mebibytes(1),
        ..RamConfig::default()
    })?;
    vm.map_ram(&ram)?;
    load(&ram, work.code)?;
    let mut vcpu = vm.create_vcpu(VcpuId(0))?;
    vcpu.set_cpuid(&kvm.supported_cpuid()?)?;
    enter(&mut vcpu, work.user, count)?;
    let start = Instant::now();
    loop {
        match vcpu.run()? {
            VcpuExit::PortWrite(_) | VcpuExit::MmioWrite(_) | VcpuExit::Interrupted => {}
            // HLT; in ring 3 it is a fault, and there is no handler.
            VcpuExit::Halt | VcpuExit::Shutdown => break,
            other => return Err(format!("{}: unexpected exit {other:?}", work.name).into()),
        }
    }
    Ok(start.elapsed().as_nanos() as f64 / count as f64)
}

/// Page tables that map the first 4 MiB for both rings and have Linux's hole, and the code.
fn load(ram: &GuestRam, code: &[u8]) -> Result<(), Box<dyn Error>> {
    let mut program = code.to_vec();
    // dec rbx; jnz ENTRY; hlt
    let back = -i8::try_from(program.len() + 5)?;
    program.extend([0x48, 0xff, 0xcb, 0x75, back.to_le_bytes()[0], 0xf4]);
    ram.write_bytes(GuestAddress(ENTRY), &program)?;
    ram.write_bytes(GuestAddress(HANDLER), &[0x48, 0x0f, 0x07])?;
    let entries = [
        (PML4, PML4 + 0x1007),
        (PML4 + 511 * 8, PML4 + 0x3007),
        (PML4 + 0x1000, PML4 + 0x2007),
        (PML4 + 0x2000, 0x87),
        (PML4 + 0x2008, 0x20_0087),
    ];
    for (address, entry) in entries {
        ram.write(GuestAddress(address), entry)?;
    }
    Ok(())
}

fn enter(vcpu: &mut (impl Vcpu + VcpuState), user: bool, count: u64) -> Result<(), Box<dyn Error>> {
    let dpl = if user { 3 } else { 0 };
    let data = Segment {
        limit: u32::MAX,
        selector: if user { 0x23 } else { 0x18 },
        kind: 3,
        present: true,
        dpl,
        s: true,
        db: true,
        g: true,
        ..Segment::default()
    };
    let reset = vcpu.special_registers()?;
    vcpu.set_special_registers(&SpecialRegisters {
        cs: Segment {
            selector: if user { 0x2b } else { 0x10 },
            kind: 11,
            db: false,
            l: true,
            ..data
        },
        ds: data,
        es: data,
        fs: data,
        gs: data,
        ss: data,
        cr0: 0x8005_0033,
        cr3: PML4,
        // OSXSAVE, OSXMMEXCPT, OSFXSR, PAE
        cr4: 0x4_0620,
        // LMA, LME, SCE
        efer: 0x501,
        ..reset
    })?;
    let values = [0x001b_0010 << 32, HANDLER, 0x25_7fd5];
    let msrs = SYSCALL_MSRS.into_iter().zip(values);
    let msrs: Vec<Msr> = msrs.map(|(index, value)| Msr { index, value }).collect();
    vcpu.set_msrs(&msrs)?;
    vcpu.set_registers(&Registers {
        rip: ENTRY,
        rsp: 0x8000,
        rbx: count,
        // Nothing answers there; and a zeroed XSAVE area.
        rdi: 0x20_0000,
        rsi: 0x4_0000,
        rax: 3,
        rflags: 0x202,
        ..Registers::default()
    })?;
    Ok(())
}
