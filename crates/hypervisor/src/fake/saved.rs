//! The saved state of fake vCPUs and VMs.

use super::vcpu::FakeVcpu;
use super::vm::FakeVm;
use crate::saved::{IoapicSaved, PicSaved, PitSaved, SaveVcpu, SaveVm, VcpuSaved, VmSaved};
use crate::x86::{FpuState, Msr, VcpuState};
use crate::{Irqchip, Result, Vcpu};

/// Legacy area and header of XSAVE (Intel SDM volume 1, 13.4), in bytes.
const XSAVE_SIZE: usize = 512 + 64;
/// Where XSTATE_BV is, and that x87 and SSE are in use.
const XSTATE_BV: (usize, u8) = (512, 3);
/// Where the parts of the legacy area are (Intel SDM volume 1, table 10-2).
const FCW: usize = 0;
const FSW: usize = 2;
const FTW: usize = 4;
const LAST_OPCODE: usize = 6;
const LAST_IP: usize = 8;
const LAST_DP: usize = 16;
const MXCSR: usize = 24;
const FPR: usize = 32;
const XMM: usize = 160;

impl SaveVcpu for FakeVcpu {
    fn save(&mut self) -> Result<VcpuSaved> {
        self.complete_access()?;
        let tsc_khz = self.tsc_khz()?;
        self.with(|vcpu| {
            let state = &vcpu.snapshot;
            let msrs = state.msrs.iter();
            VcpuSaved {
                cpuid: state.cpuid.clone(),
                tsc_khz,
                tsc_offset: state.tsc_offset,
                mp_state: state.mp_state,
                registers: state.registers,
                special_registers: state.special_registers,
                xsave: to_xsave(&state.fpu),
                xcrs: state.xcrs.clone(),
                debug_registers: state.debug_registers,
                events: state.events,
                lapic: Some(state.lapic.to_vec()),
                msrs: msrs.map(|(&index, &value)| Msr { index, value }).collect(),
            }
        })
    }

    fn restore(&mut self, saved: &VcpuSaved) -> Result<()> {
        saved.check()?;
        self.set_msrs(&saved.msrs)?;
        self.with(|vcpu| {
            let state = &mut vcpu.snapshot;
            state.cpuid.clone_from(&saved.cpuid);
            state.tsc_offset = saved.tsc_offset;
            state.mp_state = saved.mp_state;
            state.registers = saved.registers;
            state.special_registers = saved.special_registers;
            state.fpu = from_xsave(&saved.xsave);
            state.xcrs.clone_from(&saved.xcrs);
            state.debug_registers = saved.debug_registers;
            state.events = saved.events;
            let lapic = saved.lapic.iter().flatten();
            for (byte, saved) in state.lapic.iter_mut().zip(lapic) {
                *byte = *saved;
            }
        })
    }
}

impl SaveVm for FakeVm {
    /// The restored state, or all zeros.
    fn save(&self) -> Result<VmSaved> {
        let settings = self.settings();
        let has_chips = matches!(settings.irqchip, Irqchip::InKernel { .. });
        let has_pit = settings.irqchip == Irqchip::InKernel { pit: true };
        let restored = self.record().lock().restored.clone();
        Ok(restored.unwrap_or_else(|| VmSaved {
            pics: has_chips.then(|| [PicSaved::default(); 2]),
            ioapic: has_chips.then(IoapicSaved::default),
            pit: has_pit.then(PitSaved::default),
            ..VmSaved::default()
        }))
    }

    fn restore(&self, saved: &VmSaved) -> Result<()> {
        saved.check(&self.settings())?;
        self.record().lock().restored = Some(saved.clone());
        Ok(())
    }
}

fn to_xsave(fpu: &FpuState) -> Vec<u8> {
    let mut area = vec![0; XSAVE_SIZE];
    let mut put = |offset: usize, bytes: &[u8]| {
        for (byte, value) in area.iter_mut().skip(offset).zip(bytes) {
            *byte = *value;
        }
    };
    put(FCW, &fpu.fcw.to_le_bytes());
    put(FSW, &fpu.fsw.to_le_bytes());
    put(FTW, &[fpu.ftwx]);
    put(LAST_OPCODE, &fpu.last_opcode.to_le_bytes());
    put(LAST_IP, &fpu.last_ip.to_le_bytes());
    put(LAST_DP, &fpu.last_dp.to_le_bytes());
    put(MXCSR, &fpu.mxcsr.to_le_bytes());
    put(FPR, fpu.fpr.as_flattened());
    put(XMM, fpu.xmm.as_flattened());
    put(XSTATE_BV.0, &[XSTATE_BV.1]);
    area
}

fn from_xsave(area: &[u8]) -> FpuState {
    fn array<const N: usize>(area: &[u8], offset: usize) -> [u8; N] {
        let mut bytes = [0; N];
        for (byte, value) in bytes.iter_mut().zip(area.iter().skip(offset)) {
            *byte = *value;
        }
        bytes
    }
    let [ftwx] = array(area, FTW);
    FpuState {
        fcw: u16::from_le_bytes(array(area, FCW)),
        fsw: u16::from_le_bytes(array(area, FSW)),
        ftwx,
        last_opcode: u16::from_le_bytes(array(area, LAST_OPCODE)),
        last_ip: u64::from_le_bytes(array(area, LAST_IP)),
        last_dp: u64::from_le_bytes(array(area, LAST_DP)),
        mxcsr: u32::from_le_bytes(array(area, MXCSR)),
        fpr: std::array::from_fn(|index| array(area, FPR + 16 * index)),
        xmm: std::array::from_fn(|index| array(area, XMM + 16 * index)),
    }
}
