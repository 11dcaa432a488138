//! The state of a vCPU after reset.

use crate::VcpuId;
use crate::x86::{DescriptorTable, Segment, SpecialRegisters};

/// The special registers after reset (Intel SDM vol. 3, table 10-1).
pub(super) fn special_registers(id: VcpuId) -> SpecialRegisters {
    let data = Segment {
        limit: 0xffff,
        kind: 3,
        present: true,
        s: true,
        ..Segment::default()
    };
    let system = Segment {
        limit: 0xffff,
        present: true,
        ..Segment::default()
    };
    let table = DescriptorTable {
        base: 0,
        limit: 0xffff,
    };
    SpecialRegisters {
        cs: Segment {
            base: 0xffff_0000,
            selector: 0xf000,
            kind: 11,
            ..data
        },
        ds: data,
        es: data,
        fs: data,
        gs: data,
        ss: data,
        tr: Segment { kind: 11, ..system },
        ldt: Segment { kind: 2, ..system },
        gdt: table,
        idt: table,
        cr0: 0x6000_0010,
        // Enabled, at its usual place; the first vCPU is the boot processor.
        apic_base: 0xfee0_0800 | if id.0 == 0 { 0x100 } else { 0 },
        ..SpecialRegisters::default()
    }
}
