//! The parts of an XSAVE area in guest memory that an instruction reads or writes, and where they are in the
//! vCPU's own [`XsaveArea`].

use std::ops::Range;

use crate::XsaveArea;
use crate::cpuid::{EXTENDED_REGION, XsaveLayout};
use crate::xsave_area::{MXCSR_AND_MASK, X87_CONTROL, X87_REGISTERS, XMM_REGISTERS};

/// Bytes of the one and of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// Where they begin in guest memory, from the start of the image.
    pub(crate) image: usize,
    /// Where they begin in the vCPU's area.
    pub(crate) area: usize,
    pub(crate) length: usize,
}

/// The parts of an image, and the range that they span.
#[derive(Debug)]
pub(crate) struct Image {
    parts: Vec<Part>,
    start: usize,
    end: usize,
}

impl Image {
    /// An image of which `header` is touched, whatever else is.
    pub(crate) fn new(header: Range<usize>) -> Self {
        Self {
            parts: Vec::new(),
            start: header.start,
            end: header.end,
        }
    }

    /// Adds MXCSR and its mask, or only MXCSR.
    pub(crate) fn add_mxcsr(&mut self, with_mask: bool) {
        let end = MXCSR_AND_MASK.end - if with_mask { 0 } else { 4 };
        self.add_legacy(MXCSR_AND_MASK.start..end);
    }

    /// Adds a component, of the standard format or the compacted one with that XCOMP_BV. `false`
    /// where it has no place in either.
    #[must_use]
    pub(crate) fn add(&mut self, number: u32, xcomp_bv: Option<u64>, layout: &XsaveLayout) -> bool {
        match number {
            0 => {
                self.add_legacy(X87_CONTROL);
                self.add_legacy(X87_REGISTERS);
                true
            }
            1 => {
                self.add_legacy(XMM_REGISTERS);
                true
            }
            _ => self.add_extended(number, xcomp_bv, layout).is_some(),
        }
    }

    fn add_legacy(&mut self, range: Range<usize>) {
        self.add_part(Part {
            image: range.start,
            area: range.start,
            length: range.len(),
        });
    }

    fn add_extended(
        &mut self,
        number: u32,
        xcomp_bv: Option<u64>,
        layout: &XsaveLayout,
    ) -> Option<()> {
        let component = layout.component(number)?;
        let area_end = component.offset.checked_add(component.size)?;
        if component.offset < EXTENDED_REGION || area_end > XsaveArea::SIZE {
            return None;
        }
        let image = match xcomp_bv {
            Some(present) => layout.compacted_offset(number, present)?,
            None => component.offset,
        };
        let image_end = image.checked_add(component.size)?;
        if image_end > XsaveArea::SIZE {
            return None;
        }
        self.add_part(Part {
            image,
            area: component.offset,
            length: component.size,
        });
        Some(())
    }

    fn add_part(&mut self, part: Part) {
        self.start = self.start.min(part.image);
        self.end = self.end.max(part.image + part.length);
        self.parts.push(part);
    }

    /// From the first byte that is touched to the last: at most 4096 bytes, so that each of the at
    /// most two pages in it has a byte that is touched.
    pub(crate) fn extent(&self) -> Range<usize> {
        self.start..self.end
    }

    pub(crate) fn parts(&self) -> &[Part] {
        &self.parts
    }
}
