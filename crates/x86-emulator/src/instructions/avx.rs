//! VZEROUPPER and VZEROALL, what kernels' own vector code ends with, and the moves of whole registers
//! (Intel SDM vol. 2B and 2C).

use iced_x86::{CpuidFeature, OpKind, Register};

use crate::cpu::{Cpu, Run, Stop};
use crate::xsave_area::{AVX, SSE, XMM_REGISTERS, ZMM_UPPER};
use crate::{Exception, ExtendedState, PhysicalMemory, XsaveArea, spec};

/// Component numbers: upper halves of YMM0 to YMM15, and of ZMM0 to ZMM15.
const UPPER: [u32; 2] = [2, 6];

impl<M: PhysicalMemory, E: ExtendedState> Cpu<'_, M, E> {
    /// Bits 128 and up of registers 0 to 15. The others, 16 to 31, keep theirs.
    pub(super) fn vzeroupper(&mut self) -> Run<E> {
        self.zero_vectors(false)
    }

    /// All bits of registers 0 to 15.
    pub(super) fn vzeroall(&mut self) -> Run<E> {
        self.zero_vectors(true)
    }

    /// VMOVAPS, VMOVAPD, VMOVDQA and the non-temporal moves.
    pub(super) fn move_vector_aligned(&mut self) -> Run<E> {
        self.move_vector(true)
    }

    /// VMOVUPS, VMOVUPD, VMOVDQU and VLDDQU.
    pub(super) fn move_vector_unaligned(&mut self) -> Run<E> {
        self.move_vector(false)
    }

    fn move_vector(&mut self, aligned: bool) -> Run<E> {
        // Not the forms of AVX-512, with masks and more registers. VMOVNTDQA of 32 bytes is AVX2's.
        let known = [[CpuidFeature::AVX], [CpuidFeature::AVX2]];
        if !known
            .iter()
            .any(|known| self.instruction.cpuid_features() == known)
        {
            return Err(Stop::Unsupported);
        }
        let mut area = self.load_avx()?;
        let source = vector(self.instruction.op1_register());
        let target = vector(self.instruction.op0_register());
        let (_, size) = target.or(source).ok_or(Stop::Unsupported)?;
        let memory = [self.instruction.op0_kind(), self.instruction.op1_kind()];
        let place = match memory.contains(&OpKind::Memory) {
            true if aligned => self.aligned_place(size as u64, size)?,
            _ => self.place(),
        };
        let mut value = [0; 32];
        match source {
            Some((number, _)) => value = self.vector_register(&area, number)?,
            None if size == 16 => {
                let bytes = u128::from_le_bytes(self.read(place)?).to_le_bytes();
                value
                    .iter_mut()
                    .zip(bytes)
                    .for_each(|(to, from)| *to = from);
            }
            None => value = self.read(place)?,
        }
        let Some((number, _)) = target else {
            return self.write(place, value.get(..size).unwrap_or_default());
        };
        // What is above the operand is cleared.
        value.get_mut(size..).unwrap_or_default().fill(0);
        self.set_vector_register(&mut area, number, value)?;
        self.store(area)
    }

    /// The 32 bytes of a register.
    fn vector_register(&self, area: &XsaveArea, number: usize) -> Run<E, [u8; 32]> {
        let upper = self.upper_half(number)?;
        let mut value = [0; 32];
        let (low, high) = value.split_at_mut(16);
        low.copy_from_slice(&area.xmm(number).to_le_bytes());
        let there = area.range(upper..upper + 16);
        high.iter_mut()
            .zip(there)
            .for_each(|(to, from)| *to = *from);
        Ok(value)
    }

    /// Sets them, and clears the 32 above.
    fn set_vector_register(&self, area: &mut XsaveArea, number: usize, value: [u8; 32]) -> Run<E> {
        let upper = self.upper_half(number)?;
        let (low, high) = value.split_at(16);
        area.set(XMM_REGISTERS.start + number * 16, low);
        area.set(upper, high);
        let [_, zmm] = UPPER;
        if let Some(component) = self.cpuid.xsave.component(zmm) {
            let start = component.offset + number * 32;
            area.zero(start..start + 32);
        }
        area.set_xstate_bv(area.xstate_bv() | AVX);
        Ok(())
    }

    /// Where the upper half of YMM`number` is.
    fn upper_half(&self, number: usize) -> Run<E, usize> {
        let [ymm, _] = UPPER;
        let component = self.cpuid.xsave.component(ymm);
        let start = component.map(|component| component.offset + number * 16);
        start
            .filter(|start| start + 16 <= XsaveArea::SIZE)
            .ok_or(Stop::Unsupported)
    }

    /// The state, where AVX instructions may be used.
    fn load_avx(&mut self) -> Run<E, XsaveArea> {
        self.require_cr4(spec::CR4_OSXSAVE)?;
        let enabled = self.xcr0()? & (SSE | AVX) == SSE | AVX;
        self.require(enabled, Exception::INVALID_OPCODE)?;
        self.require_available(spec::CR0_TS)?;
        self.load()
    }

    fn zero_vectors(&mut self, all: bool) -> Run<E> {
        let mut area = self.load_avx()?;
        for component in UPPER {
            area.initialise(component, &self.cpuid.xsave);
        }
        area.set_xstate_bv(area.xstate_bv() & !(AVX | ZMM_UPPER));
        if all {
            area.zero(XMM_REGISTERS);
        }
        self.store(area)
    }
}

/// Number and bytes of an XMM or YMM register; `None` for any other.
fn vector(register: Register) -> Option<(usize, usize)> {
    let number = |first: Register| (register as usize).checked_sub(first as usize);
    let low = |number: &usize| *number < 16;
    let xmm = number(Register::XMM0)
        .filter(low)
        .map(|number| (number, 16));
    xmm.or_else(|| {
        number(Register::YMM0)
            .filter(low)
            .map(|number| (number, 32))
    })
}
