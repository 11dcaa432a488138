//! The extended state of a vCPU as an XSAVE area.

use std::ops::Range;

use crate::cpuid::XsaveLayout;

/// x87 state, and its bit in XSTATE_BV.
pub(crate) const X87: u64 = 1 << 0;
/// XMM registers and MXCSR.
pub(crate) const SSE: u64 = 1 << 1;
/// Upper halves of YMM registers.
pub(crate) const AVX: u64 = 1 << 2;
/// Upper halves of ZMM0 to ZMM15.
pub(crate) const ZMM_UPPER: u64 = 1 << 6;
/// PKRU.
const PKRU: u32 = 9;

/// The parts of the legacy region (Intel SDM vol. 1, 10.5.1): control, status, tags and pointers of
/// the x87; MXCSR; its mask; ST(0) to ST(7); XMM0 to XMM15.
pub(crate) const X87_CONTROL: Range<usize> = 0..24;
/// See [`X87_CONTROL`].
pub(crate) const MXCSR_AND_MASK: Range<usize> = 24..32;
/// See [`X87_CONTROL`].
pub(crate) const X87_REGISTERS: Range<usize> = 32..160;
/// See [`X87_CONTROL`].
pub(crate) const XMM_REGISTERS: Range<usize> = 160..416;
/// Where the header begins (13.4.2): XSTATE_BV, XCOMP_BV, zeroes.
pub(crate) const HEADER: usize = 512;

/// MXCSR after a reset: all exceptions masked.
pub(crate) const MXCSR_INITIAL: u32 = 0x1f80;
/// The FCW of FNINIT.
const FCW_INITIAL: u16 = 0x37f;

/// The x87, SSE, AVX, ... state of a vCPU in the standard (not compacted) format of XSAVE64 (Intel
/// SDM vol. 1, 13.4), at the offsets that the vCPU's CPUID tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XsaveArea(Box<[u8; Self::SIZE]>);

impl XsaveArea {
    /// Bytes of the area.
    pub const SIZE: usize = 4096;

    /// An area with these contents.
    pub fn new(bytes: Box<[u8; Self::SIZE]>) -> Self {
        Self(bytes)
    }

    /// The contents.
    pub fn bytes(&self) -> &[u8; Self::SIZE] {
        &self.0
    }

    /// The contents, to change.
    pub fn bytes_mut(&mut self) -> &mut [u8; Self::SIZE] {
        &mut self.0
    }

    /// XSTATE_BV: which components are not in their initial state.
    pub fn xstate_bv(&self) -> u64 {
        u64::from_le_bytes(self.field(HEADER))
    }

    /// Sets XSTATE_BV.
    pub fn set_xstate_bv(&mut self, components: u64) {
        self.set(HEADER, &components.to_le_bytes());
    }

    /// MXCSR.
    pub fn mxcsr(&self) -> u32 {
        u32::from_le_bytes(self.field(MXCSR_AND_MASK.start))
    }

    /// Sets MXCSR.
    pub fn set_mxcsr(&mut self, value: u32) {
        self.set(MXCSR_AND_MASK.start, &value.to_le_bytes());
    }

    /// The bits that MXCSR may have. Zero stands for a CPU older than the field (11.6.6).
    pub fn mxcsr_mask(&self) -> u32 {
        match u32::from_le_bytes(self.field(MXCSR_AND_MASK.start + 4)) {
            0 => 0xffbf,
            mask => mask,
        }
    }

    /// The x87 control word.
    pub fn fcw(&self) -> u16 {
        u16::from_le_bytes(self.field(0))
    }

    /// The x87 status word.
    pub fn fsw(&self) -> u16 {
        u16::from_le_bytes(self.field(2))
    }

    /// Sets the x87 control word.
    pub(crate) fn set_fcw(&mut self, value: u16) {
        self.set(0, &value.to_le_bytes());
    }

    /// Sets the x87 status word.
    pub(crate) fn set_fsw(&mut self, value: u16) {
        self.set(2, &value.to_le_bytes());
    }

    /// Sets TOP of the x87 status word to 0. The registers stay where they are in the register file,
    /// while the area has them from TOP on: there they change places.
    pub(crate) fn reset_top(&mut self) {
        let top = usize::from(self.fsw() >> 11 & 7);
        let registers = self.range_mut(X87_REGISTERS);
        registers.rotate_right(top * 16 % registers.len().max(1));
        self.set_fsw(self.fsw() & !(7 << 11));
    }

    /// Sets the x87 tag word, in its abridged form: a bit for each register that is not empty.
    pub(crate) fn set_tags(&mut self, value: u8) {
        self.set(4, &[value]);
    }

    /// ST(`number`); `None` where it is empty.
    pub(crate) fn st(&self, number: usize) -> Option<[u8; 10]> {
        self.tag(number)
            .then(|| self.field(X87_REGISTERS.start + number * 16))
    }

    /// Sets ST(`number`), which is not empty then.
    pub(crate) fn set_st(&mut self, number: usize, value: [u8; 10]) {
        self.set(X87_REGISTERS.start + number * 16, &value);
        let tags = self.tags() | 1 << self.physical(number);
        self.set_tags(tags);
    }

    /// The bytes of ST(`number`), empty or not.
    pub(crate) fn register(&self, number: usize) -> [u8; 10] {
        self.field(X87_REGISTERS.start + number * 16)
    }

    /// Sets the bytes of ST(`number`), and does not fill it.
    pub(crate) fn set_register(&mut self, number: usize, value: [u8; 10]) {
        self.set(X87_REGISTERS.start + number * 16, &value);
    }

    /// Makes ST(`number`) empty.
    pub(crate) fn free(&mut self, number: usize) {
        let tags = self.tags() & !(1 << self.physical(number));
        self.set_tags(tags);
    }

    /// Adds `count`, 0 to 7, to TOP. The registers stay where they are in the register file.
    pub(crate) fn turn(&mut self, count: u16) {
        let registers = self.range_mut(X87_REGISTERS);
        registers.rotate_left(usize::from(count & 7) * 16 % registers.len().max(1));
        self.set_top(self.top() + count);
    }

    /// Where the last instruction and its operand were, 32 bits of each.
    pub(crate) fn pointers(&self) -> Pointers {
        Pointers {
            opcode: u16::from_le_bytes(self.field(6)),
            instruction: u32::from_le_bytes(self.field(8)),
            data: u32::from_le_bytes(self.field(16)),
        }
    }

    /// Sets them, with nothing above.
    pub(crate) fn set_pointers(&mut self, pointers: &Pointers) {
        self.set(6, &pointers.opcode.to_le_bytes());
        self.set(8, &u64::from(pointers.instruction).to_le_bytes());
        self.set(16, &u64::from(pointers.data).to_le_bytes());
    }

    /// A new ST(0); `None`, and nothing is changed, where its register is not empty.
    pub(crate) fn push(&mut self, value: [u8; 10]) -> Option<()> {
        (!self.tag(7)).then_some(())?;
        self.range_mut(X87_REGISTERS).rotate_right(16);
        self.set_top(self.top() + 7);
        self.set_st(0, value);
        Some(())
    }

    /// ST(0) is empty, and ST(1) takes its place.
    pub(crate) fn pop(&mut self) {
        self.free(0);
        self.turn(1);
    }

    fn top(&self) -> u16 {
        self.fsw() >> 11 & 7
    }

    fn set_top(&mut self, top: u16) {
        self.set_fsw(self.fsw() & !(7 << 11) | (top & 7) << 11);
    }

    /// Where ST(`number`) is in the register file.
    pub(crate) fn physical(&self, number: usize) -> usize {
        (usize::from(self.top()) + number) & 7
    }

    fn tags(&self) -> u8 {
        let [tags] = self.field(4);
        tags
    }

    fn tag(&self, number: usize) -> bool {
        self.tags() >> self.physical(number) & 1 != 0
    }

    /// An MMX register, where TOP is 0: the significand of a register of the x87.
    pub(crate) fn mmx(&self, number: usize) -> u64 {
        u64::from_le_bytes(self.field(X87_REGISTERS.start + number * 16))
    }

    /// Sets it; sign and exponent are all ones then.
    pub(crate) fn set_mmx(&mut self, number: usize, value: u64) {
        self.set(X87_REGISTERS.start + number * 16, &value.to_le_bytes());
        self.set(X87_REGISTERS.start + number * 16 + 8, &[0xff; 2]);
    }

    /// An XMM register, byte 0 lowest.
    pub(crate) fn xmm(&self, number: usize) -> u128 {
        u128::from_le_bytes(self.field(XMM_REGISTERS.start + number * 16))
    }

    /// Sets an XMM register.
    pub(crate) fn set_xmm(&mut self, number: usize, value: u128) {
        self.set(XMM_REGISTERS.start + number * 16, &value.to_le_bytes());
    }

    /// PKRU.
    pub(crate) fn pkru(&self, layout: &XsaveLayout) -> u32 {
        layout.component(PKRU).map_or(0, |component| {
            u32::from_le_bytes(self.field(component.offset))
        })
    }

    /// Gives each component that is in its initial state the bytes of that state, whatever the
    /// hypervisor left there. MXCSR is none of them (13.6).
    pub(crate) fn initialise_unused(&mut self, layout: &XsaveLayout) {
        let unused = !self.xstate_bv();
        for number in (0..63).filter(|number| unused >> number & 1 != 0) {
            self.initialise(number, layout);
        }
    }

    /// Puts one component into its initial state (13.6). MXCSR stays.
    pub(crate) fn initialise(&mut self, number: u32, layout: &XsaveLayout) {
        match number {
            0 => {
                self.zero(X87_CONTROL);
                self.zero(X87_REGISTERS);
                self.set_fcw(FCW_INITIAL);
            }
            1 => self.zero(XMM_REGISTERS),
            _ => {
                if let Some(component) = layout.component(number)
                    && component.offset >= crate::cpuid::EXTENDED_REGION
                {
                    let end = component.offset.saturating_add(component.size);
                    self.zero(component.offset..end);
                }
            }
        }
    }

    /// Which components are in use as XGETBV and the compacted format tell it: SSE also where only
    /// MXCSR is not initial (13.10).
    pub(crate) fn in_use(&self) -> u64 {
        let mxcsr = if self.mxcsr() == MXCSR_INITIAL {
            0
        } else {
            SSE
        };
        self.xstate_bv() | mxcsr
    }

    /// Makes the bits of x87 and SSE in XSTATE_BV true. An MXCSR that is not initial keeps the bit
    /// of SSE set, since a hypervisor may take it from there only.
    pub(crate) fn settle(&mut self) {
        let zero = |range: Range<usize>| self.range(range).iter().all(|byte| *byte == 0);
        let no_pointers = zero(2..X87_CONTROL.end) && zero(X87_REGISTERS);
        let x87 = self.fcw() != FCW_INITIAL || !no_pointers;
        let sse = self.mxcsr() != MXCSR_INITIAL || !zero(XMM_REGISTERS);
        let others = self.xstate_bv() & !(X87 | SSE);
        let x87 = if x87 { X87 } else { 0 };
        let sse = if sse { SSE } else { 0 };
        self.set_xstate_bv(others | x87 | sse);
    }

    /// The bytes of a range; none where it is not inside the area.
    pub(crate) fn range(&self, range: Range<usize>) -> &[u8] {
        self.0.get(range).unwrap_or_default()
    }

    /// The bytes of a range, to change; none where it is not inside the area.
    pub(crate) fn range_mut(&mut self, range: Range<usize>) -> &mut [u8] {
        self.0.get_mut(range).unwrap_or_default()
    }

    /// Leaves of the pointers to the last x87 instruction and operand what the forms without
    /// REX.W have: 32 bits, and selectors, which current CPUs give as zero.
    pub(crate) fn narrow_pointers(&mut self) {
        self.zero(12..16);
        self.zero(20..24);
    }

    /// Copies `bytes` to `offset`, where all of them fit.
    pub(crate) fn set(&mut self, offset: usize, bytes: &[u8]) {
        let place = self.0.get_mut(offset..);
        if let Some(place) = place.and_then(|rest| rest.get_mut(..bytes.len())) {
            place.copy_from_slice(bytes);
        }
    }

    /// Zeroes a range inside the area.
    pub(crate) fn zero(&mut self, range: Range<usize>) {
        self.range_mut(range).fill(0);
    }

    fn field<const N: usize>(&self, offset: usize) -> [u8; N] {
        let rest = self.0.get(offset..).unwrap_or_default();
        rest.first_chunk().copied().unwrap_or([0; N])
    }
}

/// The x87's record of its last instruction (Intel SDM vol. 1, 8.1.8 and 8.1.9).
pub(crate) struct Pointers {
    pub(crate) opcode: u16,
    pub(crate) instruction: u32,
    pub(crate) data: u32,
}

impl Default for XsaveArea {
    /// The state after a reset and FNINIT.
    fn default() -> Self {
        let mut area = Self(Box::new([0; Self::SIZE]));
        area.set_fcw(FCW_INITIAL);
        area.set_mxcsr(MXCSR_INITIAL);
        area.set(MXCSR_AND_MASK.start + 4, &0xffff_u32.to_le_bytes());
        area
    }
}
