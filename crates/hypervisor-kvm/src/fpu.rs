//! x87 and SSE state, by way of KVM_GET_XSAVE: KVM_GET_FPU leaves MXCSR out, and KVM_SET_FPU does
//! not mark what it sets as in use, so that the next XSAVE may lose it.

use kvm_bindings::kvm_xsave;
use vmmkit_hypervisor::x86::FpuState;

/// The low half of XSTATE_BV in the 32-bit words of an XSAVE area (Intel SDM vol. 1, 13.4.2).
const STATE_WORD: usize = 512 / 4;
/// XSTATE_BV: x87 and SSE are in use.
const IN_USE: u32 = 0b11;
/// The part of the FXSAVE area that holds state (Intel SDM vol. 1, table 10-2).
const FXSAVE: usize = 416;

/// The state in `xsave`.
pub(crate) fn read(xsave: &kvm_xsave) -> FpuState {
    let bytes: Vec<u8> = xsave
        .region
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    let at = |offset: usize| bytes.get(offset..).unwrap_or_default();
    FpuState {
        fcw: u16::from_le_bytes(array(at(0))),
        fsw: u16::from_le_bytes(array(at(2))),
        ftwx: u8::from_le_bytes(array(at(4))),
        last_opcode: u16::from_le_bytes(array(at(6))),
        last_ip: u64::from_le_bytes(array(at(8))),
        last_dp: u64::from_le_bytes(array(at(16))),
        mxcsr: u32::from_le_bytes(array(at(24))),
        fpr: std::array::from_fn(|index| array(at(32 + 16 * index))),
        xmm: std::array::from_fn(|index| array(at(160 + 16 * index))),
    }
}

/// Puts `state` into `xsave`; the rest of it stays.
pub(crate) fn write(xsave: &mut kvm_xsave, state: &FpuState) {
    let mut bytes = Vec::with_capacity(FXSAVE);
    bytes.extend(state.fcw.to_le_bytes());
    bytes.extend(state.fsw.to_le_bytes());
    bytes.extend([state.ftwx, 0]);
    bytes.extend(state.last_opcode.to_le_bytes());
    bytes.extend(state.last_ip.to_le_bytes());
    bytes.extend(state.last_dp.to_le_bytes());
    bytes.extend(state.mxcsr.to_le_bytes());
    // MXCSR_MASK, which is the host's to say.
    bytes.extend([0xff, 0xff, 0, 0]);
    bytes.extend(state.fpr.iter().flatten());
    bytes.extend(state.xmm.iter().flatten());
    for (word, chunk) in xsave.region.iter_mut().zip(bytes.chunks(4)) {
        *word = u32::from_le_bytes(array(chunk));
    }
    if let Some(word) = xsave.region.get_mut(STATE_WORD) {
        *word |= IN_USE;
    }
}

/// The first `N` of `bytes`; zeros where they end early.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.first_chunk().copied().unwrap_or([0; N])
}
