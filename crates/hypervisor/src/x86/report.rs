//! Registers as a tree, for people.

use vmmkit_telemetry::Tree;

use super::{DescriptorTable, Registers, Segment, SpecialRegisters};

impl Registers {
    /// All of them, by the architecture's names.
    pub fn tree(&self) -> Tree {
        let named = [
            ("rip", self.rip),
            ("rflags", self.rflags),
            ("rax", self.rax),
            ("rbx", self.rbx),
            ("rcx", self.rcx),
            ("rdx", self.rdx),
            ("rsi", self.rsi),
            ("rdi", self.rdi),
            ("rsp", self.rsp),
            ("rbp", self.rbp),
            ("r8", self.r8),
            ("r9", self.r9),
            ("r10", self.r10),
            ("r11", self.r11),
            ("r12", self.r12),
            ("r13", self.r13),
            ("r14", self.r14),
            ("r15", self.r15),
        ];
        let named = named.into_iter();
        named.fold(Tree::new(), |tree, (name, value)| tree.hex(name, value))
    }
}

impl SpecialRegisters {
    /// All of them, by the architecture's names; a segment in one line.
    pub fn tree(&self) -> Tree {
        let tree = Tree::new()
            .hex("cr0", self.cr0)
            .hex("cr2", self.cr2)
            .hex("cr3", self.cr3)
            .hex("cr4", self.cr4)
            .hex("cr8", self.cr8)
            .hex("efer", self.efer)
            .hex("apic_base", self.apic_base);
        let segments = [
            ("cs", &self.cs),
            ("ds", &self.ds),
            ("es", &self.es),
            ("fs", &self.fs),
            ("gs", &self.gs),
            ("ss", &self.ss),
            ("tr", &self.tr),
            ("ldt", &self.ldt),
        ];
        let segments = segments.into_iter();
        let tree = segments.fold(tree, |tree, (name, value)| tree.text(name, segment(value)));
        tree.text("gdt", table(&self.gdt))
            .text("idt", table(&self.idt))
    }
}

fn segment(segment: &Segment) -> String {
    let Segment {
        base,
        limit,
        selector,
        kind,
        dpl,
        ..
    } = segment;
    let size = match (segment.s, segment.l, segment.db) {
        (false, ..) => "system",
        (_, true, _) => "64 bits",
        (_, _, true) => "32 bits",
        _ => "16 bits",
    };
    let usable = match segment.present && !segment.unusable {
        true => "",
        false => ", unusable",
    };
    format!(
        "{selector:#06x} base {base:#x} limit {limit:#x} type {kind:#x} dpl {dpl} {size}{usable}"
    )
}

fn table(table: &DescriptorTable) -> String {
    format!("base {:#x} limit {:#x}", table.base, table.limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_one_line() {
        let cs = Segment {
            limit: 0xffff_ffff,
            selector: 0x10,
            kind: 11,
            present: true,
            s: true,
            l: true,
            ..Segment::default()
        };
        let tree = SpecialRegisters {
            cs,
            ..SpecialRegisters::default()
        }
        .tree();
        let text = tree.to_string();
        let expected = "0x0010 base 0x0 limit 0xffffffff type 0xb dpl 0 64 bits\n";
        assert!(text.contains(expected), "{text}");
    }
}
