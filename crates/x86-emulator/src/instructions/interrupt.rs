//! INT n, INT3, INT1, and the delivery through the interrupt descriptor table (Intel SDM vol. 2A,
//! INT n; vol. 3, 6.14).

use vmmkit_hypervisor::x86::Segment;

use crate::cpu::{Cpu, Place, Run, Stop};
use crate::{CpuState, Exception, ExtendedState, PhysicalMemory, spec};

/// Error code: the selector is an index into the IDT (vol. 3, 6.13). EXT is clear for INT n.
const IN_IDT: u32 = 1 << 1;
/// The parts of a selector: its index and table, the table alone, its privilege level.
const INDEX_AND_TABLE: u16 = !3;
const LOCAL_TABLE: u16 = 1 << 2;
/// Descriptor types (vol. 3, 3.5): the gates that 64-bit mode has.
const INTERRUPT_GATE: u8 = 14;
const TRAP_GATE: u8 = 15;
/// Bits of the type of a code segment: accessed, conforming, code.
const ACCESSED: u8 = 1;
const CONFORMING: u8 = 1 << 2;
const CODE: u8 = 1 << 3;
/// Where the 64-bit TSS has RSP0 and IST1 (vol. 3, 7.7).
const TSS_RSP0: u64 = 4;
const TSS_IST1: u64 = 36;

/// A gate of the IDT (vol. 3, 6.14.1).
struct Gate {
    offset: u64,
    selector: u16,
    /// The stack of the TSS that is used whatever the privilege level; 0 is none.
    stack: u8,
    kind: u8,
    dpl: u8,
    present: bool,
}

impl Gate {
    fn new(bytes: [u8; 16]) -> Self {
        let word = u128::from_le_bytes(bytes);
        let part = |shift: u32, bits: u32| (word >> shift & ((1 << bits) - 1)) as u64;
        Self {
            offset: part(0, 16) | part(48, 16) << 16 | part(64, 32) << 32,
            selector: part(16, 16) as u16,
            stack: part(32, 3) as u8,
            // With bit 44, which is clear for a gate.
            kind: part(40, 5) as u8,
            dpl: part(45, 2) as u8,
            present: part(47, 1) != 0,
        }
    }
}

impl<M: PhysicalMemory, E: ExtendedState> Cpu<'_, M, E> {
    pub(super) fn int3(&mut self) -> Run<E> {
        Err(Stop::Trap(Exception::BREAKPOINT))
    }

    /// INT1 (ICEBP) asks for no privilege and leaves DR6 alone.
    pub(super) fn int1(&mut self) -> Run<E> {
        Err(Stop::Trap(Exception::DEBUG))
    }

    /// INT n.
    pub(super) fn int(&mut self) -> Run<E> {
        let before = *self.state;
        let delivered = self.deliver(self.instruction.immediate8(), &before);
        if delivered.is_err() {
            *self.state = before;
        }
        delivered
    }

    /// Enters the handler of `vector`. `interrupted` is the state behind the instruction.
    fn deliver(&mut self, vector: u8, interrupted: &CpuState) -> Run<E> {
        let level = interrupted.privilege_level();
        let gate = self.gate(vector, level)?;
        // Tables and stacks are read and written as by the supervisor, and not by AC's leave (4.6.1).
        self.state.special.cs.selector &= INDEX_AND_TABLE;
        self.state.registers.rflags &= !spec::AC;
        let code = self.code_segment(gate.selector, level)?;
        let conforming = code.kind & CONFORMING != 0;
        let new_level = if conforming { level } else { code.dpl };
        let old = &interrupted.registers;
        let stack = if gate.stack != 0 {
            self.task_stack(TSS_IST1 + u64::from(gate.stack - 1) * 8)?
        } else if new_level < level {
            self.task_stack(TSS_RSP0 + u64::from(new_level) * 8)?
        } else {
            old.rsp
        };
        let frame = [
            old.rip,
            interrupted.special.cs.selector.into(),
            old.rflags,
            old.rsp,
            interrupted.special.ss.selector.into(),
        ];
        // 64-bit mode aligns the frame (6.14.2).
        let top = (stack & !0xf).wrapping_sub(size_of_val(&frame) as u64);
        let mut bytes = [0; 40];
        for (place, word) in bytes.as_chunks_mut().0.iter_mut().zip(frame) {
            *place = word.to_le_bytes();
        }
        let canonical = self.state.is_canonical(gate.offset);
        self.require(canonical, Exception::GENERAL_PROTECTION)?;
        let stack = Place {
            linear: top,
            stack: true,
        };
        self.write(stack, &bytes)?;
        let registers = &mut self.state.registers;
        registers.rip = gate.offset;
        registers.rsp = top;
        let cleared = spec::TF | spec::NT | spec::RF | spec::VM;
        let interrupts = if gate.kind == INTERRUPT_GATE {
            spec::IF
        } else {
            0
        };
        registers.rflags = old.rflags & !cleared & !interrupts;
        self.state.special.cs = Segment {
            selector: code.selector & INDEX_AND_TABLE | u16::from(new_level),
            ..code
        };
        if new_level < level {
            self.state.special.ss = null_stack(new_level);
        }
        Ok(())
    }

    /// The gate of `vector`, where INT n at `level` may use it.
    fn gate(&mut self, vector: u8, level: u8) -> Run<E, Gate> {
        let table = self.state.special.idt;
        let offset = u64::from(vector) * 16;
        let code = u32::from(vector) << 3 | IN_IDT;
        let refused = Exception::general_protection(code);
        self.require(offset + 15 <= table.limit.into(), refused)?;
        let before = *self.state;
        self.state.special.cs.selector &= INDEX_AND_TABLE;
        self.state.registers.rflags &= !spec::AC;
        let gate = Gate::new(self.read(system(table.base.wrapping_add(offset)))?);
        *self.state = before;
        let allowed = [INTERRUPT_GATE, TRAP_GATE].contains(&gate.kind) && gate.dpl >= level;
        self.require(allowed, refused)?;
        self.require(gate.present, Exception::not_present(code))?;
        Ok(gate)
    }

    /// The code segment of a gate, as it is entered from `level` (6.12.1.1); it is marked accessed.
    fn code_segment(&mut self, selector: u16, level: u8) -> Run<E, Segment> {
        self.require(
            selector & INDEX_AND_TABLE != 0,
            Exception::GENERAL_PROTECTION,
        )?;
        let code = u32::from(selector & INDEX_AND_TABLE);
        let special = &self.state.special;
        let (base, limit) = if selector & LOCAL_TABLE == 0 {
            (special.gdt.base, u32::from(special.gdt.limit))
        } else if special.ldt.unusable {
            (0, 0)
        } else {
            (special.ldt.base, special.ldt.limit)
        };
        let offset = u32::from(selector >> 3) * 8;
        let refused = Exception::general_protection(code);
        self.require(offset + 7 <= limit, refused)?;
        let place = system(base.wrapping_add(offset.into()));
        let mut descriptor = u64::from_le_bytes(self.read(place)?);
        let segment = segment(descriptor, selector);
        let dpl = segment.dpl;
        let fits =
            segment.s && segment.kind & CODE != 0 && segment.l && !segment.db && dpl <= level;
        self.require(fits, refused)?;
        self.require(segment.present, Exception::not_present(code))?;
        if segment.kind & ACCESSED == 0 {
            descriptor |= u64::from(ACCESSED) << 40;
            self.write(place, &descriptor.to_le_bytes())?;
        }
        Ok(Segment {
            kind: segment.kind | ACCESSED,
            ..segment
        })
    }

    /// A stack pointer of the task state segment.
    fn task_stack(&mut self, offset: u64) -> Run<E, u64> {
        let task = self.state.special.tr;
        let code = u32::from(task.selector & INDEX_AND_TABLE);
        let inside = offset + 7 <= task.limit.into();
        self.require(inside, Exception::invalid_tss(code))?;
        let place = system(task.base.wrapping_add(offset));
        let pointer = u64::from_le_bytes(self.read(place)?);
        let canonical = self.state.is_canonical(pointer);
        self.require(canonical, Exception::STACK)?;
        Ok(pointer)
    }
}

/// A place in a table of the system.
fn system(linear: u64) -> Place {
    Place {
        linear,
        stack: false,
    }
}

/// A descriptor of a code or data segment (vol. 3, 3.4.5), loaded.
fn segment(descriptor: u64, selector: u16) -> Segment {
    let part = |shift: u32, bits: u32| descriptor >> shift & ((1 << bits) - 1);
    let bit = |shift: u32| part(shift, 1) != 0;
    let limit = (part(0, 16) | part(48, 4) << 16) as u32;
    let g = bit(55);
    Segment {
        base: part(16, 24) | part(56, 8) << 24,
        limit: if g { limit << 12 | 0xfff } else { limit },
        selector,
        kind: part(40, 4) as u8,
        present: bit(47),
        dpl: part(45, 2) as u8,
        s: bit(44),
        avl: bit(52),
        l: bit(53),
        db: bit(54),
        g,
        ..Segment::default()
    }
}

/// SS of a more privileged level: a null selector, which 64-bit mode allows there (6.14.2).
fn null_stack(level: u8) -> Segment {
    Segment {
        selector: level.into(),
        dpl: level,
        kind: 3,
        s: true,
        unusable: true,
        ..Segment::default()
    }
}
