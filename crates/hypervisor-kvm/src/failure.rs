//! KVM's report of an instruction it could not emulate (`KVM_EXIT_INTERNAL_ERROR`).

use kvm_bindings::{KVM_INTERNAL_ERROR_EMULATION, kvm_run__bindgen_ty_1__bindgen_ty_13 as Raw};
use vmmkit_guest_memory::GuestAddress;
use vmmkit_hypervisor::InternalError;
use vmmkit_hypervisor::x86::Instruction;

use vmmkit_x86_emulator::disassemble;

use crate::KvmVcpu;
use crate::run_page::{INTERNAL, RunPage};

/// The longest x86 instruction (Intel SDM vol. 2, 2.3.11).
const LONGEST: usize = 15;
/// `KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES` in the first detail word.
const HAS_BYTES: u64 = 1;

/// All that is known: the kernel's detail, else registers and guest memory.
#[cold]
pub(crate) fn describe(vcpu: &KvmVcpu, page: &RunPage) -> InternalError {
    let raw = page.read(&INTERNAL);
    let count = (raw.ndata as usize).min(raw.data.len());
    let data = raw.data.get(..count).unwrap_or_default().to_vec();
    let rip = vcpu.fd.get_regs().ok().map(|registers| registers.rip);
    let mut instruction = given_bytes(&raw).as_slice().to_vec();
    if instruction.is_empty() {
        instruction = read_bytes(vcpu, rip);
    }
    let name = disassemble(&instruction, rip.unwrap_or(0), bits(vcpu));
    InternalError {
        suberror: raw.suberror,
        rip,
        instruction,
        name: name.map(|(name, _)| name),
        data,
    }
}

/// The instruction at RIP.
#[cold]
pub(crate) fn instruction(vcpu: &KvmVcpu) -> Option<Instruction> {
    let rip = vcpu.fd.get_regs().ok()?.rip;
    let mut bytes = read_bytes(vcpu, Some(rip));
    if bytes.is_empty() {
        return None;
    }
    let name = disassemble(&bytes, rip, bits(vcpu)).map(|(name, length)| {
        bytes.truncate(length);
        name
    });
    Some(Instruction { bytes, name })
}

/// The size of the code that the vCPU runs (Intel SDM volume 3, 3.4.5): 16, 32 or 64 bits.
fn bits(vcpu: &KvmVcpu) -> u32 {
    const LMA: u64 = 1 << 10;
    match vcpu.fd.get_sregs() {
        Ok(special) if special.efer & LMA != 0 && special.cs.l != 0 => 64,
        Ok(special) if special.cs.db != 0 => 32,
        Ok(_) => 16,
        Err(_) => 64,
    }
}

/// Up to 15 bytes of an instruction.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bytes {
    bytes: [u8; LONGEST],
    length: usize,
}

impl Bytes {
    pub(crate) fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// The bytes in the detail words, where KVM (5.15 and later) put them there.
///
/// KVM_CAP_EXIT_ON_EMULATION_FAILURE is left off on purpose: with it a process of the guest could
/// end the guest by an instruction that otherwise gives that process #UD.
pub(crate) fn given_bytes(raw: &Raw) -> Bytes {
    let [flags, first, second, ..] = raw.data;
    let mut given = Bytes::default();
    if raw.suberror != KVM_INTERNAL_ERROR_EMULATION || raw.ndata < 3 || flags & HAS_BYTES == 0 {
        return given;
    }
    let [size, low @ ..] = first.to_le_bytes();
    let bytes = low.into_iter().chain(second.to_le_bytes());
    given.length = usize::from(size).min(LONGEST);
    for (byte, from) in given.bytes.iter_mut().zip(bytes) {
        *byte = from;
    }
    given
}

/// The bytes in guest memory at CS:RIP, up to the end of the page.
fn read_bytes(vcpu: &KvmVcpu, rip: Option<u64>) -> Vec<u8> {
    let linear = vcpu
        .fd
        .get_sregs()
        .ok()
        .zip(rip)
        .map(|(s, rip)| s.cs.base.wrapping_add(rip));
    let physical = linear.and_then(|linear| vcpu.fd.translate_gva(linear).ok());
    let Some(physical) = physical
        .filter(|at| at.valid != 0)
        .map(|at| at.physical_address)
    else {
        return Vec::new();
    };
    let to_end_of_page = 0x1000 - (physical & 0xfff) as usize;
    let mut bytes = vec![0; LONGEST.min(to_end_of_page)];
    match vcpu.vm.read_ram(GuestAddress(physical), &mut bytes) {
        true => bytes,
        false => Vec::new(),
    }
}
