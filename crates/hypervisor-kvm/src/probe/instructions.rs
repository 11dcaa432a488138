//! The instructions that software KVMs are known to lack, in the order Linux meets them.

use vmmkit_hypervisor::{Result, VcpuExit};

use super::Finding;
use super::micro_guest::{self, Ring};
use crate::Kvm;

struct Instruction {
    name: &'static str,
    code: &'static [u8],
    meaning: &'static str,
    fix: &'static str,
    essential: bool,
}

/// For what no command line of the guest avoids.
const HARDWARE: &str = "boot on a host with VT-x or AMD-V";

const fn avoidable(
    name: &'static str,
    code: &'static [u8],
    meaning: &'static str,
    fix: &'static str,
) -> Instruction {
    Instruction {
        name,
        code,
        meaning,
        fix,
        essential: false,
    }
}

const fn essential(name: &'static str, code: &'static [u8], meaning: &'static str) -> Instruction {
    Instruction {
        name,
        code,
        meaning,
        fix: HARDWARE,
        essential: true,
    }
}

/// Run in ring 0 with RDI at a page of zeros. NOP checks the probe.
const RING_0: [Instruction; 15] = [
    essential("NOP", &[0x90], "nothing runs without"),
    avoidable(
        "CMPXCHG16B",
        &[0x48, 0x0f, 0xc7, 0x0f],
        "Linux's memory allocator uses it",
        "clear CX16 in the guest's CPUID (leaf 1, ECX bit 13)",
    ),
    avoidable(
        "XSAVE",
        &[0x0f, 0xae, 0x27],
        "Linux switches floating-point state by it",
        "add `noxsave` to the guest's command line",
    ),
    avoidable(
        "XRSTOR",
        &[0x0f, 0xae, 0x2f],
        "Linux switches floating-point state by it",
        "add `noxsave` to the guest's command line",
    ),
    essential(
        "FXSAVE",
        &[0x0f, 0xae, 0x07],
        "Linux saves floating-point state by it",
    ),
    essential(
        "INT3",
        &[0xcc],
        "Linux tests it and patches its own code by it",
    ),
    avoidable(
        "CLAC",
        &[0x0f, 0x01, 0xca],
        "every exception of Linux begins with it",
        "add `clearcpuid=smap` to the guest's command line",
    ),
    avoidable(
        "STAC",
        &[0x0f, 0x01, 0xcb],
        "Linux accesses user memory behind it",
        "add `clearcpuid=smap` to the guest's command line",
    ),
    avoidable(
        "POPCNT",
        &[0xf3, 0x48, 0x0f, 0xb8, 0xc1],
        "Linux counts bits by it",
        "add `clearcpuid=popcnt` to the guest's command line",
    ),
    essential("FNINIT", &[0xdb, 0xe3], "Linux resets the FPU by it"),
    essential("FWAIT", &[0x9b], "Linux drops floating-point state by it"),
    essential(
        "EMMS",
        &[0x0f, 0x77],
        "Linux switches from floating-point state by it",
    ),
    essential(
        "LDMXCSR",
        &[0x0f, 0xae, 0x17],
        "Linux's own floating-point use begins with it",
    ),
    essential(
        "STMXCSR",
        &[0x0f, 0xae, 0x1f],
        "Linux's own floating-point use ends with it",
    ),
    avoidable(
        "MOVAPS",
        &[0x0f, 0x28, 0xc1],
        "SSE in Linux itself: checksums and ciphers",
        "boot a kernel without drivers that select SSE code, or on a host with VT-x or AMD-V",
    ),
];

/// Runs each instruction in a guest of its own.
pub(super) fn probe(kvm: &Kvm) -> Result<Vec<Finding>> {
    let mut findings = Vec::with_capacity(RING_0.len() + 1);
    for instruction in &RING_0 {
        let exit = micro_guest::run(kvm, Ring::Kernel, instruction.code)?;
        // A fault is the guest's to handle (INT3, or what CPUID does not announce); here it has no
        // handlers, and shuts down.
        findings.push(finding(
            instruction,
            matches!(exit, VcpuExit::Halt | VcpuExit::Shutdown),
        ));
    }
    let syscall = essential(
        "SYSCALL",
        &[0x0f, 0x05],
        "programs call Linux by it: it must enter ring 0, where HLT is allowed",
    );
    let exit = micro_guest::run(kvm, Ring::User, syscall.code)?;
    findings.push(finding(&syscall, exit == VcpuExit::Halt));
    Ok(findings)
}

fn finding(instruction: &Instruction, ok: bool) -> Finding {
    Finding {
        name: instruction.name,
        ok,
        meaning: instruction.meaning,
        fix: instruction.fix,
        essential: instruction.essential,
    }
}
