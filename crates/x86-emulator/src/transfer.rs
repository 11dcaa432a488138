//! Copies between an XSAVE image in guest memory and the vCPU's area.

use std::ops::Range;

use crate::cpu::{Cpu, Place, Run};
use crate::image::Image;
use crate::paging::{Access, Span};
use crate::{Exception, ExtendedState, PhysicalMemory, XsaveArea};

/// The bytes of an image that may be touched: all are accessible, and RAM for a write.
pub(crate) struct Opened {
    span: Span,
    start: usize,
}

impl Opened {
    /// Where byte `offset` of the image is in the span.
    fn at(&self, offset: usize) -> u64 {
        offset.saturating_sub(self.start) as u64
    }
}

impl<M: PhysicalMemory, E: ExtendedState> Cpu<'_, M, E> {
    /// The memory operand, an image of at least `length` bytes that begins at a multiple of
    /// `alignment`: else #GP(0).
    pub(crate) fn aligned_place(&self, alignment: u64, length: usize) -> Run<E, Place> {
        let place = self.place();
        self.check_canonical(place.linear, length, place.stack)?;
        let aligned = place.linear.is_multiple_of(alignment);
        self.require(aligned, Exception::GENERAL_PROTECTION)?;
        Ok(place)
    }

    /// Checks that `access` to all parts of the image is allowed.
    pub(crate) fn open(&mut self, place: Place, image: &Image, access: Access) -> Run<E, Opened> {
        self.open_range(place, image.extent(), access)
    }

    /// Checks that `access` to a range of an image is allowed.
    pub(crate) fn open_range(
        &mut self,
        place: Place,
        range: Range<usize>,
        access: Access,
    ) -> Run<E, Opened> {
        let linear = place.linear.wrapping_add(range.start as u64);
        let place = Place { linear, ..place };
        Ok(Opened {
            span: self.span(place, range.len(), access)?,
            start: range.start,
        })
    }

    /// Writes the parts of the image.
    pub(crate) fn copy_out(&self, area: &XsaveArea, image: &Image, target: &Opened) -> Run<E> {
        for part in image.parts() {
            let bytes = area.range(part.area..part.area + part.length);
            self.put(target, part.image, bytes)?;
        }
        Ok(())
    }

    /// Reads the parts of the image. MXCSR's mask is not among them.
    pub(crate) fn copy_in(&self, area: &mut XsaveArea, image: &Image, source: &Opened) -> Run<E> {
        for part in image.parts() {
            let bytes = area.range_mut(part.area..part.area + part.length);
            let read = source.span.read(self.memory, source.at(part.image), bytes);
            self.in_ram(read)?;
        }
        Ok(())
    }

    /// Writes `bytes` at `offset` of the image.
    pub(crate) fn put(&self, target: &Opened, offset: usize, bytes: &[u8]) -> Run<E> {
        self.in_ram(target.span.write(self.memory, target.at(offset), bytes))
    }

    /// Reads what is at `offset` of the image.
    pub(crate) fn take<const N: usize>(&self, source: &Opened, offset: usize) -> Run<E, [u8; N]> {
        let mut bytes = [0; N];
        let read = source.span.read(self.memory, source.at(offset), &mut bytes);
        self.in_ram(read)?;
        Ok(bytes)
    }
}
