//! Micro-guests on this machine's own software KVM, where there is one.

use vmmkit_hypervisor::x86::{Registers, VcpuState};
use vmmkit_hypervisor::{Vcpu, VcpuExit};

use super::syscall::LSTAR;
use crate::probe::micro_guest::{HANDLER, Ring, prepare};
use crate::{Kvm, KvmKind, KvmVcpu, SoftwareCounters, kvm_kind};

/// KVM with the support engaged; otherwise says why `name` is skipped.
fn software(name: &str) -> Option<Kvm> {
    match Kvm::open() {
        Ok(kvm) if kvm.shortcomings().is_some() => return Some(kvm),
        Ok(_) => eprintln!("SKIPPED: {name}: {}", kvm_kind()),
        Err(reason) => eprintln!("SKIPPED: {name}: {reason}"),
    }
    None
}

/// Runs `code` from ring 0 with what `registers` sets, to HLT.
fn run(kvm: &Kvm, code: &[u8], registers: impl FnOnce(&mut Registers)) -> Registers {
    let mut vcpu = prepare(kvm, Ring::Kernel, code).unwrap();
    let mut start = vcpu.registers().unwrap();
    registers(&mut start);
    vcpu.set_registers(&start).unwrap();
    assert_eq!(vcpu.run().unwrap(), VcpuExit::Halt);
    vcpu.registers().unwrap()
}

fn count(kvm: &Kvm, name: &str) -> u64 {
    let counters = kvm.software_counters();
    let found = counters.completed.iter().find(|(known, _)| *known == name);
    found.map_or(0, |&(_, count)| count)
}

#[test]
fn an_instruction_handed_back_is_completed_and_counted() {
    let Some(kvm) = software("POPCNT") else {
        return;
    };
    let popcnt_rax_rcx = [0xf3, 0x48, 0x0f, 0xb8, 0xc1];
    let end = run(&kvm, &popcnt_rax_rcx, |start| start.rcx = 0xf0f0);
    assert_eq!(end.rax, 8);
    // A host whose emulator knows it never hands it back.
    let lacks = kvm.shortcomings().unwrap().lacks("POPCNT");
    assert_eq!(count(&kvm, "POPCNT"), u64::from(lacks));
}

#[test]
fn what_cpuid_does_not_offer_is_the_guests_fault_and_not_the_end() {
    let Some(kvm) = software("#UD") else {
        return;
    };
    // Without handlers a fault shuts the guest down: VMCALL, VMMCALL, UD2, MONTMUL of a CPU long gone.
    for code in [
        &[0x0f, 0x01, 0xc1][..],
        &[0x0f, 0x01, 0xd9],
        &[0x0f, 0x0b],
        &[0xf3, 0x0f, 0xa6, 0xc0],
    ] {
        let mut vcpu = prepare(&kvm, Ring::Kernel, code).unwrap();
        let _leash = crate::probe::micro_guest::watch(vcpu.kicker()).unwrap();
        assert_eq!(vcpu.run().unwrap(), VcpuExit::Shutdown, "{code:x?}");
    }
}

#[test]
fn a_hypercall_is_not_offered_where_it_is_an_invalid_opcode() {
    let Some(kvm) = software("KVM's features") else {
        return;
    };
    // mov eax, 40000001h; cpuid
    let code = [0xb8, 1, 0, 0, 0x40, 0x0f, 0xa2];
    let end = run(&kvm, &code, |_| {});
    assert_ne!(end.rax, 0);
    let wake_send_yield = 1 << 7 | 1 << 11 | 1 << 13;
    assert_eq!(end.rax & wake_send_yield, 0, "{:#x}", end.rax);
}

#[test]
fn a_single_step_of_a_completed_instruction_says_so_in_dr6() {
    let Some(kvm) = software("a single step") else {
        return;
    };
    // STAC, with TF set: #DB, which has no handler and shuts the guest down.
    let mut vcpu = prepare(&kvm, Ring::Kernel, &[0x0f, 0x01, 0xcb]).unwrap();
    let mut start = vcpu.registers().unwrap();
    start.rflags |= 1 << 8;
    vcpu.set_registers(&start).unwrap();
    let _leash = crate::probe::micro_guest::watch(vcpu.kicker()).unwrap();
    assert_eq!(vcpu.run().unwrap(), VcpuExit::Shutdown);
    assert_eq!(vcpu.fd.get_debug_regs().unwrap().dr6 >> 14 & 1, 1);
}

#[test]
fn int_n_runs_the_guests_handler_and_iretq_comes_back() {
    let Some(kvm) = software("INT n") else {
        return;
    };
    let mut code = vec![
        0xcd, 0x21, // int 21h
        0x48, 0xff, 0xc0, // inc rax
        0xf4, // hlt
    ];
    code.resize(0x20, 0x90);
    code.extend([0xb3, 7, 0x48, 0xcf]); // the handler: mov bl, 7; iretq
    let mut vcpu = prepare(&kvm, Ring::Kernel, &code).unwrap();
    let start = vcpu.registers().unwrap();
    let mut special = vcpu.special_registers().unwrap();
    let (gdt, idt, handler) = (start.rdi + 0x800, start.rdi, start.rip + 0x20);
    (special.gdt.base, special.gdt.limit) = (gdt, 0x1f);
    (special.idt.base, special.idt.limit) = (idt, 0x21f);
    vcpu.set_special_registers(&special).unwrap();
    let write = |address, value: u64| {
        let address = vmmkit_guest_memory::GuestAddress(address);
        assert!(vcpu.vm.write_ram(address, &value.to_le_bytes()));
    };
    write(gdt + 8, 0x0020_9b00_0000_0000);
    write(gdt + 16, 0x00cf_9300_0000_ffff);
    write(idt + 0x21 * 16, handler & 0xffff | 8 << 16 | 0x8e << 40);
    write(idt + 0x21 * 16 + 8, 0);
    let end = {
        let _leash = crate::probe::micro_guest::watch(vcpu.kicker()).unwrap();
        assert_eq!(vcpu.run().unwrap(), VcpuExit::Halt);
        vcpu.registers().unwrap()
    };
    assert_eq!((end.rax, end.rbx, end.rsp), (start.rax + 1, 7, start.rsp));
    assert_eq!(count(&kvm, "INT n"), 1);
}

#[test]
fn state_saved_by_xsave_is_the_vcpus_own() {
    let Some(kvm) = software("XSAVE64") else {
        return;
    };
    // xsetbv of x87 and SSE; xsave64 [rdi]
    let code = [0x0f, 0x01, 0xd1, 0x48, 0x0f, 0xae, 0x27];
    let mut vcpu = prepare(&kvm, Ring::Kernel, &code).unwrap();
    let mut fpu = vcpu.fpu().unwrap();
    fpu.xmm[5] = *b"sixteen bytes...";
    vcpu.set_fpu(&fpu).unwrap();
    let start = vcpu.registers().unwrap();
    assert_eq!(vcpu.run().unwrap(), VcpuExit::Halt);
    let mut saved = [0; 16];
    let address = vmmkit_guest_memory::GuestAddress(start.rdi + 160 + 5 * 16);
    assert!(vcpu.vm.read_ram(address, &mut saved));
    assert_eq!(&saved, b"sixteen bytes...");
}

#[test]
fn a_system_call_from_ring_3_runs_the_guests_handler_in_ring_0() {
    let Some(kvm) = software("SYSCALL") else {
        return;
    };
    // The handler is HLT, which ring 3 may not use.
    let mut vcpu = prepare(&kvm, Ring::User, &[0x0f, 0x05]).unwrap();
    assert_eq!(vcpu.run().unwrap(), VcpuExit::Halt);
    assert_eq!(vcpu.registers().unwrap().rip, HANDLER + 1);
    assert_eq!(vcpu.special_registers().unwrap().cs.dpl, 0);
    let bridged = kvm.shortcomings().unwrap().lacks("SYSCALL");
    assert_eq!(kvm.software_counters().bridged, u64::from(bridged));
}

#[test]
fn the_guest_and_the_vmm_read_the_guests_own_lstar() {
    let Some(kvm) = software("LSTAR") else {
        return;
    };
    // mov ecx, LSTAR; rdmsr
    let code = [0xb9, 0x82, 0x00, 0x00, 0xc0, 0x0f, 0x32];
    let mut vcpu = prepare(&kvm, Ring::Kernel, &code).unwrap();
    assert_eq!(lstar(&mut vcpu), HANDLER);
    assert_eq!(vcpu.run().unwrap(), VcpuExit::Halt);
    let end = vcpu.registers().unwrap();
    assert_eq!((end.rdx, end.rax), (0, HANDLER));
    // wrmsr of what it read, plus 16
    let code = [code.as_slice(), &[0x83, 0xc0, 0x10, 0x0f, 0x30]].concat();
    let mut vcpu = prepare(&kvm, Ring::Kernel, &code).unwrap();
    assert_eq!(vcpu.run().unwrap(), VcpuExit::Halt);
    assert_eq!(lstar(&mut vcpu), HANDLER + 16);
}

fn lstar(vcpu: &mut KvmVcpu) -> u64 {
    vcpu.msrs(&[LSTAR]).unwrap()[0].value
}

#[test]
fn a_program_that_jumps_to_the_bridge_does_not_get_ring_0() {
    let Some(kvm) = software("a jump to the bridge") else {
        return;
    };
    if !kvm.shortcomings().unwrap().lacks("SYSCALL") {
        return eprintln!("SKIPPED: a jump to the bridge: this host needs none");
    }
    // jmp rax, with IOPL 3 in R11
    let code = [0xff, 0xe0];
    let mut vcpu = prepare(&kvm, Ring::User, &code).unwrap();
    let mut start = vcpu.registers().unwrap();
    start.rax = super::bridge::ENTRY;
    start.r11 = 0x3202;
    start.rflags = 0x202;
    vcpu.set_registers(&start).unwrap();
    // The UD2 behind the store has no handler here.
    assert_eq!(vcpu.run().unwrap(), VcpuExit::Shutdown);
    let counters = kvm.software_counters();
    assert_eq!((counters.bridged, counters.refused), (0, 1));
}

#[test]
fn an_instruction_that_nobody_knows_is_named() {
    let Some(kvm) = software("VPADDD") else {
        return;
    };
    // A 256-bit addition: of no use to Linux's boot, and of none here.
    let mut vcpu = prepare(&kvm, Ring::Kernel, &[0xc5, 0xfd, 0xfe, 0xc1]).unwrap();
    match vcpu.run().unwrap() {
        VcpuExit::InternalError(error) => {
            assert_eq!(error.name.as_deref(), Some("vpaddd ymm0,ymm0,ymm1"));
            assert!(error.to_string().contains("vpaddd"), "{error}");
        }
        // #UD, without a handler: the emulator knows it, or CR4 says that AVX is off.
        other => assert_eq!(other, VcpuExit::Shutdown),
    }
}

#[test]
fn on_hardware_there_is_no_support() {
    match Kvm::open() {
        Ok(kvm) if kvm_kind() != KvmKind::Software => {
            assert_eq!(kvm.shortcomings(), None);
            assert_eq!(kvm.software_counters(), SoftwareCounters::default());
        }
        _ => eprintln!("SKIPPED: this host has no VT-x or AMD-V"),
    }
}
