//! A vCPU at one moment, for people.

use std::fmt;

use vmmkit_telemetry::Tree;

use super::{MpState, Registers, SpecialRegisters, VcpuState};
use crate::VcpuId;

/// An instruction of the guest, as it lies in its memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Its bytes; where they are none, those that lie there, up to 15.
    pub bytes: Vec<u8>,
    /// It, disassembled; `None` where the bytes are not an instruction.
    pub name: Option<String>,
}

impl fmt::Display for Instruction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "`{name}` (")?,
            None => write!(f, "no instruction (")?,
        }
        for (index, byte) in self.bytes.iter().enumerate() {
            let space = if index == 0 { "" } else { " " };
            write!(f, "{space}{byte:02x}")?;
        }
        f.write_str(")")
    }
}

/// A vCPU's registers at one moment, as far as they could be read.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct VcpuDump {
    /// The vCPU.
    pub vcpu: VcpuId,
    /// Whether it runs or waits.
    pub state: Option<MpState>,
    /// General registers.
    pub registers: Option<Registers>,
    /// Segments and control registers.
    pub special: Option<SpecialRegisters>,
    /// The instruction at RIP.
    pub instruction: Option<Instruction>,
}

impl VcpuDump {
    /// That of `source`, which is called `vcpu`.
    pub fn of(vcpu: VcpuId, source: &mut (impl VcpuState + ?Sized)) -> Self {
        Self {
            vcpu,
            state: source.mp_state().ok(),
            registers: source.registers().ok(),
            special: source.special_registers().ok(),
            instruction: source.instruction(),
        }
    }

    /// All of it by name.
    pub fn tree(&self) -> Tree {
        let mut tree = Tree::new();
        if let Some(state) = self.state {
            tree = tree.text("state", format!("{state:?}"));
        }
        if let Some(instruction) = &self.instruction {
            tree = tree.text("instruction", instruction.to_string());
        }
        let general = self.registers.as_ref().map(Registers::tree);
        let special = self.special.as_ref().map(SpecialRegisters::tree);
        tree.tree("registers", general.unwrap_or_default())
            .tree("special_registers", special.unwrap_or_default())
    }
}

impl fmt::Display for VcpuDump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.registers {
            Some(r) => write!(
                f,
                "rip {:#x} rsp {:#x} rflags {:#x} rax {:#x} rbx {:#x} rcx {:#x} rdx {:#x} rsi \
                 {:#x} rdi {:#x} rbp {:#x} r8 {:#x} r9 {:#x} r10 {:#x} r11 {:#x} r12 {:#x} r13 \
                 {:#x} r14 {:#x} r15 {:#x}",
                r.rip,
                r.rsp,
                r.rflags,
                r.rax,
                r.rbx,
                r.rcx,
                r.rdx,
                r.rsi,
                r.rdi,
                r.rbp,
                r.r8,
                r.r9,
                r.r10,
                r.r11,
                r.r12,
                r.r13,
                r.r14,
                r.r15
            )?,
            None => write!(f, "registers cannot be read")?,
        }
        if let Some(s) = &self.special {
            write!(
                f,
                " cr0 {:#x} cr2 {:#x} cr3 {:#x} cr4 {:#x} efer {:#x} cs {:#x}",
                s.cr0, s.cr2, s.cr3, s.cr4, s.efer, s.cs.selector
            )?;
        }
        if let Some(instruction) = &self.instruction {
            write!(f, "; at {instruction}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instruction_is_told_with_its_bytes() {
        let mut instruction = Instruction {
            bytes: vec![0x0f, 0x0b],
            name: Some("ud2".to_owned()),
        };
        assert_eq!(instruction.to_string(), "`ud2` (0f 0b)");
        instruction.name = None;
        assert_eq!(instruction.to_string(), "no instruction (0f 0b)");
    }
}
