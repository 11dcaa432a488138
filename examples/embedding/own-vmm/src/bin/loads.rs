//! vmmkit-boot-loader alone: a kernel in memory of one's own, entered with registers of one's own.
//! `loads [KERNEL]`; without one, a kernel of a few bytes that reports its command line.

use std::fs::{self, File};
use std::path::PathBuf;

use guest_elf::elf;
use kvm_bindings::{kvm_dtable, kvm_regs, kvm_segment};
use own_vmm::{FIRST_SLOT, OwnVm, Result};
use vmmkit_boot_loader::{BootSource, Entry, Platform, load};
use vmmkit_guest_memory::GuestRam;
use vmmkit_hypervisor::x86::{DescriptorTable, Segment, SpecialRegisters};

fn main() -> Result<()> {
    let kernel = match std::env::args_os().nth(1) {
        Some(path) => File::open(path)?,
        None => small_kernel()?,
    };
    let mut vm = OwnVm::new(&[(0, 64 << 20)])?;
    let ram = GuestRam::from_memory(&vm.memory, FIRST_SLOT..)?;
    let source = BootSource::new(&kernel, "a command line");
    let loaded = load(&ram, source, &Platform::of(&[0]))?;
    enter(&vm, &loaded.entry)?;
    println!("{}", vm.run(|_| {})?);
    Ok(())
}

/// The entry state, in KVM's own structures.
fn enter(vm: &OwnVm, entry: &Entry) -> Result<()> {
    let mut wanted = SpecialRegisters::default();
    entry.apply(&mut wanted);
    let mut special = vm.vcpu.get_sregs()?;
    special.cs = segment(&wanted.cs);
    special.ds = segment(&wanted.ds);
    special.es = segment(&wanted.es);
    special.fs = segment(&wanted.fs);
    special.gs = segment(&wanted.gs);
    special.ss = segment(&wanted.ss);
    special.tr = segment(&wanted.tr);
    special.gdt = table(&wanted.gdt);
    special.idt = table(&wanted.idt);
    (special.cr0, special.cr3) = (wanted.cr0, wanted.cr3);
    (special.cr4, special.efer) = (wanted.cr4, wanted.efer);
    vm.vcpu.set_sregs(&special)?;
    let registers = entry.registers();
    vm.vcpu.set_regs(&kvm_regs {
        rip: registers.rip,
        rsp: registers.rsp,
        rbp: registers.rbp,
        rax: registers.rax,
        rbx: registers.rbx,
        rsi: registers.rsi,
        rflags: registers.rflags,
        ..Default::default()
    })?;
    Ok(())
}

fn segment(segment: &Segment) -> kvm_segment {
    kvm_segment {
        base: segment.base,
        limit: segment.limit,
        selector: segment.selector,
        type_: segment.kind,
        present: segment.present.into(),
        dpl: segment.dpl,
        db: segment.db.into(),
        s: segment.s.into(),
        l: segment.l.into(),
        g: segment.g.into(),
        ..Default::default()
    }
}

fn table(table: &DescriptorTable) -> kvm_dtable {
    kvm_dtable {
        base: table.base,
        limit: table.limit,
        ..Default::default()
    }
}

/// An ELF that reports the command line that the zero page leads to (Linux boot protocol, `cmd_line_ptr`).
fn small_kernel() -> Result<File> {
    #[rustfmt::skip]
    let code: &[u8] = &[
        0x8b, 0xb6, 0x28, 0x02, 0x00, 0x00, // mov esi, [rsi + 228h]
        0xb9, 0x0e, 0x00, 0x00, 0x00,       // mov ecx, 14
        0xba, 0xe9, 0x00, 0x00, 0x00,       // mov edx, 0e9h
        0xfc, 0xf3, 0x6e, 0xf4,             // cld; rep outsb; hlt
    ];
    let path: PathBuf = std::env::temp_dir().join(format!("loads-{}.elf", std::process::id()));
    fs::write(&path, elf(code))?;
    let file = File::open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}
