//! FXSAVE and FXRSTOR, and their 64-bit forms (Intel SDM vol. 1, 10.5; vol. 2A).

use crate::cpu::{Cpu, Place, Run};
use crate::image::Image;
use crate::paging::Access;
use crate::{Exception, ExtendedState, PhysicalMemory, spec};

impl<M: PhysicalMemory, E: ExtendedState> Cpu<'_, M, E> {
    pub(super) fn fxsave(&mut self) -> Run<E> {
        self.save_legacy(false)
    }

    pub(super) fn fxsave64(&mut self) -> Run<E> {
        self.save_legacy(true)
    }

    pub(super) fn fxrstor(&mut self) -> Run<E> {
        self.restore_legacy(false)
    }

    pub(super) fn fxrstor64(&mut self) -> Run<E> {
        self.restore_legacy(true)
    }

    /// Bytes 511:416 of the image are not written.
    fn save_legacy(&mut self, wide: bool) -> Run<E> {
        let place = self.legacy_place()?;
        let image = self.legacy_image(true);
        let mut area = self.load()?;
        if !wide {
            area.narrow_pointers();
        }
        let target = self.open(place, &image, Access::Write)?;
        self.copy_out(&area, &image, &target)
    }

    fn restore_legacy(&mut self, wide: bool) -> Run<E> {
        let place = self.legacy_place()?;
        let image = self.legacy_image(false);
        let mut area = self.load()?;
        let source = self.open(place, &image, Access::Read)?;
        self.copy_in(&mut area, &image, &source)?;
        let valid = area.mxcsr() & !area.mxcsr_mask() == 0;
        self.require(valid, Exception::GENERAL_PROTECTION)?;
        if !wide {
            area.narrow_pointers();
        }
        self.store(area)
    }

    /// The image: x87 state, MXCSR, and XMM registers, without these where AMD's fast form holds
    /// (AMD APM vol. 2, 3.1.7).
    fn legacy_image(&self, with_mask: bool) -> Image {
        let mut image = Image::new(0..0);
        let layout = &self.cpuid.xsave;
        image.add_mxcsr(with_mask);
        let fast = self.state.special.efer & spec::EFER_FFXSR != 0;
        let components = if fast && self.state.privilege_level() == 0 {
            0..1
        } else {
            0..2
        };
        for number in components {
            let _always_has_a_place = image.add(number, None, layout);
        }
        image
    }

    fn legacy_place(&mut self) -> Run<E, Place> {
        self.require_simd()?;
        self.aligned_place(16, 512)
    }
}
