//! XRSTOR and XRSTORS (Intel SDM vol. 1, 13.8 and 13.12).

use super::save::COMPACTED;
use crate::cpu::{Cpu, Run};
use crate::paging::Access;
use crate::xsave_area::{AVX, HEADER, MXCSR_INITIAL, SSE, X87};
use crate::{Exception, ExtendedState, PhysicalMemory};

/// The header of an image.
struct Header {
    xstate_bv: u64,
    xcomp_bv: u64,
    /// Bytes 23:16 are zero.
    next_zero: bool,
    /// Bytes 63:24 are zero.
    rest_zero: bool,
}

impl<M: PhysicalMemory, E: ExtendedState> Cpu<'_, M, E> {
    pub(super) fn xrstor(&mut self) -> Run<E> {
        self.restore(false, false)
    }

    pub(super) fn xrstor64(&mut self) -> Run<E> {
        self.restore(false, true)
    }

    pub(super) fn xrstors(&mut self) -> Run<E> {
        self.restore(true, false)
    }

    pub(super) fn xrstors64(&mut self) -> Run<E> {
        self.restore(true, true)
    }

    fn restore(&mut self, supervisor: bool, wide: bool) -> Run<E> {
        self.require_xsave(supervisor)?;
        let place = self.aligned_place(64, HEADER + 64)?;
        let requested = self.requested(supervisor)?;
        let (user, privileged) = self.enabled(supervisor)?;
        let source = self.open_range(place, HEADER..HEADER + 64, Access::Read)?;
        let header = Header::parse(&self.take(&source, HEADER)?);
        let valid = header.is_valid(user | privileged, supervisor);
        self.require(valid, Exception::GENERAL_PROTECTION)?;

        let compacted = header.is_compacted();
        let loaded = requested & header.xstate_bv;
        // The standard format has MXCSR for SSE and AVX, whatever XSTATE_BV says; the compacted
        // one has it as a part of SSE.
        let with_mxcsr = if compacted {
            loaded & SSE
        } else {
            requested & (SSE | AVX)
        };
        let xcomp_bv = compacted.then_some(header.xcomp_bv);
        let mut image = self.image(loaded, xcomp_bv, HEADER..HEADER + 64)?;
        if with_mxcsr != 0 {
            image.add_mxcsr(false);
        }
        let source = self.open(place, &image, Access::Read)?;
        let mut area = self.load()?;
        self.copy_in(&mut area, &image, &source)?;
        if compacted && requested & !loaded & SSE != 0 {
            area.set_mxcsr(MXCSR_INITIAL);
        }
        let valid = area.mxcsr() & !area.mxcsr_mask() == 0;
        self.require(with_mxcsr == 0 || valid, Exception::GENERAL_PROTECTION)?;
        if !wide && loaded & X87 != 0 {
            area.narrow_pointers();
        }
        let initial = requested & !loaded;
        for number in (0..63).filter(|number| initial >> number & 1 != 0) {
            area.initialise(number, &self.cpuid.xsave);
        }
        area.set_xstate_bv(area.xstate_bv() & !initial | loaded);
        self.store(area)
    }
}

impl Header {
    fn parse(bytes: &[u8; 64]) -> Self {
        let (fields, _) = bytes.as_chunks::<8>();
        let mut fields = fields.iter().map(|field| u64::from_le_bytes(*field));
        Self {
            xstate_bv: fields.next().unwrap_or_default(),
            xcomp_bv: fields.next().unwrap_or_default(),
            next_zero: fields.next() == Some(0),
            rest_zero: fields.all(|field| field == 0),
        }
    }

    fn is_compacted(&self) -> bool {
        self.xcomp_bv & COMPACTED != 0
    }

    /// The checks of 13.8.1, 13.8.2 and 13.12. The standard format leaves bytes 63:24 alone.
    fn is_valid(&self, enabled: u64, supervisor: bool) -> bool {
        if self.is_compacted() {
            let present = self.xcomp_bv & !COMPACTED;
            let zero = self.next_zero && self.rest_zero;
            return present & !enabled == 0 && self.xstate_bv & !present == 0 && zero;
        }
        !supervisor && self.xstate_bv & !enabled == 0 && self.xcomp_bv == 0 && self.next_zero
    }
}
