//! A guest of one instruction and HLT, in 64-bit mode.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use vmmkit_guest_memory::{GuestAddress, GuestRam, RamConfig, RamSize};
use vmmkit_host_io::{ThreadRole, ThreadSpec};
use vmmkit_hypervisor::x86::{
    CpuidEntry, DescriptorTable, Msr, Registers, Segment, SpecialRegisters, VcpuState,
};
use vmmkit_hypervisor::{
    Error, Hypervisor, Irqchip, Kick, Result, Vcpu, VcpuExit, VcpuId, Vm, VmSettings,
};

use crate::{Kvm, KvmVcpu};

/// Where the guest starts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ring {
    /// Ring 0.
    Kernel,
    /// Ring 3, with LSTAR at an HLT.
    User,
}

/// Of CR4: 64-bit mode needs it.
const PAE: u64 = 0x20;
/// Of CR4: OSXMMEXCPT, OSFXSR.
const SSE: u64 = 0x600;
/// Of CR4.
const OSXSAVE: u64 = 0x4_0000;
pub(super) const ENTRY: u64 = 0x1000;
/// Where SYSCALL goes.
pub(crate) const HANDLER: u64 = 0x2000;
/// A page of zeros, which RDI points to.
pub(super) const SCRATCH: u64 = 0x5000;
const STACK: u64 = 0x8000;
/// Four page tables.
const TABLES: u64 = 0x9000;
/// How long an instruction may take.
const PATIENCE: Duration = Duration::from_secs(2);
const HLT: u8 = 0xf4;
/// STAR and LSTAR (AMD APM vol. 2, 6.1.1).
const STAR: u32 = 0xc000_0081;
const LSTAR: u32 = 0xc000_0082;
/// SFMASK, and what Linux clears of RFLAGS by it.
const FMASK: u32 = 0xc000_0084;
const LINUX_FMASK: u64 = 0x25_7fd5;

/// Runs `code`, then HLT, and answers with the exit; an interruption means that it took too long.
pub(super) fn run(kvm: &Kvm, ring: Ring, code: &[u8]) -> Result<VcpuExit> {
    let mut vcpu = prepare(kvm, ring, code)?;
    let _leash = watch(vcpu.kicker())?;
    vcpu.run()
}

/// The CPUID instruction's answers at each of `places`, in ring 0 of a guest whose table is `table`.
pub(super) fn cpuid(
    kvm: &Kvm,
    table: &[CpuidEntry],
    places: &[CpuidEntry],
) -> Result<Vec<CpuidEntry>> {
    let mut code = Vec::new();
    for place in places {
        code.push(0xb8); // mov eax, leaf
        code.extend(place.function.to_le_bytes());
        code.push(0xb9); // mov ecx, sub-leaf
        code.extend(place.index.to_le_bytes());
        code.extend([0x0f, 0xa2]); // cpuid
        code.extend([0x89, 0x07, 0x89, 0x5f, 4, 0x89, 0x4f, 8, 0x89, 0x57, 12]); // mov [rdi + ..], ..
        code.extend([0x48, 0x83, 0xc7, 16]); // add rdi, 16
    }
    let (mut vcpu, ram) = prepare_with(kvm, Ring::Kernel, &code, table, PAE)?;
    let leash = watch(vcpu.kicker())?;
    let exit = vcpu.run()?;
    drop(leash);
    if exit != VcpuExit::Halt {
        return Err(Error::Invalid {
            what: format!("a guest that asks CPUID ended with {exit:?}"),
            reason: "it should halt",
        });
    }
    let mut at = SCRATCH;
    let mut word = || {
        let value = ram.read::<u32>(GuestAddress(at));
        at += 4;
        value.map_err(|source| Error::host("read of a micro-guest's RAM", io::Error::other(source)))
    };
    let answer = |place: &CpuidEntry| {
        Ok(CpuidEntry {
            eax: word()?,
            ebx: word()?,
            ecx: word()?,
            edx: word()?,
            ..*place
        })
    };
    places.iter().map(answer).collect()
}

/// A vCPU of a VM of its own, about to run `code`, then HLT.
pub(crate) fn prepare(kvm: &Kvm, ring: Ring, code: &[u8]) -> Result<KvmVcpu> {
    let table = kvm.supported_cpuid()?;
    let with = |cr4| prepare_with(kvm, ring, code, &table, cr4).map(|(vcpu, _)| vcpu);
    // KVM takes OSXSAVE where the guest has XSAVE, and CPUID does not tell: a software KVM may force it on,
    // and a host's kernel that finds the area's layout inconsistent does without.
    with(PAE | SSE | OSXSAVE).or_else(|_| with(PAE | SSE))
}

/// The same, with `table` as its CPUID and `cr4`, of which a KVM takes only what the table has; and its
/// RAM.
fn prepare_with(
    kvm: &Kvm,
    ring: Ring,
    code: &[u8],
    table: &[CpuidEntry],
    cr4: u64,
) -> Result<(KvmVcpu, GuestRam)> {
    let vm = kvm.create_vm(&VmSettings::new(Irqchip::None))?;
    let ram = memory(code).map_err(|source| Error::host("mmap of a micro-guest", source))?;
    vm.map_ram(&ram)?;
    let mut vcpu = vm.create_vcpu(VcpuId(0))?;
    vcpu.set_cpuid(table)?;
    enter(&mut vcpu, ring, cr4)?;
    Ok((vcpu, ram))
}

/// RAM with the code, and with page tables that map the first 2 MiB for both rings.
fn memory(code: &[u8]) -> io::Result<GuestRam> {
    let size = RamSize::mebibytes(1);
    let config = RamConfig {
        size,
        ..RamConfig::default()
    };
    let ram = GuestRam::new(&config).map_err(io::Error::other)?;
    let mut program = code.to_vec();
    program.push(HLT);
    // Present, writable, user; one is a large page (AMD APM vol. 2, 5.3). The last leads to an empty
    // table, as Linux's hole has one.
    let entries = [
        (TABLES, TABLES + 0x1007),
        (TABLES + 0x1000, TABLES + 0x2007),
        (TABLES + 0x2000, 0x87),
        (TABLES + 511 * 8, TABLES + 0x3007),
    ];
    for (address, entry) in entries {
        ram.write(GuestAddress(address), entry)
            .map_err(io::Error::other)?;
    }
    ram.write_bytes(GuestAddress(ENTRY), &program)
        .map_err(io::Error::other)?;
    ram.write(GuestAddress(HANDLER), HLT)
        .map_err(io::Error::other)?;
    Ok(ram)
}

fn enter(vcpu: &mut KvmVcpu, ring: Ring, cr4: u64) -> Result<()> {
    let dpl = if ring == Ring::User { 3 } else { 0 };
    let flat = Segment {
        limit: u32::MAX,
        selector: 0x10 | u16::from(dpl),
        kind: 3,
        present: true,
        dpl,
        s: true,
        db: true,
        g: true,
        ..Segment::default()
    };
    let system = Segment {
        s: false,
        db: false,
        g: false,
        dpl: 0,
        ..flat
    };
    let reset = vcpu.special_registers()?;
    vcpu.set_special_registers(&SpecialRegisters {
        cs: Segment {
            selector: 8 | u16::from(dpl),
            kind: 11,
            db: false,
            l: true,
            ..flat
        },
        ds: flat,
        es: flat,
        fs: flat,
        gs: flat,
        ss: flat,
        tr: Segment {
            selector: 0x18,
            kind: 11,
            limit: 0x67,
            ..system
        },
        ldt: Segment {
            unusable: true,
            ..Segment::default()
        },
        gdt: DescriptorTable::default(),
        idt: DescriptorTable::default(),
        // PG, AM, WP, NE, ET, MP, PE
        cr0: 0x8005_0033,
        cr3: TABLES,
        cr4,
        // LMA, LME, SCE
        efer: 0x501,
        ..reset
    })?;
    // SYSCALL takes CS 8 and SS 0x10.
    let msrs = [(STAR, 8 << 32), (LSTAR, HANDLER), (FMASK, LINUX_FMASK)];
    vcpu.set_msrs(&msrs.map(|(index, value)| Msr { index, value }))?;
    // RAX: XSAVE's mask of x87 and SSE.
    let start = Registers {
        rip: ENTRY,
        rsp: STACK,
        rdi: SCRATCH,
        rax: 3,
        rflags: 2,
        ..Registers::default()
    };
    vcpu.set_registers(&start)
}

/// Kicks after [`PATIENCE`] unless the answer is dropped before.
///
/// # Errors
/// [`Error::Host`] where the host has no thread left.
pub(crate) fn watch(kicker: Arc<dyn Kick>) -> Result<Leash> {
    let (call_off, called_off) = mpsc::channel::<()>();
    let thread = ThreadSpec::new(ThreadRole::Helper, "kvm-probe");
    let thread = thread.spawn(move || {
        if called_off.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            kicker.kick();
        }
    });
    let thread = thread.map_err(|error| Error::host("pthread_create", error))?;
    Ok(Leash(Some((call_off, thread))))
}

/// The watch on a micro-guest. Its thread is gone when it is: one that lingered on would have the
/// caller's signals delivered to it, whatever mask the caller sets later.
pub(crate) struct Leash(Option<(mpsc::Sender<()>, thread::JoinHandle<()>)>);

impl Drop for Leash {
    fn drop(&mut self) {
        if let Some((call_off, thread)) = self.0.take() {
            drop(call_off);
            // It cannot panic.
            let _ = thread.join();
        }
    }
}
