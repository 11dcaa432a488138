//! The instructions that software KVMs are known to lack, in the order Linux meets them.

use vmmkit_hypervisor::{Result, VcpuExit};

use super::micro_guest::{self, Ring};
use super::{Finding, Remedy};
use crate::Kvm;

struct Instruction {
    name: &'static str,
    code: &'static [u8],
    meaning: &'static str,
    remedy: Option<Remedy>,
}

const fn completed(name: &'static str, code: &'static [u8], meaning: &'static str) -> Instruction {
    Instruction {
        name,
        code,
        meaning,
        remedy: Some(Remedy::Completed),
    }
}

/// Run in ring 0 with RDI at a page of zeros. NOP checks the probe.
const RING_0: [Instruction; 18] = [
    Instruction {
        name: "NOP",
        code: &[0x90],
        meaning: "nothing runs without",
        remedy: None,
    },
    Instruction {
        name: "CMPXCHG16B",
        code: &[0x48, 0x0f, 0xc7, 0x0f],
        meaning: "Linux's memory allocator uses it",
        remedy: Some(Remedy::Masked),
    },
    completed(
        "XSAVE",
        &[0x0f, 0xae, 0x27],
        "Linux saves FPU state with it",
    ),
    completed(
        "XRSTOR",
        &[0x0f, 0xae, 0x2f],
        "Linux restores FPU state with it",
    ),
    completed(
        "XSAVES",
        &[0x0f, 0xc7, 0x2f],
        "Linux switches FPU state with it",
    ),
    completed(
        "FXSAVE",
        &[0x0f, 0xae, 0x07],
        "Linux saves FPU state with it",
    ),
    completed(
        "INT3",
        &[0xcc],
        "Linux tests it and patches its own code by it",
    ),
    completed(
        "CLAC",
        &[0x0f, 0x01, 0xca],
        "every exception of Linux begins with it",
    ),
    completed(
        "STAC",
        &[0x0f, 0x01, 0xcb],
        "Linux accesses user memory behind it",
    ),
    completed(
        "POPCNT",
        &[0xf3, 0x48, 0x0f, 0xb8, 0xc1],
        "Linux counts bits by it",
    ),
    completed("FNINIT", &[0xdb, 0xe3], "Linux resets the FPU by it"),
    completed("FWAIT", &[0x9b], "Linux drops floating-point state by it"),
    completed(
        "EMMS",
        &[0x0f, 0x77],
        "Linux switches from floating-point state by it",
    ),
    completed(
        "LDMXCSR",
        &[0x0f, 0xae, 0x17],
        "Linux's own floating-point use begins with it",
    ),
    completed(
        "STMXCSR",
        &[0x0f, 0xae, 0x1f],
        "Linux's own floating-point use ends with it",
    ),
    completed(
        "RDFSBASE",
        &[0xf3, 0x48, 0x0f, 0xae, 0xc0],
        "Linux switches threads by it",
    ),
    completed(
        "SYSRET",
        &[0x48, 0x0f, 0x07],
        "Linux returns to programs by it",
    ),
    Instruction {
        name: "MOVAPS",
        code: &[0x0f, 0x28, 0xc1],
        meaning: "SSE in Linux itself: checksums and ciphers",
        remedy: None,
    },
];

/// Run in ring 3.
const SYSCALL: Instruction = Instruction {
    name: "SYSCALL",
    code: &[0x0f, 0x05],
    meaning: "programs call Linux by it: it must enter ring 0, where HLT is allowed",
    remedy: Some(Remedy::Bridged),
};

/// KVM's answers for the instructions.
pub(super) struct Answers {
    /// Whether it knows each, in the order of [`names`].
    pub(super) known: Vec<bool>,
    /// None of them took too long, which a busy host makes of any.
    pub(super) certain: bool,
}

/// The instructions that are looked at.
pub(super) fn names() -> Vec<&'static str> {
    all().map(|instruction| instruction.name).collect()
}

/// Runs each instruction in a guest of its own.
pub(super) fn probe(kvm: &Kvm) -> Result<Answers> {
    let mut answers = Answers {
        known: Vec::with_capacity(RING_0.len() + 1),
        certain: true,
    };
    for instruction in &RING_0 {
        let exit = micro_guest::run(kvm, Ring::Kernel, instruction.code)?;
        // A fault is the guest's to handle (INT3, or what CPUID does not announce); here it has no
        // handlers, and shuts down.
        let known = matches!(exit, VcpuExit::Halt | VcpuExit::Shutdown);
        answers.known.push(known);
        answers.certain &= exit != VcpuExit::Interrupted;
    }
    let exit = micro_guest::run(kvm, Ring::User, SYSCALL.code)?;
    answers.known.push(exit == VcpuExit::Halt);
    answers.certain &= exit != VcpuExit::Interrupted;
    Ok(answers)
}

/// The meaning of the answers, in the order of [`names`].
pub(super) fn findings(known: &[bool]) -> Vec<Finding> {
    let answered = all().zip(known);
    answered.map(|(i, known)| finding(i, *known)).collect()
}

fn all() -> impl Iterator<Item = &'static Instruction> {
    RING_0.iter().chain([&SYSCALL])
}

fn finding(instruction: &Instruction, ok: bool) -> Finding {
    Finding {
        name: instruction.name,
        ok,
        meaning: instruction.meaning,
        remedy: instruction.remedy.filter(|_| !ok),
        fix: "boot a kernel that does without, or use a host with VT-x or AMD-V",
        // Linux's own SSE code is in drivers that can be left out.
        essential: instruction.name != "MOVAPS",
    }
}
